//! Secure Boot: a release whose boot image has no signature is refused, because the firmware would
//! not start it.

use crate::error::ApplyError;
use crate::plan::Refusal;
use crate::source::{Fetcher, Source};
use bootctl::disk::Window;
use bootctl::efivars::EfiVars;
use bootctl::secure_boot::{SecureBoot, Signature, partition_is_signed, signature};
use bundle::{ChunkKind, Decoder, ImageRole, Release, StoredChunk};
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

/// Checks the beginning of the boot image before anything is changed, if Secure Boot is on.
/// *Reads.* If that takes more than one chunk (a pipe, a chunk that builds upon others), it is left
/// to [`check_written`].
///
/// # Errors
/// [`Refusal::Unsigned`], [`ApplyError::Fetch`], [`ApplyError::Decode`].
pub(crate) async fn check_offered<S: Source>(
    vars: Option<&dyn EfiVars>,
    release: &Release,
    fetcher: &mut Fetcher<'_, S>,
) -> Result<(), ApplyError> {
    if !is_on(vars) || !fetcher.can_skip() {
        return Ok(());
    }
    let Some(number) = release
        .image(ImageRole::Boot)
        .map(|image| image.chunks.start)
    else {
        return Ok(());
    };
    let chunk = &release.chunks()[number];
    if !matches!(chunk.kind, ChunkKind::Zstd | ChunkKind::Raw) || chunk.before != 0 {
        return Ok(());
    }
    let range = release.file_range(chunk);
    fetcher.expect([range.clone()]);
    let stored = fetcher
        .range(range.start, chunk.stored_len as usize)
        .await?;
    fetcher.seek_back(release.payload_range().start);
    let stored = StoredChunk::check(release, number, stored)?;
    let mut bytes = Vec::new();
    Decoder::default().decode(release, &stored, &mut bytes, |_, _| {
        Err(io::ErrorKind::Unsupported.into())
    })?;
    if signature(&bytes) == Ok(Signature::None) {
        Err(refusal(release))
    } else {
        Ok(())
    }
}

/// Checks the boot image that was written, if Secure Boot is on. *Reads.*
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
