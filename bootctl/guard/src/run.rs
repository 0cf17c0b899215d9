//! The loop: decide, spend the try, load, verify, start; after a failure the next candidate.

use crate::disk::Source;
use crate::image::{self, Refusal, Verified};
use crate::machine::{Ended, Launch, Machine, Origin};
use crate::system::{BootSource, LoadedRecord, System, event, find, left};
use alloc::format;
use alloc::string::{String, ToString as _};
use record::event::Kind;
use record::{
    Choice, Decision, Guid, Handoff, Reason, Record, Request, Slot, Status, Tried, Why, decide,
    passed_over,
};
use seal::{TRUST_BLOCK_LEN, Trust, TrustChain};

const NOT_WRITABLE: &str = "the boot record cannot be written";
const NOTHING_LEFT: &str = "nothing can be started: returning to the firmware";

/// How a run of the guard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The started image controls the machine. Only a model of a machine returns this.
    TookOver(Choice),
    /// Nothing could be started. The program returns an error to the firmware, which then tries the
    /// next entry.
    GaveUp,
}

/// Runs the guard on `machine`. *Writes* the state partition.
///
/// Without usable trust in `trust_block` nothing is started and nothing is written, because each
/// slot would be refused for a fault that is not its own.
///
/// # Power loss
/// The record is written before anything is loaded, so a later cut costs the try, and each try is
/// counted.
pub fn run<M: Machine>(
    machine: &mut M,
    trust_block: &[u8; TRUST_BLOCK_LEN],
    request: Request,
) -> Outcome {
    let trust = match Trust::from_block(trust_block) {
        Ok(trust) => trust,
        Err(error) => {
            machine.print(&format!("{error}"));
            return Outcome::GaveUp;
        }
    };
    match find(machine) {
        BootSource::Disk(found) => {
            let chain = found.chain(trust);
            let (system, authority, lost) = System::load(found, &chain);
            if let Some(lost) = lost {
                machine.print(&format!("{lost}"));
            }
            let mut run = Run {
                machine,
                system,
                chain,
            };
            match authority {
                LoadedRecord::Record(record) => {
                    run.slots(record, request, lost.map(|lost| lost.to_string()))
                }
                LoadedRecord::Newer(major) => {
                    run.machine
                        .print(&format!("boot record: version {major}, expected 1"));
                    run.recovery_alone()
                }
                LoadedRecord::Nothing => run.recovery_alone(),
            }
        }
        BootSource::Media(file) => media(machine, file, &TrustChain::new(trust)),
        BootSource::None => {
            machine.print(
                "no disk holds an installation, and there is no recovery image beside this program",
            );
            Outcome::GaveUp
        }
    }
}

struct Run<'a, M: Machine> {
    machine: &'a mut M,
    system: System<M::Disk>,
    chain: TrustChain,
}

/// Why an image was not started, or that it returned.
struct StartFailure {
    reason: Reason,
    words: String,
}

impl StartFailure {
    fn new(reason: Reason, status: &str) -> Self {
        Self {
            reason,
            words: format!("{} ({status})", reason.words()),
        }
    }
}

impl From<Refusal> for StartFailure {
    fn from(refusal: Refusal) -> Self {
        Self {
            reason: refusal.reason(),
            words: refusal.to_string(),
        }
    }
}

