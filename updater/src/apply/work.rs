//! The context of an apply or repair.

use crate::events::{Event, EventSink, Phase};
use crate::options::{Machine, Options};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::slot::writer::Sinks;
use crate::worker_pool::{Stop, StopOnDrop};
use bootctl::log::EventLog;
use record::event::{self, Kind};
use record::{Choice, Record};
use std::sync::Arc;

/// What the target slot is to be afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Pending, with this many tries: a new release.
    Trial(u8),
    /// Good again: the release that it held.
    Repair,
}

/// What all phases need.
pub(crate) struct Work<'a> {
    pub(crate) intent: Intent,
    pub(crate) machine: &'a Machine<'a>,
    pub(crate) options: &'a Options<'a>,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) plan: Plan,
    pub(crate) sinks: Arc<Sinks>,
    pub(crate) guard: StopOnDrop,
}

impl Work<'_> {
    pub(crate) fn slot(&self) -> record::Slot {
        self.plan.target.slot()
    }

    pub(crate) fn workers(&self) -> (usize, &Stop) {
        (self.options.jobs, &self.guard.0)
    }

    pub(crate) fn progress(&self, phase: Phase, total: u64) -> Progress<'_> {
        Progress::new(self.events, phase, total)
    }

    /// Whether the record says that the target slot cannot be started, or cannot be asked.
    pub(crate) fn is_disarmed(&self) -> bool {
        self.machine
            .store
            .read()
            .map_or(true, |record| !record.slot(self.slot()).is_bootable())
    }

    pub(crate) fn warn(&self, message: String) {
        self.events.event(Event::Warning { message });
    }

    /// Appends to the event ring; that it cannot be written harms nothing.
    pub(crate) fn log(&self, record: &Record, kind: Kind, text: &str) {
        let slot = self.slot();
        let mut event = event::Event::new(kind, Some(Choice::Slot(slot))).with_text(text);
        event.version = self.plan.release.version;
        event.record_seq = record.seq;
        event.time = self.machine.now;
        let appended = EventLog::open(&self.machine.disk).and_then(|log| log.append(&event));
        if let Err(error) = appended {
            self.warn(error.to_string());
        }
    }
}
