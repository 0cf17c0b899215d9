//! Repairing a slot: only its damaged chunks are fetched and written.

use super::incoming::Incoming;
use super::operation::{Context, Intent, Operation};
use crate::error::{ApplyError, ApplyFailure};
use crate::events::EventSink;
use crate::options::{Options, Report, TargetMachine};
use crate::pipeline::read_back::compare_tree;
use crate::plan::{Facts, Scope, plan_repair};
use crate::slot::equivalence::rebased_on;
use crate::slot::writer::SlotWriter;
use crate::source::Source;
use bootctl::device::BlockDevice;
use record::Slot;
use seal::SEAL_LEN;

/// Result of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairOutcome {
    /// The slot is not damaged.
    Intact(Slot),
    /// Damaged chunks were written again, and the slot is Good.
    Repaired(Report),
}

impl<S: Source> Incoming<'_, S> {
    /// Repairs `slot` with the bundle of the release that it holds. *Writes*: durable on return.
    /// Damaged chunks are fetched, written and read back. The slot must be Good and not booted; it
    /// is Good afterwards, and the default slot stays the same.
    ///
    /// # Errors
    /// An [`ApplyFailure`], which says whether the slot was disarmed.
    ///
    /// # Power loss
    /// The slot is unchanged, Unbootable, or repaired and Good. The same call continues.
    pub async fn repair(
        self,
        slot: Slot,
        machine: &TargetMachine<'_>,
        options: &Options<'_>,
        events: &dyn EventSink,
    ) -> Result<RepairOutcome, ApplyFailure> {
        let Self {
            mut fetcher,
            release,
            full,
        } = self;
        let context = Context {
            machine,
            options,
            events,
        };
        context.report_release(&release);
        let record = machine.store.read().map_err(ApplyError::from)?;
        // A full bundle can repair a slot that was written by a delta to the same images.
        let record = rebased_on(&release, &record, context.sealed(slot)).await;
        let facts = Facts::of(&machine.disk, &record, machine.booted, Scope::Update);
        let plan = plan_repair(&facts, &release, slot).map_err(ApplyError::from)?;
        context.check_guards(&release, &record)?;
        let operation = Operation::new(context, Intent::Repair, plan, release).await?;
        let scanned = operation.scan(&mut fetcher).await?;
        let is_intact = scanned.amounts.in_place_bytes == scanned.amounts.image_bytes
            && has_seal(&operation.writer)
            && compare_tree(&operation.writer).await.is_ok()
            && record.slot(slot).is_good();
        if is_intact {
            return Ok(RepairOutcome::Intact(slot));
        }
        let report = operation.carry_out(scanned, fetcher, full).await?;
        Ok(RepairOutcome::Repaired(report))
    }
}

/// Returns whether the boot partition has the seal of the release. *Reads.*
fn has_seal(writer: &SlotWriter) -> bool {
    let mut found = [0; SEAL_LEN];
    let read = writer.boot().window.read_medium_at(0, &mut found);
    read.is_ok() && found == *writer.release().seal().as_bytes()
}
