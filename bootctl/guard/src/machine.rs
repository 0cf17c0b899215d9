//! What the guard needs of the firmware.

use crate::disk::{Disk, Source};
use crate::image::Verified;
use alloc::string::String;
use alloc::vec::Vec;
use record::{Choice, Guid, Handoff};

/// The firmware, or a model of it.
pub trait Machine {
    /// A whole disk.
    type Disk: Disk;
    /// A file on the volume that the guard was loaded from.
    type File: Source;

    /// Prints one line on screen and serial line.
    fn print(&mut self, line: &str);
    /// Returns the seconds since 1970 by a clock that may be wrong; 0 if unknown.
    fn seconds(&mut self) -> u64;
    /// Returns the disk that the guard was loaded from, if it was loaded from one.
    fn own_disk(&mut self) -> Option<Self::Disk>;
    /// Returns all other disks.
    fn other_disks(&mut self) -> Vec<Self::Disk>;
    /// Returns `\EFI\RAYOS\RECOVERY.IMG` of the volume that the guard was loaded from.
    fn recovery_file(&mut self) -> Option<Self::File>;
    /// Publishes the handoff, loads the image, arms the watchdogs and starts the image. Returns
    /// only if that fails or the image returns; a model also returns when the image took over.
    fn start(&mut self, launch: &Launch) -> Ended;
}

/// An image to start.
#[derive(Debug)]
pub struct Launch {
    /// The report to the started system.
    pub handoff: Handoff,
    /// The image.
    pub image: Verified,
    /// Where the image was read from.
    pub origin: Origin,
}

impl Launch {
    /// Returns the name of the boot entry for the Boot Loader Interface. *Pure.*
    #[must_use]
    pub const fn entry(&self) -> &'static str {
        match self.handoff.choice {
            Choice::Slot(record::Slot::A) => "rayos-a",
            Choice::Slot(record::Slot::B) => "rayos-b",
            Choice::Recovery => "rayos-recovery",
        }
    }
}

/// Where an image was read from. The firmware passes it on to the image.
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
    /// The image controls the machine now. Only a model returns this.
    TookOver,
    /// The firmware did not set the variable by which the started system learns what it is; its
    /// status. Without it the system could take another system's variable for the guard's.
    NotAnnounced(String),
    /// The firmware did not load the image; its status.
    NotLoaded(String),
    /// The firmware did not load the image because Secure Boot is on and does not accept it; its
    /// status.
    NotTrusted(String),
    /// The image was started and returned; its status.
    Returned(String),
}
