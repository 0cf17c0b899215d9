//! The loop: decide, spend the try, load, verify, start; whatever fails, go on with the next.

use crate::image::{self, Refusal, Source, Verified};
use crate::machine::{Ended, Launch, Machine, Origin};
use crate::system::{Authority, Place, System, event, find};
use alloc::format;
use alloc::string::{String, ToString as _};
use record::event::Kind;
use record::{
    Choice, Decision, Guid, Handoff, Reason, Record, Request, Slot, Status, Tried, Why, decide,
    passed_over,
};
use seal::{TRUST_BLOCK_LEN, Trust};

/// How a run of the guard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The started image has the machine; only a model of a machine comes to this.
    TookOver(Choice),
    /// Nothing could be started: return an error to the firmware, so that it goes on to the next
    /// entry.
    GaveUp,
}

/// Runs the guard on `machine`. *Reads and writes the state partition.*
///
/// Without usable trust in `trust_block` nothing is started and nothing is written, since every
/// slot would be refused for a fault that is not its own.
///
/// # Power loss
/// The record is written before anything is loaded: a cut later costs the try, never a count.
pub fn run<M: Machine>(
    machine: &mut M,
    trust_block: &[u8; TRUST_BLOCK_LEN],
    request: Request,
) -> Outcome {
    let trust = match Trust::from_block(trust_block) {
        Ok(trust) => trust,
        Err(error) => {
            machine.say(&format!("{error}"));
            return Outcome::GaveUp;
        }
    };
    match find(machine) {
        Place::Disk(found) => {
            let (system, authority, lost) = System::load(found, &trust);
            if let Some(lost) = lost {
                machine.say(&format!("{lost}"));
            }
            let mut run = Run {
                machine,
                system,
                trust,
            };
            match authority {
                Authority::Record(record) => {
                    run.slots(record, request, lost.map(|lost| lost.to_string()))
                }
                Authority::Newer(major) => {
                    run.machine.say(&format!(
                        "the boot record is of version {major}, this program reads 1"
                    ));
                    run.recovery_alone()
                }
                Authority::Nothing => run.recovery_alone(),
            }
        }
        Place::Media(file) => media(machine, file, &trust),
        Place::Nowhere => {
            machine
                .say("no disk holds a system, and there is no recovery image beside this program");
            Outcome::GaveUp
        }
    }
}

/// Tries (on trial) or budget (committed) left.
pub(crate) const fn left(status: &Status) -> u8 {
    match *status {
        Status::Unbootable => 0,
        Status::Pending { tries_left: left } | Status::Good { budget_left: left } => left,
    }
}

struct Run<'a, M: Machine> {
    machine: &'a mut M,
    system: System<M::Disk>,
    trust: Trust,
}

