//! How a run ends: the exit code for scripts, and the reason in one word for programs. Both are
//! stable.

use crate::cli::Held;
use anyhow::Error;
use bootctl::device::OpenError;
use bootctl::machine::MachineError;
use bundle::trust::TrustFileError;
use std::process::ExitCode;
use updater::source::FetchError;
use updater::source::SourceError;
use updater::verify_slot::VerifySlotError;
use updater::{ApplyError, Failure};

pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed, nothing was changed; 2 usage; 3 signature, digest or compatibility refused; \
5 busy or not suitable; 6 the slot is not as it was signed, or it cannot be told; 7 nothing to do; 8 failed, and the target slot holds no release now (the running system is as \
it was); 77 not started by the boot guard; 130, 143 stopped by a signal, can be resumed";

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything went as asked.
    Done,
    /// There was nothing to do.
    NothingToDo,
    /// It did not work out. Nothing was changed, but for the target slot if it was disarmed.
    Failed {
        /// Why.
        reason: Reason,
        /// Whether the target slot was disarmed by then.
        disarmed: bool,
    },
    /// A signal, by its number.
    Stopped(u8),
}

/// Why a run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The release is not fit for this machine.
    Refused,
    /// The bundle is damaged, or not signed by those who must.
    Bundle,
    /// The trust file cannot be used.
    Trust,
    /// The file or pipe that the bundle comes from cannot be read.
    Source,
    /// The network, or the server for the moment.
    Network,
    /// The server's certificate or answer is not acceptable.
    Server,
    /// The file changed during the download.
    Changed,
    /// The bundle is longer or shorter than what was signed.
    Length,
    /// The disk cannot be read or written, or gives back something else.
    Device,
    /// The boot record.
    Record,
    /// The slot is not as it was signed, or that could not be told.
    Damaged,
    /// Another program works on the disk.
    Busy,
    /// This is no machine that can be updated.
    Unsuitable,
    /// The boot guard did not start this system.
    NotGuarded,
    /// Something else.
    Failed,
}

impl Reason {
    /// The word in JSON.
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

    const fn code(self) -> u8 {
        match self {
            Self::Refused | Self::Bundle | Self::Trust | Self::Length => 3,
            Self::Busy | Self::Unsuitable => 5,
            Self::Damaged => 6,
            Self::NotGuarded => 77,
            Self::Source
            | Self::Network
            | Self::Server
            | Self::Changed
            | Self::Device
            | Self::Record
            | Self::Failed => 1,
        }
    }
}

impl Ending {
    /// The release is not fit for this machine.
    pub(crate) const REFUSED: Self = Self::Failed {
        reason: Reason::Refused,
        disarmed: false,
    };
    /// The slot is not whole, or that could not be told.
    pub(crate) const DAMAGED: Self = Self::Failed {
        reason: Reason::Damaged,
        disarmed: false,
    };
    /// The boot record cannot be read.
    pub(crate) const NO_RECORD: Self = Self::Failed {
        reason: Reason::Record,
        disarmed: false,
    };

    /// Why it failed, in the word of the JSON output.
    pub(crate) const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Failed { reason, .. } => Some(reason.word()),
            Self::Stopped(_) => Some("signal"),
            Self::Done | Self::NothingToDo => None,
        }
    }

    /// The exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NothingToDo => 7,
            Self::Failed { disarmed: true, .. } => 8,
            Self::Failed {
                reason,
                disarmed: false,
            } => reason.code(),
            Self::Stopped(signal) => 128_u8.saturating_add(signal),
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending.code())
    }
}

impl From<&Error> for Ending {
    fn from(error: &Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return Self::Failed {
                reason: of_apply(&failure.error),
                disarmed: failure.disarmed.is_some(),
            };
        }
        let reason = if let Some(error) = error.downcast_ref::<ApplyError>() {
            of_apply(error)
        } else if let Some(error) = error.downcast_ref::<MachineError>() {
            of_machine(error)
        } else if let Some(error) = error.downcast_ref::<SourceError>() {
            of_source(error)
        } else if let Some(error) = error.downcast_ref::<VerifySlotError>() {
            of_comparing(error)
        } else if error.is::<Held>() {
            Reason::Busy
        } else if error.is::<TrustFileError>() {
            Reason::Trust
        } else {
            Reason::Failed
        };
        Self::Failed {
            reason,
            disarmed: false,
        }
    }
}

fn of_apply(error: &ApplyError) -> Reason {
    match error {
        ApplyError::Refused(_) => Reason::Refused,
        ApplyError::Bundle(_)
        | ApplyError::Decode(_)
        | ApplyError::Whole(_)
        | ApplyError::OtherFull { .. } => Reason::Bundle,
        ApplyError::DamagedBase(_) => Reason::Damaged,
        ApplyError::Fetch(FetchError::Source(error)) => of_source(error),
        ApplyError::Fetch(FetchError::Short { .. } | FetchError::Trailing { .. }) => Reason::Length,
        ApplyError::Record(_) => Reason::Record,
        ApplyError::Disk(_) | ApplyError::Write { .. } | ApplyError::ReadBack(_) => Reason::Device,
        _ => Reason::Failed,
    }
}

fn of_comparing(error: &VerifySlotError) -> Reason {
    match error {
        VerifySlotError::Empty { .. } => Reason::Damaged,
        VerifySlotError::Seal { error, .. } if error.is_refusal() => Reason::Damaged,
        VerifySlotError::Seal { .. } | VerifySlotError::Disk(_) => Reason::Device,
        VerifySlotError::OtherRelease { .. } => Reason::Refused,
        VerifySlotError::Work(error) => of_apply(error),
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
            partition: "root-a",
            start: 0,
            len: 4096,
            base,
            version,
            error,
        })
    }

    /// Every reason with an error that leads to it. Codes and words must never change.
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
                Failure::from(ApplyError::from(Refusal::PartitionMissing("boot-b"))).into(),
                3,
                "refused",
            ),
            (ApplyError::Whole("boot").into(), 3, "bundle"),
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
                ApplyError::OtherFull {
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
                    partition: "root-b",
                    offset: 0,
                })
                .into(),
                1,
                "device",
            ),
            (anyhow::anyhow!("something else"), 1, "failed"),
        ];
        for (error, code, word) in table {
            let ending = Ending::from(&error);
            let Ending::Failed {
                reason,
                disarmed: false,
            } = ending
            else {
                panic!("{error}: {ending:?}")
            };
            assert_eq!((ending.code(), reason.word()), (code, word), "{error}");
        }
        assert_eq!(Ending::Done.code(), 0);
        assert_eq!(Ending::NothingToDo.code(), 7);
        assert_eq!(
            (Ending::Stopped(2).code(), Ending::Stopped(15).code()),
            (130, 143)
        );
    }

    #[test]
    fn a_disarmed_slot_has_a_code_of_its_own_whatever_the_reason() {
        for error in [
            source(SourceError::Changed {
                what: "x".to_owned(),
            }),
            ApplyError::Whole("boot"),
        ] {
            let failure = Failure {
                error,
                disarmed: Some(record::Slot::B),
            };
            assert_eq!(Ending::from(&Error::from(failure)).code(), 8);
        }
    }
}
