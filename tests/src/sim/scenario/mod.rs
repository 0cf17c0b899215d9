//! Scenarios: an initial state, a workload, and the state in which it must end.
//!
//! | module | content |
//! | --- | --- |
//! | `simulator` | makes the initial states and runs machines |
//! | `table` | all scenarios |

mod simulator;
mod table;

pub use simulator::Simulator;
pub use table::{OPEN, SCENARIOS, find};

use crate::sim::fault::Faults;
use crate::sim::hardware::disk::BadRange;
use crate::sim::hardware::layout::Region;
use crate::sim::machine::FinalState;
use crate::sim::machine::workload::Workload;

/// The disk before a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialDisk {
    /// A blank disk.
    Blank,
    /// A disk with foreign partitions and data.
    Foreign,
    /// A disk that another system has the end of.
    OtherSystem,
    /// The same, with an installation beside it that was interrupted while the root image was written.
    UnfinishedBesideOtherSystem,
    /// The same with an installation beside it, as [`InitialDisk::Installed`].
    BesideOtherSystem(&'static [&'static str]),
    /// An installation: the first release was installed, the others were applied and committed.
    Installed(&'static [&'static str]),
}

/// Damage of the machine before a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    None,
    /// The firmware has lost all variables.
    NoVariables,
    /// The primary partition table is damaged.
    PrimaryTable,
    /// The backup partition table is damaged.
    BackupTable,
    /// One copy of the boot record is damaged.
    OneRecord(u8),
    /// Both copies of the boot record are damaged.
    BothRecords,
    /// The boot image in slot A is damaged.
    BootImage,
    /// Boot and root image in slot A are damaged.
    BothImages,
    /// A range of the root image in slot A cannot be read.
    RootUnreadable,
    /// A range of the root image in slot A is read with other bytes.
    RootCorrupt,
    /// The variable store is full.
    StoreFull,
    /// The release in slot B fails from now on, although its images are intact.
    ReleaseFails,
}

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name on command lines.
    pub name: &'static str,
    /// How the machine stands before it.
    pub disk: InitialDisk,
    /// The damage before it.
    pub damage: Damage,
    /// The task of the owner.
    pub workload: Workload,
    /// The version that runs at the end.
    pub expected_version: &'static str,
    /// Other accepted final states, and the number of power cuts that they need: a power cut may cost
    /// a trial that is not repeated.
    pub accepted: &'static [(usize, FinalState)],
}

impl Scenario {
    /// True if the workload is an installation. *Pure.*
    #[must_use]
    pub const fn installs(&self) -> bool {
        matches!(self.workload, Workload::Install(_))
    }

    /// The faults during the whole scenario. *Pure.*
    #[must_use]
    pub fn faults(&self) -> Faults {
        let store_full_after = (self.damage == Damage::StoreFull).then_some(0);
        let start = Region::Root(record::Slot::A).start() + 14_000;
        let bad_range = |corrupts| {
            Some(BadRange {
                start,
                end: start + 512,
                corrupts,
            })
        };
        let bad_range = match self.damage {
            Damage::RootUnreadable => bad_range(false),
            Damage::RootCorrupt => bad_range(true),
            _ => None,
        };
        Faults {
            store_full_after,
            bad_range,
            ..Faults::default()
        }
    }
}
