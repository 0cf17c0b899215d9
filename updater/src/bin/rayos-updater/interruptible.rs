//! The event sink of `apply`: shows what happens, and knows how far the target slot has come when a
//! signal arrives.

use record::Slot;
use std::sync::{Mutex, PoisonError};
use updater::events::{Event, EventSink};
use updater::terminal::Terminal;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unchanged,
    Disarmed(Slot),
    /// The release is armed, or all has been said.
    Over,
}

/// A [`Terminal`] that remembers.
pub(crate) struct Watched {
    terminal: Terminal,
    stage: Mutex<Stage>,
}

impl Watched {
    pub(crate) const fn new(terminal: Terminal) -> Self {
        Self {
            terminal,
            stage: Mutex::new(Stage::Unchanged),
        }
    }

    /// Takes the progress bar away; from now on the end of the work says the last words.
    pub(crate) fn done(&self) {
        self.change(Stage::Over);
        self.terminal.done();
    }

    /// Ends the showing for whoever stops the work: the slot that is disarmed, if one is. `None` if
    /// there is nothing left to stop.
    pub(crate) fn stop(&self) -> Option<Option<Slot>> {
        let stage = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let disarmed = match stage {
            Stage::Over => return None,
            Stage::Unchanged => None,
            Stage::Disarmed(slot) => Some(slot),
        };
        self.terminal.done();
        Some(disarmed)
    }

    fn change(&self, to: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl EventSink for Watched {
    fn event(&self, event: Event) {
        match &event {
            Event::Disarmed { slot } => self.change(match slot {
                'a' => Stage::Disarmed(Slot::A),
                _ => Stage::Disarmed(Slot::B),
            }),
            Event::Activated { .. } => self.change(Stage::Over),
            _ => {}
        }
        self.terminal.event(event);
    }
}
