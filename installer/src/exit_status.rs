//! Exit codes of the errors of an installation, for `rayos-installer` and `rayos-recovery`.

use crate::esp::guards::RepairError;
use crate::install::InstallError;
use crate::install::answers::AnswersError;
use crate::install::unattended::UnattendedError;
use bootctl::device::OpenError;
use bundle::trust::pe::GuardError;
use cli::ExitStatus;
use std::error::Error;
use updater::ApplyError;
use updater::source::FetchError;

/// Returns the exit status for an error, given with its causes: that of the first known one.
/// *Pure.*
pub fn exit_status<'e>(chain: impl IntoIterator<Item = &'e (dyn Error + 'static)>) -> ExitStatus {
    chain
        .into_iter()
        .find_map(code_of)
        .unwrap_or(ExitStatus::Failed)
}

fn code_of(error: &(dyn Error + 'static)) -> Option<ExitStatus> {
    if let Some(error) = error.downcast_ref::<UnattendedError>() {
        return match error {
            UnattendedError::Install(error) => Some(of_installation(error)),
            UnattendedError::Choice(_)
            | UnattendedError::Open(_)
            | UnattendedError::DiskChanged(_) => Some(ExitStatus::Unavailable),
            UnattendedError::ForgetFloor => Some(ExitStatus::ConfirmationRequired),
            UnattendedError::Disks(_) | UnattendedError::Source(_) => Some(ExitStatus::Failed),
        };
    }
    if let Some(AnswersError::Compatible { .. }) = error.downcast_ref() {
        return Some(ExitStatus::Refused);
    }
    let repair = error.downcast_ref::<RepairError>().map(of_repair);
    if error.is::<GuardError>() {
        return Some(ExitStatus::Refused);
    }
    let installation = || error.downcast_ref::<InstallError>().map(of_installation);
    repair
        .or_else(installation)
        .or_else(|| error.is::<OpenError>().then_some(ExitStatus::Unavailable))
}

const fn of_installation(error: &InstallError) -> ExitStatus {
    match error {
        // The network or the medium failed: the same command may succeed later.
        InstallError::Bundle(ApplyError::Fetch(FetchError::Source(_)) | ApplyError::Stopped) => {
            ExitStatus::Failed
        }
        InstallError::Bundle(_)
        | InstallError::Refused(_)
        | InstallError::UnsignedGuard
        | InstallError::Guard(_) => ExitStatus::Refused,
        InstallError::Layout(_) | InstallError::Coexist(_) | InstallError::ReadOnce => {
            ExitStatus::Unavailable
        }
        error if error.disk_is_unchanged() => ExitStatus::Failed,
        _ => ExitStatus::SlotEmptied,
    }
}

const fn of_repair(error: &RepairError) -> ExitStatus {
    match error {
        RepairError::BelowFloor { .. }
        | RepairError::Unsigned
        | RepairError::Incompatible { .. }
        | RepairError::Guard(_) => ExitStatus::Refused,
        RepairError::Disk(_) | RepairError::OtherFiles(_) | RepairError::NotOurEsp => {
            ExitStatus::Unavailable
        }
        RepairError::Record(_) | RepairError::Io(_) => ExitStatus::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::table::TableError;
    use std::io;
    use updater::plan::Refusal;
    use updater::source::SourceError;

    /// An error with a cause.
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Box<dyn Error + Send + Sync>);

    fn code(error: impl Error + Send + Sync + 'static) -> ExitStatus {
        let outer = Outer(Box::new(error));
        exit_status(std::iter::successors(
            Some(&outer as &(dyn Error + 'static)),
            |&error| error.source(),
        ))
    }

    fn no_keys() -> GuardError {
        GuardError::from(bundle::trust::pe::EmbedError::NoSection)
    }

    #[test]
    fn the_first_known_cause_decides() {
        let refused =
            || InstallError::from(Refusal::PartitionMissing(record::PartitionName::BootB));
        let prepare = || InstallError::Prepare {
            what: "x",
            error: io::ErrorKind::Other.into(),
        };
        assert_eq!(code(refused()), ExitStatus::Refused);
        assert_eq!(code(UnattendedError::from(refused())), ExitStatus::Refused);
        assert_eq!(
            code(UnattendedError::ForgetFloor),
            ExitStatus::ConfirmationRequired
        );
        assert_eq!(
            code(UnattendedError::from(prepare())),
            ExitStatus::SlotEmptied
        );
        assert_eq!(
            code(UnattendedError::from(OpenError::Busy("x".into()))),
            ExitStatus::Unavailable
        );
        assert_eq!(code(OpenError::Busy("x".into())), ExitStatus::Unavailable);
        assert_eq!(code(RepairError::Unsigned), ExitStatus::Refused);
        assert_eq!(code(no_keys()), ExitStatus::Refused);
        assert_eq!(code(RepairError::from(no_keys())), ExitStatus::Refused);
        assert_eq!(code(InstallError::from(no_keys())), ExitStatus::Refused);
        assert_eq!(
            code(RepairError::OtherFiles("x".to_owned())),
            ExitStatus::Unavailable
        );
        assert_eq!(code(RepairError::NotOurEsp), ExitStatus::Unavailable);
        assert_eq!(
            code(InstallError::from(crate::disk::coexist::Obstacles(
                Vec::new()
            ))),
            ExitStatus::Unavailable
        );
        assert_eq!(code(io::Error::other("x")), ExitStatus::Failed);
    }

    #[test]
    fn the_code_says_whether_the_disk_is_unchanged() {
        let failed = || io::Error::other("x");
        let unreadable = InstallError::Unreadable(failed());
        assert!(unreadable.disk_is_unchanged());
        assert_eq!(code(unreadable), ExitStatus::Failed);
        let offline = FetchError::Source(SourceError::Network {
            what: "x".to_owned(),
            message: "y".to_owned(),
        });
        let offline = InstallError::Bundle(offline.into());
        assert_eq!(code(offline), ExitStatus::Failed);
        let refused = ApplyError::from(Refusal::PartitionMissing(record::PartitionName::BootB));
        for error in [
            InstallError::Table(TableError::Io(failed())),
            InstallError::Apply(refused.into()),
        ] {
            assert!(!error.disk_is_unchanged());
            assert_eq!(code(error), ExitStatus::SlotEmptied);
        }
    }
}
