//! The one apply, behind factory image, installation from a stick, update over the air and
//! re-install.
//!
//! Its phases are types: what disarms gives what can write, what writes gives what can be read
//! back, and only what was read back can be activated.

use crate::base::{Basis, DamagedBase};
use crate::events::{Event, EventSink};
use crate::fetch::{FetchError, Fetcher, OnRetry, Retries};
use crate::full::Unopened;
use crate::phases::{Intent, Work};
use crate::plan::{Facts, Plan, Planned, Refusal, Scope, UpToDate, plan};
use crate::read_back::ReadBackError;
use crate::secure_boot;
use crate::sink::Sinks;
use crate::source::Source;
use crate::survey::Amounts;
use crate::twin::as_seen_by;
use crate::workers::StopOnDrop;
use bootctl::disk::{Disk, DiskError};
use bootctl::efivars::EfiVars;
use bootctl::store::{RecordStore, StoreError};
use bundle::{
    ChunkEntry, ChunkKind, DecodeError, Decoder, HeadParser, ImageRole, ReadError, Release,
    StoredChunk,
};
use bytes::Bytes;
use record::{Choice, Record};
use seal::{Purpose, Trust};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

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

/// Why a bundle was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It is not fit for this machine. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is not acceptable: damaged, or not signed by those who must.
    #[error("{0}")]
    Bundle(#[from] ReadError),
    /// A chunk of it does not become what was signed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It could not be read.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The boot record could not be read or written.
    #[error(transparent)]
    Record(#[from] StoreError),
    /// The disk lacks something.
    #[error("disk: {0}")]
    Disk(#[from] DiskError),
    /// The disk could not be written.
    #[error("{what}: {error}")]
    Write {
        /// What was written.
        what: &'static str,
        /// What the device said.
        error: io::Error,
    },
    /// What was written reads back as something else.
    #[error(transparent)]
    ReadBack(#[from] ReadBackError),
    /// The boot image on the disk is not the one that the guard will ask for.
    #[error("{0} image: the chunks are as signed, but the whole does not have the signed SHA-256")]
    Whole(&'static str),
    /// The slot that a delta builds upon is damaged, and there is no whole bundle to turn to.
    #[error(transparent)]
    DamagedBase(#[from] Box<DamagedBase>),
    /// The whole bundle that was given beside a delta is another one.
    #[error(
        "release {version} comes with the whole bundle of release {found}, which has other images"
    )]
    OtherFull {
        /// The delta's release.
        version: String,
        /// The whole bundle's.
        found: String,
    },
    /// The work was stopped.
    #[error("stopped")]
    Stopped,
}

/// An error, and whether the target slot had been disarmed by then.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// What happened.
    pub error: ApplyError,
    /// The slot that can no longer be started; `None` if nothing was changed.
    pub disarmed: Option<record::Slot>,
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Self {
            error,
            disarmed: None,
        }
    }
}

/// A bundle of which seal, manifest and index have been read and found acceptable. Nothing was
/// written yet.
pub struct Incoming<'a, S> {
    pub(crate) fetcher: Fetcher<'a, S>,
    pub(crate) release: Arc<Release>,
    pub(crate) full: Unopened<'a, S>,
}

impl<'a, S: Source> Incoming<'a, S> {
    /// Reads and verifies the head of the bundle that comes from `source`. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::Bundle`], [`ApplyError::Fetch`].
    pub async fn open(
        source: S,
        trust: &Trust,
        retries: Retries,
        on_retry: OnRetry<'a>,
    ) -> Result<Self, ApplyError> {
        let mut fetcher = Fetcher::new(source, retries, on_retry);
        let release = read_head(&mut fetcher, trust).await?;
        let total = fetcher.check_total(release.statement().bundle_len);
        total.map_err(|error| explained(&fetcher, error))?;
        Ok(Self {
            fetcher,
            release,
            full: None,
        })
    }

    /// Names the whole bundle of the release that a delta bundle leads to. It is not even opened
    /// unless the base turns out to be damaged; then the chunks that cannot be made are taken from
    /// it.
    #[must_use]
    pub fn with_full(self, source: S, on_retry: OnRetry<'a>) -> Self {
        Self {
            full: Some((source, on_retry)),
            ..self
        }
    }

    /// The release.
    #[must_use]
    pub const fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// Takes whole images into memory, for whoever makes media. *Reads*; everything is verified.
    ///
    /// # Errors
    /// [`ApplyError`]; memory is bounded by the sizes in the signed manifest.
    pub async fn take(
        mut self,
        roles: &[ImageRole],
    ) -> Result<BTreeMap<ImageRole, Vec<u8>>, ApplyError> {
        let release = Arc::clone(&self.release);
        let role = |chunk: &ChunkEntry| release.images()[chunk.image].role;
        let wanted = |chunk: &&ChunkEntry| roles.contains(&role(chunk));
        let repeated: BTreeSet<usize> = release
            .chunks()
            .iter()
            .filter(wanted)
            .filter_map(repeated)
            .collect();
        // A chunk that is repeated from another image may build upon those before it in its run.
        let needed: BTreeSet<usize> = repeated
            .iter()
            .flat_map(|&number| release.run_of(number).start..=number)
            .collect();
        let mut kept: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        // The run that is being decoded, up to the present chunk.
        let mut run = Vec::new();
        let mut decoder = Decoder::default();
        let mut taken = BTreeMap::new();
        for (number, chunk) in release.chunks().iter().enumerate() {
            if !wanted(&chunk) && !needed.contains(&number) {
                continue;
            }
            if chunk.before == 0 {
                run.clear();
            }
            let stored = match chunk.stored_len {
                0 => Bytes::new(),
                len => {
                    self.fetcher
                        .range(release.file_range(chunk).start, len as usize)
                        .await?
                }
            };
            let stored = StoredChunk::check(&release, number, stored)?;
            let mut plain = Vec::new();
            decoder.decode(&release, &stored, &mut plain, |source, into| match source {
                bundle::Source::Chunk(earlier) => {
                    into.copy_from_slice(kept.get(&earlier).ok_or(io::ErrorKind::NotFound)?);
                    Ok(())
                }
                bundle::Source::Before { .. } => {
                    let from = run
                        .len()
                        .checked_sub(into.len())
                        .ok_or(io::ErrorKind::NotFound)?;
                    into.copy_from_slice(&run[from..]);
                    Ok(())
                }
                bundle::Source::Base(_) => Err(io::ErrorKind::Unsupported.into()),
            })?;
            run.extend_from_slice(&plain);
            if wanted(&chunk) {
                let image: &mut Vec<u8> = taken.entry(role(chunk)).or_default();
                image.extend_from_slice(&plain);
            }
            if repeated.contains(&number) {
                kept.insert(number, plain);
            }
        }
        Ok(taken)
    }

