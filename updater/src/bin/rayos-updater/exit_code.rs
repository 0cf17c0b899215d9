//! The exit status and the reason of an error. Both are stable.

use crate::commands::DiskInUse;
use anyhow::Error;
use bootctl::device::OpenError;
use bootctl::machine::MachineError;
use bundle::trust::TrustFileError;
use cli::ExitStatus;
use updater::source::{FetchError, SourceError};
use updater::verify_slot::VerifySlotError;
use updater::{ApplyError, ApplyFailure};

/// Returns the paragraph about exit codes for the help text.
pub(crate) fn help() -> String {
    ExitStatus::help(&[
        ExitStatus::Success,
        ExitStatus::Failed,
        ExitStatus::Usage,
        ExitStatus::Refused,
        ExitStatus::Unavailable,
        ExitStatus::Damaged,
        ExitStatus::NothingToDo,
        ExitStatus::SlotEmptied,
        ExitStatus::NotGuarded,
        ExitStatus::Signal(2),
        ExitStatus::Signal(15),
    ])
}

/// The kind of an error, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The release is refused on this machine.
    Refused,
    /// The bundle is damaged, or its signatures are not sufficient.
    Bundle,
    /// The trust file cannot be used.
    Trust,
    /// The file or pipe with the bundle cannot be read, or its URL is not valid.
    Source,
    /// The network, or a transient error of the server.
    Network,
    /// The certificate or a response of the server is not acceptable.
    Server,
    /// The file was replaced during the download.
    Changed,
    /// The bundle is longer or shorter than its signed length.
    Length,
    /// The disk cannot be read or written, or returns other bytes.
    Device,
    /// The boot record cannot be read or written.
    Record,
    /// The slot differs from what was signed, or cannot be read.
    Damaged,
    /// Another program uses the disk.
    Busy,
    /// The machine or disk cannot be updated.
    Unsuitable,
    /// The boot guard did not start this system.
    NotGuarded,
    /// Any other error.
    Failed,
}

impl Reason {
    /// Returns the word in JSON. *Pure.*
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Bundle => "bundle",
            Self::Trust => "trust",
            Self::Source => "source",
            Self::Network => "network",
            Self::Server => "server",
            Self::Changed => "changed",
            Self::Length => "length",
            Self::Device => "device",
            Self::Record => "record",
            Self::Damaged => "damaged",
            Self::Busy => "busy",
            Self::Unsuitable => "unsuitable",
            Self::NotGuarded => "not-guarded",
            Self::Failed => "failed",
        }
    }

    /// Returns the exit status while nothing was changed. *Pure.*
    const fn status(self) -> ExitStatus {
        match self {
            Self::Refused | Self::Bundle | Self::Trust | Self::Length => ExitStatus::Refused,
            Self::Busy | Self::Unsuitable => ExitStatus::Unavailable,
            Self::Damaged => ExitStatus::Damaged,
            Self::NotGuarded => ExitStatus::NotGuarded,
            Self::Source
            | Self::Network
            | Self::Server
            | Self::Changed
            | Self::Device
            | Self::Record
            | Self::Failed => ExitStatus::Failed,
        }
    }
}

/// Exit status and reason of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Classified {
    pub(crate) status: ExitStatus,
    pub(crate) reason: Reason,
}

impl From<&Error> for Classified {
    fn from(error: &Error) -> Self {
        let reason = of_error(error);
        let is_disarmed = error
            .downcast_ref::<ApplyFailure>()
            .is_some_and(|failure| failure.disarmed.is_some());
        let status = if is_disarmed {
            ExitStatus::SlotEmptied
        } else {
            reason.status()
        };
        Self { status, reason }
    }
}

fn of_error(error: &Error) -> Reason {
    if let Some(failure) = error.downcast_ref::<ApplyFailure>() {
        of_apply(&failure.error)
    } else if let Some(error) = error.downcast_ref::<ApplyError>() {
        of_apply(error)
    } else if let Some(error) = error.downcast_ref::<MachineError>() {
        of_machine(error)
    } else if let Some(error) = error.downcast_ref::<SourceError>() {
        of_source(error)
    } else if let Some(error) = error.downcast_ref::<VerifySlotError>() {
        of_verify_slot(error)
    } else if error.is::<DiskInUse>() {
        Reason::Busy
    } else if error.is::<TrustFileError>() {
        Reason::Trust
    } else {
        Reason::Failed
    }
}

