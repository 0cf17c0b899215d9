//! The source seam: the bytes of a bundle, from a file, a pipe or a web server.
//!
//! A [`Source`] is opened at an offset and then read piece by piece. The [`Fetcher`] turns any
//! source into byte *ranges* in rising order: it retries, skips gaps and merges requests.
//!
//! | module | holds |
//! | --- | --- |
//! | `location` | [`Location`]: a source as written on a command line |
//! | `error` | [`SourceError`] |
//! | `byte_source` | [`Source`]: the trait |
//! | `file`, `local_file` | files and pipes; a file that threads read by themselves |
//! | `http` | requests, and the check of each response |
//! | `memory` | a source in memory, for tests (feature `simulation`) |
//! | `any` | [`AnySource`]: file or HTTP, chosen at run time |
//! | `timeouts`, `rate_limit`, `redacted` | limits of waiting, of speed; URLs without secrets |
//! | `fetch` | [`Fetcher`]: ranges, with retries |

mod any;
mod byte_source;
mod error;
mod fetch;
mod file;
mod http;
mod local_file;
mod location;
#[cfg(any(test, feature = "simulation"))]
mod memory;
mod rate_limit;
mod redacted;
mod timeouts;

pub use any::AnySource;
pub use byte_source::Source;
pub use error::SourceError;
pub use fetch::{Download, FetchError, Fetcher, OnRetry, Position, Retries};
pub use file::FileSource;
pub use http::{HttpOptions, HttpSource};
pub use local_file::LocalFile;
pub use location::Location;
#[cfg(any(test, feature = "simulation"))]
pub use memory::{Fault, MemorySource};
pub use rate_limit::Rate;
pub use redacted::redacted;
pub use timeouts::{TimeoutError, Timeouts};
