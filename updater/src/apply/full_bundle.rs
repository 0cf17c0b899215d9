//! The full bundle that serves a delta: chunks that a damaged base cannot give are taken from it.

use super::incoming::{Incoming, LazyBundle};
use crate::batch::{original, total_len};
use crate::error::ApplyError;
use crate::options::Options;
use crate::source::{Download, Fetcher, Source};
use bundle::{ChunkKind, Decoder, ImageRole, Release, StoredChunk};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A full bundle, read in any order.
pub(crate) struct FullBundle<'a, S> {
    fetcher: Fetcher<'a, S>,
    release: Arc<Release>,
    decoder: Decoder,
    /// The run that was decoded last, and its bytes.
    run: Range<usize>,
    bytes: Vec<u8>,
    /// End of the last range that was fetched.
    at: u64,
}

impl<'a, S: Source> FullBundle<'a, S> {
    /// Opens the full bundle of the release that `delta` leads to. *Reads* its head.
    ///
    /// # Errors
    /// [`ApplyError::FullBundleMismatch`] if it has other images; as [`Incoming::open`].
    pub(crate) async fn open(
        lazy: LazyBundle<'a, S>,
        options: &Options<'_>,
        delta: &Release,
    ) -> Result<Self, ApplyError> {
        let LazyBundle { source, on_retry } = lazy;
        let opened = Incoming::open(source, options.trust, options.retries, on_retry).await?;
        let release = opened.release;
        let images = |release: &Release| {
            [ImageRole::Boot, ImageRole::Root]
                .map(|role| release.image(role).map(|image| image.sha256))
        };
        if release.manifest().base.is_some() || images(&release) != images(delta) {
            return Err(ApplyError::FullBundleMismatch {
                version: delta.manifest().version.clone(),
                found: release.manifest().version.clone(),
            });
        }
        Ok(Self {
            fetcher: opened.fetcher,
            at: release.payload_range().start,
            release,
            decoder: Decoder::default(),
            run: 0..0,
            bytes: Vec::new(),
        })
    }

    /// Fills `into` with the bytes of an image from `offset` on. *Reads*; every chunk is verified.
    ///
    /// # Errors
    /// [`ApplyError::Fetch`], [`ApplyError::Decode`].
    pub(crate) async fn read(
        &mut self,
        role: ImageRole,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), ApplyError> {
        let release = Arc::clone(&self.release);
        let image = release.image(role);
        let numbers = image.map_or(0..0, |image| image.chunks.clone());
        let wanted = offset..offset + into.len() as u64;
        for number in numbers {
            let chunk = &release.chunks()[number];
            let chunk_range = chunk.offset..chunk.offset + u64::from(chunk.len);
            let common = wanted.start.max(chunk_range.start)..wanted.end.min(chunk_range.end);
            if common.is_empty() {
                continue;
            }
            let into = &mut into[within(&common, wanted.start)];
            if chunk.kind == ChunkKind::Zero {
                into.fill(0);
            } else {
                let bytes = self.chunk(original(&release, number)).await?;
                into.copy_from_slice(&bytes[within(&common, chunk_range.start)]);
            }
        }
        Ok(())
    }

    /// Returns what was fetched so far, the head included.
    pub(crate) fn fetched(&self) -> Download {
        self.fetcher.so_far()
    }

    /// Returns the bytes of a chunk that has stored bytes.
    async fn chunk(&mut self, number: usize) -> Result<&[u8], ApplyError> {
        let run = self.release.run_of(number);
        if self.run != run {
            self.decode(run).await?;
        }
        let start = total_len(&self.release, self.run.start..number) as usize;
        let len = self.release.chunks()[number].len as usize;
        Ok(&self.bytes[start..start + len])
    }

    /// Fetches and decodes a run.
    async fn decode(&mut self, run: Range<usize>) -> Result<(), ApplyError> {
        let release = Arc::clone(&self.release);
        let chunks = &release.chunks()[run.clone()];
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else {
            return Ok(());
        };
        let range = release.file_range(first).start..release.file_range(last).end;
        if range.start < self.at {
            self.fetcher.seek_back(range.start);
        }
        self.fetcher.expect([range.clone()]);
        let len = (range.end - range.start) as usize;
        let mut stored = self.fetcher.range(range.start, len).await?;
        self.at = range.end;
        self.run = 0..0;
        self.bytes.clear();
        for (number, chunk) in run.clone().zip(chunks) {
            let own = stored.split_to(chunk.stored_len as usize);
            let own = StoredChunk::check(&release, number, own)?;
            let at = self.bytes.len();
            self.bytes.resize(at + chunk.len as usize, 0);
            let (before, into) = self.bytes.split_at_mut(at);
            let before = &before[at - chunk.before as usize..];
            let nothing = |_, _: &mut [u8]| Err(io::ErrorKind::Unsupported.into());
            self.decoder
                .decode_slice(&release, &own, before, into, nothing)?;
        }
        self.run = run;
        Ok(())
    }
}

/// Returns `range` relative to `start`.
fn within(range: &Range<u64>, start: u64) -> Range<usize> {
    (range.start - start) as usize..(range.end - start) as usize
}
