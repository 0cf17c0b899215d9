//! The phases of an apply, as types: what disarms gives what can write, what was written can be
//! read back, and only what was read back can be activated.

mod activate;
mod progress;
mod read;
mod write;

pub(crate) use progress::Progress;

use crate::apply::{ApplyError, Failure, Machine, Options, Report};
use crate::batch::batches;
use crate::events::{Event, EventSink, Phase};
use crate::fetch::Fetcher;
use crate::full::Unopened;
use crate::hand::Hand;
use crate::hints::Hints;
use crate::places::Reading;
use crate::plan::{Plan, Refusal};
use crate::proving::Ledger;
use crate::seeds::Seeds;
use crate::sink::Sinks;
use crate::source::Source;
use crate::supply::Supply;
use crate::survey::{Amounts, Survey};
use crate::workers::{Stop, StopOnDrop, Workers};
use bootctl::device::BlockDevice;
use bootctl::log::EventLog;
use bootctl::transition;
use record::event::{self, Kind};
use record::{Choice, Record, SlotState};
use seal::SEAL_LEN;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the target slot is to be afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Pending, with this many tries: a new release.
    Trial(u8),
    /// Good again: the release that it held.
    Repair,
}

/// What all phases need.
pub(crate) struct Work<'a> {
    pub(crate) intent: Intent,
    pub(crate) machine: &'a Machine<'a>,
    pub(crate) options: &'a Options<'a>,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) plan: Plan,
    pub(crate) sinks: Arc<Sinks>,
    pub(crate) guard: StopOnDrop,
}

/// It is known where every chunk will come from.
pub(crate) struct Scanned {
    survey: Survey,
    /// What it comes to.
    pub(crate) amounts: Amounts,
    took: Duration,
    /// How long it took to verify the bundle, if that was done.
    verifying: Duration,
}

/// The target slot cannot be started any more, durably.
pub(crate) struct Disarmed<'w> {
    work: &'w Work<'w>,
    scanned: Scanned,
}

/// Everything was written and flushed, and some of it read back.
pub(crate) struct Written<'w> {
    disarmed: Disarmed<'w>,
    /// What of it was read back.
    ledger: Ledger,
    /// The flush that made all of it durable.
    flushed: u32,
    fetched: u64,
    took: Duration,
}

/// Everything reads back as it was signed.
pub(crate) struct Proven<'w> {
    written: Written<'w>,
    took: Duration,
}

