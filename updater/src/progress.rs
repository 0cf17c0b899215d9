//! How far a phase is.

use crate::events::{Event, EventSink, Phase};

/// Counts bytes and tells about it, at most a hundred times a phase.
pub(crate) struct Progress<'a> {
    events: &'a dyn EventSink,
    phase: Phase,
    total: u64,
    done: u64,
    /// The bytes done when it was last told.
    told: u64,
}

impl<'a> Progress<'a> {
    pub(crate) const fn new(events: &'a dyn EventSink, phase: Phase, total: u64) -> Self {
        Self {
            events,
            phase,
            total,
            done: 0,
            told: 0,
        }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.done == self.total || self.done - self.told >= self.total / 100 {
            self.told = self.done;
            self.events.event(Event::Progress {
                phase: self.phase,
                done: self.done,
                total: self.total,
            });
        }
    }
}
