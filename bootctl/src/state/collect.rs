//! Kernel panics from pstore into the event ring, where they outlive the firmware's small store and
//! are told to whoever asks why a release failed.

use crate::state::log::EventLog;
use crate::state::pstore;
use crate::state::store::StoreError;
use record::event::{Event, Kind};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why panics could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The event ring could not be read or written; nothing was taken away.
    #[error(transparent)]
    Ring(#[from] StoreError),
    /// Something in pstore could not be read or taken away.
    #[error("{}: {source}", path.display())]
    Pstore {
        /// Directory or file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Appends every panic in the directory `pstore` to the event ring, as the last words of the
/// release that was started before the one that runs now, and takes it out of `pstore` when it is
/// durable there. Returns how many there were. *Reads and writes.*
///
/// # Errors
/// [`CollectError`].
///
/// # Power loss
/// A panic that is in the ring already is not appended again, only taken away.
pub fn collect(log: &EventLog, pstore: &Path) -> Result<usize, CollectError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CollectError::Pstore { path, source }
    };
    let panics = pstore::panics(pstore).map_err(failed(pstore))?;
    for panic in &panics {
        let events = log.events()?;
        let mut event = Event::new(Kind::Panic, None).with_text(&panic.text);
        event.time = panic.time;
        let told = |old: &Event| {
            old.kind == Kind::Panic && (old.time, old.text()) == (event.time, event.text())
        };
        if !events.iter().any(told) {
            if let Some(launch) = launched_before(&events, panic.time) {
                event.subject = launch.subject;
                event.version = launch.version;
                event.record_seq = launch.record_seq;
            }
            log.append(&event)?;
        }
        for file in &panic.files {
            fs::remove_file(file).map_err(failed(file))?;
        }
    }
    Ok(panics.len())
}

/// The start that a panic at `time` (seconds since 1970, 0 if unknown) ended. *Pure.* `events` are
/// oldest first, and the last start among them is the one that runs now. It is the last one before
/// that which the clock allows; a start whose image returned to the guard is none.
#[must_use]
pub fn launched_before(events: &[Event], time: u64) -> Option<&Event> {
    let returned = |at: usize, launch: &Event| {
        events
            .get(at + 1)
            .is_some_and(|next| next.kind == Kind::PassedOver && next.subject == launch.subject)
    };
    let launches: Vec<&Event> = events
        .iter()
        .enumerate()
        .filter(|(at, event)| event.kind == Kind::Launched && !returned(*at, event))
        .map(|(_, event)| event)
        .collect();
    let (_, before) = launches.split_last()?;
    let possible = |launch: &&&Event| time == 0 || launch.time <= time;
    before
        .iter()
        .rev()
        .find(possible)
        .or(before.last())
        .copied()
}
