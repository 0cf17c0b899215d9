//! Images of a bundle in memory.

use super::incoming::Incoming;
use crate::error::ApplyError;
use crate::source::Source;
use bundle::{ChunkEntry, ChunkKind, Decoder, ImageRole, StoredChunk};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

impl<S: Source> Incoming<'_, S> {
    /// Takes whole images into memory, for whoever makes media. *Reads*; everything is verified.
    ///
    /// # Errors
    /// [`ApplyError`]; memory is bounded by the sizes in the signed manifest.
    pub async fn take(
        mut self,
        roles: &[ImageRole],
    ) -> Result<BTreeMap<ImageRole, Vec<u8>>, ApplyError> {
        let release = Arc::clone(&self.release);
        let role = |chunk: &ChunkEntry| release.images()[chunk.image].role;
        let wanted = |chunk: &&ChunkEntry| roles.contains(&role(chunk));
        let repeated: BTreeSet<usize> = release
            .chunks()
            .iter()
            .filter(wanted)
            .filter_map(repeated)
            .collect();
        // A chunk that is repeated from another image may build upon those before it in its run.
        let needed: BTreeSet<usize> = repeated
            .iter()
            .flat_map(|&number| release.run_of(number).start..=number)
            .collect();
        let mut kept: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        // The run that is being decoded, up to the present chunk.
        let mut run = Vec::new();
        let mut decoder = Decoder::default();
        let mut taken = BTreeMap::new();
        for (number, chunk) in release.chunks().iter().enumerate() {
            if !wanted(&chunk) && !needed.contains(&number) {
                continue;
            }
            if chunk.before == 0 {
                run.clear();
            }
            let stored = match chunk.stored_len {
                0 => Bytes::new(),
                len => {
                    self.fetcher
                        .range(release.file_range(chunk).start, len as usize)
                        .await?
                }
            };
            let stored = StoredChunk::check(&release, number, stored)?;
            let mut plain = Vec::new();
            decoder.decode(&release, &stored, &mut plain, |source, into| match source {
                bundle::Source::Chunk(earlier) => {
                    into.copy_from_slice(kept.get(&earlier).ok_or(io::ErrorKind::NotFound)?);
                    Ok(())
                }
                bundle::Source::Before { .. } => {
                    let from = run
                        .len()
                        .checked_sub(into.len())
                        .ok_or(io::ErrorKind::NotFound)?;
                    into.copy_from_slice(&run[from..]);
                    Ok(())
                }
                bundle::Source::Base(_) => Err(io::ErrorKind::Unsupported.into()),
            })?;
            run.extend_from_slice(&plain);
            if wanted(&chunk) {
                let image: &mut Vec<u8> = taken.entry(role(chunk)).or_default();
                image.extend_from_slice(&plain);
            }
            if repeated.contains(&number) {
                kept.insert(number, plain);
            }
        }
        Ok(taken)
    }
}

fn repeated(chunk: &ChunkEntry) -> Option<usize> {
    match chunk.kind {
        ChunkKind::Repeat { chunk } => Some(chunk),
        _ => None,
    }
}
