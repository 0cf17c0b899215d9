//! The one apply, behind factory image, installation from a stick, update over the air and re-install.
//!
//! Its phases are types: what disarms gives what can write, what writes gives what can be read back, and only
//! what was read back can be activated.

use crate::events::{Event, EventSink, Phase};
use crate::fetch::{FetchError, Fetcher, OnRetry, Retries};
use crate::parallel::{Stop, StopOnDrop, for_each};
use crate::plan::{Facts, Plan, Planned, Refusal, Scope, UpToDate, plan};
use crate::sink::{ReadBackError, Sinks};
use crate::source::Source;
use bootctl::device::BlockDevice as _;
use bootctl::disk::{Disk, DiskError};
use bootctl::efivars::EfiVars;
use bootctl::log::EventLog;
use bootctl::store::{RecordStore, StoreError};
use bootctl::{reconcile, transition};
use bundle::{DecodeError, Decoder, FrameEntry, FrameKind, HeadParser, ImageRole, ReadError, Release, StoredFrame};
use bytes::Bytes;
use record::event::{self, Kind};
use record::{Choice, Record};
use seal::{Purpose, SEAL_LEN, Trust};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

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
    /// This would be done.
    Planned(Plan),
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
    /// Bytes written.
    pub written_bytes: u64,
    /// Milliseconds for scanning, writing and reading back.
    pub phase_ms: [u64; 3],
    /// What did not go as it should, without harm to the update.
    pub warnings: Vec<String>,
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
    #[error("boot record: {0}")]
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
        Self { error, disarmed: None }
    }
}

