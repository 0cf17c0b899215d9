//! Faults other than power cuts, and their text form for command lines.

use crate::sim::hardware::disk::{BadRange, ReadFault, WriteFault, WriteFaultKind, WriteFilter};
use crate::sim::hardware::network::{RequestFault, RequestFaultKind};
use std::fmt;
use std::str::FromStr;

/// The faults of one run.
#[derive(Clone, Default)]
pub struct Faults {
    /// A fault of a write or flush.
    pub write: Option<WriteFault>,
    /// A fault of a read.
    pub read: Option<ReadFault>,
    /// A range of the disk that cannot be read correctly.
    pub bad_range: Option<BadRange>,
    /// A fault of a request.
    pub request: Option<RequestFault>,
    /// Number of writes after which the variable store is full.
    pub store_full_after: Option<usize>,
    /// A mutant of the programs.
    pub write_filter: Option<WriteFilter>,
    /// Maximum number of starts; `None` for the usual one.
    pub max_starts: Option<usize>,
}

/// A fault, once or persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write or flush.
    Write(WriteFault),
    /// A read.
    Read(ReadFault),
    /// A request.
    Request(RequestFault),
    /// The variable store is full after so many writes.
    StoreFull(usize),
}

/// Maximum number of starts with a disk that returns errors.
const MAX_STARTS: usize = 6;

impl Faults {
    /// Adds `fault`. *Pure.*
    #[must_use]
    pub fn with(mut self, fault: Fault) -> Self {
        match fault {
            Fault::Write(fault) => {
                (self.write, self.max_starts) = (Some(fault), Some(MAX_STARTS));
            }
            Fault::Read(fault) => {
                (self.read, self.max_starts) = (Some(fault), Some(MAX_STARTS));
            }
            Fault::Request(fault) => self.request = Some(fault),
            Fault::StoreFull(writes) => self.store_full_after = Some(writes),
        }
        self
    }
}

impl Fault {
    /// Number of the operation, read, request or change of a variable that fails. *Pure.*
    #[must_use]
    pub const fn at(&self) -> usize {
        match self {
            Self::Write(fault) => fault.at,
            Self::Read(fault) => fault.at,
            Self::Request(fault) => fault.at,
            Self::StoreFull(writes) => *writes,
        }
    }

    /// The same fault at another number. *Pure.*
    #[must_use]
    pub const fn moved_to(self, at: usize) -> Self {
        match self {
            Self::Write(fault) => Self::Write(WriteFault { at, ..fault }),
            Self::Read(fault) => Self::Read(ReadFault { at, ..fault }),
            Self::Request(fault) => Self::Request(RequestFault { at, ..fault }),
            Self::StoreFull(_) => Self::StoreFull(at),
        }
    }

    /// The same fault once, if it is persistent. *Pure.*
    #[must_use]
    pub const fn once(self) -> Option<Self> {
        match self {
            Self::Write(fault) if fault.persistent => Some(Self::Write(WriteFault {
                persistent: false,
                ..fault
            })),
            Self::Read(fault) if fault.persistent => Some(Self::Read(ReadFault {
                persistent: false,
                ..fault
            })),
            _ => None,
        }
    }
}

const WRITES: [(&str, WriteFaultKind); 5] = [
    ("error", WriteFaultKind::Error),
    ("half", WriteFaultKind::HalfThenError),
    ("lost", WriteFaultKind::Lost),
    ("misdirected", WriteFaultKind::Misdirected),
    ("no-space", WriteFaultKind::NoSpace),
];
const REQUESTS: [(&str, RequestFaultKind); 7] = [
    ("busy", RequestFaultKind::Busy),
    ("drop", RequestFaultKind::Drop),
    ("reset", RequestFaultKind::Reset),
    ("ends", RequestFaultKind::Ends),
    ("gone", RequestFaultKind::Gone),
    ("changed", RequestFaultKind::Changed),
    ("other-bytes", RequestFaultKind::OtherBytes),
];

fn word<T: PartialEq>(table: &[(&'static str, T)], of: &T) -> &'static str {
    table
        .iter()
        .find(|(_, value)| value == of)
        .map_or("?", |(word, _)| word)
}

fn value<T: Copy>(table: &[(&str, T)], of: &str) -> Option<T> {
    table
        .iter()
        .find(|(word, _)| *word == of)
        .map(|(_, value)| *value)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = |persistent| if persistent { ":persistent" } else { "" };
        match self {
            Self::Write(WriteFault {
                at,
                kind,
                persistent,
            }) => {
                write!(
                    f,
                    "write:{at}:{}{}",
                    word(&WRITES, kind),
                    suffix(*persistent)
                )
            }
            Self::Read(ReadFault { at, persistent }) => {
                write!(f, "read:{at}:error{}", suffix(*persistent))
            }
            Self::Request(RequestFault { at, kind }) => {
                write!(f, "request:{at}:{}", word(&REQUESTS, kind))
            }
            Self::StoreFull(writes) => write!(f, "variable:{writes}:full"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("fault {text:?}: expected WHAT:NUMBER:HOW or WHAT:NUMBER:HOW:persistent");
        let parts: Vec<&str> = text.split(':').collect();
        let (what, at, how, persistent) = match parts[..] {
            [what, at, how] => (what, at, how, false),
            [what, at, how, "persistent"] => (what, at, how, true),
            _ => return Err(wrong()),
        };
        let at: usize = at.parse().map_err(|_| wrong())?;
        match (what, how, persistent) {
            ("write", how, persistent) => {
                let kind = value(&WRITES, how).ok_or_else(wrong)?;
                Ok(Self::Write(WriteFault {
                    at,
                    kind,
                    persistent,
                }))
            }
            ("read", "error", persistent) => Ok(Self::Read(ReadFault { at, persistent })),
            ("request", how, false) => Ok(Self::Request(RequestFault {
                at,
                kind: value(&REQUESTS, how).ok_or_else(wrong)?,
            })),
            ("variable", "full", false) => Ok(Self::StoreFull(at)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_its_text_form() {
        let writes = WriteFaultKind::ALL.map(|kind| {
            Fault::Write(WriteFault {
                at: 3,
                kind,
                persistent: true,
            })
        });
        let requests =
            RequestFaultKind::ALL.map(|kind| Fault::Request(RequestFault { at: 4, kind }));
        let others = [
            Fault::Read(ReadFault {
                at: 5,
                persistent: false,
            }),
            Fault::StoreFull(6),
        ];
        for fault in writes.into_iter().chain(requests).chain(others) {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        for wrong in [
            "write:1",
            "write:x:error",
            "request:1:drop:persistent",
            "read:1:half",
            "variable:1:full:",
        ] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }
}
