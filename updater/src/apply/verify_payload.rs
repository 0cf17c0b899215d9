//! Verification of the whole payload before an installation erases a disk.

use super::images::read_image;
use super::incoming::Incoming;
use crate::error::ApplyError;
use crate::events::{EventSink, Phase};
use crate::progress::Progress;
use crate::source::{Fetcher, Source};
use bundle::{ImageRole, Release, StoredChunk};
use std::collections::BTreeMap;
use std::ops::Range;

impl<S: Source> Incoming<'_, S> {
    /// Returns whether the bundle is a file of this machine, which is cheap to read twice.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.fetcher.is_local()
    }

    /// Returns whether the payload can be read twice. A pipe cannot.
    #[must_use]
    pub fn can_reread(&self) -> bool {
        self.fetcher.can_reread()
    }

    /// Verifies the stored bytes of all images, and returns the images `keep`, each decoded and
    /// verified. *Reads* the whole payload and returns to its beginning: the source must be
    /// readable twice. The bytes are verified again when they are written.
    ///
    /// Memory is bounded by the lengths of the images `keep` in the signed manifest, and one chunk.
    ///
    /// # Errors
    /// [`ApplyError::Decode`], [`ApplyError::Fetch`].
    pub async fn verify_payload(
        &mut self,
        keep: &[ImageRole],
        events: &dyn EventSink,
    ) -> Result<BTreeMap<ImageRole, Vec<u8>>, ApplyError> {
        let (release, fetcher) = (&self.release, &mut self.fetcher);
        let start = fetcher.position();
        let payload = release.payload_range();
        let mut progress = Progress::new(events, Phase::Verify, payload.end - payload.start);
        fetcher.expect([payload.clone()]);
        let mut kept = BTreeMap::new();
        for (number, image) in release.images().iter().enumerate() {
            if keep.contains(&image.role) {
                let bytes = read_image(release, fetcher, number).await;
                kept.insert(image.role, explained(fetcher, bytes)?);
                progress.add(stored_len(release, image.chunks.clone()));
                continue;
            }
            for chunk in image.chunks.clone() {
                let checked = check_stored(release, fetcher, chunk).await;
                progress.add(explained(fetcher, checked)?);
            }
        }
        if fetcher.is_local() {
            fetcher.rewind(&start);
        } else {
            fetcher.seek_back(payload.start);
        }
        Ok(kept)
    }
}

/// Returns `result`; if it is an error, with the server's headers if they explain it.
fn explained<S: Source, T>(
    fetcher: &Fetcher<'_, S>,
    result: Result<T, ApplyError>,
) -> Result<T, ApplyError> {
    result.map_err(|error| error.explained_by(fetcher.doubt()))
}

fn stored_len(release: &Release, chunks: Range<usize>) -> u64 {
    let chunks = release.chunks().get(chunks).unwrap_or_default();
    chunks.iter().map(|chunk| u64::from(chunk.stored_len)).sum()
}

/// Checks the stored bytes of a chunk against the index, and returns their number.
async fn check_stored<S: Source>(
    release: &Release,
    fetcher: &mut Fetcher<'_, S>,
    number: usize,
) -> Result<u64, ApplyError> {
    let chunk = &release.chunks()[number];
    if chunk.stored_len == 0 {
        return Ok(0);
    }
    let start = release.file_range(chunk).start;
    let stored = fetcher.range(start, chunk.stored_len as usize).await?;
    StoredChunk::check(release, number, stored)?;
    Ok(u64::from(chunk.stored_len))
}