const fn of_apply(error: &ApplyError) -> Reason {
    match error {
        ApplyError::Refused(_) => Reason::Refused,
        ApplyError::Bundle(_)
        | ApplyError::Decode(_)
        | ApplyError::ImageDigest(_)
        | ApplyError::RootHash { .. }
        | ApplyError::FullBundleMismatch { .. } => Reason::Bundle,
        ApplyError::DamagedBase(_) => Reason::Damaged,
        ApplyError::Fetch(FetchError::Source(error)) => of_source(error),
        ApplyError::Fetch(FetchError::Deadline { .. } | FetchError::TooSlow { .. }) => {
            Reason::Network
        }
        ApplyError::Fetch(FetchError::Short { .. } | FetchError::Trailing { .. }) => Reason::Length,
        ApplyError::Record(_) => Reason::Record,
        ApplyError::Disk(_) | ApplyError::Write { .. } | ApplyError::ReadBack(_) => Reason::Device,
        ApplyError::Stopped => Reason::Failed,
    }
}

fn of_verify_slot(error: &VerifySlotError) -> Reason {
    match error {
        VerifySlotError::Empty { .. } => Reason::Damaged,
        VerifySlotError::Seal { error, .. } if error.is_refusal() => Reason::Damaged,
        VerifySlotError::Seal { .. } | VerifySlotError::Disk(_) => Reason::Device,
        VerifySlotError::OtherRelease { .. } => Reason::Refused,
        VerifySlotError::Stopped(error) => of_apply(error),
    }
}

const fn of_source(error: &SourceError) -> Reason {
    match error {
        SourceError::Io { .. } | SourceError::Setup(_) => Reason::Source,
        SourceError::Network { .. } | SourceError::Status { .. } => Reason::Network,
        SourceError::Untrusted { .. } | SourceError::Answer { .. } => Reason::Server,
        SourceError::Changed { .. } => Reason::Changed,
        SourceError::Ended { .. } => Reason::Length,
    }
}