    /// Applies the bundle to `machine`. *Writes*: durable on return.
    ///
    /// # Errors
    /// A [`Failure`], which says whether the target slot was disarmed. The booted slot and what it
    /// could fall back to are never touched.
    ///
    /// # Power loss
    /// At any instant the boot record says either that the target slot is Unbootable, or, at the
    /// very end, that it is Pending; by then everything in it was read back. Doing it again goes on
    /// with what is right already. Dropping the future has the same effect as a power cut, without
    /// the loss of what was written.
    pub async fn apply(
        self,
        machine: &Machine<'_>,
        options: &Options<'_>,
        events: &dyn EventSink,
    ) -> Result<Outcome, Failure> {
        let Self {
            mut fetcher,
            release,
            full,
        } = self;
        let statement = release.statement();
        events.event(Event::Release {
            version: statement.version.to_string(),
            rollback_index: statement.rollback_index,
        });
        let record = machine.store.read().map_err(ApplyError::from)?;
        let plan = match make_plan(machine, options, &record, &release).await? {
            Planned::UpToDate(up_to_date) => return Ok(Outcome::UpToDate(up_to_date)),
            Planned::Apply(plan) => plan,
        };
        secure_boot::check_offered(machine.vars, &release, &mut fetcher).await?;
        let basis = Basis::find(
            &machine.disk,
            plan.target.slot().other(),
            options.trust,
            &release,
        )
        .await?;
        let sinks = Sinks::new(&machine.disk, &plan, release)
            .map_err(ApplyError::from)?
            .with_basis(basis);
        let intent = Intent::Trial(options.tries);
        let (sinks, guard) = (Arc::new(sinks), StopOnDrop::default());
        let work = Work {
            intent,
            machine,
            options,
            events,
            plan,
            sinks,
            guard,
        };
        let slot = work.slot();
        let scanned = work.scan(&mut fetcher).await?;
        events.event(Event::Planned {
            slot: slot.letter(),
            amounts: scanned.amounts,
        });
        if options.plan_only {
            return Ok(Outcome::Planned(work.plan, scanned.amounts));
        }
        work.carry_out(scanned, fetcher, full)
            .await
            .map(Outcome::Activated)
    }
}

async fn make_plan(
    machine: &Machine<'_>,
    options: &Options<'_>,
    record: &Record,
    release: &Release,
) -> Result<Planned, ApplyError> {
    let scope = if options.place_guard.is_some() {
        Scope::Install
    } else {
        Scope::Update
    };
    let seen = match machine.booted {
        Choice::Slot(slot) => as_seen_by(record, slot, &machine.disk, options.trust, release).await,
        Choice::Recovery => *record,
    };
    Ok(plan(
        &Facts::of(&machine.disk, &seen, machine.booted, scope),
        release,
    )?)
}

/// Reads and verifies seal, manifest and index, and leaves the source where the payload begins.
async fn read_head<S: Source>(
    fetcher: &mut Fetcher<'_, S>,
    trust: &Trust,
) -> Result<Arc<Release>, ApplyError> {
    let mut parser = HeadParser::new(trust, Purpose::Release);
    while let Some(piece) = fetcher.piece().await? {
        let taken = parser
            .feed(&piece)
            .map_err(|error| explained(fetcher, error))?;
        if let Some(release) = parser.release() {
            fetcher.put_back(piece.slice(taken..));
            return Ok(Arc::clone(release));
        }
    }
    Err(parser.truncated().into())
}

/// Returns the server's headers as the reason for wrong bytes, where they gave one; else `error`.
pub(crate) fn explained<S: Source>(
    fetcher: &Fetcher<'_, S>,
    error: impl Into<ApplyError>,
) -> ApplyError {
    let error = error.into();
    let is_about_bytes = matches!(
        error,
        ApplyError::Bundle(_)
            | ApplyError::Decode(_)
            | ApplyError::Fetch(FetchError::Short { .. } | FetchError::Trailing { .. })
    );
    match fetcher.doubt().filter(|_| is_about_bytes) {
        Some(doubt) => FetchError::from(doubt).into(),
        None => error,
    }
}

fn repeated(chunk: &ChunkEntry) -> Option<usize> {
    match chunk.kind {
        ChunkKind::Repeat { chunk } => Some(chunk),
        _ => None,
    }
}