/// A bundle of which seal, manifest and index have been read and found acceptable. Nothing was written yet.
pub struct Incoming<'a, S> {
    fetcher: Fetcher<'a, S>,
    release: Arc<Release>,
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
        Ok(Self { fetcher, release })
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
    pub async fn take(mut self, roles: &[ImageRole]) -> Result<BTreeMap<ImageRole, Vec<u8>>, ApplyError> {
        let release = Arc::clone(&self.release);
        let role = |frame: &FrameEntry| release.images()[frame.image].role;
        let wanted = |frame: &&FrameEntry| roles.contains(&role(frame));
        let repeated: BTreeSet<usize> = release.frames().iter().filter(wanted).filter_map(repeated).collect();
        let mut kept: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let mut decoder = Decoder::default();
        let mut taken = BTreeMap::new();
        for (number, frame) in release.frames().iter().enumerate() {
            if !wanted(&frame) && !repeated.contains(&number) {
                continue;
            }
            let stored = match frame.stored_len {
                0 => Bytes::new(),
                len => self.fetcher.range(release.file_range(frame).start, len as usize).await?,
            };
            let stored = StoredFrame::check(&release, number, stored)?;
            let mut plain = Vec::new();
            decoder.decode(&release, &stored, &mut plain, |source, into| match source {
                bundle::Source::Frame(earlier) => {
                    into.copy_from_slice(kept.get(&earlier).ok_or(io::ErrorKind::NotFound)?);
                    Ok(())
                }
                bundle::Source::Base(_) => Err(io::ErrorKind::Unsupported.into()),
            })?;
            if wanted(&frame) {
                let image: &mut Vec<u8> = taken.entry(role(frame)).or_default();
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
    /// A [`Failure`], which says whether the target slot was disarmed. The booted slot and what it could fall
    /// back to are never touched.
    ///
    /// # Power loss
    /// At any instant the boot record says either that the target slot is Unbootable, or, at the very end, that
    /// it is Pending; by then everything in it was read back. Doing it again goes on with what is right already.
    /// Dropping the future has the same effect as a power cut, without the loss of what was written.
    pub async fn apply(
        self,
        machine: &Machine<'_>,
        options: &Options<'_>,
        events: &dyn EventSink,
    ) -> Result<Outcome, Failure> {
        let Self { fetcher, release } = self;
        let statement = release.statement();
        events.event(Event::Release {
            version: statement.version.to_string(),
            rollback_index: statement.rollback_index,
        });
        let record = machine.store.read().map_err(ApplyError::from)?;
        let plan = match make_plan(machine, options, &record, &release)? {
            Planned::UpToDate(up_to_date) => return Ok(Outcome::UpToDate(up_to_date)),
            Planned::Apply(plan) if options.plan_only => return Ok(Outcome::Planned(plan)),
            Planned::Apply(plan) => plan,
        };
        let sinks = Sinks::new(&machine.disk, &plan, release).map_err(ApplyError::from)?;
        let work = Work { machine, options, events, plan, sinks: Arc::new(sinks), guard: StopOnDrop::default() };
        let wanted = work.sinks.wanted();
        let slot = work.slot();
        events.event(Event::Planned { slot: slot.letter(), image_bytes: work.bytes(&wanted) });
        let scanned = work.scan(wanted).await?;
        let done = async {
            let disarmed = work.disarm(&record, scanned)?;
            let written = disarmed.write(fetcher).await?;
            let proven = written.read_back().await?;
            proven.activate()
        };
        done.await.map(Outcome::Activated).map_err(|error| Failure { error, disarmed: Some(slot) })
    }
}

fn make_plan(
    machine: &Machine<'_>,
    options: &Options<'_>,
    record: &Record,
    release: &Release,
) -> Result<Planned, ApplyError> {
    let facts = Facts {
        record,
        partitions: machine.disk.partitions(),
        sector_size: machine.disk.device().sector_size(),
        booted: machine.booted,
        scope: if options.place_guard.is_some() { Scope::Install } else { Scope::Update },
    };
    Ok(plan(&facts, release)?)
}

/// Reads and verifies seal, manifest and index, and leaves the source where the payload begins.
async fn read_head<S: Source>(fetcher: &mut Fetcher<'_, S>, trust: &Trust) -> Result<Arc<Release>, ApplyError> {
    let mut parser = HeadParser::new(trust, Purpose::Release);
    while let Some(piece) = fetcher.piece().await? {
        let taken = parser.feed(&piece)?;
        if let Some(release) = parser.release() {
            fetcher.put_back(piece.slice(taken..));
            return Ok(Arc::clone(release));
        }
    }
    Err(parser.truncated().into())
}

fn repeated(frame: &FrameEntry) -> Option<usize> {
    match frame.kind {
        FrameKind::Repeat { frame } => Some(frame),
        _ => None,
    }
}

/// What all phases need.
struct Work<'a> {
    machine: &'a Machine<'a>,
    options: &'a Options<'a>,
    events: &'a dyn EventSink,
    plan: Plan,
    sinks: Arc<Sinks>,
    guard: StopOnDrop,
}

/// The frames that go somewhere, and those of them that lie there already.
struct Scanned {
    wanted: Vec<usize>,
    missing: Vec<usize>,
    took: Duration,
}

/// The target slot cannot be started any more, durably.
struct Disarmed<'w> {
    work: &'w Work<'w>,
    record: Record,
    scanned: Scanned,
}

/// Everything was written and flushed.
struct Written<'w> {
    disarmed: Disarmed<'w>,
    fetched: u64,
    took: Duration,
}

/// Everything reads back as it was signed.
struct Proven<'w> {
    written: Written<'w>,
    took: Duration,
}

