//! Why a verb failed.

use bootctl::collect::CollectError;
use bootctl::device::OpenError;
use bootctl::disk::TableRepairError;
use bootctl::efivars::VarError;
use bootctl::machine::MachineError;
use bootctl::reconcile;
use bootctl::store::StoreError;
use bootctl::sysfs::FindError;
use bootctl::transition::Refusal;
use bootctl::verified_root::RootError;
use cli::ExitStatus;
use seal::TrustError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Table(#[from] TableRepairError),
    #[error("trust: {0}")]
    Trust(#[from] TrustError),
    #[error("boot record is lost: --trust FILE is required to rebuild it")]
    NeedsTrust,
    #[error("boot record is lost, and no slot holds a sealed release: {0}")]
    NoEvidence(String),
    #[error(
        "boot record: compatible is {found}, expected {wanted}: it cannot be changed after \
         installation"
    )]
    OtherCompatible { found: String, wanted: String },
    #[error("recovery is running: it has no root partition")]
    NoRoot,
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("boot entries: {0}")]
    Variables(VarError),
    #[error("{0}")]
    Entries(reconcile::Warning),
    #[error(transparent)]
    Collect(#[from] CollectError),
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    #[error("json: {0}")]
    Json(#[from] serde_json::Error),
    #[error("reboot: {0}")]
    Reboot(rustix::io::Errno),
}

impl CommandError {
    /// Returns a function that makes an I/O error name `path`.
    pub(crate) fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            path: path.clone(),
            source,
        }
    }

    /// Returns the exit status, as documented in `--help`.
    pub(crate) fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Machine(error) => machine_status(error),
            Self::NoEvidence(_) | Self::Trust(_) => ExitStatus::Refused,
            Self::NeedsTrust => ExitStatus::Usage,
            Self::NoRoot | Self::OtherCompatible { .. } => ExitStatus::Unavailable,
            _ => ExitStatus::Failed,
        }
    }
}

fn machine_status(error: &MachineError) -> ExitStatus {
    match error {
        MachineError::NotGuarded => ExitStatus::NotGuarded,
        MachineError::Refused(Refusal::BelowFloor { .. }) => ExitStatus::Refused,
        // An initramfs waits for an operator to remove the copy, and searches on otherwise.
        MachineError::Find(FindError::Twice { .. })
        | MachineError::Refused(_)
        | MachineError::Open(OpenError::Busy(_)) => ExitStatus::Unavailable,
        _ => ExitStatus::Failed,
    }
}
