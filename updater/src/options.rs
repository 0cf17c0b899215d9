//! The inputs and the result of an apply.

use crate::events::Amounts;
use crate::plan::check::Comparison;
use crate::plan::{Plan, UpToDate};
use crate::source::Retries;
use bootctl::disk::Disk;
use bootctl::efivars::EfiVars;
use bootctl::store::RecordStore;
use record::Choice;
use seal::TrustChain;
use serde::Serialize;
use std::io;

/// The machine that a bundle is applied to.
pub struct TargetMachine<'a> {
    /// Its disk.
    pub disk: Disk,
    /// Its boot record.
    pub store: RecordStore,
    /// Its EFI variables; `None` for a disk image, and for a machine without them.
    pub vars: Option<&'a dyn EfiVars>,
    /// The running system; recovery if it is not a slot of this disk.
    pub booted: Choice,
    /// Seconds since 1970, for the event ring.
    pub now: u64,
}

/// The installer's part: writes the guard image to the EFI system partition, after the last read
/// back and before the activation.
pub type PlaceGuard<'a> = &'a (dyn Fn(&[u8]) -> io::Result<()> + Sync);

/// The options of an apply or repair.
pub struct Options<'a> {
    /// The trusted keys.
    pub trust: &'a TrustChain,
    /// `Some` for an installation: recovery and guard are written, too.
    pub place_guard: Option<PlaceGuard<'a>>,
    /// Trial boots granted to the release.
    pub tries: u8,
    /// Compare all images on the medium before the slot is activated.
    pub read_back: bool,
    /// Use blocks of the other slot instead of fetching them.
    pub adaptive: bool,
    /// Number of threads that decompress, hash and write.
    pub jobs: usize,
    /// Retries of the network.
    pub retries: Retries,
    /// Apply only a release that is newer than those of the machine, and did not fail or was rolled
    /// back in a slot ([`crate::plan::check`]).
    pub if_newer: bool,
    /// Plan, and change nothing.
    pub plan_only: bool,
}

/// Result of an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The plan, and the amounts that it would take. Nothing was changed.
    Planned(Plan, Amounts),
    /// The release runs already.
    UpToDate(UpToDate),
    /// The release is not newer, and [`Options::if_newer`] was set. Nothing was changed.
    NotNewer(Comparison),
    /// The next boot tries the slot.
    Activated(Report),
}

/// Report of an apply or repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The slot: `a` or `b`.
    pub slot: char,
    /// The release in it.
    pub version: String,
    /// Trial boots granted to it.
    pub tries: u8,
    /// Bytes of the images that belong into the slot.
    pub image_bytes: u64,
    /// Bytes taken from the source.
    pub fetched_bytes: u64,
    /// Requests sent to the server; 0 for a local file.
    pub requests: u64,
    /// Bytes that the slot held already.
    pub reused_bytes: u64,
    /// Bytes put together from blocks of the other slot.
    pub composed_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Duration of each phase.
    pub phase_ms: PhaseMs,
    /// Problems that do not affect the update.
    pub warnings: Vec<String>,
}

/// Duration of each phase in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PhaseMs {
    /// Comparing the disk with the release.
    pub scan: u64,
    /// Verifying a local file before anything is changed; 0 for any other source.
    pub verify: u64,
    /// Fetching, verifying and writing, and reading back the first parts meanwhile.
    pub write: u64,
    /// Reading back the rest.
    pub read_back: u64,
}