impl Work<'_> {
    fn bytes(&self, frames: &[usize]) -> u64 {
        frames.iter().map(|frame| u64::from(self.sinks.release().frames()[*frame].len)).sum()
    }

    fn slot(&self) -> record::Slot {
        self.plan.target.slot()
    }

    fn progress(&self, phase: Phase, total: u64) -> Progress<'_> {
        Progress { events: self.events, phase, total, state: Mutex::new((0, 0)) }
    }

    /// Finds what lies in its place already: after a cut this is what was written before it.
    async fn scan(&self, wanted: Vec<usize>) -> Result<Scanned, ApplyError> {
        let began = Instant::now();
        let progress = self.progress(Phase::Scan, self.bytes(&wanted));
        let (sinks, stop) = (&self.sinks, &self.guard.0);
        let held = tokio::task::block_in_place(|| {
            for_each(&wanted, self.options.jobs, stop, |frame, buffer| {
                let held = sinks.holds(frame, buffer);
                progress.add(u64::from(sinks.release().frames()[frame].len));
                Ok::<_, ApplyError>(held)
            })
        })?;
        let missing = wanted.iter().zip(held).filter(|(_, held)| !held).map(|(frame, _)| *frame).collect();
        Ok(Scanned { wanted, missing, took: began.elapsed() })
    }

    /// Makes the target slot Unbootable, then destroys its header, each durably.
    fn disarm(&self, record: &Record, scanned: Scanned) -> Result<Disarmed<'_>, ApplyError> {
        let slot = self.slot();
        let disarmed = transition::disarm(record, self.plan.target);
        let record = if disarmed == *record { disarmed } else { self.machine.store.write(&disarmed)? };
        for header in self.sinks.headers() {
            let write = |error| ApplyError::Write { what: "header of the boot image", error };
            header.write_at(0, &[0; SEAL_LEN]).map_err(write)?;
            header.flush().map_err(write)?;
        }
        self.log(&record, Kind::Disarmed, "");
        self.events.event(Event::Disarmed { slot: slot.letter() });
        Ok(Disarmed { work: self, record, scanned })
    }

    /// Appends to the event ring; that it cannot be written harms nothing.
    fn log(&self, record: &Record, kind: Kind, text: &str) {
        let slot = self.slot();
        let mut event = event::Event::new(kind, Some(Choice::Slot(slot))).with_text(text);
        event.version = self.plan.release.version;
        event.record_seq = record.seq;
        event.time = self.machine.now;
        let appended = EventLog::open(&self.machine.disk).and_then(|log| log.append(&event));
        if let Err(error) = appended {
            self.events.event(Event::Warning { message: format!("event ring: {error}") });
        }
    }
}

impl<'w> Disarmed<'w> {
    /// Fetches, verifies and writes what is missing, with memory for a few frames per thread.
    async fn write<S: Source>(self, mut fetcher: Fetcher<'_, S>) -> Result<Written<'w>, ApplyError> {
        let began = Instant::now();
        let work = self.work;
        let release = Arc::clone(work.sinks.release());
        let progress = work.progress(Phase::Write, work.bytes(&self.scanned.missing));
        let workers = Workers::start(work.options.jobs, Arc::clone(&work.sinks), work.guard.0.clone());
        for (source, places) in work.sinks.sources(&self.scanned.missing) {
            let bytes = work.bytes(&places);
            let frame = &release.frames()[source];
            let stored = match frame.stored_len {
                _ if work.sinks.has(source, &places) => {
                    copy(&work.sinks, source, &places)?;
                    progress.add(bytes);
                    continue;
                }
                0 => Bytes::new(),
                len => fetcher.range(release.file_range(frame).start, len as usize).await?,
            };
            if !workers.send(Job { source, places, stored }).await {
                break;
            }
            progress.add(bytes);
        }
        workers.finish().await?;
        let bundle_len = release.statement().bundle_len;
        if !fetcher.can_skip() {
            fetcher.range(bundle_len, 0).await?;
        }
        let fetched = fetcher.finish(bundle_len).await?;
        work.sinks.flush().map_err(|error| ApplyError::Write { what: "flush", error })?;
        Ok(Written { disarmed: self, fetched, took: began.elapsed() })
    }
}

impl<'w> Written<'w> {
    /// Compares what is on the medium with what was signed.
    async fn read_back(self) -> Result<Proven<'w>, ApplyError> {
        let began = Instant::now();
        let work = self.disarmed.work;
        let (sinks, wanted) = (&work.sinks, &self.disarmed.scanned.wanted);
        let progress = work.progress(Phase::ReadBack, work.bytes(wanted));
        if work.options.read_back {
            tokio::task::block_in_place(|| {
                for_each(wanted, work.options.jobs, &work.guard.0, |frame, buffer| {
                    sinks.read_back(frame, buffer)?;
                    progress.add(u64::from(sinks.release().frames()[frame].len));
                    Ok::<_, ApplyError>(())
                })
            })?;
        }
        tokio::task::block_in_place(|| self.check_whole())?;
        Ok(Proven { written: self, took: began.elapsed() })
    }

