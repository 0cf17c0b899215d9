//! How a run ends: the exit codes for scripts, the same for `rayos-installer` and `rayos-recovery`.

use crate::guards::MendError;
use crate::install::InstallError;
use crate::unattended::UnattendedError;
use bootctl::device::OpenError;
use std::error::Error;

/// Something failed.
pub const FAILED: u8 = 1;
/// A signature or digest, or the release is not fit for this machine.
pub const REFUSED: u8 = 3;
/// No disk that could be taken, or none that is large enough.
pub const UNSUITABLE: u8 = 5;
/// Nobody said that it may be done.
pub const CONFIRMATION: u8 = 6;
/// There is nothing to do.
pub const NOTHING_TO_DO: u8 = 7;

/// The exit code for an error, given with what caused it. *Pure.*
pub fn exit_code<'e>(chain: impl IntoIterator<Item = &'e (dyn Error + 'static)>) -> u8 {
    chain.into_iter().find_map(code_of).unwrap_or(FAILED)
}

fn code_of(error: &(dyn Error + 'static)) -> Option<u8> {
    if let Some(error) = error.downcast_ref::<UnattendedError>() {
        return match error {
            UnattendedError::Install(error) => Some(of_installing(error)),
            UnattendedError::Choice(_)
            | UnattendedError::Open(_)
            | UnattendedError::Exchanged(_) => Some(UNSUITABLE),
            UnattendedError::Disks(_) | UnattendedError::Source(_) => Some(FAILED),
        };
    }
    let mending = error.downcast_ref::<MendError>().map(of_mending);
    let installing = || error.downcast_ref::<InstallError>().map(of_installing);
    mending
        .or_else(installing)
        .or_else(|| error.is::<OpenError>().then_some(UNSUITABLE))
}

const fn of_installing(error: &InstallError) -> u8 {
    match error {
        InstallError::Bundle(_) | InstallError::Refused(_) => REFUSED,
        InstallError::Layout(_) | InstallError::Beside(_) => UNSUITABLE,
        _ => FAILED,
    }
}

const fn of_mending(error: &MendError) -> u8 {
    match error {
        MendError::Older { .. } | MendError::Unsigned => REFUSED,
        MendError::Disk(_) | MendError::Foreign(_) | MendError::NotOurs => UNSUITABLE,
        MendError::Record(_) | MendError::Io(_) => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use updater::plan::Refusal;

    /// Something that went wrong because of another error.
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Box<dyn Error + Send + Sync>);

    fn code(error: impl Error + Send + Sync + 'static) -> u8 {
        let outer = Outer(Box::new(error));
        exit_code(std::iter::successors(
            Some(&outer as &(dyn Error + 'static)),
            |&error| error.source(),
        ))
    }

    #[test]
    fn the_first_cause_that_is_known_decides() {
        let refused = || InstallError::from(Refusal::PartitionMissing("boot-b"));
        let prepare = || InstallError::Prepare {
            what: "x",
            error: io::ErrorKind::Other.into(),
        };
        assert_eq!(code(refused()), REFUSED);
        assert_eq!(code(UnattendedError::from(refused())), REFUSED);
        assert_eq!(code(UnattendedError::from(prepare())), FAILED);
        assert_eq!(
            code(UnattendedError::from(OpenError::Busy("x".into()))),
            UNSUITABLE
        );
        assert_eq!(code(OpenError::Busy("x".into())), UNSUITABLE);
        assert_eq!(code(MendError::Unsigned), REFUSED);
        assert_eq!(code(MendError::Foreign("x".to_owned())), UNSUITABLE);
        assert_eq!(code(MendError::NotOurs), UNSUITABLE);
        assert_eq!(
            code(InstallError::from(crate::beside::Reasons(Vec::new()))),
            UNSUITABLE
        );
        assert_eq!(code(io::Error::other("x")), FAILED);
    }
}
