//! The values of the state machine: states, events and commands.

use super::confirm::confirmation;
use super::keys::Key;
use super::progress::Progress;
use super::session::{Draft, Session};
use super::sizes::Field;
use crate::disk::disk_facts::DiskFacts;
use crate::disk::disks::Disk;
use crate::disk::layout::Layout;
use crate::install::answers::Answers;
use std::path::PathBuf;
use std::time::Duration;
use updater::events;

/// A screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Screen {
    /// What this program does, and the disks.
    Welcome,
    /// Choice of the disk.
    Disks,
    /// A disk with RayOS: start, repair, install again.
    Existing {
        /// The disk.
        disk: usize,
    },
    /// Erase the disk, or use its free space.
    Use {
        /// The disk.
        disk: usize,
    },
    /// Whether the recovery keys of BitLocker are at hand.
    RecoveryKey(Draft),
    /// Sizes of the partitions.
    Sizes(Draft),
    /// Input of one size.
    EditSize {
        /// The draft.
        draft: Draft,
        /// Which size.
        field: Field,
        /// What was typed.
        typed: String,
    },
    /// The disk before and after.
    Review(Draft),
    /// Input of the confirmation.
    Confirm {
        /// What it confirms.
        task: Task,
        /// What was typed.
        typed: String,
    },
    /// A write runs.
    Working {
        /// What runs.
        task: Task,
        /// Its progress.
        progress: Progress,
    },
    /// A write ended.
    Done {
        /// What ran.
        task: Task,
        /// Its result.
        outcome: Outcome,
    },
    /// The answers file.
    AnswersFile(Draft),
}

/// A write to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Create the slots and install.
    Install(Draft),
    /// Apply the release to the other slot of an existing installation; its data stay.
    Renew {
        /// The disk.
        disk: usize,
    },
    /// Rewrite the damaged copies of the boot guard.
    RepairGuard {
        /// The disk.
        disk: usize,
    },
}

impl Task {
    /// Returns the place of its disk in the list of disks. *Pure.*
    #[must_use]
    pub const fn disk(&self) -> usize {
        match self {
            Self::Install(draft) => draft.disk,
            Self::Renew { disk } | Self::RepairGuard { disk } => *disk,
        }
    }
}

/// Result of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The release is in a slot, and the next boot tries it.
    Activated {
        /// Its version.
        version: String,
        /// The slot, `A` or `B`.
        slot: char,
        /// Number of boots it has.
        tries: u8,
    },
    /// The other slot has this release already.
    UpToDate,
    /// Copies of the guard were written; none if all were intact.
    Repaired(Vec<String>),
    /// It failed.
    Failed {
        /// Why.
        error: String,
        /// What it did to the disk.
        harm: Harm,
    },
}

/// What a write that failed did to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing.
    Unchanged,
    /// The slot that was written holds no release; the other one is unchanged.
    SlotEmptied,
    /// The disk was changed and may not start.
    Changed,
}

impl Harm {
    /// Returns it for people. *Pure.*
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Unchanged => "The disk is unchanged.",
            Self::SlotEmptied => {
                "The slot that was written holds no release now. The other slot and the data are \
                 unchanged."
            }
            Self::Changed => {
                "The disk was changed and may not start. Do the same again before it is used."
            }
        }
    }
}

/// What the program does without a write to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Start the installed system: asks the firmware for it, then restarts.
    Start(PathBuf),
    /// Save the answers file.
    Save(Box<Answers>),
    /// Read the disks again.
    ReadDisks,
    /// Restart the machine.
    Restart,
    /// Switch the machine off.
    PowerOff,
    /// End the program.
    Leave,
}

/// What the program has to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOrder {
    /// Install with these answers.
    Install(Box<Answers>),
    /// Apply the release to the other slot of this disk.
    Renew(PathBuf),
    /// Rewrite damaged copies of the guard on this disk.
    RepairGuard(PathBuf),
}

/// What the program has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing that writes to a disk.
    Request(Request),
    /// A write that was confirmed.
    Write(WriteOrder),
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A key was pressed.
    Key(Key),
    /// A choice was named by its place, from 0.
    Select(usize),
    /// The write reports an event, at a time since the start of the program.
    Write(events::Event, Duration),
    /// The write ended.
    Ended(Outcome),
    /// A request ended with this note for people.
    Note(String),
    /// The disks were read again.
    Disks(Vec<DiskFacts>),
}

/// The state.
#[derive(Clone, Debug)]
pub struct State {
    /// Facts that stay the same.
    pub session: Session,
    /// The disks.
    pub disks: Vec<DiskFacts>,
    /// The screen.
    pub screen: Screen,
    /// The highlighted choice.
    pub cursor: usize,
    /// First line that is shown; `None` follows the cursor.
    pub scroll: Option<usize>,
    /// A line for people about the last event; empty without one.
    pub note: String,
    /// Number of events so far.
    pub revision: u64,
    /// The screens before this one, with their cursors.
    pub(super) history: Vec<(Screen, usize)>,
}

impl State {
    /// Returns the first state. *Pure.*
    #[must_use]
    pub const fn new(session: Session, disks: Vec<DiskFacts>) -> Self {
        Self {
            session,
            disks,
            screen: Screen::Welcome,
            cursor: 0,
            scroll: None,
            note: String::new(),
            revision: 0,
            history: Vec::new(),
        }
    }

    /// Returns what must be typed to confirm `task`. *Pure.* `None` if its disk does not exist.
    #[must_use]
    pub fn word(&self, task: &Task) -> Option<String> {
        let disk = &self.disks.get(task.disk())?.disk;
        let all: Vec<Disk> = self.disks.iter().map(|facts| facts.disk.clone()).collect();
        Some(confirmation(disk, &all))
    }

    /// Returns the smallest sizes on a disk. *Pure.*
    #[must_use]
    pub fn limits(&self, disk: usize) -> Layout {
        let sector_size = self.disks.get(disk).map_or(512, |it| it.disk.sector_size);
        self.session.needs.smallest(sector_size)
    }
}