const fn of_machine(error: &MachineError) -> Reason {
    match error {
        MachineError::NotGuarded => Reason::NotGuarded,
        MachineError::Open(OpenError::Busy(_)) => Reason::Busy,
        MachineError::Refused(_) => Reason::Refused,
        MachineError::Store(_) => Reason::Record,
        _ => Reason::Unsuitable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootctl::disk::DiskError;
    use bootctl::store::StoreError;
    use bootctl::sysfs::FindError;
    use record::PartitionName;
    use std::io::ErrorKind;
    use updater::ReadBackError;
    use updater::plan::Refusal;

    fn source(error: SourceError) -> ApplyError {
        FetchError::from(error).into()
    }

    fn other_release() -> VerifySlotError {
        let (holds, offered) = ("1.0.0".to_owned(), "1.1.0".to_owned());
        VerifySlotError::OtherRelease {
            slot: record::Slot::B,
            holds,
            offered,
        }
    }

    fn damaged_base() -> Box<updater::DamagedBase> {
        let fault = bundle::DecodeFault::Foreign;
        let error = bundle::DecodeError {
            image: bundle::ImageRole::Root,
            chunk: 1,
            fault,
        };
        let (base, version) = ("1.0.0".to_owned(), "1.1.0".to_owned());
        Box::new(updater::DamagedBase {
            partition: PartitionName::RootA,
            start: 0,
            len: 4096,
            base,
            version,
            error,
        })
    }

    /// Errors of every reason. Codes and words must never change.
    #[test]
    fn codes_and_words_are_as_documented() {
        let what = || "x".to_owned();
        let status = |status| SourceError::Status {
            what: what(),
            status,
            retry_after: None,
        };
        let disk = record::Guid([1; 16]);
        let io = || std::io::Error::from(ErrorKind::NotFound);
        let table: Vec<(Error, u8, &str)> = vec![
            (
                ApplyFailure::from(ApplyError::from(Refusal::PartitionMissing(
                    PartitionName::BootB,
                )))
                .into(),
                3,
                "refused",
            ),
            (ApplyError::ImageDigest("boot").into(), 3, "bundle"),
            (
                source(SourceError::Io {
                    what: what(),
                    error: io(),
                })
                .into(),
                1,
                "source",
            ),
            (SourceError::Setup(what()).into(), 1, "source"),
            (
                source(SourceError::Network {
                    what: what(),
                    message: what(),
                })
                .into(),
                1,
                "network",
            ),
            (source(status(503)).into(), 1, "network"),
            (
                source(SourceError::Untrusted {
                    what: what(),
                    message: what(),
                })
                .into(),
                1,
                "server",
            ),
            (
                source(SourceError::Answer {
                    what: what(),
                    message: what(),
                })
                .into(),
                1,
                "server",
            ),
            (
                source(SourceError::Changed { what: what() }).into(),
                1,
                "changed",
            ),
            (
                source(SourceError::Ended {
                    what: what(),
                    total: 1,
                    asked: 2,
                })
                .into(),
                3,
                "length",
            ),
            (
                ApplyError::from(FetchError::Short {
                    got: 1,
                    expected: 2,
                })
                .into(),
                3,
                "length",
            ),
            (
                ApplyError::from(FetchError::Deadline {
                    fetched: 1,
                    deadline: std::time::Duration::from_secs(1),
                })
                .into(),
                1,
                "network",
            ),
            (
                ApplyError::from(FetchError::Trailing { expected: 2 }).into(),
                3,
                "length",
            ),
            (
                ApplyError::Write {
                    what: "flush",
                    error: io(),
                }
                .into(),
                1,
                "device",
            ),
            (
                VerifySlotError::Empty {
                    slot: record::Slot::B,
                    reason: record::Reason::Empty,
                }
                .into(),
                6,
                "damaged",
            ),
            (other_release().into(), 3, "refused"),
            (ApplyError::from(damaged_base()).into(), 6, "damaged"),
            (
                ApplyError::FullBundleMismatch {
                    version: what(),
                    found: what(),
                }
                .into(),
                3,
                "bundle",
            ),
            (MachineError::NotGuarded.into(), 77, "not-guarded"),
            (
                MachineError::from(OpenError::Busy("x".into())).into(),
                5,
                "busy",
            ),
            (
                MachineError::from(OpenError::NotADevice("x".into())).into(),
                5,
                "unsuitable",
            ),
            (
                MachineError::from(OpenError::ReadOnly("x".into())).into(),
                5,
                "unsuitable",
            ),
            (
                MachineError::from(FindError::Twice {
                    disk,
                    first: "x".into(),
                    second: "y".into(),
                })
                .into(),
                5,
                "unsuitable",
            ),
            (MachineError::from(StoreError::Newer(2)).into(), 1, "record"),
            (ApplyError::from(StoreError::Newer(2)).into(), 1, "record"),
            (
                ApplyError::from(DiskError::Beyond { number: 4 }).into(),
                1,
                "device",
            ),
            (
                ApplyError::from(ReadBackError::Differs {
                    partition: PartitionName::RootB,
                    offset: 0,
                })
                .into(),
                1,
                "device",
            ),
            (anyhow::anyhow!("something else"), 1, "failed"),
        ];
        for (error, code, word) in table {
            let Classified { status, reason } = Classified::from(&error);
            assert_eq!((status.code(), reason.word()), (code, word), "{error}");
        }
    }

    #[test]
    fn a_disarmed_slot_has_a_code_of_its_own_for_any_reason() {
        for error in [
            source(SourceError::Changed {
                what: "x".to_owned(),
            }),
            ApplyError::ImageDigest("boot"),
        ] {
            let failure = ApplyFailure {
                error,
                disarmed: Some(record::Slot::B),
            };
            let classified = Classified::from(&Error::from(failure));
            assert_eq!(classified.status, ExitStatus::SlotEmptied);
        }
    }
}
