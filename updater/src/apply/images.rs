//! The images of a bundle in memory.

use super::incoming::Incoming;
use crate::error::ApplyError;
use crate::plan::{MAX_GUARD, Refusal};
use crate::source::{Fetcher, Source};
use bundle::{Decoder, ImageRole, Release, StoredChunk};
use bytes::Bytes;
use record::PartitionName;
use std::collections::BTreeMap;
use std::io;

impl<S: Source> Incoming<'_, S> {
    /// Returns whole images, for making media. *Reads*; every chunk is verified.
    ///
    /// # Errors
    /// [`ApplyError`]; for a delta bundle, too. Memory is bounded by the sizes in the signed
    /// manifest.
    pub async fn into_images(
        mut self,
        roles: &[ImageRole],
    ) -> Result<BTreeMap<ImageRole, Vec<u8>>, ApplyError> {
        let mut images = BTreeMap::new();
        for (number, image) in self.release.images().iter().enumerate() {
            if roles.contains(&image.role) {
                let bytes = read_image(&self.release, &mut self.fetcher, number).await?;
                images.insert(image.role, bytes);
            }
        }
        Ok(images)
    }

    /// Returns the guard image before anything is written; `None` if the bundle has none, or if the
    /// source is a pipe, which cannot be read ahead. *Reads*; every chunk is verified.
    ///
    /// # Errors
    /// [`ApplyError`]; [`Refusal::TooLarge`] above [`MAX_GUARD`].
    pub async fn guard_image(&mut self) -> Result<Option<Vec<u8>>, ApplyError> {
        let images = self.release.images();
        let Some(number) = images
            .iter()
            .position(|image| image.role == ImageRole::Guard)
        else {
            return Ok(None);
        };
        if !self.fetcher.can_skip() {
            return Ok(None);
        }
        check_guard_len(images[number].size)?;
        let guard = read_image(&self.release, &mut self.fetcher, number).await?;
        self.fetcher.seek_back(self.release.payload_range().start);
        Ok(Some(guard))
    }
}

fn check_guard_len(len: u64) -> Result<(), Refusal> {
    if len > MAX_GUARD {
        return Err(Refusal::TooLarge {
            role: ImageRole::Guard,
            partition: PartitionName::Esp,
            needed: len,
            have: MAX_GUARD,
        });
    }
    Ok(())
}

pub(super) async fn read_image<S: Source>(
    release: &Release,
    fetcher: &mut Fetcher<'_, S>,
    number: usize,
) -> Result<Vec<u8>, ApplyError> {
    let mut decoder = Decoder::default();
    let mut bytes = Vec::new();
    for number in release.images()[number].chunks.clone() {
        let chunk = &release.chunks()[number];
        let stored = match chunk.stored_len {
            0 => Bytes::new(),
            len => {
                let start = release.file_range(chunk).start;
                fetcher.range(start, len as usize).await?
            }
        };
        let stored = StoredChunk::check(release, number, stored)?;
        let start = bytes.len();
        bytes.resize(start + chunk.len as usize, 0);
        let (earlier, into) = bytes.split_at_mut(start);
        let before = &earlier[start - chunk.before as usize..];
        let read = |source, into: &mut [u8]| match source {
            // A repeat names an earlier chunk of the same image.
            bundle::Source::Chunk(original) => {
                let offset = release.chunks()[original].offset as usize;
                into.copy_from_slice(&earlier[offset..offset + into.len()]);
                Ok(())
            }
            bundle::Source::Before { .. } | bundle::Source::Base(_) => {
                Err(io::ErrorKind::Unsupported.into())
            }
        };
        decoder.decode_slice(release, &stored, before, into, read)?;
    }
    Ok(bytes)
}
