//! What must happen.

use crate::Lab;
use crate::disk::{self, BOOT, Disk, ESP, RECOVERY, STATE};
use crate::qemu::Machine;
use anyhow::{Result, ensure};
use record::event::{Kind, events};
use record::{
    COPY_OFFSETS, Choice, Copies, Pair, RECORD_LEN, RING_LEN, RING_OFFSET, Reason, Record, Release, Slot,
    Status,
};

type Scenario = fn(&Lab) -> Result<()>;
/// All of them, by name.
pub(crate) const ALL: &[(&str, Scenario)] = &[("default", default), ("trial", trial)];

const TOLD: &str = "guard-payload: orders";
const GAVE_UP: &str = "BdsDxe: failed to start";

/// A disk with release 1.0.0 in A and 1.1.0 in B, a recovery 1.0.0, and the guard on the removable path.
struct Installed {
    disk: Disk,
    machine: Machine,
    releases: [Release; 2],
}

impl Installed {
    fn new(lab: &Lab, name: &str, sector: usize, orders: [&str; 3]) -> Result<Self> {
        let mut disk = Disk::new(sector, 1);
        let guard: &[u8] = &lab.guard;
        let files =
            [("EFI/BOOT/BOOTX64.EFI", guard), ("EFI/RAYOS/GUARDR.EFI", guard)];
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
        let mut installed = Self { disk, machine, releases: [release_a, release_b] };
        installed.put(Slot::A, Status::Good { budget_left: 8 }, Status::Good { budget_left: 8 });
        Ok(installed)
    }

    fn put(&mut self, default: Slot, a: Status, b: Status) {
        let [release_a, release_b] = self.releases;
        let record = self.disk.record(default, (a, release_a), (b, release_b));
        self.disk.put_record(&record);
    }

    fn boot(&mut self, until: &[&str]) -> Result<String> {
        let sector = self.disk.sector;
        self.machine.boot(&mut [(&mut self.disk.bytes, sector)], until)
    }

    fn record(&self) -> Result<Record> {
        let copies = COPY_OFFSETS.map(|at| self.disk.read(STATE, at as usize, RECORD_LEN).try_into().ok());
        match Pair::read(Copies(copies)) {
            Pair::Valid { record, .. } => Ok(record),
            other => anyhow::bail!("{other:?}"),
        }
    }

    fn events(&self) -> Vec<(Kind, Option<Choice>, Reason)> {
        let mut all: Vec<_> =
            events(self.disk.read(STATE, RING_OFFSET as usize, RING_LEN as usize)).collect();
        all.sort_by_key(|event| event.seq);
        all.iter().map(|event| (event.kind, event.subject, event.reason)).collect()
    }
}

fn said(console: &str, words: &str) -> Result<()> {
    ensure!(console.contains(words), "not said: {words}\n{console}");
    Ok(())
}

fn default(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "default", 512, ["reset"; 3])?;
    let console = installed.boot(&[])?;
    eprintln!("{console}");
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")?;
    said(&console, TOLD)?;
    let record = installed.record()?;
    ensure!(record.seq == 2 && record.slot(Slot::A).status == Status::Good { budget_left: 7 });
    ensure!(installed.events() == [(Kind::Launched, Some(Choice::Slot(Slot::A)), Reason::None)]);
    Ok(())
}

fn trial(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "trial", 512, ["reset"; 3])?;
    installed.put(Slot::A, Status::Good { budget_left: 8 }, Status::Pending { tries_left: 3 });
    for words in ["2 tries left", "1 try left", "0 tries left"] {
        let console = installed.boot(&[])?;
        said(&console, &format!("rayos-guard: starting slot B, release 1.1.0 (trial, {words})"))?;
    }
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")?;
    let record = installed.record()?;
    ensure!(record.slot(Slot::B).reason == Reason::TriesExhausted);
    Ok(())
}
