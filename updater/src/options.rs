//! The inputs and the result of an apply.

use crate::events::Amounts;
use crate::plan::{Plan, UpToDate};
use crate::source::Retries;
use bootctl::disk::Disk;
use bootctl::efivars::EfiVars;
use bootctl::store::RecordStore;
use record::Choice;
use seal::Trust;
use serde::Serialize;
use std::io;

/// The machine that a bundle is applied to.
pub struct Machine<'a> {
    /// Its disk.
    pub disk: Disk,
    /// Its boot record.
    pub store: RecordStore,
    /// Its EFI variables, or none: an image of a disk, or a machine that lost them.
    pub vars: Option<&'a dyn EfiVars>,
    /// What runs; recovery too where nothing of this disk does.
    pub booted: Choice,
    /// Seconds since 1970, for the event ring.
    pub now: u64,
}

/// What the installer does between the last read-back and the activation: it gets the guard.
pub type PlaceGuard<'a> = &'a (dyn Fn(&[u8]) -> io::Result<()> + Sync);

/// How to apply.
pub struct Options<'a> {
    /// Who is trusted.
    pub trust: &'a Trust,
    /// `Some` to install: recovery and guard are written too.
    pub place_guard: Option<PlaceGuard<'a>>,
    /// Tries that the release gets.
    pub tries: u8,
    /// Whether everything is read back from the medium before the slot is activated.
    pub read_back: bool,
    /// Whether blocks of the other slot are used instead of fetching them.
    pub adaptive: bool,
    /// Threads that decompress, hash and write.
    pub jobs: usize,
    /// Patience with the network.
    pub retries: Retries,
    /// Only plan.
    pub plan_only: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This would be done, and that much of it fetched.
    Planned(Plan, Amounts),
    /// Nothing had to be done.
    UpToDate(UpToDate),
    /// The slot will be tried at the next boot.
    Activated(Report),
}

/// What an apply did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The slot: `a` or `b`.
    pub slot: char,
    /// The release in it.
    pub version: String,
    /// Tries that it has.
    pub tries: u8,
    /// Bytes of the images that were wanted.
    pub image_bytes: u64,
    /// Bytes taken from the source.
    pub fetched_bytes: u64,
    /// Bytes that lay in the slot already.
    pub reused_bytes: u64,
    /// Bytes put together from blocks of the other slot.
    pub composed_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// How long each phase took.
    pub phase_ms: PhaseMs,
    /// What did not go as it should, without harm to the update.
    pub warnings: Vec<String>,
}

/// Milliseconds that each phase took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PhaseMs {
    /// Looking at what the disk has.
    pub scan: u64,
    /// Verifying a file of this machine before anything is changed; 0 for what comes over a network
    /// or through a pipe.
    pub verify: u64,
    /// Fetching, verifying and writing, and reading back what was written first.
    pub write: u64,
    /// Reading back the rest.
    pub read_back: u64,
}