impl<M: Machine> Run<'_, M> {
    /// Starts candidates until one takes over or none is left. `rebuilt` says why the record was
    /// rebuilt, if it was.
    fn slots(&mut self, record: Record, request: Request, rebuilt: Option<String>) -> Outcome {
        let mut record = record;
        let mut rebuilt = rebuilt;
        let mut tried = Tried::default();
        loop {
            let before = record;
            let (choice, why, next) = match decide(&record, request, tried) {
                Decision::Launch {
                    choice,
                    why,
                    record,
                } => (choice, why, record),
                Decision::GiveUp { record } => return self.give_up(&record),
            };
            tried = tried.with(choice);
            let written = self.system.write(&next);
            record = written.unwrap_or(next);
            match (written, rebuilt.take()) {
                (Ok(_), Some(loss)) => self.append_rebuilt(choice, &record, &loss),
                (Err(_), _) if !self.may_start_uncounted(choice, &record) => continue,
                _ => {}
            }
            match self.launch(choice, why, &record) {
                Ok(outcome) => return outcome,
                Err(reason) => record = self.after(choice, reason, &record, &before),
            }
        }
    }

    fn give_up(&mut self, record: &Record) -> Outcome {
        if self.system.write(record).is_err() {
            self.machine.print(NOT_WRITABLE);
        }
        self.machine.print(NOTHING_LEFT);
        Outcome::GaveUp
    }

    fn append_rebuilt(&mut self, choice: Choice, record: &Record, loss: &str) {
        let time = self.machine.seconds();
        let event = event(Kind::Repaired, choice, Some(record), Reason::None, time);
        self.system.append_event(event.with_text(loss));
    }

    /// Returns whether `choice` may be started although the record could not be written. A release
    /// on trial must not, because its try would not be counted.
    fn may_start_uncounted(&mut self, choice: Choice, record: &Record) -> bool {
        let trial = |slot: Slot| matches!(record.slot(slot).status, Status::Pending { .. });
        match choice {
            Choice::Slot(slot) if trial(slot) => {
                let line = format!(
                    "passed over slot {slot}: its try cannot be counted, because the boot record \
                     cannot be written"
                );
                self.machine.print(&line);
                false
            }
            Choice::Slot(_) | Choice::Recovery => {
                self.machine.print(NOT_WRITABLE);
                true
            }
        }
    }

    /// Returns the record after `choice` failed; `before` is the one in which its try was not spent
    /// yet. A signature that a guard from another disk refuses does not count against the slot,
    /// because that guard may have other keys: nothing was loaded, so the try is given back.
    fn after(&self, choice: Choice, reason: Reason, record: &Record, before: &Record) -> Record {
        let is_foreign_guard = reason == Reason::SignatureRefused && !self.system.found.own;
        match choice {
            Choice::Slot(slot) if is_foreign_guard => record.with_slot(slot, *before.slot(slot)),
            Choice::Slot(slot) => passed_over(record, slot, reason),
            Choice::Recovery => *record,
        }
    }

    /// Starts recovery from the disk without a record, and writes nothing.
    fn recovery_alone(&mut self) -> Outcome {
        let started = self
            .load(Choice::Recovery, None)
            .map_err(StartFailure::from)
            .and_then(|(image, uuid)| {
                let handoff = self.handoff(Choice::Recovery, Why::NothingBootable, None, uuid);
                start(self.machine, image, handoff, Origin::Partition(uuid))
            });
        started.unwrap_or_else(|failure| give_up_recovery(self.machine, &failure))
    }

    fn launch(&mut self, choice: Choice, why: Why, record: &Record) -> Result<Outcome, Reason> {
        self.try_launch(choice, why, record).map_err(|failure| {
            self.pass_over(choice, &failure, record);
            failure.reason
        })
    }

    fn try_launch(
        &mut self,
        choice: Choice,
        why: Why,
        record: &Record,
    ) -> Result<Outcome, StartFailure> {
        let (image, uuid) = self.load(choice, Some(record))?;
        let time = self.machine.seconds();
        let mut launched = event(Kind::Launched, choice, Some(record), Reason::None, time);
        launched.version = image.statement.version;
        self.system.append_event(launched);
        let mut handoff = self.handoff(choice, why, Some(record), uuid);
        if let Choice::Slot(_) = choice {
            handoff.verified_root = image.statement.root;
        }
        start(self.machine, image, handoff, Origin::Partition(uuid))
    }

    fn load(
        &mut self,
        choice: Choice,
        record: Option<&Record>,
    ) -> Result<(Verified, Guid), Refusal> {
        match (choice, record) {
            (Choice::Slot(slot), Some(record)) => {
                let mut source = self.system.slot_source(slot, record)?;
                let uuid = source.partition.uuid;
                let release = &record.slot(slot).release;
                let chain = self.chain.clone().with_floor(record.trust_floor);
                image::slot(&mut source, &chain, release, record.floor).map(|image| (image, uuid))
            }
            (Choice::Slot(_), None) => Err(Refusal::Missing),
            (Choice::Recovery, _) => {
                let mut source = self.system.recovery_source()?;
                let uuid = source.partition.uuid;
                let floor = record.map_or(0, |record| record.trust_floor);
                let chain = self.chain.clone().with_floor(floor);
                image::recovery(&mut source, &chain).map(|image| (image, uuid))
            }
        }
    }

    fn handoff(
        &self,
        choice: Choice,
        why: Why,
        record: Option<&Record>,
        boot_uuid: Guid,
    ) -> Handoff {
        let state = match (choice, record) {
            (Choice::Slot(slot), Some(record)) => Some(record.slot(slot)),
            _ => None,
        };
        Handoff {
            choice,
            why,
            left: state.map_or(0, |state| left(&state.status)),
            seq: record.map_or(0, |record| record.seq),
            disk_guid: self.system.found.partitions.disk_guid,
            boot_uuid,
            root_uuid: state.map_or(Guid::ZERO, |state| state.root_uuid),
            state_uuid: self.system.found.state.uuid,
            verified_root: None,
        }
    }

    fn pass_over(&mut self, choice: Choice, failure: &StartFailure, record: &Record) {
        self.machine.print(&passed_line(choice, &failure.words));
        let time = self.machine.seconds();
        let event = event(Kind::PassedOver, choice, Some(record), failure.reason, time);
        self.system.append_event(event.with_text(&failure.words));
    }
}

