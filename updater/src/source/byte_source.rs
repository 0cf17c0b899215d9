//! The trait of all sources.

use super::error::SourceError;
use super::local_file::LocalFile;
use bytes::Bytes;

/// Something that a bundle can be read from.
pub trait Source: Send {
    /// Whether [`Source::open`] may be called again, at any offset, at the cost of a request.
    fn can_seek(&self) -> bool;

    /// Whether [`Source::open`] may be called again at all, even if all that lies before the offset
    /// is sent anew.
    fn can_reopen(&self) -> bool {
        self.can_seek()
    }

    /// Whether reading everything twice costs next to nothing: a file of this machine.
    fn is_local(&self) -> bool {
        false
    }

    /// The file of this machine that it is, once it was opened: threads can read what they need of
    /// it by themselves.
    fn local_file(&mut self) -> impl Future<Output = Option<LocalFile>> + Send {
        async { None }
    }

    /// Length of the whole, where it is known.
    fn total(&self) -> Option<u64> {
        None
    }

    /// Returns a doubt that only matters if the signed bytes turn out wrong: the server's headers
    /// changed between answers, or name a content coding. Bytes decide; a doubt explains.
    fn doubt(&self) -> Option<SourceError> {
        None
    }

    /// Says that what is opened next will not be read beyond `end`. A source that can make use of
    /// it gives no more than that.
    fn until(&mut self, _end: Option<u64>) {}

    /// Makes the next piece begin at `offset`. A source that cannot seek is opened once, at 0.
    ///
    /// # Errors
    /// [`SourceError`].
    fn open(&mut self, offset: u64) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The next piece, never empty; `None` at the end. A piece is at most a few hundred KiB long.
    ///
    /// # Errors
    /// [`SourceError`]; afterwards only [`Source::open`] may be called.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Bytes>, SourceError>> + Send;
}
