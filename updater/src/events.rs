//! The event seam: what an apply tells while it works. The library never prints.

use serde::Serialize;
use std::time::Duration;

/// A part of an apply, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Looking at what already lies on the disk.
    Scan,
    /// Verifying the whole of a local file before anything is changed.
    Verify,
    /// Fetching, verifying and writing.
    Write,
    /// Reading everything back from the medium.
    ReadBack,
}

impl Phase {
    /// The word for a progress line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Scan => "scanning",
            Self::Verify => "verifying",
            Self::Write => "writing",
            Self::ReadBack => "reading back",
        }
    }
}

/// How many bytes come from where. Those of the images add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amounts {
    /// Bytes of the images that are wanted.
    pub image_bytes: u64,
    /// Of them: lie in their place already.
    pub in_place_bytes: u64,
    /// Of them: put together from blocks of the other slot.
    pub composed_bytes: u64,
    /// Of them: zeroes, and repeats of other chunks, that are to be written.
    pub filled_bytes: u64,
    /// Of them: become of what is fetched.
    pub decoded_bytes: u64,
    /// Bytes that will have been taken from the source in all: the head and the block hints, which
    /// were by the time of planning, the compressed bytes of chunks, and the gaps between them that
    /// are not worth a request of their own.
    pub fetch_bytes: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The signature holds: what the bundle is.
    Release {
        /// Version.
        version: String,
        /// Rollback index.
        rollback_index: u64,
    },
    /// The plan stands; nothing was written so far.
    Planned {
        /// Slot that will be written: `a` or `b`.
        slot: char,
        /// How many bytes will come from where.
        #[serde(flatten)]
        amounts: Amounts,
    },
    /// The target slot can no longer be started, durably.
    Disarmed {
        /// The slot.
        slot: char,
    },
    /// How much of a phase is done, in bytes of the images.
    Progress {
        /// The phase.
        phase: Phase,
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The network failed in a way that may pass.
    Retry {
        /// What failed.
        error: String,
        /// Pause before the next request, in milliseconds.
        pause_ms: u64,
    },
    /// Something is not as it should be, but does not stop the apply.
    Warning {
        /// In words.
        message: String,
    },
    /// The slot will be tried at the next boot, durably.
    Activated {
        /// The slot.
        slot: char,
        /// Tries that it has.
        tries: u8,
    },
}

impl Event {
    /// A retry after `error`.
    #[must_use]
    pub fn retry(error: &dyn std::fmt::Display, pause: Duration) -> Self {
        Self::Retry {
            error: error.to_string(),
            pause_ms: pause.as_millis() as u64,
        }
    }
}

/// Whoever wants to know.
pub trait EventSink: Send + Sync {
    /// Takes note of `event`; must not block for long.
    fn event(&self, event: Event);
}

/// Takes note of nothing.
pub struct Silent;

impl EventSink for Silent {
    fn event(&self, _: Event) {}
}

/// Keeps everything, for tests to look at.
#[derive(Default)]
pub struct Recorded(std::sync::Mutex<Vec<Event>>);

impl Recorded {
    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().map_or_else(
            |poisoned| poisoned.into_inner().clone(),
            |events| events.clone(),
        )
    }
}

impl EventSink for Recorded {
    fn event(&self, event: Event) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(event);
    }
}
