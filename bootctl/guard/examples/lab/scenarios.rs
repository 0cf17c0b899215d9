//! The scenarios, by subject.

mod damage;
mod hangs;
mod places;
mod secure;
mod starts;

use crate::Lab;
use crate::disk::{self, BOOT, Disk, ESP, RECOVERY, STATE};
use crate::firmware;
use crate::machine::Machine;
use anyhow::{Result, ensure};
use record::event::{Kind, events};
use record::{
    COPY_OFFSETS, Choice, Copies, Pair, RECORD_LEN, RING_LEN, RING_OFFSET, Reason, Record, Release,
    Slot, Status,
};

type Scenario = fn(&Lab) -> Result<()>;
/// All scenarios, by name.
pub(crate) const ALL: &[(&str, Scenario)] = &[
    // The longest ones first.
    ("same-boots", firmware::same_boots),
    ("default", starts::default),
    ("trial", starts::trial),
    ("large-sectors", starts::large_sectors),
    ("fallback", starts::fallback),
    ("success-is-failure", starts::success_is_failure),
    ("worn", starts::worn),
    ("damaged-recovery", damage::damaged_recovery),
    ("damaged-header", damage::damaged_header),
    ("damaged-image", damage::damaged_image),
    ("damaged-signature", damage::damaged_signature),
    ("other-release", damage::other_release),
    ("below-floor", damage::below_floor),
    ("not-a-program", damage::not_a_program),
    ("one-shot", starts::one_shot),
    ("one-copy-lost", damage::one_copy_lost),
    ("record-lost", damage::record_lost),
    ("record-newer", damage::record_newer),
    ("table-damaged", damage::table_damaged),
    ("read-only", damage::read_only),
    ("recovery-entry", starts::recovery_entry),
    ("recovery-key", starts::recovery_key),
    ("second-disk", places::second_disk),
    ("media", places::media),
    ("iso", places::iso),
    ("everything-damaged", damage::everything_damaged),
    ("no-keys", damage::no_keys),
    ("hang-in-firmware", hangs::hang_in_firmware),
    ("hang-unwatched", hangs::hang_unwatched),
    ("hang-i6300esb", hangs::hang_i6300esb),
    ("hang-tco", hangs::hang_tco),
    ("secure-boot", secure::accepted_and_refused),
    ("secure-boot-unsigned-guard", secure::unsigned_guard),
];

const TOLD: &str = "guard-payload: orders";
const GAVE_UP: &str = "BdsDxe: failed to start";

/// Returns a disk with release 1.0.0 in A and 1.1.0 in B, recovery 1.0.0, and the guard on the
/// removable path.
struct Installed {
    disk: Disk,
    machine: Machine,
    releases: [Release; 2],
}

impl Installed {
    fn new(lab: &Lab, name: &str, sector: usize, orders: [&str; 3]) -> Result<Self> {
        let mut disk = Disk::new(sector, 1, 8);
        let guard: &[u8] = &lab.guard;
        let files = [
            ("EFI/BOOT/BOOTX64.EFI", guard),
            ("EFI/RAYOS/GUARDR.EFI", guard),
        ];
        let esp = disk::fat(disk.len(ESP), sector as u16, &files)?;
        disk.write(ESP, 0, &esp);
        let [a, b, recovery] = orders.map(|orders| lab.payload(orders));
        let (seal_a, release_a) = disk::release("1.0.0", 1, &a, &disk::key())?;
        let (seal_b, release_b) = disk::release("1.1.0", 2, &b, &disk::key())?;
        let (seal_r, _) = disk::release("1.0.0", 1, &recovery, &disk::key())?;
        disk.write(BOOT[0], 0, &disk::sealed(&seal_a, &a));
        disk.write(BOOT[1], 0, &disk::sealed(&seal_b, &b));
        disk.write(RECOVERY, 0, &disk::sealed(&seal_r, &recovery));
        let machine = Machine::new(&lab.dir.join(name))?;
        let mut installed = Self {
            disk,
            machine,
            releases: [release_a, release_b],
        };
        installed.put(
            Slot::A,
            Status::Good { budget_left: 8 },
            Status::Good { budget_left: 8 },
        );
        Ok(installed)
    }

    fn put(&mut self, default: Slot, a: Status, b: Status) {
        let [release_a, release_b] = self.releases;
        let record = self.disk.record(default, (a, release_a), (b, release_b));
        self.disk.put_record(&record);
    }

    fn boot(&mut self, until: &[&str]) -> Result<String> {
        let sector = self.disk.sector;
        self.machine
            .boot(&mut [(&mut self.disk.bytes, sector)], until)
    }

    fn record(&self) -> Result<Record> {
        let copies = COPY_OFFSETS.map(|at| {
            self.disk
                .read(STATE, at as usize, RECORD_LEN)
                .try_into()
                .ok()
        });
        match Pair::read(Copies(copies)) {
            Pair::Valid { record, .. } => Ok(record),
            other => anyhow::bail!("{other:?}"),
        }
    }

    fn events(&self) -> Vec<(Kind, Option<Choice>, Reason)> {
        let mut all: Vec<_> = events(self.disk.read(
            STATE,
            RING_OFFSET as usize,
            RING_LEN as usize,
        ))
        .collect();
        all.sort_by_key(|event| event.seq);
        all.iter()
            .map(|event| (event.kind, event.subject, event.reason))
            .collect()
    }
}

fn said(console: &str, words: &str) -> Result<()> {
    ensure!(
        console.contains(words),
        "missing on the console: {words}\n{console}"
    );
    Ok(())
}

const GOOD: Status = Status::Good { budget_left: 8 };
const TRIAL: Status = Status::Pending { tries_left: 3 };
const A: Option<Choice> = Some(Choice::Slot(Slot::A));
const B: Option<Choice> = Some(Choice::Slot(Slot::B));
const R: Option<Choice> = Some(Choice::Recovery);

fn on_trial(lab: &Lab, name: &str) -> Result<Installed> {
    let mut installed = Installed::new(lab, name, 512, ["reset"; 3])?;
    installed.put(Slot::A, GOOD, TRIAL);
    Ok(installed)
}
