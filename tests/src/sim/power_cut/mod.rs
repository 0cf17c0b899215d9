//! The kinds of power cuts.
//!
//! | module | content |
//! | --- | --- |
//! | `enumerate` | all power cuts of a trace |
//! | `trace` | a run, and the machine after each power cut |

mod enumerate;
pub mod trace;

pub use enumerate::CutCoverage;

use std::fmt;
use std::str::FromStr;

/// A power cut. The first number is that of the operations before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerCut {
    /// All operations have reached the medium: this is also what a killed process leaves.
    Prefix(usize),
    /// In the middle of a write, whose first bytes are kept.
    Head(usize, usize),
    /// In the middle of a write, whose last bytes are kept.
    Tail(usize, usize),
    /// In the middle of a write: one of its sectors becomes garbage, the others are kept.
    Garbled(usize, usize),
    /// Before a flush: of the sectors written since the last one, those in the bit mask are kept.
    Sectors(usize, u64),
    /// Before a flush: of the writes since the last one, only this one is kept.
    Only(usize, usize),
    /// Before a flush: of the writes since the last one, all but this one are kept.
    Without(usize, usize),
    /// Before a flush: of the writes since the last one, only the last so many are kept.
    Last(usize, usize),
    /// Before a flush: of the sectors written since the last one, a random subset (by this seed) is
    /// kept.
    Random(usize, u64),
    /// Before a flush: of the sectors written since the last one, a random subset has its last
    /// content, the others have their content before: a cache that merges writes.
    Cached(usize, u64),
    /// The last flushes had no effect: of the sectors written since the third last flush, a random
    /// subset is kept.
    LostFlush(usize, u64),
    /// Everything is kept, but a random bit has flipped.
    BitFlip(usize, u64),
}

/// The class of a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutClass {
    /// Between two operations.
    Prefix,
    /// Inside of a write.
    Torn,
    /// A subset of the unflushed writes or sectors.
    Subset,
    /// A lost flush or a flipped bit.
    Faulty,
}

impl PowerCut {
    /// Its class. *Pure.*
    #[must_use]
    pub const fn class(&self) -> CutClass {
        match self {
            Self::Prefix(_) => CutClass::Prefix,
            Self::Head(..) | Self::Tail(..) | Self::Garbled(..) => CutClass::Torn,
            Self::Sectors(..)
            | Self::Only(..)
            | Self::Without(..)
            | Self::Last(..)
            | Self::Random(..)
            | Self::Cached(..) => CutClass::Subset,
            Self::LostFlush(..) | Self::BitFlip(..) => CutClass::Faulty,
        }
    }

    /// The same power cut at another operation. *Pure.*
    #[must_use]
    pub const fn moved_to(self, at: usize) -> Self {
        match self {
            Self::Prefix(_) => Self::Prefix(at),
            Self::Head(_, bytes) => Self::Head(at, bytes),
            Self::Tail(_, bytes) => Self::Tail(at, bytes),
            Self::Garbled(_, sector) => Self::Garbled(at, sector),
            Self::Sectors(_, mask) => Self::Sectors(at, mask),
            Self::Only(_, write) => Self::Only(at, write),
            Self::Without(_, write) => Self::Without(at, write),
            Self::Last(_, count) => Self::Last(at, count),
            Self::Random(_, seed) => Self::Random(at, seed),
            Self::Cached(_, seed) => Self::Cached(at, seed),
            Self::LostFlush(_, seed) => Self::LostFlush(at, seed),
            Self::BitFlip(_, seed) => Self::BitFlip(at, seed),
        }
    }

    fn parts(&self) -> (&'static str, usize, u64) {
        match *self {
            Self::Prefix(at) => ("prefix", at, 0),
            Self::Head(at, bytes) => ("head", at, bytes as u64),
            Self::Tail(at, bytes) => ("tail", at, bytes as u64),
            Self::Garbled(at, sector) => ("garbled", at, sector as u64),
            Self::Sectors(at, mask) => ("sectors", at, mask),
            Self::Only(at, write) => ("only", at, write as u64),
            Self::Without(at, write) => ("without", at, write as u64),
            Self::Last(at, count) => ("last", at, count as u64),
            Self::Random(at, seed) => ("random", at, seed),
            Self::Cached(at, seed) => ("cached", at, seed),
            Self::LostFlush(at, seed) => ("lost-flush", at, seed),
            Self::BitFlip(at, seed) => ("bit-flip", at, seed),
        }
    }
}

impl fmt::Display for PowerCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, at, more) = self.parts();
        write!(f, "{word}:{at}:{more}")
    }
}

impl FromStr for PowerCut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("power cut {text:?}: expected KIND:NUMBER:NUMBER");
        let mut parts = text.split(':');
        let (Some(word), Some(at), Some(more), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let at: usize = at.parse().map_err(|_| wrong())?;
        let more: u64 = more.parse().map_err(|_| wrong())?;
        let count = more as usize;
        Ok(match word {
            "prefix" => Self::Prefix(at),
            "head" => Self::Head(at, count),
            "tail" => Self::Tail(at, count),
            "garbled" => Self::Garbled(at, count),
            "sectors" => Self::Sectors(at, more),
            "only" => Self::Only(at, count),
            "without" => Self::Without(at, count),
            "last" => Self::Last(at, count),
            "random" => Self::Random(at, more),
            "cached" => Self::Cached(at, more),
            "lost-flush" => Self::LostFlush(at, more),
            "bit-flip" => Self::BitFlip(at, more),
            _ => return Err(wrong()),
        })
    }
}
