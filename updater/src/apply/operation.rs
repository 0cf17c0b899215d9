//! The context of all phases of an apply or repair.

use crate::error::ApplyError;
use crate::events::{Event, EventSink, Phase};
use crate::options::{Options, TargetMachine};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::slot::delta_base::DeltaBase;
use crate::slot::stored_metadata::SealedSlot;
use crate::slot::writer::SlotWriter;
use crate::worker_pool::{StopGuard, WorkerPool};
use bootctl::log::EventLog;
use bundle::Release;
use record::event::{self, Kind};
use record::{Choice, Record, Slot};
use std::sync::Arc;

/// The state of the target slot after the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Pending, with this many tries: it holds a new release.
    Trial(u8),
    /// Good, as before: it holds the same release.
    Repair,
}

/// The parameters of an apply or repair.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) machine: &'a TargetMachine<'a>,
    pub(crate) options: &'a Options<'a>,
    pub(crate) events: &'a dyn EventSink,
}

impl<'a> Context<'a> {
    /// Returns a slot of the machine.
    pub(crate) fn sealed(self, slot: Slot) -> SealedSlot<'a> {
        SealedSlot {
            disk: &self.machine.disk,
            slot,
            trust: self.options.trust,
        }
    }

    /// Reports the release of the bundle.
    pub(crate) fn report_release(self, release: &Release) {
        let statement = release.statement();
        self.events.event(Event::Release {
            version: statement.version.to_string(),
            rollback_index: statement.rollback_index,
        });
    }
}

/// An apply or repair with its plan.
pub(crate) struct Operation<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) intent: Intent,
    pub(crate) plan: Plan,
    pub(crate) writer: Arc<SlotWriter>,
    pub(crate) pool: WorkerPool,
    _stop: StopGuard,
}

impl<'a> Operation<'a> {
    /// Returns the operation of `plan`. *Reads* the base of a delta.
    ///
    /// # Errors
    /// [`ApplyError::Refused`] if the other slot does not hold the base of a delta.
    pub(crate) async fn new(
        context: Context<'a>,
        intent: Intent,
        plan: Plan,
        release: Arc<Release>,
    ) -> Result<Self, ApplyError> {
        let other_slot = context.sealed(plan.target.slot().other());
        let delta_base = DeltaBase::find(other_slot, &release).await?;
        let writer = SlotWriter::new(&context.machine.disk, &plan, release, delta_base)?;
        let stop = StopGuard::default();
        Ok(Self {
            context,
            intent,
            plan,
            writer: Arc::new(writer),
            pool: stop.pool(context.options.jobs),
            _stop: stop,
        })
    }

    pub(crate) fn slot(&self) -> Slot {
        self.plan.target.slot()
    }

    pub(crate) fn release(&self) -> &Arc<Release> {
        self.writer.release()
    }

    pub(crate) fn progress(&self, phase: Phase, total: u64) -> Progress<'a> {
        Progress::new(self.context.events, phase, total)
    }

    /// Returns whether the boot record says that the target slot is Unbootable, or cannot be read.
    pub(crate) fn is_disarmed(&self) -> bool {
        let record = self.context.machine.store.read();
        record.map_or(true, |record| !record.slot(self.slot()).is_bootable())
    }

    pub(crate) fn report(&self, event: Event) {
        self.context.events.event(event);
    }

    pub(crate) fn warn(&self, message: String) {
        self.report(Event::Warning { message });
    }

    /// Appends to the event ring. *Writes.* An error is only a warning.
    ///
    /// # Power loss
    /// The event may be missing or torn; no decision reads it.
    pub(crate) fn log(&self, record: &Record, kind: Kind) {
        let mut event = event::Event::new(kind, Some(Choice::Slot(self.slot())));
        event.version = self.plan.release.version;
        event.record_seq = record.seq;
        event.time = self.context.machine.now;
        let log = EventLog::open(&self.context.machine.disk);
        if let Err(error) = log.and_then(|log| log.append(&event)) {
            self.warn(error.to_string());
        }
    }
}