impl<M: Machine> Run<'_, M> {
    fn slots(&mut self, mut record: Record, request: Request, rebuilt: Option<String>) -> Outcome {
        let mut tried = Tried::default();
        let mut rebuilt = rebuilt;
        loop {
            match decide(&record, request, tried) {
                Decision::Launch {
                    choice,
                    why,
                    record: next,
                } => {
                    let counted = self.system.write(&next);
                    record = counted.unwrap_or(next);
                    if let (Some(story), Ok(_)) = (rebuilt.take(), counted) {
                        let time = self.machine.seconds();
                        let event =
                            event(Kind::Repaired, choice, Some(&record), Reason::None, time);
                        self.system.tell(event.with_text(&story));
                    }
                    if counted.is_err() && !self.may_start_uncounted(choice, &record) {
                        tried = tried.with(choice);
                        continue;
                    }
                    match self.launch(choice, why, &record) {
                        Ok(outcome) => return outcome,
                        Err(reason) => record = self.after(choice, reason, &record),
                    }
                    tried = tried.with(choice);
                }
                Decision::GiveUp { record: next } => {
                    if self.system.write(&next).is_err() {
                        self.machine.say("the boot record cannot be written");
                    }
                    self.machine
                        .say("nothing can be started: going back to the firmware");
                    return Outcome::GaveUp;
                }
            }
        }
    }

    /// A release on trial is never started without its try on the disk; a committed one and
    /// recovery are.
    fn may_start_uncounted(&mut self, choice: Choice, record: &Record) -> bool {
        let trial = |slot: Slot| matches!(record.slot(slot).status, Status::Pending { .. });
        match choice {
            Choice::Slot(slot) if trial(slot) => {
                let line = format!(
                    "passed over slot {slot}: its try cannot be counted, the record is not writable"
                );
                self.machine.say(&line);
                false
            }
            Choice::Slot(_) | Choice::Recovery => {
                self.machine.say("the boot record cannot be written");
                true
            }
        }
    }

    /// The record after `choice` failed. A signature refused by a guard from elsewhere says as much
    /// of that guard's keys as of the slot, and does not count against it.
    fn after(&self, choice: Choice, reason: Reason, record: &Record) -> Record {
        let foreign = reason == Reason::SignatureRefused && !self.system.found.own;
        match choice {
            Choice::Slot(slot) if !foreign => passed_over(record, slot, reason),
            Choice::Slot(_) | Choice::Recovery => *record,
        }
    }

    /// Recovery from the disk, without a record to go by; nothing is written.
    fn recovery_alone(&mut self) -> Outcome {
        match self.load(Choice::Recovery, None) {
            Ok((image, uuid)) => {
                let handoff = self.handoff(Choice::Recovery, Why::NothingBootable, None, uuid);
                match start(self.machine, image, handoff, Origin::Partition(uuid)) {
                    Ok(outcome) => return outcome,
                    Err((_, words)) => self.machine.say(&passed_line(Choice::Recovery, &words)),
                }
            }
            Err(refusal) => self
                .machine
                .say(&passed_line(Choice::Recovery, &refusal.to_string())),
        }
        self.machine
            .say("nothing can be started: going back to the firmware");
        Outcome::GaveUp
    }

    fn launch(&mut self, choice: Choice, why: Why, record: &Record) -> Result<Outcome, Reason> {
        let (image, uuid) = match self.load(choice, Some(record)) {
            Ok(loaded) => loaded,
            Err(refusal) => {
                self.pass_over(choice, refusal.reason(), &refusal.to_string(), record);
                return Err(refusal.reason());
            }
        };
        let time = self.machine.seconds();
        let mut launched = event(Kind::Launched, choice, Some(record), Reason::None, time);
        launched.version = image.statement.version;
        self.system.tell(launched);
        let mut handoff = self.handoff(choice, why, Some(record), uuid);
        if let Choice::Slot(_) = choice {
            handoff.verified_root = image.statement.root;
        }
        start(self.machine, image, handoff, Origin::Partition(uuid)).map_err(|(reason, words)| {
            self.pass_over(choice, reason, &words, record);
            reason
        })
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
                image::slot(&mut source, &self.trust, release, record.floor)
                    .map(|image| (image, uuid))
            }
            (Choice::Slot(_), None) => Err(Refusal::Missing),
            (Choice::Recovery, _) => {
                let mut source = self.system.recovery_source()?;
                let uuid = source.partition.uuid;
                image::recovery(&mut source, &self.trust).map(|image| (image, uuid))
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

    fn pass_over(&mut self, choice: Choice, reason: Reason, words: &str, record: &Record) {
        self.machine.say(&passed_line(choice, words));
        let time = self.machine.seconds();
        self.system
            .tell(event(Kind::PassedOver, choice, Some(record), reason, time).with_text(words));
    }
}

/// Recovery from installation media.
fn media<M: Machine, S: Source>(machine: &mut M, mut file: S, trust: &Trust) -> Outcome {
    let failed = match image::recovery(&mut file, trust) {
        Ok(image) => {
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
            match start(machine, image, handoff, Origin::File) {
                Ok(outcome) => return outcome,
                Err((_, words)) => words,
            }
        }
        Err(refusal) => refusal.to_string(),
    };
    machine.say(&passed_line(Choice::Recovery, &failed));
    machine.say("nothing can be started: going back to the firmware");
    Outcome::GaveUp
}

/// Says what is started and starts it; the reason and words for it if that fails.
fn start<M: Machine>(
    machine: &mut M,
    image: Verified,
    handoff: Handoff,
    origin: Origin,
) -> Result<Outcome, (Reason, String)> {
    machine.say(&starting_line(&handoff, &image));
    let launch = Launch {
        handoff,
        image,
        origin,
    };
    match machine.start(&launch) {
        Ended::TookOver => Ok(Outcome::TookOver(handoff.choice)),
        Ended::NotAnnounced(status) => Err((
            Reason::LoadFailed,
            format!("variable {} was not set ({status})", Handoff::VARIABLE),
        )),
        Ended::NotLoaded(status) => Err(failed(Reason::LoadFailed, &status)),
        Ended::NotTrusted(status) => Err(failed(Reason::SecureBoot, &status)),
        Ended::Returned(status) => Err(failed(Reason::Returned, &status)),
    }
}

fn failed(reason: Reason, status: &str) -> (Reason, String) {
    (reason, format!("{} ({status})", reason.words()))
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
        (_, Why::OneShot) => String::from("asked for, this boot alone"),
        (_, Why::Requested) => String::from("asked for"),
        (_, Why::NothingBootable) => String::from("no slot can be started"),
    };
    format!(
        "starting {}, release {} ({why})",
        name(choice),
        image.statement.version
    )
}
