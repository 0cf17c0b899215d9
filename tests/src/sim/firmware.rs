//! Firmware around the real guard: its boot manager, and what the guard finds of the machine.

use super::disk::SimDisk;
use super::journal::{Journal, Op, Seen};
use super::oracle::{self, Reader};
use super::other::LOADER;
use super::place::Place;
use super::releases::{Behaviour, Release, Releases};
use super::vars::SimVars;
use bootctl::efivars::VarName;
use guard::disk::IoError;
use guard::{Ended, Launch, Outcome, Source};
use record::{Choice, Handoff, Request, Slot};
use seal::SEAL_LEN;

/// What the machine's owner insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// What is started is whole, and everything comes to the end that it would have come to without
    /// the cut.
    Everything,
    /// Nothing that nobody signed is started. For a disk that lies, rots or misplaces what is
    /// written, which may cost the release that was being written, but not the machine.
    Safety,
}

/// What the guard was started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Disk,
    Stick,
}

/// Something that firmware would start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// A whole guard.
    Guard,
    /// The loader of another system.
    Other,
}

/// How a start of the machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// A system is up.
    Up {
        /// What the guard said about it.
        handoff: Handoff,
        /// The version of its release.
        version: &'static str,
        /// Whether it is the stick's.
        from_stick: bool,
    },
    /// What was started hung, and the machine restarted.
    Restarted,
    /// The other system is up.
    Other,
    /// Firmware found nothing to start.
    Nothing,
}

/// The machine as firmware sees it, for one start.
pub struct Firmware<'a> {
    /// Everything that was ever signed.
    pub releases: &'a Releases,
    /// The disk.
    pub disk: &'a SimDisk,
    /// The variables.
    pub vars: &'a SimVars,
    /// What is done goes here.
    pub journal: &'a Journal,
    /// The release on the installation stick.
    pub stick: Option<&'a Release>,
    /// What is insisted on.
    pub demand: Demand,
    /// The first thing seen that must not be.
    pub violation: Option<String>,
    from: From,
    started: Started,
}

impl<'a> Firmware<'a> {
    /// Firmware of a machine that is switched on.
    #[must_use]
    pub const fn new(
        releases: &'a Releases,
        disk: &'a SimDisk,
        vars: &'a SimVars,
        journal: &'a Journal,
        demand: Demand,
    ) -> Self {
        Self {
            releases,
            disk,
            vars,
            journal,
            stick: None,
            demand,
            violation: None,
            from: From::Disk,
            started: Started::Nothing,
        }
    }

    /// Starts the machine: a stick first, then `BootNext`, then `BootOrder`, then the removable
    /// path of the disk.
    pub fn start_machine(&mut self) -> Started {
        for (program, from, request) in self.candidates() {
            if program == Program::Other {
                return Started::Other;
            }
            self.from = from;
            self.started = Started::Nothing;
            let block = self.releases.trust.to_block();
            if let Outcome::TookOver(_) = guard::run(self, &block, request) {
                return self.started.clone();
            }
        }
        Started::Nothing
    }

    fn candidates(&mut self) -> Vec<(Program, From, Request)> {
        let mut found = Vec::new();
        if self.stick.is_some() {
            found.push((Program::Guard, From::Stick, Request::Plain));
        }
        let next = self.vars.take(&VarName::global("BootNext")).ok().flatten();
        let vars = self.vars.all();
        let order = vars
            .get(&VarName::global("BootOrder"))
            .map(|variable| variable.data.clone());
        let numbers = next
            .into_iter()
            .flat_map(|variable| variable.data)
            .chain(order.unwrap_or_default());
        let numbers: Vec<u8> = numbers.collect();
        for number in numbers.as_chunks::<2>().0 {
            let name = VarName::global(format!("Boot{:04X}", u16::from_le_bytes(*number)));
            let option = vars
                .get(&name)
                .and_then(|variable| oracle::load_option(&variable.data));
            let Some((number, uuid, path, optional)) = option else {
                continue;
            };
            let program = self.program_at(&path, Some((number, uuid)));
            found.extend(
                program.map(|program| (program, From::Disk, guard::parse_options(&optional))),
            );
        }
        let program = self.program_at("EFI/BOOT/BOOTX64.EFI", None);
        found.extend(program.map(|program| (program, From::Disk, Request::Plain)));
        found
    }

    /// What is found there: on the partition that is named, else on the first EFI system partition
    /// that has such a file, as EDK2 does it. Firmware would start a torn guard, too.
    fn program_at(&mut self, path: &str, named: Option<(u32, [u8; 16])>) -> Option<Program> {
        let image = self.disk.medium();
        let reader = Reader {
            image: &image,
            sector: u64::from(bootctl::device::BlockDevice::sector_size(self.disk)),
        };
        let esps = reader.esps().into_iter();
        let mut esps = esps.filter(|esp| named.is_none_or(|named| named == (esp.number, esp.uuid)));
        let program = esps.find_map(|esp| reader.file(esp, path))?;
        if program == LOADER {
            return Some(Program::Other);
        }
        let whole = self.releases.iter().any(|release| release.guard == program);
        if !whole {
            self.violate(format!("firmware finds a torn guard at {path}"));
        }
        whole.then_some(Program::Guard)
    }

