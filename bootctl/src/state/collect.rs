//! Moves kernel panics from pstore into the event ring. The firmware's store is small, and `why`
//! reads the ring.

use crate::state::kernel_version;
use crate::state::log::EventLog;
use crate::state::pstore;
use crate::state::store::StoreError;
use record::event::{Event, Kind};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why panics could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The event ring could not be read or written. The panic is still in pstore.
    #[error(transparent)]
    Ring(#[from] StoreError),
    /// A file in pstore could not be read or removed.
    #[error("{}: {source}", path.display())]
    Pstore {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
}

/// Appends each panic of a kernel with one of the versions `ours` in the folder `pstore` to the
/// event ring, as the last output of the release
/// that was started before the running one, and removes it from `pstore` when it is durable in the
/// ring. Those of other systems stay. Returns the number of panics. *Writes*; durable on return.
///
/// # Errors
/// [`CollectError`].
///
/// # Power loss
/// Leaves a panic in pstore, in the ring, or in both. The next run does not append it again.
pub fn collect(log: &EventLog, pstore: &Path, ours: &[String]) -> Result<usize, CollectError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CollectError::Pstore { path, source }
    };
    let mut panics = pstore::panics(pstore).map_err(failed(pstore))?;
    panics.retain(|panic| {
        kernel_version::in_panic(&panic.text)
            .is_some_and(|version| ours.iter().any(|known| known == version))
    });
    for panic in &panics {
        let events = log.events()?;
        let mut event = Event::new(Kind::Panic, None).with_text(&panic.text);
        event.time = panic.time;
        let is_same = |old: &Event| {
            old.kind == Kind::Panic && (old.time, old.text()) == (event.time, event.text())
        };
        if !events.iter().any(is_same) {
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

/// Returns the launch that a panic at `time` (seconds since 1970, 0 if unknown) ended. *Pure.*
///
/// `events` are oldest first; the last launch among them is the running one. The result is the
/// latest launch before that which is not later than the panic. A launch whose image returned to
/// the guard does not count.
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
