//! What the guard needs of the machine it runs on.

use crate::disk::Disk;
use crate::image::{Source, Verified};
use alloc::string::String;
use alloc::vec::Vec;
use record::{Choice, Guid, Handoff};

/// The firmware, or a model of it.
pub trait Machine {
    /// A whole disk.
    type Disk: Disk;
    /// A file on the volume that the guard was loaded from.
    type File: Source;

    /// Shows one line to whoever is there, on screen and serial line.
    fn say(&mut self, line: &str);
    /// Seconds since 1970 by a clock that may be wrong; 0 if unknown.
    fn seconds(&mut self) -> u64;
    /// The disk that the guard was loaded from, if it is one.
    fn own_disk(&mut self) -> Option<Self::Disk>;
    /// All other disks.
    fn other_disks(&mut self) -> Vec<Self::Disk>;
    /// `\EFI\RAYOS\RECOVERY.IMG` of the volume that the guard was loaded from.
    fn recovery_file(&mut self) -> Option<Self::File>;
    /// Publishes what is started, arms the watchdogs, loads the image and starts it. Returns only
    /// if that fails or the image comes back; a model also returns when the image took over.
    fn start(&mut self, launch: &Launch) -> Ended;
}

/// Something to be started.
#[derive(Debug)]
pub struct Launch {
    /// What the started system is told.
    pub handoff: Handoff,
    /// The image.
    pub image: Verified,
    /// Where it was read from.
    pub origin: Origin,
}

impl Launch {
    /// The name of the boot entry for the Boot Loader Interface.
    #[must_use]
    pub const fn entry(&self) -> &'static str {
        match self.handoff.choice {
            Choice::Slot(record::Slot::A) => "rayos-a",
            Choice::Slot(record::Slot::B) => "rayos-b",
            Choice::Recovery => "rayos-recovery",
        }
    }
}

/// Where an image was read from; the firmware tells the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The partition with this PARTUUID.
    Partition(Guid),
    /// The recovery file on the volume that the guard was loaded from.
    File,
}

/// How a start ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The image has the machine now. Real firmware never says so.
    TookOver,
    /// The firmware did not take the variable by which the started system learns what it is, in its
    /// own words. Without it a system could take another system's word for the guard's.
    NotAnnounced(String),
    /// The firmware did not load the image, in its own words.
    NotLoaded(String),
    /// The firmware did not load the image since Secure Boot is on and does not accept it, in its
    /// own words.
    NotTrusted(String),
    /// The image was started and came back, with the status in the firmware's words.
    Returned(String),
}
