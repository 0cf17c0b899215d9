//! The source seam: where the bytes of a bundle come from.
//!
//! A source is opened at an offset and then read piece by piece. That is all that the updater asks
//! of it; going on after an error, skipping and limits are the work of the [`Fetcher`], the same
//! for all.

mod any;
mod byte_source;
mod error;
mod fetch;
mod file;
mod http;
mod local_file;
mod location;
mod memory;
mod rate_limit;
mod redacted;
mod timeouts;

pub use any::AnySource;
pub use byte_source::Source;
pub use error::SourceError;
pub use fetch::{FetchError, Fetcher, Mark, OnRetry, Retries};
pub use file::FileSource;
pub use http::{HttpOptions, HttpSource};
pub use local_file::LocalFile;
pub use location::Location;
pub use memory::{Fault, MemorySource};
pub use rate_limit::Rate;
pub use redacted::redacted;
pub use timeouts::{Impatient, Patience};
