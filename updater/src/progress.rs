//! The progress of a phase.

use crate::events::{Event, EventSink, Phase};

/// Counts bytes and reports them, at most a hundred times per phase.
pub(crate) struct Progress<'a> {
    events: &'a dyn EventSink,
    phase: Phase,
    total: u64,
    done: u64,
    /// Value of `done` in the last report.
    reported: u64,
}

impl<'a> Progress<'a> {
    pub(crate) const fn new(events: &'a dyn EventSink, phase: Phase, total: u64) -> Self {
        Self {
            events,
            phase,
            total,
            done: 0,
            reported: 0,
        }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.done == self.total || self.done - self.reported >= self.total / 100 {
            self.reported = self.done;
            self.events.event(Event::Progress {
                phase: self.phase,
                done: self.done,
                total: self.total,
            });
        }
    }
}
