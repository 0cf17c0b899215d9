//! The tasks of a machine's owner.

use record::Slot;

/// The task of the machine's owner. The system works on it after every start until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Only run.
    Idle,
    /// Install this release from the stick.
    Install(&'static str),
    /// Update to this release.
    Update(&'static str),
    /// Update to this release; half of the bundle arrives before each full download.
    UpdateInterrupted(&'static str),
    /// Update to this release from a bundle that is damaged in the middle.
    UpdateDamaged(&'static str),
    /// Update to this release by a delta; the full bundle is available, too.
    UpdateByDelta(&'static str),
    /// Repair the slot, which holds this release.
    RepairSlot(Slot, &'static str),
    /// Verify both slots.
    VerifySlots,
    /// Roll back to this slot.
    RollBack(Slot),
    /// Mark the slot bad.
    MarkBad(Slot),
    /// Boot recovery once.
    BootRecoveryOnce,
}
