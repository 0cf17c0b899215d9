//! The phases of an apply, as types: what disarms gives what can write, what was written can be read back, and
//! only what was read back can be activated.

use crate::apply::{ApplyError, Machine, Options, Report};
use crate::events::{Event, EventSink, Phase};
use crate::fetch::Fetcher;
use crate::parallel::{StopOnDrop, for_each};
use crate::plan::{Plan, Refusal};
use crate::sink::{ReadBackError, Sinks};
use crate::source::Source;
use crate::workers::{Job, Workers};
use bootctl::device::BlockDevice;
use bootctl::log::EventLog;
use bootctl::{reconcile, transition};
use bundle::StoredFrame;
use bytes::Bytes;
use record::event::{self, Kind};
use record::{Choice, Record};
use seal::SEAL_LEN;
use sha2::{Digest as _, Sha256};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What all phases need.
pub(crate) struct Work<'a> {
    pub(crate) machine: &'a Machine<'a>,
    pub(crate) options: &'a Options<'a>,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) plan: Plan,
    pub(crate) sinks: Arc<Sinks>,
    pub(crate) guard: StopOnDrop,
}

/// The frames that go somewhere, and those of them that lie there already.
pub(crate) struct Scanned {
    wanted: Vec<usize>,
    missing: Vec<usize>,
    took: Duration,
}

/// The target slot cannot be started any more, durably.
pub(crate) struct Disarmed<'w> {
    work: &'w Work<'w>,
    record: Record,
    scanned: Scanned,
}

/// Everything was written and flushed.
pub(crate) struct Written<'w> {
    disarmed: Disarmed<'w>,
    fetched: u64,
    took: Duration,
}

/// Everything reads back as it was signed.
pub(crate) struct Proven<'w> {
    written: Written<'w>,
    took: Duration,
}

impl Work<'_> {
    pub(crate) fn bytes(&self, frames: &[usize]) -> u64 {
        frames.iter().map(|frame| u64::from(self.sinks.release().frames()[*frame].len)).sum()
    }

    pub(crate) fn slot(&self) -> record::Slot {
        self.plan.target.slot()
    }

    fn progress(&self, phase: Phase, total: u64) -> Progress<'_> {
        Progress { events: self.events, phase, total, state: Mutex::new((0, 0)) }
    }

    /// Finds what lies in its place already: after a cut this is what was written before it.
    pub(crate) async fn scan(&self, wanted: Vec<usize>) -> Result<Scanned, ApplyError> {
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

    /// Verifies all that will be needed of a file of this machine, so that a damaged one is refused before anything
    /// is changed. What is written is verified again.
    pub(crate) async fn verify<S: Source>(
        &self,
        scanned: &Scanned,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<(), ApplyError> {
        let release = self.sinks.release();
        let sources = self.sinks.sources(&scanned.missing);
        let stored = |number: &usize| u64::from(release.frames()[*number].stored_len);
        let progress = self.progress(Phase::Verify, sources.keys().map(stored).sum());
        let mark = fetcher.mark();
        for number in sources.into_keys() {
            let frame = &release.frames()[number];
            if frame.stored_len > 0 {
                let range = fetcher.range(release.file_range(frame).start, frame.stored_len as usize).await?;
                StoredFrame::check(release, number, range)?;
                progress.add(u64::from(frame.stored_len));
            }
        }
        fetcher.rewind(&mark);
        Ok(())
    }

    /// Makes the target slot Unbootable, then destroys its header, each durably.
    pub(crate) fn disarm(&self, record: &Record, scanned: Scanned) -> Result<Disarmed<'_>, ApplyError> {
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
    pub(crate) async fn write<S: Source>(
        self,
        mut fetcher: Fetcher<'_, S>,
    ) -> Result<Written<'w>, ApplyError> {
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
    pub(crate) async fn read_back(self) -> Result<Proven<'w>, ApplyError> {
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
    pub(crate) fn activate(self) -> Result<Report, ApplyError> {
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

fn write_header(window: &impl BlockDevice, seal: &[u8; SEAL_LEN]) -> io::Result<()> {
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
