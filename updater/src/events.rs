//! The event seam: an apply reports its progress as events. The library never prints.

use serde::Serialize;
use std::time::Duration;

/// A phase of an apply, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Comparing the disk with the release.
    Scan,
    /// Verifying a local file before anything is changed; comparing a slot with its release.
    Verify,
    /// Fetching, verifying and writing.
    Write,
    /// Comparing the medium with the bytes that were written.
    ReadBack,
}

impl Phase {
    /// Returns the word for a progress line. *Pure.*
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

/// The origins of the bytes of a release. The first amount is the sum of the next four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amounts {
    /// Bytes of the images that belong into the slot.
    pub image_bytes: u64,
    /// Of them: in place already.
    pub in_place_bytes: u64,
    /// Of them: to be put together from blocks of the other slot.
    pub composed_bytes: u64,
    /// Of them: zeroes and repeats of other chunks.
    pub filled_bytes: u64,
    /// Of them: to be decoded from fetched bytes.
    pub decoded_bytes: u64,
    /// Total bytes taken from the source: head and block hints, which were fetched before the plan,
    /// the stored bytes of chunks, and the gaps between them that are not worth a request.
    pub fetch_bytes: u64,
    /// Total requests to a server for them, those for head and hints included; 0 for a local file.
    pub requests: u64,
    /// One request for all of the payload, because that is faster on this line than to skip what
    /// is not needed.
    #[serde(rename = "whole")]
    pub is_whole: bool,
}

/// An event of an apply or repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The signatures are accepted: the release in the bundle.
    Release {
        /// Version.
        version: String,
        /// Rollback index.
        rollback_index: u64,
    },
    /// The plan is made. Nothing was written yet.
    Planned {
        /// The target slot: `a` or `b`.
        slot: char,
        /// The origins of its bytes.
        #[serde(flatten)]
        amounts: Amounts,
    },
    /// The target slot is Unbootable, durably.
    Disarmed {
        /// The slot.
        slot: char,
    },
    /// Progress of a phase, in bytes of the images.
    Progress {
        /// The phase.
        phase: Phase,
        /// Bytes done.
        done: u64,
        /// Total bytes.
        total: u64,
    },
    /// A transient failure of the network.
    Retry {
        /// The failure.
        error: String,
        /// Pause before the next request, in milliseconds.
        pause_ms: u64,
    },
    /// A problem that does not stop the apply.
    Warning {
        /// In words.
        message: String,
    },
    /// The slot is Pending, durably: the next boot tries it.
    Activated {
        /// The slot.
        slot: char,
        /// Trial boots granted to it.
        tries: u8,
    },
}

impl Event {
    /// Returns the event of a retry after `error`. *Pure.*
    #[must_use]
    pub fn retry(error: &dyn std::fmt::Display, pause: Duration) -> Self {
        Self::Retry {
            error: error.to_string(),
            pause_ms: pause.as_millis() as u64,
        }
    }
}

/// Receives events.
pub trait EventSink: Send + Sync {
    /// Handles `event`; must not block for long.
    fn event(&self, event: Event);
}

/// Ignores all events.
pub struct Silent;

impl EventSink for Silent {
    fn event(&self, _: Event) {}
}

/// Keeps all events, for tests.
#[cfg(any(test, feature = "simulation"))]
#[derive(Default)]
pub struct Recorded(std::sync::Mutex<Vec<Event>>);

#[cfg(any(test, feature = "simulation"))]
impl Recorded {
    /// Returns the events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().map_or_else(
            |poisoned| poisoned.into_inner().clone(),
            |events| events.clone(),
        )
    }
}

#[cfg(any(test, feature = "simulation"))]
impl EventSink for Recorded {
    fn event(&self, event: Event) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(event);
    }
}