    /// The guard asks for the SHA-256 of the whole image: make sure that it will get what it asks for.
    fn check_whole(&self) -> Result<(), ApplyError> {
        let sinks = &self.disarmed.work.sinks;
        let statement = sinks.release().statement();
        for (window, (image, name)) in
            sinks.headers().zip([(statement.boot, "boot"), (statement.recovery, "recovery")])
        {
            let mut hasher = Sha256::new();
            let mut buffer = vec![0; 1024 * 1024];
            let mut at = 0;
            while at < image.len {
                let len = (image.len - at).min(buffer.len() as u64) as usize;
                let part = &mut buffer[..len];
                let error = |error| ReadBackError::Io { partition: name, offset: at, error };
                window.read_at(SEAL_LEN as u64 + at, part).map_err(error)?;
                hasher.update(&*part);
                at += len as u64;
            }
            if hasher.finalize()[..] != image.sha256 {
                return Err(ApplyError::Whole(name));
            }
        }
        Ok(())
    }
}

impl Proven<'_> {
    /// Writes the headers, places the guard, and arms the trial: in this order, each durable before the next.
    fn activate(self) -> Result<Report, ApplyError> {
        let Proven { written: Written { disarmed, fetched, took: writing }, took: reading } = self;
        let Disarmed { work, record, scanned } = disarmed;
        let release = work.sinks.release();
        for header in work.sinks.headers() {
            write_header(header, release.seal().as_bytes())
                .map_err(|error| ApplyError::Write { what: "header of the boot image", error })?;
        }
        if let Some(place) = work.options.place_guard {
            let guard = work.sinks.take_memory().unwrap_or_default();
            place(&guard).map_err(|error| ApplyError::Write { what: "EFI system partition", error })?;
        }
        let slot = work.slot();
        let tries = work.options.tries;
        let pending =
            transition::activate(&record, work.plan.target, work.plan.release, work.plan.revoke, tries);
        let pending = pending.map_err(Refusal::from)?;
        let record = work.machine.store.write(&pending)?;
        work.log(&record, Kind::Activated, "");
        let warnings = work.arm_entries(&record);
        work.events.event(Event::Activated { slot: slot.letter(), tries });
        let milliseconds = |took: Duration| took.as_millis() as u64;
        let image_bytes = work.bytes(&scanned.wanted);
        let written_bytes = work.bytes(&scanned.missing);
        Ok(Report {
            slot: slot.letter(),
            version: work.plan.release.version.to_string(),
            tries,
            image_bytes,
            fetched_bytes: fetched,
            reused_bytes: image_bytes - written_bytes,
            written_bytes,
            phase_ms: [milliseconds(scanned.took), milliseconds(writing), milliseconds(reading)],
            warnings,
        })
    }
}

impl Work<'_> {
    /// Brings boot entries and `BootNext` in line with the record. They are a cache: what fails is a warning.
    fn arm_entries(&self, record: &Record) -> Vec<String> {
        let (Some(vars), Some(esp)) = (self.machine.vars, self.machine.disk.partitions().esp) else {
            return Vec::new();
        };
        let facts = reconcile::Facts { esp, retired: Vec::new() };
        let report = reconcile::run(record, vars, &facts, Some(self.machine.booted));
        let warnings: Vec<String> = report.warning.iter().map(ToString::to_string).collect();
        for message in &warnings {
            self.events.event(Event::Warning { message: message.clone() });
        }
        warnings
    }
}

fn write_header(window: &impl bootctl::device::BlockDevice, seal: &[u8; SEAL_LEN]) -> io::Result<()> {
    window.write_at(0, seal)?;
    window.flush()?;
    let mut found = [0; SEAL_LEN];
    window.read_medium_at(0, &mut found)?;
    if found != *seal {
        return Err(io::Error::other("read back other bytes than were written"));
    }
    Ok(())
}

