//! The layout of the simulated disk: the smallest that the installer accepts.

use installer::disk::layout::{Layout, Size};
use record::Slot;
use std::ops::Range;

const MIB: u64 = 1 << 20;
/// Length of the disk in bytes.
pub const DISK_LEN: u64 = 30 * MIB;

/// The EFI system partition of another system, if there is one.
pub const OTHER_ESP: Range<u64> = 27 * MIB..28 * MIB;
/// The root partition of another system. Our data partition ends before both.
pub const OTHER_ROOT: Range<u64> = 28 * MIB..29 * MIB;

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// EFI system partition.
    Esp,
    /// Boot record and event ring.
    State,
    /// Boot image of a slot.
    Boot(Slot),
    /// Root image of a slot.
    Root(Slot),
    /// Recovery.
    Recovery,
    /// Data of the user.
    Data,
}

impl Region {
    /// Offset of its first byte. *Pure.*
    #[must_use]
    pub const fn start(self) -> u64 {
        MIB * match self {
            Self::Esp => 1,
            Self::State => 3,
            Self::Boot(Slot::A) => 4,
            Self::Root(Slot::A) => 5,
            Self::Boot(Slot::B) => 7,
            Self::Root(Slot::B) => 8,
            Self::Recovery => 10,
            Self::Data => 11,
        }
    }

    /// Offset after its last byte. *Pure.* The data region includes the partitions of another
    /// system, because neither may be written.
    #[must_use]
    pub const fn end(self) -> u64 {
        match self {
            Self::Esp | Self::Root(_) => self.start() + 2 * MIB,
            Self::Data => DISK_LEN - MIB,
            _ => self.start() + MIB,
        }
    }
}

/// Returns the installer's layout with these regions. *Pure.*
#[must_use]
pub const fn layout() -> Layout {
    Layout {
        esp: Size(2 * MIB),
        boot: Size(MIB),
        root: Size(2 * MIB),
        recovery: Size(MIB),
        data: None,
    }
}
