//! The trait of all sources.

use super::error::SourceError;
use super::local_file::LocalFile;
use bytes::Bytes;

/// A sequence of bytes that holds a bundle.
pub trait Source: Send + 'static {
    /// Returns whether [`Source::open`] may be called again, at any offset, at the cost of one
    /// request.
    fn can_seek(&self) -> bool;

    /// Returns whether [`Source::open`] may be called again at all, even if the source then sends
    /// all bytes before the offset once more.
    fn can_reopen(&self) -> bool {
        self.can_seek()
    }

    /// Returns another source of the same bytes, for requests in flight beside those of this one;
    /// `None` if that is not possible. Both detect it when the bytes are replaced, and
    /// share a limit of the rate.
    fn fork(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Returns whether it is a file of this machine, which is cheap to read twice.
    fn is_local(&self) -> bool {
        false
    }

    /// Returns the file of this machine, once it was opened, so that threads can read from it by
    /// themselves; `None` for any other source.
    fn local_file(&mut self) -> impl Future<Output = Option<LocalFile>> + Send {
        async { None }
    }

    /// Returns the total number of bytes, where it is known.
    fn total(&self) -> Option<u64> {
        None
    }

    /// Returns a doubt that only matters if the signed bytes turn out wrong: the server's headers
    /// changed between answers, or name a content coding. Bytes decide; a doubt explains.
    fn doubt(&self) -> Option<SourceError> {
        None
    }

    /// Announces that the next [`Source::open`] is for bytes before `end` only. A source may use
    /// it to request no more than that.
    fn until(&mut self, _end: Option<u64>) {}

    /// Makes the next piece begin at `offset`. A source that cannot seek is opened once, at 0.
    /// *Reads.*
    ///
    /// # Errors
    /// [`SourceError`].
    fn open(&mut self, offset: u64) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Returns the next piece: bytes as they arrive, at least one and at most a few hundred KiB;
    /// `None` at the end. *Reads.*
    ///
    /// # Errors
    /// [`SourceError`]; afterwards only [`Source::open`] may be called.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Bytes>, SourceError>> + Send;
}
