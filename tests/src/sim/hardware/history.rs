//! Facts about a machine that do not depend on its disk. Assertions compare the disk with them.

use crate::sim::hardware::layout::Region;
use record::{Choice, Slot};

/// An event that no disk remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryEvent {
    /// The guard has started this.
    Launched(Choice),
    /// The release in the slot has started and passed its health checks.
    Healthy(Slot),
    /// The installation stick was removed.
    StickRemoved,
}

/// Facts about a machine that survive any damage of its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// Starts of the release in each slot since its header was erased.
    pub launches: [u8; 2],
    /// Slots whose release has passed its health checks since then.
    pub healthy: [bool; 2],
    /// True if recovery was started.
    pub recovery: bool,
    /// The slot whose release fails from now on, although it worked before.
    pub failing: Option<Slot>,
    /// True while the installation stick is in the machine.
    pub stick: bool,
    /// True if another system is on the disk.
    pub other: bool,
}

impl History {
    /// Records an event.
    pub const fn record_event(&mut self, event: HistoryEvent) {
        match event {
            HistoryEvent::Launched(Choice::Slot(slot)) => {
                self.launches[slot as usize] = self.launches[slot as usize].saturating_add(1);
            }
            HistoryEvent::Launched(Choice::Recovery) => self.recovery = true,
            HistoryEvent::Healthy(slot) => self.healthy[slot as usize] = true,
            HistoryEvent::StickRemoved => self.stick = false,
        }
    }

    /// Records a write: zeroes over the header of a boot image mean that a new release follows.
    pub fn record_write(&mut self, at: u64, data: &[u8]) {
        for slot in Slot::ALL {
            if at == Region::Boot(slot).start() && data.iter().take(512).all(|byte| *byte == 0) {
                self.launches[slot as usize] = 0;
                self.healthy[slot as usize] = false;
                if matches!(
                    (self.failing, slot),
                    (Some(Slot::A), Slot::A) | (Some(Slot::B), Slot::B)
                ) {
                    self.failing = None;
                }
            }
        }
    }
}
