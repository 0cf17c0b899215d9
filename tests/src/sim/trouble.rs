//! What goes wrong besides the power, by names that a command line can carry.

use super::disk::{Bad, Fault, FaultKind, Meddle, ReadFault};
use super::network::{NetFault, NetFaultKind};
use std::fmt;
use std::str::FromStr;

/// What goes wrong besides the power.
#[derive(Clone, Default)]
pub struct Trouble {
    /// A fault of the disk when it is written.
    pub fault: Option<Fault>,
    /// A fault of the disk when it is read.
    pub read_fault: Option<ReadFault>,
    /// A place of the disk that cannot be read any more.
    pub bad: Option<Bad>,
    /// A fault of the network.
    pub network: Option<NetFault>,
    /// Writes to variables after which the store is full.
    pub full_after: Option<usize>,
    /// A mutant of the programs.
    pub meddle: Option<Meddle>,
    /// Starts after which nobody waits any longer; 0 for the usual number.
    pub patience: usize,
}

/// One thing that goes wrong, once or from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// A write or flush.
    Write(Fault),
    /// A read.
    Read(ReadFault),
    /// A request.
    Network(NetFault),
    /// The store of variables is full after so many writes.
    Full(usize),
}

/// Starts that a machine gets with a disk that gives errors.
const PATIENCE: usize = 6;

impl Trouble {
    /// The same with `mishap` as well.
    #[must_use]
    pub fn with(mut self, mishap: Mishap) -> Self {
        match mishap {
            Mishap::Write(fault) => (self.fault, self.patience) = (Some(fault), PATIENCE),
            Mishap::Read(fault) => (self.read_fault, self.patience) = (Some(fault), PATIENCE),
            Mishap::Network(fault) => self.network = Some(fault),
            Mishap::Full(writes) => self.full_after = Some(writes),
        }
        self
    }
}

impl Mishap {
    /// The operation, read, request or change of a variable that it happens at.
    #[must_use]
    pub const fn at(&self) -> usize {
        match self {
            Self::Write(fault) => fault.at,
            Self::Read(fault) => fault.at,
            Self::Network(fault) => fault.at,
            Self::Full(writes) => *writes,
        }
    }

    /// The same at another one.
    #[must_use]
    pub const fn moved_to(self, at: usize) -> Self {
        match self {
            Self::Write(fault) => Self::Write(Fault { at, ..fault }),
            Self::Read(fault) => Self::Read(ReadFault { at, ..fault }),
            Self::Network(fault) => Self::Network(NetFault { at, ..fault }),
            Self::Full(_) => Self::Full(at),
        }
    }

    /// The same once, if it goes on for ever.
    #[must_use]
    pub const fn once(self) -> Option<Self> {
        match self {
            Self::Write(fault) if fault.forever => Some(Self::Write(Fault {
                forever: false,
                ..fault
            })),
            Self::Read(fault) if fault.forever => Some(Self::Read(ReadFault {
                forever: false,
                ..fault
            })),
            _ => None,
        }
    }
}

const WRITES: [(&str, FaultKind); 5] = [
    ("error", FaultKind::Error),
    ("half", FaultKind::HalfThenError),
    ("lost", FaultKind::Lost),
    ("misdirected", FaultKind::Misdirected),
    ("no-space", FaultKind::NoSpace),
];
const REQUESTS: [(&str, NetFaultKind); 7] = [
    ("busy", NetFaultKind::Busy),
    ("drop", NetFaultKind::Drop),
    ("reset", NetFaultKind::Reset),
    ("ends", NetFaultKind::Ends),
    ("gone", NetFaultKind::Gone),
    ("changed", NetFaultKind::Changed),
    ("other-bytes", NetFaultKind::OtherBytes),
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

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ever = |forever| if forever { ":forever" } else { "" };
        match self {
            Self::Write(Fault { at, kind, forever }) => {
                write!(f, "write:{at}:{}{}", word(&WRITES, kind), ever(*forever))
            }
            Self::Read(ReadFault { at, forever }) => write!(f, "read:{at}:error{}", ever(*forever)),
            Self::Network(NetFault { at, kind }) => {
                write!(f, "request:{at}:{}", word(&REQUESTS, kind))
            }
            Self::Full(writes) => write!(f, "variable:{writes}:full"),
        }
    }
}

impl FromStr for Mishap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("mishap {text:?}: expected WHAT:NUMBER:HOW or WHAT:NUMBER:HOW:forever");
        let parts: Vec<&str> = text.split(':').collect();
        let (what, at, how, forever) = match parts[..] {
            [what, at, how] => (what, at, how, false),
            [what, at, how, "forever"] => (what, at, how, true),
            _ => return Err(wrong()),
        };
        let at: usize = at.parse().map_err(|_| wrong())?;
        match (what, how, forever) {
            ("write", how, forever) => {
                let kind = value(&WRITES, how).ok_or_else(wrong)?;
                Ok(Self::Write(Fault { at, kind, forever }))
            }
            ("read", "error", forever) => Ok(Self::Read(ReadFault { at, forever })),
            ("request", how, false) => Ok(Self::Network(NetFault {
                at,
                kind: value(&REQUESTS, how).ok_or_else(wrong)?,
            })),
            ("variable", "full", false) => Ok(Self::Full(at)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mishap_is_written_and_read() {
        let writes = FaultKind::ALL.map(|kind| {
            Mishap::Write(Fault {
                at: 3,
                kind,
                forever: true,
            })
        });
        let requests = NetFaultKind::ALL.map(|kind| Mishap::Network(NetFault { at: 4, kind }));
        let others = [
            Mishap::Read(ReadFault {
                at: 5,
                forever: false,
            }),
            Mishap::Full(6),
        ];
        for mishap in writes.into_iter().chain(requests).chain(others) {
            assert_eq!(mishap.to_string().parse(), Ok(mishap));
        }
        for wrong in [
            "write:1",
            "write:x:error",
            "request:1:drop:forever",
            "read:1:half",
            "variable:1:full:",
        ] {
            assert!(wrong.parse::<Mishap>().is_err(), "{wrong}");
        }
    }
}
