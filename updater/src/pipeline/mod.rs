//! The pipeline: a batch from the source to the disk, and back from the disk to be compared.
//!
//! In the order of the bytes:
//!
//! | module | holds |
//! | --- | --- |
//! | `chunk_source` | ranges from the source become the stored bytes of a batch |
//! | `batch_worker` | verify, decompress, verify, write |
//! | `read_back` | comparing the medium with what was written |
//! | `verify_written` | flushing and reading back while more is written |

pub(crate) mod batch_worker;
pub(crate) mod chunk_source;
pub(crate) mod read_back;
pub(crate) mod verify_written;
