//! The stored bytes of batches: fetched in order, or read from a local file by the workers.

use crate::batch::{BATCH_LEN, Batch, STREAMED_BATCH_LEN, stored_ranges};
use crate::error::ApplyError;
use crate::source::{FetchError, Fetcher, LocalFile, Source};
use bundle::Release;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// The source of stored bytes.
pub(crate) struct ChunkSource<'f, 'a, S> {
    release: Arc<Release>,
    fetcher: &'f mut Fetcher<'a, S>,
    local: Option<Arc<LocalFile>>,
    /// Bytes that workers read by themselves.
    read_locally: u64,
}

/// A batch with its stored bytes.
#[derive(Clone)]
pub(crate) struct FetchedBatch {
    pub(crate) batch: Batch,
    stored: StoredBytes,
}

#[derive(Clone)]
enum StoredBytes {
    /// One element per range.
    Fetched(Vec<Bytes>),
    Local(Arc<LocalFile>),
}

impl<'f, 'a, S: Source> ChunkSource<'f, 'a, S> {
    /// Returns the source of the stored bytes of `release`.
    pub(crate) async fn new(release: &Arc<Release>, fetcher: &'f mut Fetcher<'a, S>) -> Self {
        let local = fetcher.local_file().await.map(Arc::new);
        Self {
            release: Arc::clone(release),
            fetcher,
            local,
            read_locally: 0,
        }
    }

    /// Returns `error`, or the server's headers if they explain it.
    pub(crate) fn explain(&self, error: ApplyError) -> ApplyError {
        error.explained_by(self.fetcher.doubt())
    }

    /// Announces the batches that will be fetched.
    pub(crate) fn expect(&mut self, batches: &[Batch]) {
        let chunks = batches.iter().flat_map(Batch::stored_chunks);
        self.fetcher.expect(stored_ranges(&self.release, chunks));
    }

    /// Returns the length of a batch, in bytes of the image.
    pub(crate) const fn batch_len(&self) -> u64 {
        if self.local.is_some() {
            BATCH_LEN
        } else {
            STREAMED_BATCH_LEN
        }
    }

    /// Returns the batch with its stored bytes, which are not verified yet. *Reads*, unless the
    /// worker will read a local file.
    ///
    /// # Errors
    /// [`FetchError`].
    pub(crate) async fn fetch(&mut self, batch: Batch) -> Result<FetchedBatch, FetchError> {
        let ranges = stored_ranges(&self.release, batch.stored_chunks());
        let stored = if let Some(file) = &self.local {
            self.read_locally += ranges.iter().map(len).sum::<u64>();
            StoredBytes::Local(Arc::clone(file))
        } else {
            let mut fetched = Vec::with_capacity(ranges.len());
            for range in ranges {
                let bytes = self.fetcher.range(range.start, len(&range) as usize);
                fetched.push(bytes.await?);
            }
            StoredBytes::Fetched(fetched)
        };
        Ok(FetchedBatch { batch, stored })
    }

    /// Returns to the beginning of the payload, in a source that can seek.
    pub(crate) fn restart(&mut self) {
        self.fetcher.seek_back(self.release.payload_range().start);
    }

    /// Returns the number of bytes that workers read by themselves.
    pub(crate) const fn read_locally(&self) -> u64 {
        self.read_locally
    }
}

impl FetchedBatch {
    /// Takes the stored bytes of each of [`Batch::stored_chunks`], which are not verified yet.
    /// *Reads* a local file.
    ///
    /// # Errors
    /// [`ApplyError::Fetch`].
    pub(crate) fn take_stored(&mut self, release: &Release) -> Result<Vec<Bytes>, ApplyError> {
        let ranges = match &mut self.stored {
            StoredBytes::Fetched(ranges) => std::mem::take(ranges),
            StoredBytes::Local(file) => stored_ranges(release, self.batch.stored_chunks())
                .iter()
                .map(|range| file.read(range.start, len(range) as usize))
                .collect::<Result<_, _>>()
                .map_err(FetchError::from)?,
        };
        let mut ranges = ranges.into_iter();
        let mut rest = Bytes::new();
        let split = |chunk: usize| {
            if rest.is_empty() {
                rest = ranges.next().unwrap_or_default();
            }
            // A range that is too short gives a chunk that is too short, which is then refused.
            let len = release.chunks()[chunk].stored_len as usize;
            rest.split_to(len.min(rest.len()))
        };
        Ok(self.batch.stored_chunks().map(split).collect())
    }
}

fn len(range: &Range<u64>) -> u64 {
    range.end - range.start
}
