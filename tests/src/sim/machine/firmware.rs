//! Firmware around the real guard: its boot manager, and the guard's view of the machine.

use crate::sim::hardware::disk::SimDisk;
use crate::sim::hardware::history::HistoryEvent;
use crate::sim::hardware::layout::Region;
use crate::sim::hardware::operation::{Operation, OperationLog};
use crate::sim::hardware::variables::SimVariables;
use crate::sim::oracle::{self, DiskReader};
use crate::sim::other_system::LOADER;
use crate::sim::releases::{Behaviour, Release, Releases};
use bootctl::efivars::VarName;
use guard::disk::IoError;
use guard::{Ended, Launch, Outcome, Source};
use record::{Choice, Handoff, Request, Slot};
use seal::SEAL_LEN;

/// The assertions that a run must meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assertions {
    /// Every started release is complete, and the machine ends in the same state as without the power
    /// cut.
    All,
    /// Only signed images are started. For disks that lose flushes, flip bits or misdirect writes:
    /// they may cost the release that is being written, but not the machine.
    SafetyOnly,
}

/// The disk that the guard was started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BootDevice {
    Disk,
    Stick,
}

/// A program that firmware would start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// A complete guard.
    Guard,
    /// The loader of the other system.
    Other,
}

/// Result of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartResult {
    /// A system has started.
    Up {
        /// The guard's handoff.
        handoff: Handoff,
        /// The version of its release.
        version: &'static str,
        /// True if it was started from the stick.
        from_stick: bool,
    },
    /// The release failed, and the machine restarted.
    Restarted,
    /// The other system has started.
    Other,
    /// Firmware found no program.
    Nothing,
}

/// The firmware during one start.
pub struct Firmware<'a> {
    /// All signed releases.
    pub releases: &'a Releases,
    /// The disk.
    pub disk: &'a SimDisk,
    /// The variables.
    pub vars: &'a SimVariables,
    /// The log of operations.
    pub operation_log: &'a OperationLog,
    /// The release on the installation stick.
    pub stick: Option<&'a Release>,
    /// The assertions of this run.
    pub assertions: Assertions,
    /// The first failed assertion.
    pub violation: Option<String>,
    from: BootDevice,
    started: StartResult,
}

impl<'a> Firmware<'a> {
    /// Returns the firmware of a machine that is switched on.
    #[must_use]
    pub const fn new(
        releases: &'a Releases,
        disk: &'a SimDisk,
        vars: &'a SimVariables,
        operation_log: &'a OperationLog,
        assertions: Assertions,
    ) -> Self {
        Self {
            releases,
            disk,
            vars,
            operation_log,
            stick: None,
            assertions,
            violation: None,
            from: BootDevice::Disk,
            started: StartResult::Nothing,
        }
    }

    /// Starts the machine: a stick first, then `BootNext`, then `BootOrder`, then the removable
    /// path of the disk.
    pub fn start_machine(&mut self) -> StartResult {
        for (program, from, request) in self.candidates() {
            if program == Program::Other {
                return StartResult::Other;
            }
            self.from = from;
            self.started = StartResult::Nothing;
            let block = self.releases.trust.to_block();
            if let Outcome::TookOver(_) = guard::run(self, &block, request) {
                return self.started.clone();
            }
        }
        StartResult::Nothing
    }

