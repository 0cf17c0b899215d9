//! The exit code of an error.

use cli::ExitStatus;

/// The installation was not confirmed.
#[derive(Debug, thiserror::Error)]
#[error("not confirmed: set `unattended = true` in the answers file, or pass --yes")]
pub(crate) struct Unconfirmed;

/// Returns how the program ends with `error`.
pub(crate) fn exit_status(error: &anyhow::Error) -> ExitStatus {
    if error.is::<Unconfirmed>() {
        ExitStatus::ConfirmationRequired
    } else {
        installer::exit_status::exit_status(error.chain())
    }
}
