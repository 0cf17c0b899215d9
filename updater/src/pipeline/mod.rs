//! The way of a batch from the source to the disk, and back from the disk to be compared.

pub(crate) mod batch_worker;
pub(crate) mod chunk_source;
pub(crate) mod read_back;
pub(crate) mod verify_written;