impl Work<'_> {
    pub(crate) fn slot(&self) -> record::Slot {
        self.plan.target.slot()
    }

    fn workers(&self) -> (usize, &Stop) {
        (self.options.jobs, &self.guard.0)
    }

    fn progress(&self, phase: Phase, total: u64) -> Progress<'_> {
        Progress::new(self.events, phase, total)
    }

    /// Finds what lies in its place already, after a cut what was written before it, and what the
    /// other slot has. *Reads.*
    pub(crate) async fn scan<S: Source>(
        &self,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<Scanned, ApplyError> {
        let began = Instant::now();
        let release = self.sinks.release();
        let hints = self.hints(fetcher).await?.map(Arc::new);
        let wanted = release
            .chunks()
            .iter()
            .enumerate()
            .filter(|(number, _)| self.sinks.wants(*number));
        let mut progress = self.progress(
            Phase::Scan,
            wanted.map(|(_, chunk)| u64::from(chunk.len)).sum(),
        );
        let reading = if self.intent == Intent::Repair {
            Reading::Medium
        } else {
            Reading::Anywhere
        };
        let places = (self.sinks.places(), reading);
        let wants = |chunk| self.sinks.wants(chunk);
        let mut survey =
            Survey::in_place(places, wants, hints.as_ref(), self.workers(), &mut progress).await?;
        if let Some(hints) = hints.filter(|_| fetcher.can_skip()) {
            let seeds = Seeds::of(&self.machine.disk, self.slot().other(), self.options.trust);
            survey
                .find_seeds(seeds, &hints, release, self.workers())
                .await?;
        }
        let fetch_bytes =
            fetcher.will_fetch(survey.stored(release), release.statement().bundle_len);
        let amounts = Amounts {
            fetch_bytes,
            ..survey.amounts(release)
        };
        Ok(Scanned {
            survey,
            amounts,
            took: began.elapsed(),
            verifying: Duration::ZERO,
        })
    }

    /// The block hints, if they can be had and may be of use. They lie behind the payload: a pipe
    /// cannot give them in time.
    async fn hints<S: Source>(
        &self,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<Option<Hints>, ApplyError> {
        let release = self.sinks.release();
        let record = self.machine.store.read()?;
        let written = |slot| record.slot(slot).reason != record::Reason::Empty;
        let useful = fetcher.is_local() || record::Slot::ALL.into_iter().any(written);
        if self.intent == Intent::Repair
            || !self.options.adaptive
            || !fetcher.can_skip()
            || !useful
            || !Hints::are_in(release)
        {
            return Ok(None);
        }
        let range = release.hints_range();
        fetcher.expect([range.clone()]);
        let bytes = fetcher
            .range(range.start, (range.end - range.start) as usize)
            .await?;
        fetcher.go_back(release.payload_range().start);
        Ok(Some(Hints::check(release, &bytes)?))
    }

    /// Verifies all that will be needed of a file of this machine, so that a damaged one is refused
    /// before anything is changed. What is written is verified again.
    pub(crate) async fn verify<S: Source>(
        &self,
        scanned: &Scanned,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<(), ApplyError> {
        let release = self.sinks.release();
        let total = scanned
            .survey
            .stored(release)
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        let mut progress = self.progress(Phase::Verify, total);
        let mut told = |bytes| progress.add(bytes);
        let mark = fetcher.mark();
        let mut supply = Supply::new(fetcher).await;
        let mut workers = Workers::start(self.options.jobs, &self.guard.0, || {
            let hand = Hand::new(&self.sinks, &scanned.survey.composition, false);
            move |order| hand.verify(order)
        });
        let jobs = batches(release, &scanned.survey.origins, supply.batch_len());
        supply.expect(release, &jobs);
        for batch in jobs {
            if workers
                .send(supply.order(release, batch), &mut told)
                .await?
                .is_none()
            {
                break;
            }
        }
        workers.finish(&mut told).await?;
        fetcher.rewind(&mark);
        Ok(())
    }

    /// All that changes anything, in its order.
    ///
    /// # Errors
    /// A [`Failure`], which says whether the target slot was disarmed.
    pub(crate) async fn carry_out<S: Source>(
        &self,
        mut scanned: Scanned,
        mut fetcher: Fetcher<'_, S>,
        full: Unopened<'_, S>,
    ) -> Result<Report, Failure> {
        if fetcher.is_local() {
            let began = Instant::now();
            self.verify(&scanned, &mut fetcher).await?;
            scanned.verifying = began.elapsed();
        }
        // A disk that takes no write at all leaves the slot as it was.
        let untouched = |error| Failure {
            error,
            disarmed: self.is_disarmed().then(|| self.slot()),
        };
        let disarmed = self.disarm(scanned).map_err(untouched)?;
        let done = async {
            let written = disarmed.write(fetcher, full).await?;
            let proven = written.read_back().await?;
            proven.activate()
        };
        done.await.map_err(|error| Failure {
            error,
            disarmed: Some(self.slot()),
        })
    }

    /// Makes the target slot Unbootable, then destroys its header, each durably.
    pub(crate) fn disarm(&self, scanned: Scanned) -> Result<Disarmed<'_>, ApplyError> {
        let slot = self.slot();
        // The record as it is now: the running release may have committed since the plan was made.
        let disarm = |record: &Record| match self.intent {
            Intent::Trial(_) => Ok(transition::disarm(record, self.plan.target)),
            Intent::Repair => {
                // From here on the slot belongs to the bundle that mends it, seal and all.
                let state = SlotState {
                    release: self.plan.release,
                    ..*record.slot(slot)
                };
                let adopted = record.with_slot(slot, state);
                Ok(transition::begin_repair(&adopted, self.plan.target).map_err(Refusal::from)?)
            }
        };
        let (_, record) = self
            .machine
            .store
            .update(disarm)
            .map_err(|error: ApplyError| error)?;
        for header in self.sinks.headers() {
            let write = |error| ApplyError::Write {
                what: "header of the boot image",
                error,
            };
            header.write_at(0, &[0; SEAL_LEN]).map_err(write)?;
            header.flush().map_err(write)?;
        }
        self.log(&record, Kind::Disarmed, "");
        self.events.event(Event::Disarmed {
            slot: slot.letter(),
        });
        Ok(Disarmed {
            work: self,
            scanned,
        })
    }

    /// Whether the record says that the target slot cannot be started, or cannot be asked.
    fn is_disarmed(&self) -> bool {
        self.machine
            .store
            .read()
            .map_or(true, |record| !record.slot(self.slot()).is_bootable())
    }

    pub(crate) fn warn(&self, message: String) {
        self.events.event(Event::Warning { message });
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
            self.warn(error.to_string());
        }
    }
}
