//! What can be started: a slot, or recovery.

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Slot A.
    A,
    /// Slot B.
    B,
}

impl Slot {
    /// Both slots.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Returns the other slot. *Pure.*
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Returns `a` or `b`, as in partition names and on command lines. *Pure.*
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

impl core::fmt::Display for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

impl core::str::FromStr for Slot {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "a" | "A" => Ok(Self::A),
            "b" | "B" => Ok(Self::B),
            _ => Err("expected a or b"),
        }
    }
}

/// Something that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Choice {
    /// A slot.
    Slot(Slot),
    /// The recovery system.
    Recovery,
}

impl Choice {
    /// Returns the number on disk, in variables and in boot entries: 1 A, 2 B, 3 recovery. *Pure.*
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Slot(Slot::A) => 1,
            Self::Slot(Slot::B) => 2,
            Self::Recovery => 3,
        }
    }

    /// Returns the choice with this number. *Pure.*
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Slot(Slot::A)),
            2 => Some(Self::Slot(Slot::B)),
            3 => Some(Self::Recovery),
            _ => None,
        }
    }
}

impl core::fmt::Display for Choice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Slot(slot) => write!(f, "slot {slot}"),
            Self::Recovery => f.write_str("recovery"),
        }
    }
}

impl core::str::FromStr for Choice {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "recovery" => Ok(Self::Recovery),
            slot => slot
                .parse()
                .map(Self::Slot)
                .map_err(|_| "expected a, b or recovery"),
        }
    }
}