    fn violate(&mut self, words: String) {
        if self.demand == Demand::Everything {
            self.violation.get_or_insert(words);
        }
    }

    /// What must be true of anything that is started, whoever is asked.
    fn check(&mut self, launch: &Launch) -> Option<&'a Release> {
        let choice = launch.handoff.choice;
        let bytes = &launch.image.bytes;
        let releases = self.releases;
        let wanted = |release: &&Release| match choice {
            Choice::Slot(_) => release.boot == *bytes,
            Choice::Recovery => release.recovery == *bytes,
        };
        let Some(release) = releases.iter().find(wanted) else {
            // Whatever is wrong with the disk: this is never allowed.
            self.violation.get_or_insert(format!(
                "{choice} is started with an image that nobody released"
            ));
            return None;
        };
        self.journal.push(Op::Seen(Seen::Launched(choice)));
        if let Choice::Slot(slot) = choice {
            self.check_slot(slot, release);
        }
        Some(release)
    }

    fn check_slot(&mut self, slot: Slot, release: &Release) {
        let image = self.disk.medium();
        let sector = u64::from(bootctl::device::BlockDevice::sector_size(self.disk));
        let witness = self.journal.witness();
        let launches = witness.launches[slot as usize];
        let Some(record) = (Reader {
            image: &image,
            sector,
        })
        .record() else {
            return self.violate(format!(
                "slot {slot} is started without a record on the disk"
            ));
        };
        let view = record.slots[slot as usize];
        if view.manifest != release.manifest {
            self.violate(format!(
                "slot {slot} starts {}, the record names another release",
                release.version
            ));
        }
        if view.status == 0 {
            self.violate(format!(
                "slot {slot} is started, and the record says that it is Unbootable"
            ));
        }
        if release.index < record.floor {
            self.violate(format!(
                "{} is started below the floor {}",
                release.version, record.floor
            ));
        }
        let uncounted =
            view.status == 1 && view.left.saturating_add(launches) > record::TRIAL_TRIES;
        if !witness.proven[slot as usize] && (launches > record::TRIAL_TRIES || uncounted) {
            let left = view.left;
            self.violate(format!(
                "{} is started {launches} times with {left} tries left",
                release.version
            ));
        }
        if !image.is(Place::Root(slot).start(), &release.root_and_tree) {
            self.violate(format!(
                "slot {slot} starts {} with a root image or hash tree that is not whole",
                release.version
            ));
        }
    }

    /// A system whose root, or the hash tree over it, is torn does not come up, nor does one that is worn.
    fn comes_up(&self, slot: Slot, release: &Release) -> bool {
        let worn = self.journal.witness().worn == Some(slot);
        !worn
            && self
                .disk
                .medium()
                .is(Place::Root(slot).start(), &release.root_and_tree)
    }
}

/// A file in memory.
pub struct File(Vec<u8>);

impl Source for File {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), IoError> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(into.len());
        into.fill(0);
        into[..len].copy_from_slice(&rest[..len]);
        Ok(())
    }
}

impl guard::Machine for Firmware<'_> {
    type Disk = SimDisk;
    type File = File;

    fn say(&mut self, _: &str) {}

    fn seconds(&mut self) -> u64 {
        0
    }

    fn own_disk(&mut self) -> Option<SimDisk> {
        (self.from == From::Disk).then(|| self.disk.clone())
    }

    fn other_disks(&mut self) -> Vec<SimDisk> {
        if self.from == From::Stick {
            vec![self.disk.clone()]
        } else {
            Vec::new()
        }
    }

    fn recovery_file(&mut self) -> Option<File> {
        let stick = self.stick.filter(|_| self.from == From::Stick)?;
        Some(File([&stick.bundle[..SEAL_LEN], &stick.recovery].concat()))
    }

    fn start(&mut self, launch: &Launch) -> Ended {
        let Some(release) = self.check(launch) else {
            return Ended::TookOver;
        };
        let slot = match launch.handoff.choice {
            Choice::Slot(slot) => slot,
            Choice::Recovery => {
                let from_stick = self.from == From::Stick;
                self.started = Started::Up {
                    handoff: launch.handoff,
                    version: release.version,
                    from_stick,
                };
                return Ended::TookOver;
            }
        };
        match release.behaviour() {
            Behaviour::Returns => Ended::Returned("ABORTED".to_owned()),
            Behaviour::Refused => Ended::NotLoaded("UNSUPPORTED".to_owned()),
            Behaviour::Works if self.comes_up(slot, release) => {
                let version = release.version;
                self.started = Started::Up {
                    handoff: launch.handoff,
                    version,
                    from_stick: false,
                };
                Ended::TookOver
            }
            Behaviour::Works | Behaviour::Restarts => {
                self.started = Started::Restarted;
                Ended::TookOver
            }
        }
    }
}