/// Starts recovery from an installation medium.
fn media<M: Machine, S: Source>(machine: &mut M, mut file: S, chain: &TrustChain) -> Outcome {
    let handoff = Handoff {
        choice: Choice::Recovery,
        why: Why::Requested,
        left: 0,
        seq: 0,
        disk_guid: Guid::ZERO,
        boot_uuid: Guid::ZERO,
        root_uuid: Guid::ZERO,
        state_uuid: Guid::ZERO,
        verified_root: None,
    };
    image::recovery(&mut file, chain)
        .map_err(StartFailure::from)
        .and_then(|image| start(machine, image, handoff, Origin::File))
        .unwrap_or_else(|failure| give_up_recovery(machine, &failure))
}

fn give_up_recovery<M: Machine>(machine: &mut M, failure: &StartFailure) -> Outcome {
    machine.print(&passed_line(Choice::Recovery, &failure.words));
    machine.print(NOTHING_LEFT);
    Outcome::GaveUp
}

/// Prints what is started and starts it.
fn start<M: Machine>(
    machine: &mut M,
    image: Verified,
    handoff: Handoff,
    origin: Origin,
) -> Result<Outcome, StartFailure> {
    machine.print(&starting_line(&handoff, &image));
    let launch = Launch {
        handoff,
        image,
        origin,
    };
    match machine.start(&launch) {
        Ended::TookOver => Ok(Outcome::TookOver(handoff.choice)),
        Ended::NotAnnounced(status) => {
            let status = format!("variable {} was not set: {status}", Handoff::VARIABLE);
            Err(StartFailure::new(Reason::LoadFailed, &status))
        }
        Ended::NotLoaded(status) => Err(StartFailure::new(Reason::LoadFailed, &status)),
        Ended::NotTrusted(status) => Err(StartFailure::new(Reason::SecureBoot, &status)),
        Ended::Returned(status) => Err(StartFailure::new(Reason::Returned, &status)),
    }
}

fn name(choice: Choice) -> String {
    match choice {
        Choice::Slot(slot) => format!("slot {slot}"),
        Choice::Recovery => String::from("recovery"),
    }
}

fn passed_line(choice: Choice, words: &str) -> String {
    format!("passed over {}: {words}", name(choice))
}

fn starting_line(handoff: &Handoff, image: &Verified) -> String {
    let Handoff {
        choice, why, left, ..
    } = *handoff;
    let tries = if left == 1 { "try" } else { "tries" };
    let why = match (choice, why) {
        (_, Why::Trial) => format!("trial, {left} {tries} left"),
        (_, Why::Default) => format!("default, boot budget {left}"),
        (_, Why::Fallback) => format!("fallback, boot budget {left}"),
        (_, Why::OneShot) => String::from("requested for this boot only"),
        (_, Why::Requested) => String::from("requested"),
        (_, Why::NothingBootable) => String::from("no slot can be started"),
    };
    format!(
        "starting {}, release {} ({why})",
        name(choice),
        image.statement.version
    )
}
