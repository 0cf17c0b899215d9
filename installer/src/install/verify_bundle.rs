//! Verification of the whole bundle before anything on the disk can be lost.

use super::error::InstallError;
use super::request::InstallRequest;
use crate::disk::safety::{DiskContent, inspect};
use bootctl::secure_boot::{SecureBoot, is_signed};
use bundle::ImageRole;
use updater::Incoming;
use updater::events::EventSink;
use updater::plan::Refusal;
use updater::source::Source;

/// Verifies the payload of `incoming` and, with Secure Boot on, that its boot and guard images are
/// signed for it. *Reads* the bundle twice: its bytes are verified again while they are written,
/// because the file or the server may change in between.
///
/// A bundle from the network is verified first only if the disk [holds something](may_lose):
/// its second download is the price of keeping the old system. A blank disk takes it in one pass.
///
/// # Errors
/// [`InstallError::Bundle`], [`InstallError::Refused`], [`InstallError::UnsignedGuard`];
/// [`InstallError::ReadOnce`] for a pipe, if the disk holds something.
pub(super) async fn verify_bundle<S: Source>(
    incoming: &mut Incoming<'_, S>,
    request: &InstallRequest<'_>,
    may_lose: bool,
    events: &dyn EventSink,
) -> Result<(), InstallError> {
    if !incoming.is_local() {
        if !may_lose {
            return Ok(());
        }
        if !incoming.can_reread() {
            return Err(InstallError::ReadOnce);
        }
    }
    let must_be_signed = request.vars.is_some_and(SecureBoot::is_on);
    let programs = if must_be_signed {
        &[ImageRole::Boot, ImageRole::Guard][..]
    } else {
        &[]
    };
    let verified = incoming.verify_payload(programs, events).await;
    for (role, program) in verified.map_err(InstallError::Bundle)? {
        if is_signed(&program) != Ok(true) {
            return Err(unsigned(role, incoming));
        }
    }
    Ok(())
}

/// Returns whether the installation overwrites anything but an installation without a release. A
/// disk that cannot be read may hold anything. *Reads.*
pub(super) fn may_lose(request: &InstallRequest<'_>) -> bool {
    match inspect(&request.device).map(|found| found.content) {
        Ok(DiskContent::Blank | DiskContent::Unfinished) => false,
        Ok(DiskContent::Other(_) | DiskContent::UnfinishedBeside) => !request.options.beside,
        Ok(DiskContent::Installed { .. } | DiskContent::Remains) | Err(_) => true,
    }
}

fn unsigned<S: Source>(role: ImageRole, incoming: &Incoming<'_, S>) -> InstallError {
    if role == ImageRole::Guard {
        return InstallError::UnsignedGuard;
    }
    let version = incoming.release().statement().version.to_string();
    Refusal::Unsigned { version }.into()
}
