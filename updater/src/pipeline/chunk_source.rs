//! How the stored bytes of a batch come to the worker that needs them: fetched for it, or read by
//! itself.

use crate::batch::{BATCH_LEN, Batch, STREAMED_BATCH_LEN, joined, stored};
use crate::error::ApplyError;
use crate::source::{FetchError, Fetcher};
use crate::source::{LocalFile, Source};
use bundle::Release;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Where stored bytes are taken from.
pub(crate) struct Supply<'f, 'a, S> {
    fetcher: &'f mut Fetcher<'a, S>,
    local: Option<Arc<LocalFile>>,
    /// Bytes that workers will read by themselves.
    read_locally: u64,
}

/// A batch with what is needed for it.
pub(crate) struct Order {
    pub(crate) batch: Batch,
    stored: Stored,
}

enum Stored {
    Fetched(Vec<Bytes>),
    Local(Arc<LocalFile>),
}

impl<'f, 'a, S: Source> Supply<'f, 'a, S> {
    /// A file of this machine is read by the workers, each what it needs; everything else is
    /// fetched in order.
    pub(crate) async fn new(fetcher: &'f mut Fetcher<'a, S>) -> Self {
        let local = fetcher.local_file().await.map(Arc::new);
        Self {
            fetcher,
            local,
            read_locally: 0,
        }
    }

    /// Returns the server's headers as the reason for wrong bytes, where they gave one; else
    /// `error`.
    pub(crate) fn explained(&self, error: ApplyError) -> ApplyError {
        error.explained_by(self.fetcher.doubt())
    }

    /// Says which batches will be ordered.
    pub(crate) fn expect(&mut self, release: &Release, batches: &[Batch]) {
        self.fetcher
            .expect(joined(release, batches.iter().flat_map(stored)));
    }

    /// Bytes of an image that one order aims at.
    pub(crate) const fn batch_len(&self) -> u64 {
        if self.local.is_some() {
            BATCH_LEN
        } else {
            STREAMED_BATCH_LEN
        }
    }

    /// The batch, with its stored bytes or the file that they are in. They are not checked yet.
    pub(crate) async fn order(
        &mut self,
        release: &Release,
        batch: Batch,
    ) -> Result<Order, FetchError> {
        let ranges = joined(release, stored(&batch));
        if let Some(file) = &self.local {
            self.read_locally += ranges
                .iter()
                .map(|range| range.end - range.start)
                .sum::<u64>();
            return Ok(Order {
                batch,
                stored: Stored::Local(Arc::clone(file)),
            });
        }
        let mut fetched = Vec::with_capacity(ranges.len());
        for range in ranges {
            fetched.push(
                self.fetcher
                    .range(range.start, (range.end - range.start) as usize)
                    .await?,
            );
        }
        Ok(Order {
            batch,
            stored: Stored::Fetched(fetched),
        })
    }

    /// Goes back to the beginning of the payload, in a source that can.
    pub(crate) fn again(&mut self, release: &Release) {
        self.fetcher.seek_back(release.payload_range().start);
    }

    /// Bytes taken from the source for orders that workers read by themselves.
    pub(crate) const fn read_locally(&self) -> u64 {
        self.read_locally
    }
}

impl Order {
    /// The stored bytes of each chunk that has to be taken from the source, in order, not checked
    /// yet.
    ///
    /// # Errors
    /// [`ApplyError::Fetch`].
    pub(crate) fn take(&mut self, release: &Release) -> Result<Vec<Bytes>, ApplyError> {
        let ranges = joined(release, stored(&self.batch));
        let pieces = match &mut self.stored {
            Stored::Fetched(pieces) => std::mem::take(pieces),
            Stored::Local(file) => {
                let read =
                    |range: &Range<u64>| file.read(range.start, (range.end - range.start) as usize);
                ranges
                    .iter()
                    .map(read)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(FetchError::from)?
            }
        };
        let mut pieces = pieces.into_iter();
        let mut rest = Bytes::new();
        let chunks = stored(&self.batch).map(|chunk| {
            if rest.is_empty() {
                rest = pieces.next().unwrap_or_default();
            }
            // A piece that is too short gives a chunk that is too short, which the check refuses.
            let len = release.chunks()[chunk].stored_len as usize;
            rest.split_to(len.min(rest.len()))
        });
        Ok(chunks.collect())
    }
}
