//! Secure Boot: a release whose boot image carries no signature is refused where the firmware would
//! not start it.

use crate::error::ApplyError;
use crate::plan::Refusal;
use crate::source::Fetcher;
use crate::source::Source;
use bootctl::disk::Window;
use bootctl::efivars::EfiVars;
use bootctl::secure_boot::{SecureBoot, Signature, partition_is_signed, signature};
use bundle::{ChunkEntry, ChunkKind, Decoder, ImageRole, Release, StoredChunk};
use std::io;

fn is_on(vars: Option<&dyn EfiVars>) -> bool {
    vars.is_some_and(SecureBoot::is_on)
}

fn refusal(release: &Release) -> ApplyError {
    Refusal::Unsigned {
        version: release.statement().version.to_string(),
    }
    .into()
}

/// Looks at the beginning of the boot image before anything is changed. *Reads.* Where that would
/// cost more than a chunk (a pipe, a chunk that builds upon others) nothing is said yet:
/// [`check_written`] has the last word.
///
/// # Errors
/// [`Refusal::Unsigned`]; what fetching and verifying that chunk says.
pub(crate) async fn check_offered<S: Source>(
    vars: Option<&dyn EfiVars>,
    release: &Release,
    fetcher: &mut Fetcher<'_, S>,
) -> Result<(), ApplyError> {
    if !is_on(vars) || !fetcher.can_skip() {
        return Ok(());
    }
    let of_boot = |chunk: &ChunkEntry| release.images()[chunk.image].role == ImageRole::Boot;
    let first = release
        .chunks()
        .iter()
        .enumerate()
        .find(|(_, chunk)| of_boot(chunk));
    let Some((number, chunk)) =
        first.filter(|(_, chunk)| chunk.before == 0 && chunk.stored_len > 0)
    else {
        return Ok(());
    };
    if !matches!(chunk.kind, ChunkKind::Zstd | ChunkKind::Raw) {
        return Ok(());
    }
    let range = release.file_range(chunk);
    fetcher.expect([range.clone()]);
    let stored = fetcher
        .range(range.start, chunk.stored_len as usize)
        .await?;
    fetcher.seek_back(release.payload_range().start);
    let mut plain = Vec::new();
    let stored = StoredChunk::check(release, number, stored)?;
    Decoder::default().decode(release, &stored, &mut plain, |_, _| {
        Err(io::ErrorKind::Unsupported.into())
    })?;
    if signature(&plain) == Ok(Signature::None) {
        Err(refusal(release))
    } else {
        Ok(())
    }
}

/// Looks at the boot image that was written, before it is put on trial. *Reads.*
///
/// # Errors
/// [`Refusal::Unsigned`]; [`ApplyError::Write`] if the disk cannot be read.
pub(crate) fn check_written(
    vars: Option<&dyn EfiVars>,
    release: &Release,
    boot: &Window,
) -> Result<(), ApplyError> {
    if !is_on(vars) {
        return Ok(());
    }
    match partition_is_signed(boot) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refusal(release)),
        Err(error) => Err(ApplyError::Write {
            what: "boot image",
            error,
        }),
    }
}
