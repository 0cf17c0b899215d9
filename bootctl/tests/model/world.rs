//! The state of a machine that is small enough to explore all of its states.

use crate::releases::Content;
use bootctl::reconcile::{BootVars, Facts};
use record::gpt::{Partition, Partitions};
use record::{Choice, Guid, Reason, Record, Release, Request, Slot, SlotState, Status, Tried};

/// The task of the running system. A power cut ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    /// It was started and has not committed yet.
    Booting,
    /// One copy of the record has the commit, the other one has not yet.
    Settling,
    /// It brings the boot entries in line.
    Reconciling,
    /// It waits for an operator.
    Idle,
    /// It applies a release, of which so many steps of `Rules::order` are done.
    Applying { release: u8, target: Slot, done: u8 },
}

/// The phase of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Off,
    /// The guard decides next.
    Guard {
        request: Request,
        tried: Tried,
    },
    /// The guard has written the record and loads next.
    Loading {
        choice: Choice,
        request: Request,
        tried: Tried,
    },
    Up {
        choice: Choice,
        task: Task,
    },
}

/// The machine. Fields marked *observed* are not part of it; the checks need them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The current record; `None` if both copies are lost.
    pub(crate) record: Option<Record>,
    /// The record in the other copy, if one copy may be lost.
    pub(crate) older: Option<Record>,
    pub(crate) content: [Content; 2],
    pub(crate) vars: BootVars,
    pub(crate) phase: Phase,
    /// The firmware refuses all writes for now.
    pub(crate) refuses_writes: bool,
    /// *Observed*: how often the release in the slot was started after its activation, until its
    /// first commit.
    pub(crate) launches: [u8; 2],
    /// *Observed*: the release in the slot has passed its checks once, or that cannot be known any
    /// more.
    pub(crate) proven: [bool; 2],
    /// *Observed*: both copies of the record were lost once.
    pub(crate) rebuilt: bool,
    /// *Observed*: number of firmware faults so far.
    pub(crate) firmware_faults: u8,
    /// *Observed*: the state of the two copies, if the newer one may be lost once.
    pub(crate) copies: Option<Copies>,
}

/// The state of the two copies of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Copies {
    /// The newer one was lost once.
    pub(crate) lost: bool,
    /// A power cut came between the two writes of a commit, and no record was written after it: the
    /// commit is in one copy only.
    pub(crate) cut: bool,
}

pub(crate) fn facts() -> Facts {
    let esp = Partition {
        uuid: Guid([9; 16]),
        number: 1,
        first_lba: 2048,
        last_lba: 4095,
    };
    Facts {
        esp,
        retired: Vec::new(),
    }
}

/// Returns a disk without partitions, on which nothing is installed.
pub(crate) fn partitions() -> Partitions {
    Partitions {
        disk_guid: Guid([1; 16]),
        ..Partitions::default()
    }
}

impl World {
    /// Returns a machine in recovery with empty slots, as the installer leaves it before its first
    /// apply.
    pub(crate) fn installing() -> Self {
        Self {
            record: Some(Record::unused(&partitions())),
            older: None,
            content: [Content::Open; 2],
            vars: BootVars::default(),
            phase: Phase::Up {
                choice: Choice::Recovery,
                task: Task::Idle,
            },
            refuses_writes: false,
            launches: [0; 2],
            proven: [false; 2],
            rebuilt: false,
            firmware_faults: 0,
            copies: None,
        }
    }

    /// Writes a record to the older copy, so that the current record becomes the older one.
    pub(crate) fn put(&mut self, record: Record) {
        if self.record == Some(record) {
            return;
        }
        self.older = self.record.replace(record);
        if let Some(copies) = &mut self.copies {
            copies.cut = false;
        }
    }

    pub(crate) fn state(&self, slot: Slot) -> Option<&SlotState> {
        self.record.as_ref().map(|record| record.slot(slot))
    }

    /// Returns the state on one line.
    pub(crate) fn line(&self) -> String {
        let Self {
            phase,
            content,
            vars,
            launches,
            ..
        } = self;
        let record = self.record.map(|record| {
            let [a, b] = record
                .slots
                .map(|slot| (slot.status, slot.release.rollback_index));
            (record.default, a, b, record.floor, record.one_shot)
        });
        format!(
            "{phase:?} {record:?} {content:?} order {:?} next {:?} launches {launches:?}\n",
            vars.order, vars.next
        )
    }

    pub(crate) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut world = self.clone();
        change(&mut world);
        world.normalise();
        world
    }

    /// Erases what no decision depends on, so that equal situations are equal states.
    fn normalise(&mut self) {
        self.vars.current = None;
        if self.copies.is_none_or(|copies| copies.lost) {
            self.older = None;
        }
        if let Some(older) = &mut self.older {
            older.seq = 0;
            older
                .slots
                .iter_mut()
                .filter(|state| state.status == Status::Unbootable)
                .for_each(erase);
        }
        let Some(record) = &mut self.record else {
            return;
        };
        record.seq = 0;
        for (state, slot) in record.slots.iter_mut().zip(0..) {
            if state.status == Status::Unbootable {
                erase(state);
                self.launches[slot] = 0;
                self.proven[slot] = false;
            }
            if self.proven[slot] {
                self.launches[slot] = 0;
            }
        }
    }
}

/// Erases what no decision depends on in an Unbootable slot.
fn erase(state: &mut SlotState) {
    state.reason = Reason::Empty;
    state.release = Release::NONE;
    state.tries_granted = 0;
    state.revoke = false;
}