/// Writes frames that are the same as one that lies in its place already.
fn copy(sinks: &Sinks, source: usize, places: &[usize]) -> Result<(), ApplyError> {
    let write = |error| ApplyError::Write { what: "repeated chunk", error };
    let mut buffer = Vec::new();
    if !sinks.holds(source, &mut buffer) {
        return Err(write(io::ErrorKind::InvalidData.into()));
    }
    places.iter().try_for_each(|place| sinks.write(*place, &buffer)).map_err(write)
}

/// A frame on its way to the disk.
struct Job {
    /// The frame whose stored bytes these are.
    source: usize,
    /// The frames that are made of it: itself, and those that repeat it.
    places: Vec<usize>,
    stored: Bytes,
}

/// Threads that verify, decompress, verify and write.
struct Workers {
    jobs: mpsc::Sender<Job>,
    threads: Vec<tokio::task::JoinHandle<Result<(), ApplyError>>>,
}

impl Workers {
    /// Frames that wait for a thread, per thread.
    const WAITING: usize = 2;

    fn start(threads: usize, sinks: Arc<Sinks>, stop: Stop) -> Self {
        let threads = threads.max(1);
        let (jobs, queue) = mpsc::channel(threads * Self::WAITING);
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..threads).map(|_| {
            let (queue, sinks, stop) = (Arc::clone(&queue), Arc::clone(&sinks), stop.clone());
            tokio::task::spawn_blocking(move || Self::work(&queue, &sinks, &stop))
        });
        Self { jobs, threads: threads.collect() }
    }

    fn work(queue: &Mutex<mpsc::Receiver<Job>>, sinks: &Sinks, stop: &Stop) -> Result<(), ApplyError> {
        let mut decoder = Decoder::default();
        let mut plain = Vec::new();
        loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some(job) = job else { return Ok(()) };
            if stop.is_set() {
                return Err(ApplyError::Stopped);
            }
            let written = Self::write_frame(sinks, job, &mut decoder, &mut plain);
            if written.is_err() {
                // Nobody takes jobs any more, so that the sender finds out at once.
                queue.lock().unwrap_or_else(PoisonError::into_inner).close();
                return written;
            }
        }
    }

    fn write_frame(
        sinks: &Sinks,
        job: Job,
        decoder: &mut Decoder,
        plain: &mut Vec<u8>,
    ) -> Result<(), ApplyError> {
        let release = sinks.release();
        let frame = StoredFrame::check(release, job.source, job.stored)?;
        // A repeat is made of the frame that it repeats, and a delta is refused in the plan: nothing is asked for.
        decoder.decode(release, &frame, plain, |_, _| Err(io::ErrorKind::Unsupported.into()))?;
        let written = job.places.iter().try_for_each(|place| sinks.write(*place, plain));
        written.map_err(|error| ApplyError::Write { what: "image", error })
    }

    /// Hands a frame over, waiting while all threads are busy. False means that a thread failed;
    /// [`Self::finish`] tells how.
    async fn send(&self, job: Job) -> bool {
        self.jobs.send(job).await.is_ok()
    }

    async fn finish(self) -> Result<(), ApplyError> {
        drop(self.jobs);
        let mut result = Ok(());
        for thread in self.threads {
            let ended = thread.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            result = result.and(ended);
        }
        result
    }
}

/// Counts bytes and tells about it, at most a hundred times a phase.
struct Progress<'a> {
    events: &'a dyn EventSink,
    phase: Phase,
    total: u64,
    /// Bytes done, and the bytes done when it was last told.
    state: Mutex<(u64, u64)>,
}

impl Progress<'_> {
    fn add(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += bytes;
        let done = state.0;
        if done == self.total || done - state.1 >= self.total / 100 {
            state.1 = done;
            self.events.event(Event::Progress { phase: self.phase, done, total: self.total });
        }
    }
}
