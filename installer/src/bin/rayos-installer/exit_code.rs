//! The exit code of an error.

use cli::ExitStatus;

/// The installation was not confirmed.
#[derive(Debug, thiserror::Error)]
#[error("not confirmed: set `unattended = true` in the answers file, or pass --plan-hash or --yes")]
pub(crate) struct Unconfirmed;

/// The plan is not the one that was confirmed.
#[derive(Debug, thiserror::Error)]
#[error("the plan has the hash {found}, confirmed was {expected}: look at the plan again")]
pub(crate) struct PlanChanged {
    /// The hash now, or why there is no plan.
    pub(crate) found: String,
    /// The hash on the command line.
    pub(crate) expected: String,
}

/// Returns how the program ends with `error`.
pub(crate) fn exit_status(error: &anyhow::Error) -> ExitStatus {
    if error.is::<Unconfirmed>() || error.is::<PlanChanged>() {
        ExitStatus::ConfirmationRequired
    } else {
        installer::exit_status::exit_status(error.chain())
    }
}
