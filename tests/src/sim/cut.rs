//! Where the power fails, as words: the kinds of cuts, and how many of each are taken.

use std::fmt;
use std::str::FromStr;

/// One power cut. Numbers count the operations of the run before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// After so many operations, all of which have reached the medium: also the death of the
    /// process.
    Prefix(usize),
    /// In the middle of a write, of which the first bytes are kept.
    Head(usize, usize),
    /// In the middle of a write, of which the last bytes are kept.
    Tail(usize, usize),
    /// In the middle of a write, of which one sector becomes garbage and the others are kept.
    Shorn(usize, usize),
    /// Before a flush: of the sectors written since the last one, those with a bit in the mask are
    /// kept.
    Sectors(usize, u64),
    /// Before a flush: of the writes since the last one, this one alone is kept.
    Only(usize, usize),
    /// Before a flush: of the writes since the last one, all but this one are kept.
    Without(usize, usize),
    /// Before a flush: of the writes since the last one, so many of the last are kept.
    Last(usize, usize),
    /// Before a flush: of the sectors written since the last one, those that a seed chooses are
    /// kept.
    Random(usize, u64),
    /// Before a flush: of the places written since the last one, those that a seed chooses hold
    /// what was written there last, and the others what they held before: a cache that puts writes
    /// to one place together.
    Cached(usize, u64),
    /// The disk has lied about its last flushes: of the sectors written since the third last one,
    /// those that a seed chooses are kept.
    Lie(usize, u64),
    /// Everything was kept, but one bit that a seed chooses has flipped.
    Rot(usize, u64),
}

/// What kind a cut is, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Between two operations.
    Prefix,
    /// Inside of a write.
    Torn,
    /// Writes and sectors out of order.
    Subset,
    /// The disk broke its word, or its bits.
    Faulty,
}

impl Cut {
    /// Its kind.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Prefix(_) => Class::Prefix,
            Self::Head(..) | Self::Tail(..) | Self::Shorn(..) => Class::Torn,
            Self::Sectors(..)
            | Self::Only(..)
            | Self::Without(..)
            | Self::Last(..)
            | Self::Random(..)
            | Self::Cached(..) => Class::Subset,
            Self::Lie(..) | Self::Rot(..) => Class::Faulty,
        }
    }

    /// The same at another operation.
    #[must_use]
    pub const fn moved_to(self, at: usize) -> Self {
        match self {
            Self::Prefix(_) => Self::Prefix(at),
            Self::Head(_, bytes) => Self::Head(at, bytes),
            Self::Tail(_, bytes) => Self::Tail(at, bytes),
            Self::Shorn(_, sector) => Self::Shorn(at, sector),
            Self::Sectors(_, mask) => Self::Sectors(at, mask),
            Self::Only(_, write) => Self::Only(at, write),
            Self::Without(_, write) => Self::Without(at, write),
            Self::Last(_, count) => Self::Last(at, count),
            Self::Random(_, seed) => Self::Random(at, seed),
            Self::Cached(_, seed) => Self::Cached(at, seed),
            Self::Lie(_, seed) => Self::Lie(at, seed),
            Self::Rot(_, seed) => Self::Rot(at, seed),
        }
    }

    fn parts(&self) -> (&'static str, usize, u64) {
        match *self {
            Self::Prefix(at) => ("prefix", at, 0),
            Self::Head(at, bytes) => ("head", at, bytes as u64),
            Self::Tail(at, bytes) => ("tail", at, bytes as u64),
            Self::Shorn(at, sector) => ("shorn", at, sector as u64),
            Self::Sectors(at, mask) => ("sectors", at, mask),
            Self::Only(at, write) => ("only", at, write as u64),
            Self::Without(at, write) => ("without", at, write as u64),
            Self::Last(at, count) => ("last", at, count as u64),
            Self::Random(at, seed) => ("random", at, seed),
            Self::Cached(at, seed) => ("cached", at, seed),
            Self::Lie(at, seed) => ("lie", at, seed),
            Self::Rot(at, seed) => ("rot", at, seed),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, at, more) = self.parts();
        write!(f, "{word}:{at}:{more}")
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("cut {text:?}: expected KIND:NUMBER:NUMBER");
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
            "shorn" => Self::Shorn(at, count),
            "sectors" => Self::Sectors(at, more),
            "only" => Self::Only(at, count),
            "without" => Self::Without(at, count),
            "last" => Self::Last(at, count),
            "random" => Self::Random(at, more),
            "cached" => Self::Cached(at, more),
            "lie" => Self::Lie(at, more),
            "rot" => Self::Rot(at, more),
            _ => return Err(wrong()),
        })
    }
}

/// How many cuts of each kind are taken where not all can be.
#[derive(Clone, Copy, Debug)]
pub struct Thoroughness {
    /// Sectors of which every subset is taken.
    pub all_subsets: u32,
    /// Random subsets where there are more sectors.
    pub random: u64,
    /// Places inside of a write of more than eight sectors.
    pub tears: usize,
    /// Lies and flipped bits for each operation.
    pub faulty: u64,
    /// First seed.
    pub seed: u64,
}