    fn candidates(&mut self) -> Vec<(Program, BootDevice, Request)> {
        let mut found = Vec::new();
        if self.stick.is_some() {
            found.push((Program::Guard, BootDevice::Stick, Request::Plain));
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
                program.map(|program| (program, BootDevice::Disk, guard::parse_options(&optional))),
            );
        }
        let program = self.program_at("EFI/BOOT/BOOTX64.EFI", None);
        found.extend(program.map(|program| (program, BootDevice::Disk, Request::Plain)));
        found
    }

    /// The program at `path`: on the named partition, otherwise on the first EFI system partition that
    /// has such a file, as in EDK2. A damaged guard is a violation, because firmware would start it.
    fn program_at(&mut self, path: &str, named: Option<(u32, [u8; 16])>) -> Option<Program> {
        let image = self.disk.medium();
        let reader = DiskReader {
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
            self.violate(format!("firmware finds a damaged guard at {path}"));
        }
        whole.then_some(Program::Guard)
    }

    fn violate(&mut self, words: String) {
        if self.assertions == Assertions::All {
            self.violation.get_or_insert(words);
        }
    }

    /// Assertions about an image that the guard starts.
    fn check(&mut self, launch: &Launch) -> Option<&'a Release> {
        let choice = launch.handoff.choice;
        let bytes = &launch.image.bytes;
        let releases = self.releases;
        let wanted = |release: &&Release| match choice {
            Choice::Slot(_) => release.boot == *bytes,
            Choice::Recovery => release.recovery == *bytes,
        };
        let Some(release) = releases.iter().find(wanted) else {
            // Never allowed, whatever the disk does.
            self.violation
                .get_or_insert(format!("{choice} is started with an unsigned image"));
            return None;
        };
        self.operation_log
            .push(Operation::Event(HistoryEvent::Launched(choice)));
        if let Choice::Slot(slot) = choice {
            self.check_slot(slot, release);
        }
        Some(release)
    }

    fn check_slot(&mut self, slot: Slot, release: &Release) {
        let image = self.disk.medium();
        let sector = u64::from(bootctl::device::BlockDevice::sector_size(self.disk));
        let history = self.operation_log.history();
        let launches = history.launches[slot as usize];
        let Some(record) = (DiskReader {
            image: &image,
            sector,
        })
        .record() else {
            return self.violate(format!(
                "slot {slot} is started without a boot record on the disk"
            ));
        };
        let view = record.slots[slot as usize];
        if view.manifest != release.manifest {
            self.violate(format!(
                "slot {slot} starts {}, but the record names another release",
                release.version
            ));
        }
        if view.status == 0 {
            self.violate(format!(
                "slot {slot} is started, but it is Unbootable in the record"
            ));
        }
        if release.index < record.floor {
            self.violate(format!(
                "{} is started below the floor {}",
                release.version, record.floor
            ));
        }
        if release.epoch < record.trust_floor {
            self.violate(format!(
                "{} is started, but its keys are withdrawn: trust floor {}",
                release.version, record.trust_floor
            ));
        }
        let uncounted =
            view.status == 1 && view.left.saturating_add(launches) > record::TRIAL_TRIES;
        if !history.healthy[slot as usize] && (launches > record::TRIAL_TRIES || uncounted) {
            let left = view.left;
            self.violate(format!(
                "{} is started {launches} times with {left} tries left",
                release.version
            ));
        }
        if !image.equals(Region::Root(slot).start(), &release.root_and_tree) {
            self.violate(format!(
                "slot {slot} starts {} with an incomplete root image or hash tree",
                release.version
            ));
        }
    }

    /// A system starts if its root image is complete and its release does not fail.
    fn starts(&self, slot: Slot, release: &Release) -> bool {
        let failing = self.operation_log.history().failing == Some(slot);
        !failing
            && self
                .disk
                .medium()
                .equals(Region::Root(slot).start(), &release.root_and_tree)
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

    fn print(&mut self, _: &str) {}

    fn seconds(&mut self) -> u64 {
        0
    }

    fn own_disk(&mut self) -> Option<SimDisk> {
        (self.from == BootDevice::Disk).then(|| self.disk.clone())
    }

    fn other_disks(&mut self) -> Vec<SimDisk> {
        if self.from == BootDevice::Stick {
            vec![self.disk.clone()]
        } else {
            Vec::new()
        }
    }

    fn recovery_file(&mut self) -> Option<File> {
        let stick = self.stick.filter(|_| self.from == BootDevice::Stick)?;
        Some(File([&stick.bundle[..SEAL_LEN], &stick.recovery].concat()))
    }

    fn start(&mut self, launch: &Launch) -> Ended {
        let Some(release) = self.check(launch) else {
            return Ended::TookOver;
        };
        let slot = match launch.handoff.choice {
            Choice::Slot(slot) => slot,
            Choice::Recovery => {
                let from_stick = self.from == BootDevice::Stick;
                self.started = StartResult::Up {
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
            Behaviour::Works if self.starts(slot, release) => {
                let version = release.version;
                self.started = StartResult::Up {
                    handoff: launch.handoff,
                    version,
                    from_stick: false,
                };
                Ended::TookOver
            }
            Behaviour::Works | Behaviour::Restarts => {
                self.started = StartResult::Restarted;
                Ended::TookOver
            }
        }
    }
}
