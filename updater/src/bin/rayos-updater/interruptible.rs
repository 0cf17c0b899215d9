//! The event sink of `apply` and `repair`: shows progress, and knows how far the target slot is
//! when a signal arrives.

use record::Slot;
use std::sync::{Mutex, MutexGuard, PoisonError};
use updater::events::{Event, EventSink};
use updater::terminal::Terminal;

/// The state of the target slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unchanged,
    Disarmed(Slot),
    /// It is activated, or the run has failed: a signal has nothing to stop.
    Over,
}

/// A [`Terminal`] that knows the state of the target slot.
pub(crate) struct Interruptible {
    terminal: Terminal,
    stage: Mutex<Stage>,
}

impl Interruptible {
    pub(crate) const fn new(terminal: Terminal) -> Self {
        Self {
            terminal,
            stage: Mutex::new(Stage::Unchanged),
        }
    }

    /// Removes the progress bar. A signal does not end the process from now on.
    pub(crate) fn finish(&self) {
        *self.stage() = Stage::Over;
        self.terminal.finish();
    }

    /// Removes the progress bar because of a signal. Returns `None` if there is nothing to stop;
    /// else the slot that is disarmed, if any.
    pub(crate) fn stop(&self) -> Option<Option<Slot>> {
        let disarmed = match *self.stage() {
            Stage::Over => return None,
            Stage::Unchanged => None,
            Stage::Disarmed(slot) => Some(slot),
        };
        self.terminal.finish();
        Some(disarmed)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for Interruptible {
    fn event(&self, event: Event) {
        match &event {
            Event::Disarmed { slot: 'a' } => *self.stage() = Stage::Disarmed(Slot::A),
            Event::Disarmed { .. } => *self.stage() = Stage::Disarmed(Slot::B),
            Event::Activated { .. } => *self.stage() = Stage::Over,
            _ => {}
        }
        self.terminal.event(event);
    }
}
