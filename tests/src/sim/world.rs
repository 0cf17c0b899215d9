//! A whole machine from one power-on to rest: firmware, the real guard, and a system that commits,
//! updates, repairs and restarts as its owner wishes, with nobody there to help.

use super::disk::SimDisk;
use super::firmware::{Demand, Firmware, Started};
use super::image::Image;
use super::journal::{Journal, Op, Seen};
use super::network::SimNetwork;
use super::oracle::Reader;
use super::other::Other;
use super::place::{DISK_LEN, Place, layout};
use super::releases::{COMPATIBLE, Releases};
use super::state::State;
use super::trouble::Trouble;
use super::vars::SimVars;
use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use bootctl::evidence;
use bootctl::log::EventLog;
use bootctl::machine::{Machine, MachineError};
use bootctl::store::RecordStore;
use installer::install::{InstallOptions, InstallRequest, install};
use record::{Choice, Guid, Handoff, Pair, Slot, Text64};
use seal::SEAL_LEN;
use std::sync::Arc;
use updater::events::Silent;

/// What the machine's owner wants of it. Each is pursued anew after every start, until it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing but to run.
    Nothing,
    /// Install this release from the stick.
    Install(&'static str),
    /// Run this release.
    Run(&'static str),
    /// Run this release, whose download is cut off at half way each time before it succeeds.
    RunInterrupted(&'static str),
    /// Run this release, whose bundle is damaged in the middle.
    RunDamaged(&'static str),
    /// Run this release, that comes as a delta, with the whole bundle to turn to.
    RunDelta(&'static str),
    /// Mend the slot, which holds this release.
    Repair(Slot, &'static str),
    /// Compare both slots with what was signed.
    Compare,
    /// Run what is in the other slot.
    RollBack(Slot),
    /// Never start the slot again.
    MarkBad(Slot),
    /// Start recovery once.
    RecoveryOnce,
}

/// Where a machine came to rest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct End {
    /// What runs: slot or recovery, and the version; `None` for a machine that starts nothing.
    pub running: Option<(Choice, &'static str)>,
    /// Status of both slots (0 Unbootable, 1 on trial, 2 Good) and the version in the one that does
    /// not run, unless it is Unbootable.
    pub slots: [u8; 2],
    /// Lowest index that is accepted.
    pub floor: u64,
}

/// A run to rest.
#[derive(Clone, Debug)]
pub struct Life {
    /// Where it came to rest.
    pub end: End,
    /// How often it was started.
    pub starts: usize,
    /// What happened that must not.
    pub violation: Option<String>,
    /// The machine, switched off.
    pub state: State,
}

/// A record that was made anew does not know what the machine is: the system tells it, as
/// `rayos-bootctl commit` does.
fn identify(machine: &Machine) -> Result<(), String> {
    let name = Text64::new(COMPATIBLE).unwrap_or(Text64::EMPTY);
    match machine.store.read() {
        Ok(record) if record.compatible == Text64::EMPTY => machine
            .identify(name)
            .map(drop)
            .map_err(|error| error.to_string()),
        _ => Ok(()),
    }
}

/// What to do after the system has done its part.
pub(super) enum Then {
    Restart,
    Rest,
}

/// Most starts until rest: all tries of two slots, and some.
const MOST_STARTS: usize = 32;

/// A machine.
pub struct World<'a> {
    pub(super) releases: &'a Releases,
    pub(super) runtime: &'a tokio::runtime::Runtime,
    pub(super) wish: Wish,
    pub(super) demand: Demand,
    pub(super) disk: SimDisk,
    pub(super) vars: SimVars,
    pub(super) network: SimNetwork,
    /// Where whole bundles are, for who has no use for a delta.
    pub(super) elsewhere: SimNetwork,
    journal: Journal,
    other: Option<&'a Other>,
    data: u64,
    violation: Option<String>,
    last_stop: Option<String>,
    asked: bool,
    left: bool,
    patience: usize,
}

impl<'a> World<'a> {
    /// A machine in this state, switched off.
    ///
    /// # Errors
    /// As [`SimVars::new`].
    pub fn new(
        (releases, runtime): (&'a Releases, &'a tokio::runtime::Runtime),
        other: Option<&'a Other>,
        state: &State,
        sector_size: u32,
        wish: Wish,
        demand: Demand,
    ) -> anyhow::Result<Self> {
        let journal = Journal::after(state.witness);
        let disk = SimDisk::new(state.image.clone(), sector_size, journal.clone());
        let vars = SimVars::new(&state.vars, journal.clone())?;
        let data = state.image.hash_of(Place::Data.start()..Place::Data.end());
        Ok(Self {
            releases,
            runtime,
            wish,
            demand,
            disk,
            vars,
            network: SimNetwork::default(),
            elsewhere: SimNetwork::default(),
            journal,
            other,
            data,
            violation: None,
            last_stop: None,
            asked: false,
            left: false,
            patience: MOST_STARTS,
        })
    }

    /// Lets things go wrong from now on.
    pub fn trouble(&mut self, trouble: &Trouble) {
        self.disk.fail(trouble.fault);
        self.disk.fail_read(trouble.read_fault);
        self.disk.wear(trouble.bad);
        self.network.fail(trouble.network);
        self.disk.meddle(trouble.meddle.clone());
        if trouble.patience > 0 {
            self.patience = trouble.patience;
        }
        if let Some(writes) = trouble.full_after {
            self.vars.fill_after(writes);
        }
    }

    /// Writes and flushes of the disk so far.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.disk.operations()
    }

    /// Reads of the disk so far.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.disk.reads()
    }

    /// Requests for bundles so far, and for whole ones where there is a delta.
    #[must_use]
    pub fn requests(&self) -> (usize, usize) {
        (self.network.requests(), self.elsewhere.requests())
    }

    /// What is done to the machine.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Switches it on, and lets it do what it does until it rests.
    pub fn live(&mut self) -> Life {
        let mut starts = 0;
        let mut last = None;
        while starts < self.patience && self.violation.is_none() {
            starts += 1;
            self.disk.restart();
            last = match self.start() {
                Started::Nothing => {
                    last = None;
                    break;
                }
                // What a machine does that comes to it is not ours to say: it rests.
                Started::Other => {
                    last = None;
                    break;
                }
                Started::Restarted => None,
                Started::Up {
                    handoff,
                    version,
                    from_stick,
                } => {
                    let then = if from_stick {
                        self.on_stick()
                    } else {
                        self.up(handoff, version)
                    };
                    match then {
                        Then::Restart => None,
                        Then::Rest => Some((handoff.choice, version)),
                    }
                }
            };
            if last.is_some() {
                break;
            }
        }
        if starts == self.patience && last.is_none() {
            let stops = self
                .last_stop
                .take()
                .map_or_else(String::new, |words| format!(", at last by: {words}"));
            self.violate(format!("still restless after {starts} starts{stops}"));
        }
        let state = State {
            image: self.disk.medium(),
            vars: Arc::new(self.vars.all()),
            witness: self.journal.witness(),
        };
        let end = self.end(last, &state);
        Life {
            end,
            starts,
            violation: self.violation.take(),
            state,
        }
    }

    pub(super) fn violate(&mut self, words: String) {
        self.violation.get_or_insert(words);
    }

    fn start(&mut self) -> Started {
        self.look_at_other();
        let mut firmware = Firmware::new(
            self.releases,
            &self.disk,
            &self.vars,
            &self.journal,
            self.demand,
        );
        if let (Wish::Install(version), true) = (self.wish, self.journal.witness().stick) {
            firmware.stick = Some(self.releases.get(version));
        }
        let started = firmware.start_machine();
        let violation = firmware.violation.take();
        self.violation = self.violation.take().or(violation);
        started
    }

    /// The other system is as it was, and without the stick the machine starts it or ours.
    fn look_at_other(&mut self) {
        let Some(other) = self.other.filter(|_| self.demand == Demand::Everything) else {
            return;
        };
        let image = self.disk.medium();
        let reader = Reader {
            image: &image,
            sector: other.sector(),
        };
        let found = other
            .check_disk(&reader)
            .and_then(|()| other.check_vars(&self.vars.all()));
        if let Err(words) = found.and_then(|()| self.start_without_stick(other, &image)) {
            self.violate(words);
        }
    }

    fn start_without_stick(&self, other: &Other, image: &Image) -> Result<(), String> {
        let journal = Journal::after(self.journal.witness());
        let disk = SimDisk::new(image.clone(), other.sector() as u32, journal.clone());
        let vars =
            SimVars::new(&self.vars.all(), journal.clone()).map_err(|error| error.to_string())?;
        let mut firmware = Firmware::new(self.releases, &disk, &vars, &journal, self.demand);
        let started = firmware.start_machine();
        match firmware.violation.take() {
            Some(words) => Err(format!("without the stick: {words}")),
            None if started == Started::Nothing => {
                Err("without the stick nothing can be started".to_owned())
            }
            None => Ok(()),
        }
    }

    /// An installation from the stick, which is pulled out afterwards.
    fn on_stick(&mut self) -> Then {
        let Wish::Install(version) = self.wish else {
            return Then::Rest;
        };
        // A random number in real life. Here it is one of two, the one that is not on the disk yet,
        // so that a run can be repeated and an installation over an unfinished one is still another
        // one.
        let (image, sector) = (self.disk.medium(), self.disk.sector_size());
        let table = Reader {
            image: &image,
            sector: u64::from(sector),
        }
        .table()
        .unwrap_or_default();
        let first = layout().plan(DISK_LEN, sector, Guid([0x5a; 16]));
        let is_first = first.is_ok_and(|planned| {
            table
                .iter()
                .any(|it| it.uuid == planned.partitions[0].uuid.0)
        });
        let job = InstallRequest {
            device: Arc::new(self.disk.clone()),
            layout: &layout(),
            install_id: Guid([if is_first { 0xa5 } else { 0x5a }; 16]),
            compatible: Text64::new(COMPATIBLE),
            trust: &self.releases.trust,
            vars: Some(&self.vars),
            jobs: 1,
            now: 0,
            options: InstallOptions {
                beside: self.other.is_some(),
                ..InstallOptions::default()
            },
        };
        let bundle = self.releases.get(version).bundle.clone();
        match self
            .runtime
            .block_on(install(self.network.file(bundle), &job, &Silent))
        {
            Ok(_) => {
                self.journal.push(Op::Seen(Seen::StickPulled));
                Then::Restart
            }
            Err(error) => self.stopped(&error.to_string()),
        }
    }

    /// Something did not work: that is allowed only where the disk is not to be trusted or the
    /// network went wrong in a way that waiting does not mend, and is tried again.
    pub(super) fn stopped(&mut self, words: &str) -> Then {
        let by_network = self
            .network
            .fault()
            .is_some_and(|fault| !fault.kind.is_passing());
        if self.demand == Demand::Everything && !by_network {
            self.violate(format!("stopped: {words}"));
        }
        self.last_stop = Some(words.to_owned());
        Then::Restart
    }

    fn up(&mut self, handoff: Handoff, version: &'static str) -> Then {
        let disk = match Disk::open(Arc::new(self.disk.clone())) {
            Ok(disk) => disk,
            Err(error) => return self.stopped(&error.to_string()),
        };
        let (store, log) = match (RecordStore::open(&disk), EventLog::open(&disk)) {
            (Ok(store), Ok(log)) => (store, log),
            (Err(error), _) | (_, Err(error)) => return self.stopped(&error.to_string()),
        };
        let vars = Box::new(self.vars.clone());
        let machine = Machine {
            disk,
            store,
            log,
            vars,
            handoff: Some(handoff),
            node: None,
        };
        match handoff.choice {
            Choice::Slot(slot) => self.in_slot(&machine, slot, version),
            Choice::Recovery => self.in_recovery(&machine),
        }
    }

    fn in_slot(&mut self, machine: &Machine, slot: Slot, version: &'static str) -> Then {
        self.journal.push(Op::Seen(Seen::Proven(slot)));
        if let Err(error) = machine.commit(0) {
            return self.stopped(&error.to_string());
        }
        if let Err(words) = identify(machine) {
            return self.stopped(&words);
        }
        match self.wish {
            Wish::Nothing | Wish::Install(_) => Then::Rest,
            Wish::Run(wanted)
            | Wish::RunInterrupted(wanted)
            | Wish::RunDamaged(wanted)
            | Wish::RunDelta(wanted) => self.pursue(machine, wanted, version),
            Wish::Repair(damaged, held) if damaged != slot => self.repair(machine, damaged, held),
            Wish::Repair(..) => Then::Rest,
            Wish::Compare => self.compare(machine),
            Wish::RollBack(to) if to != slot => match machine.rollback(0) {
                Ok(_) => Then::Restart,
                // There is nothing to go back to.
                Err(MachineError::Refused(_)) => Then::Rest,
                Err(error) => self.stopped(&error.to_string()),
            },
            Wish::MarkBad(bad) if bad != slot => match machine.mark_bad(bad, 0) {
                Ok(_) => Then::Rest,
                Err(error) => self.stopped(&error.to_string()),
            },
            Wish::RecoveryOnce if !self.journal.witness().recovery && !self.asked => {
                self.asked = true;
                match machine.boot_once(Choice::Recovery, 0) {
                    Ok(_) => Then::Restart,
                    Err(error) => self.stopped(&error.to_string()),
                }
            }
            Wish::RollBack(_) | Wish::MarkBad(_) | Wish::RecoveryOnce => Then::Rest,
        }
    }

    /// Recovery mends the record and applies what is wanted; without a wish it stays.
    fn in_recovery(&mut self, machine: &Machine) -> Then {
        if matches!(machine.store.pair(), Pair::Lost(_)) {
            let (found, _) = evidence::gather(&machine.disk, &self.releases.trust);
            if let Some(record) = record::rebuild(machine.disk.partitions(), &found)
                && let Err(error) = machine.store.initialise(&record)
            {
                return self.stopped(&error.to_string());
            }
            return if machine.store.read().is_ok() {
                Then::Restart
            } else {
                Then::Rest
            };
        }
        if let Err(words) = identify(machine) {
            return self.stopped(&words);
        }
        match self.wish {
            Wish::Run(wanted)
            | Wish::RunInterrupted(wanted)
            | Wish::RunDelta(wanted)
            | Wish::Install(wanted) => self.pursue(machine, wanted, "recovery"),
            // Once it is left; where it comes back there is nothing else.
            Wish::RecoveryOnce if !std::mem::replace(&mut self.left, true) => Then::Restart,
            _ => Then::Rest,
        }
    }

    fn end(&mut self, running: Option<(Choice, &'static str)>, state: &State) -> End {
        let reader = Reader {
            image: &state.image,
            sector: u64::from(self.disk.sector_size()),
        };
        let record = reader.record();
        if self.demand == Demand::Everything
            && self.violation.is_none()
            && let Err(words) = self.check_rest(running, state, &reader)
        {
            self.violate(words);
        }
        let slots = record.map_or([0; 2], |record| record.slots.map(|slot| slot.status));
        End {
            running,
            slots,
            floor: record.map_or(0, |record| record.floor),
        }
    }

    /// What must be true of a machine at rest.
    fn check_rest(
        &self,
        running: Option<(Choice, &'static str)>,
        state: &State,
        reader: &Reader<'_>,
    ) -> Result<(), String> {
        let installs = matches!(self.wish, Wish::Install(_));
        let data = state.image.hash_of(Place::Data.start()..Place::Data.end());
        if !installs && data != self.data {
            return Err("the user's data were written to".to_owned());
        }
        if let Some(other) = self.other {
            other.check_disk(reader)?;
            other.check_vars(&state.vars)?;
        }
        let Some((choice, _)) = running else {
            return if installs && !state.witness.stick {
                Err("nothing can be started after an installation".to_owned())
            } else if installs {
                Ok(())
            } else {
                Err("nothing can be started".to_owned())
            };
        };
        let Some(record) = reader.record() else {
            return Ok(());
        };
        if let Choice::Slot(slot) = choice {
            let view = record.slots[slot as usize];
            if view.status != 2 {
                return Err(format!("slot {slot} runs and is not Good"));
            }
            let marked = matches!(self.wish, Wish::Nothing);
            if u8::from(slot == Slot::B) + 1 != record.default && !marked {
                return Err(format!("slot {slot} runs and is not the default"));
            }
        }
        for (slot, view) in Slot::ALL.iter().zip(record.slots) {
            if view.status == 2 && view.index < record.floor {
                return Err(format!("the floor rules out slot {slot}, which is Good"));
            }
        }
        if record.one_shot != 0 {
            return Err("a request for one boot is left over".to_owned());
        }
        match self.wish {
            Wish::Repair(slot, held) => self.check_mended(slot, held, state),
            _ => Ok(()),
        }
    }
    /// A slot that was mended has every byte that was signed, its seal too.
    fn check_mended(&self, slot: Slot, held: &str, state: &State) -> Result<(), String> {
        let release = self.releases.get(held);
        let boot = Place::Boot(slot).start();
        let pieces = [
            ("seal", boot, &release.bundle[..SEAL_LEN]),
            ("boot image", boot + SEAL_LEN as u64, &release.boot),
            ("root image", Place::Root(slot).start(), &release.root),
        ];
        match pieces
            .into_iter()
            .find(|(_, at, bytes)| !state.image.is(*at, bytes))
        {
            Some((what, ..)) => Err(format!(
                "slot {slot} was mended, and its {what} is not that of {held}"
            )),
            None => Ok(()),
        }
    }
}
