//! What a damaged base cannot give is taken from the whole bundle of the same release.

use super::incoming::{Incoming, Unopened};
use super::work::Work;
use crate::batch::{Origin, original};
use crate::error::ApplyError;
use crate::pipeline::verify_written::Proving;
use crate::progress::Progress;
use crate::scan::Survey;
use crate::slot::delta_base::Lost;
use crate::slot::hash::checksum;
use crate::slot::hash::matches_digest;
use crate::source::Fetcher;
use crate::source::Source;
use bundle::{ChunkKind, Decoder, ImageRole, Release, StoredChunk};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// The whole bundle, read where it is needed.
struct Full<'a, S> {
    fetcher: Fetcher<'a, S>,
    release: Arc<Release>,
    decoder: Decoder,
    /// The run that was decoded last.
    run: Range<usize>,
    bytes: Vec<u8>,
    /// Where the last range that was taken ends.
    at: u64,
}

impl<'a, S: Source> Full<'a, S> {
    /// Takes the bundle, if it holds the boot and root image that `delta` leads to.
    fn of(incoming: Incoming<'a, S>, delta: &Release) -> Result<Self, ApplyError> {
        let Incoming {
            fetcher, release, ..
        } = incoming;
        let images = |release: &Release| {
            [ImageRole::Boot, ImageRole::Root]
                .map(|role| release.image(role).map(|image| image.sha256))
        };
        if release.manifest().base.is_some() || images(&release) != images(delta) {
            let (version, found) = (
                delta.manifest().version.clone(),
                release.manifest().version.clone(),
            );
            return Err(ApplyError::OtherFull { version, found });
        }
        let (run, bytes, at) = (0..0, Vec::new(), release.payload_range().start);
        Ok(Self {
            fetcher,
            release,
            decoder: Decoder::default(),
            run,
            bytes,
            at,
        })
    }

    /// Fills `into` with the bytes of an image from `offset` on. *Reads*; every chunk is verified.
    async fn read(
        &mut self,
        role: ImageRole,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), ApplyError> {
        let release = Arc::clone(&self.release);
        let numbers = release
            .image(role)
            .map(|image| image.chunks.clone())
            .unwrap_or_default();
        let end = offset + into.len() as u64;
        for number in numbers {
            let chunk = &release.chunks()[number];
            let (from, to) = (
                offset.max(chunk.offset),
                end.min(chunk.offset + u64::from(chunk.len)),
            );
            if from >= to {
                continue;
            }
            let piece = &mut into[(from - offset) as usize..(to - offset) as usize];
            match chunk.kind {
                ChunkKind::Zero => piece.fill(0),
                _ => {
                    let bytes = self.chunk(original(&release, number)).await?;
                    piece.copy_from_slice(
                        &bytes[(from - chunk.offset) as usize..][..(to - from) as usize],
                    );
                }
            }
        }
        Ok(())
    }

    /// The bytes of a chunk with stored bytes.
    async fn chunk(&mut self, number: usize) -> Result<&[u8], ApplyError> {
        let release = Arc::clone(&self.release);
        let run = release.run_of(number);
        if self.run != run {
            self.decode(run).await?;
        }
        let len = |chunks: Range<usize>| -> usize {
            release.chunks()[chunks]
                .iter()
                .map(|chunk| chunk.len as usize)
                .sum()
        };
        let start = len(self.run.start..number);
        Ok(&self.bytes[start..start + len(number..number + 1)])
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
        let mut stored = self
            .fetcher
            .range(range.start, (range.end - range.start) as usize)
            .await?;
        self.at = range.end;
        self.run = 0..0;
        self.bytes.clear();
        for (number, chunk) in run.clone().zip(chunks) {
            let own =
                StoredChunk::check(&release, number, stored.split_to(chunk.stored_len as usize))?;
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

impl Work<'_> {
    /// Brings to their places the chunks that the base could not give, from the whole bundle.
    /// *Writes*. Returns how many bytes were fetched.
    ///
    /// # Errors
    /// [`ApplyError::DamagedBase`] if there is no whole bundle.
    pub(crate) async fn make_up<S: Source>(
        &self,
        mut lost: Vec<Lost>,
        full: &mut Unopened<'_, S>,
        (survey, proving): (&mut Survey, &Proving),
        progress: &mut Progress<'_>,
    ) -> Result<u64, ApplyError> {
        let release = Arc::clone(self.sinks.release());
        lost.sort_unstable_by_key(|lost| lost.chunk);
        let numbers: Vec<usize> = lost.iter().map(|lost| lost.chunk).collect();
        let Some(first) = lost.into_iter().next() else {
            return Ok(0);
        };
        let damage = match self.sinks.basis() {
            Some(basis) => basis.damage(&release, first),
            None => return Err(first.error.into()),
        };
        let Some((source, on_retry)) = full.take() else {
            return Err(Box::new(damage).into());
        };
        self.warn(damage.to_string());
        let incoming =
            Incoming::open(source, self.options.trust, self.options.retries, on_retry).await?;
        let mut full = Full::of(incoming, &release)?;
        let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
        for number in numbers {
            let chunk = &release.chunks()[number];
            bytes.resize(chunk.len as usize, 0);
            full.read(release.images()[chunk.image].role, chunk.offset, &mut bytes)
                .await?;
            if !matches_digest(chunk, &bytes, &mut blocks) {
                return Err(ApplyError::Whole(self.sinks.name(chunk.image)));
            }
            let repeats = survey.origins.iter().enumerate();
            let repeats = repeats.filter(|(_, origin)| **origin == Origin::Repeat(number));
            let places: Vec<usize> = repeats.map(|(repeat, _)| repeat).chain([number]).collect();
            for place in places {
                let at = release.chunks()[place].offset;
                let written = self.sinks.write(chunk.image, at, &bytes);
                written.map_err(|error| ApplyError::Write {
                    what: self.sinks.name(chunk.image),
                    error,
                })?;
                if let Some(tree) = self.sinks.places().tree() {
                    tree.learn(&release.chunks()[place], &blocks);
                }
                survey.origins[place] = Origin::Held;
                proving.wrote(vec![(place, checksum(&bytes))]);
                progress.add(u64::from(chunk.len));
            }
        }
        Ok(full.fetcher.fetched())
    }
}
