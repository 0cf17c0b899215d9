//! What must happen.

use crate::Lab;
use crate::disk::{self, BOOT, Disk, ESP, RECOVERY, STATE};
use crate::firmware;
use crate::nvram;
use crate::qemu::Machine;
use anyhow::{Result, ensure};
use record::event::{Kind, events};
use record::{
    COPY_OFFSETS, Choice, Copies, Pair, RECORD_LEN, RING_LEN, RING_OFFSET, Reason, Record, Release, Slot,
    Status,
};

type Scenario = fn(&Lab) -> Result<()>;
/// All of them, by name.
pub(crate) const ALL: &[(&str, Scenario)] = &[
    // The longest ones first.
    ("same-boots", firmware::same_boots),
    ("default", default),
    ("trial", trial),
    ("large-sectors", large_sectors),
    ("fallback", fallback),
    ("success-is-failure", success_is_failure),
    ("worn", worn),
    ("damaged-recovery", damaged_recovery),
    ("damaged-header", damaged_header),
    ("damaged-image", damaged_image),
    ("damaged-signature", damaged_signature),
    ("other-release", other_release),
    ("below-floor", below_floor),
    ("not-a-program", not_a_program),
    ("one-shot", one_shot),
    ("one-copy-lost", one_copy_lost),
    ("record-lost", record_lost),
    ("record-newer", record_newer),
    ("table-damaged", table_damaged),
    ("read-only", read_only),
    ("recovery-entry", recovery_entry),
    ("recovery-key", recovery_key),
    ("second-disk", second_disk),
    ("media", media),
    ("iso", iso),
    ("everything-damaged", everything_damaged),
    ("no-keys", no_keys),
    ("hang-in-firmware", hang_in_firmware),
    ("hang-unwatched", hang_unwatched),
    ("hang-i6300esb", hang_i6300esb),
    ("hang-tco", hang_tco),
];

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
        let mut disk = Disk::new(sector, 1, 8);
        let guard: &[u8] = &lab.guard;
        let files = [("EFI/BOOT/BOOTX64.EFI", guard), ("EFI/RAYOS/GUARDR.EFI", guard)];
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

const GOOD: Status = Status::Good { budget_left: 8 };
const TRIAL: Status = Status::Pending { tries_left: 3 };
const A: Option<Choice> = Some(Choice::Slot(Slot::A));
const B: Option<Choice> = Some(Choice::Slot(Slot::B));
const R: Option<Choice> = Some(Choice::Recovery);

fn default(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "default", 512, ["reset"; 3])?;
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")?;
    said(&console, "choice: Slot(A), why: Default, left: 7, seq: 2")?;
    said(&console, "LoaderInfo=rayos-guard")?;
    said(&console, "LoaderEntrySelected=rayos-a")?;
    said(&console, &format!("LoaderDevicePartUUID={}", installed.disk.uuid(ESP)))?;
    let record = installed.record()?;
    ensure!(record.seq == 2 && record.slot(Slot::A).status == Status::Good { budget_left: 7 });
    ensure!(installed.events() == [(Kind::Launched, A, Reason::None)]);
    Ok(())
}

/// A release that never commits is started exactly as often as it has tries.
fn trial(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "trial", 512, ["reset"; 3])?;
    installed.put(Slot::A, GOOD, TRIAL);
    for words in ["2 tries left", "1 try left", "0 tries left"] {
        let console = installed.boot(&[])?;
        said(&console, &format!("rayos-guard: starting slot B, release 1.1.0 (trial, {words})"))?;
    }
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")?;
    ensure!(installed.record()?.slot(Slot::B).reason == Reason::TriesExhausted);
    Ok(())
}

fn large_sectors(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "large-sectors", 4096, ["reset"; 3])?;
    installed.put(Slot::A, GOOD, TRIAL);
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot B, release 1.1.0 (trial, 2 tries left)")?;
    said(&console, TOLD)?;
    ensure!(installed.record()?.slot(Slot::B).status == Status::Pending { tries_left: 2 });
    ensure!(installed.events() == [(Kind::Launched, B, Reason::None)]);
    Ok(())
}

/// The trial returns, the default returns, recovery resets: all within one boot.
fn fallback(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "fallback", 512, ["return", "return", "reset"])?;
    installed.put(Slot::A, GOOD, TRIAL);
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: passed over slot B: its boot image gave up and returned (ABORTED)")?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")?;
    said(&console, "rayos-guard: starting recovery, release 1.0.0 (no slot can be started)")?;
    let record = installed.record()?;
    ensure!(record.slot(Slot::A).status == Status::Good { budget_left: 7 });
    ensure!(record.slot(Slot::B).status == Status::Pending { tries_left: 2 });
    let story = [
        (Kind::Launched, B, Reason::None),
        (Kind::PassedOver, B, Reason::Returned),
        (Kind::Launched, A, Reason::None),
        (Kind::PassedOver, A, Reason::Returned),
        (Kind::Launched, R, Reason::None),
    ];
    ensure!(installed.events() == story, "{:?}", installed.events());
    Ok(())
}

/// Firmware would wait in its menu for a person if the guard handed success on.
fn success_is_failure(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "success-is-failure", 512, ["success", "success", "success"])?;
    installed.put(Slot::A, GOOD, TRIAL);
    let console = installed.boot(&[GAVE_UP])?;
    said(&console, "rayos-guard: passed over slot B: its boot image gave up and returned (SUCCESS)")?;
    said(&console, "rayos-guard: passed over recovery: its boot image gave up and returned (SUCCESS)")?;
    said(&console, GAVE_UP)
}

/// A committed release that stops reaching commit is given up, and the other one is started.
fn worn(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "worn", 512, ["reset"; 3])?;
    installed.put(Slot::A, Status::Good { budget_left: 2 }, GOOD);
    for left in [1, 0] {
        let console = installed.boot(&[])?;
        said(
            &console,
            &format!("rayos-guard: starting slot A, release 1.0.0 (default, boot budget {left})"),
        )?;
    }
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot B, release 1.1.0 (fallback, boot budget 7)")?;
    ensure!(installed.record()?.slot(Slot::A).reason == Reason::BudgetExhausted);
    Ok(())
}

/// Recovery that is asked for and damaged gives way to the slots.
fn damaged_recovery(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "damaged-recovery", 512, ["reset"; 3])?;
    installed.disk.write(RECOVERY, 9000, &[0xee; 64]);
    let record = Record { one_shot: R, ..installed.record()? };
    installed.disk.put_record(&record);
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: passed over recovery: its boot image is not the one that was signed")?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")
}

/// The trial in B is passed over for `reason` for good, with `words`, and A is started.
fn passed_over(mut installed: Installed, words: &str, reason: Reason) -> Result<()> {
    let console = installed.boot(&[])?;
    said(&console, &format!("rayos-guard: passed over slot B: {words}"))?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")?;
    said(&console, TOLD)?;
    let record = installed.record()?;
    ensure!(record.slot(Slot::B).status == Status::Unbootable, "{record:?}");
    ensure!(record.slot(Slot::B).reason == reason, "{record:?}");
    ensure!(installed.events() == [(Kind::PassedOver, B, reason), (Kind::Launched, A, Reason::None)]);
    Ok(())
}

fn on_trial(lab: &Lab, name: &str) -> Result<Installed> {
    let mut installed = Installed::new(lab, name, 512, ["reset"; 3])?;
    installed.put(Slot::A, GOOD, TRIAL);
    Ok(installed)
}

fn damaged_header(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "damaged-header")?;
    installed.disk.write(BOOT[1], 0, &[0; 4096]);
    passed_over(installed, "the header of its boot image is damaged (empty", Reason::HeaderDamaged)
}

fn damaged_image(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "damaged-image")?;
    let byte = installed.disk.read(BOOT[1], 9000, 1)[0];
    installed.disk.write(BOOT[1], 9000, &[byte ^ 1]);
    passed_over(installed, "its boot image is not the one that was signed", Reason::ImageDamaged)
}

fn damaged_signature(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "damaged-signature")?;
    let image = lab.payload("reset");
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    let (seal, _) = disk::release("1.1.0", 2, &image, &stranger)?;
    installed.disk.write(BOOT[1], 0, &disk::sealed(&seal, &image));
    let words =
        "the signature of its boot image is not accepted (signed by 0 trusted release key(s), expected 1)";
    passed_over(installed, words, Reason::SignatureRefused)
}

fn other_release(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "other-release")?;
    let image = lab.payload("reset");
    let (seal, _) = disk::release("1.2.0", 3, &image, &disk::key())?;
    installed.disk.write(BOOT[1], 0, &disk::sealed(&seal, &image));
    let words = "it holds another release than the boot record says (it holds 1.2.0)";
    passed_over(installed, words, Reason::OtherRelease)
}

fn below_floor(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "below-floor")?;
    let image = lab.payload("reset");
    let (seal, release) = disk::release("0.9.0", 0, &image, &disk::key())?;
    installed.disk.write(BOOT[1], 0, &disk::sealed(&seal, &image));
    installed.releases[1] = release;
    installed.put(Slot::A, GOOD, TRIAL);
    let words = "its release is older than this machine accepts (rollback index 0, floor 1)";
    passed_over(installed, words, Reason::BelowFloor)
}

/// Signed, but the firmware cannot load it: that costs the try, and the slot stays on trial.
fn not_a_program(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "not-a-program")?;
    let image = b"not a PE file at all".repeat(10);
    let (seal, _) = disk::release("1.1.0", 2, &image, &disk::key())?;
    installed.disk.write(BOOT[1], 0, &disk::sealed(&seal, &image));
    let console = installed.boot(&[])?;
    said(&console, "passed over slot B: the firmware refused to load its boot image (UNSUPPORTED)")?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")?;
    ensure!(installed.record()?.slot(Slot::B).status == Status::Pending { tries_left: 2 });
    Ok(())
}

fn one_shot(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "one-shot", 512, ["reset"; 3])?;
    let record = Record { one_shot: R, ..installed.record()? };
    installed.disk.put_record(&record);
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting recovery, release 1.0.0 (asked for, this boot alone)")?;
    ensure!(installed.record()?.one_shot.is_none());
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")
}

fn one_copy_lost(lab: &Lab) -> Result<()> {
    for copy in COPY_OFFSETS {
        let mut installed = on_trial(lab, "one-copy-lost")?;
        installed.disk.write(STATE, copy as usize, &[0xa5; RECORD_LEN]);
        let console = installed.boot(&[])?;
        said(&console, "rayos-guard: starting slot B, release 1.1.0 (trial, 2 tries left)")?;
        let copies =
            COPY_OFFSETS.map(|at| installed.disk.read(STATE, at as usize, RECORD_LEN).try_into().ok());
        ensure!(matches!(Pair::read(Copies(copies)), Pair::Valid { both: true, .. }), "not mended");
    }
    Ok(())
}

/// Made anew from the seals: the newest once, the older once, then recovery; counted all the while.
fn record_lost(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "record-lost", 512, ["reset"; 3])?;
    for copy in COPY_OFFSETS {
        installed.disk.write(STATE, copy as usize, &[0; RECORD_LEN]);
    }
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: both copies of the boot record are lost: copy 0 not a boot record, copy 1")?;
    said(&console, "rayos-guard: starting slot B, release 1.1.0 (trial, 0 tries left)")?;
    ensure!(installed.events() == [(Kind::Repaired, B, Reason::None), (Kind::Launched, B, Reason::None)]);
    said(&installed.boot(&[])?, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 0)")?;
    said(&installed.boot(&[])?, "rayos-guard: starting recovery, release 1.0.0 (no slot can be started)")
}

fn record_newer(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "record-newer", 512, ["reset"; 3])?;
    let mut block = installed.record()?.encode(1);
    block[8] = 2;
    let crc = crc32fast::hash(&block[..4092]);
    block[4092..].copy_from_slice(&crc.to_le_bytes());
    installed.disk.write(STATE, COPY_OFFSETS[1] as usize, &block);
    let before = installed.disk.bytes.clone();
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: the boot record is of version 2, this program reads 1")?;
    said(&console, "rayos-guard: starting recovery, release 1.0.0 (no slot can be started)")?;
    ensure!(installed.disk.bytes == before, "the disk was written to");
    Ok(())
}

/// The primary table is gone; OVMF itself finds the ESP by the backup and may mend the primary.
fn table_damaged(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "table-damaged", 512, ["reset"; 3])?;
    installed.disk.bytes[1024..1040].fill(0);
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")
}

/// Nothing can be counted: a trial is not started, a committed release is.
fn read_only(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "read-only")?;
    let before = installed.disk.bytes.clone();
    installed.machine.read_only = true;
    let console = installed.boot(&[])?;
    said(&console, "passed over slot B: its try cannot be counted, the record is not writable")?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")?;
    said(&console, TOLD)?;
    ensure!(installed.disk.bytes == before);
    Ok(())
}

fn recovery_entry(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "recovery-entry", 512, ["reset"; 3])?;
    let tag = guard::ENTRY_TAG.0;
    let hd = installed.disk.hd(ESP);
    let option = |code: u8| {
        nvram::load_option("RayOS", &hd, "\\EFI\\RAYOS\\GUARDR.EFI", &[&tag[..], &[code]].concat())
    };
    let changes = [
        ("Boot0007", Some(option(2))),
        ("Boot0008", Some(option(3))),
        ("BootOrder", Some(vec![7, 0, 8, 0])),
        ("BootNext", Some(vec![8, 0])),
    ];
    nvram::change(&installed.machine.vars(), &changes)?;
    let console = installed.boot(&[])?;
    said(&console, "starting Boot0008 \"RayOS\"")?;
    said(&console, "rayos-guard: starting recovery, release 1.0.0 (asked for)")?;
    let console = installed.boot(&[])?;
    said(&console, "starting Boot0007 \"RayOS\"")?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")
}

/// R asks for recovery; any other key for nothing.
fn recovery_key(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "recovery-key", 512, ["reset"; 3])?;
    installed.machine.typed = "xyr";
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting recovery, release 1.0.0 (asked for)")?;
    installed.machine.typed = "xyz";
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")
}

/// The guard on one disk, the system on another.
fn second_disk(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "second-disk")?;
    let len = installed.disk.len(ESP);
    installed.disk.write(ESP, 0, &vec![0; len]);
    let mut first = disk::fat(16 << 20, 512, &[("EFI/BOOT/BOOTX64.EFI", &lab.guard)])?;
    let Installed { machine, disk: system, .. } = &mut installed;
    let console = machine.boot(&mut [(&mut first, 512), (&mut system.bytes, 512)], &[])?;
    said(&console, "rayos-guard: starting slot B, release 1.1.0 (trial, 2 tries left)")?;
    said(&console, TOLD)?;
    ensure!(installed.record()?.slot(Slot::B).status == Status::Pending { tries_left: 2 });
    Ok(())
}

/// A stick with a recovery image beside the guard starts that, although a disk holds a system.
fn media(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "media")?;
    let before = installed.disk.bytes.clone();
    let image = lab.payload("reset");
    let (seal, _) = disk::release("2.0.0", 9, &image, &disk::key())?;
    let file = disk::sealed(&seal, &image);
    let files = [("EFI/BOOT/BOOTX64.EFI", &lab.guard[..]), ("EFI/RAYOS/RECOVERY.IMG", &file)];
    let mut stick = disk::fat(16 << 20, 512, &files)?;
    let Installed { machine, disk: system, .. } = &mut installed;
    let console = machine.boot(&mut [(&mut stick, 512), (&mut system.bytes, 512)], &[])?;
    said(&console, "rayos-guard: starting recovery, release 2.0.0 (asked for)")?;
    said(&console, "choice: Recovery, why: Requested, left: 0, seq: 0")?;
    ensure!(system.bytes == before, "the disk was written to");
    let mut torn = file;
    torn[5000] ^= 1;
    let files = [("EFI/BOOT/BOOTX64.EFI", &lab.guard[..]), ("EFI/RAYOS/RECOVERY.IMG", &torn)];
    let mut stick = disk::fat(16 << 20, 512, &files)?;
    let console = machine.boot(&mut [(&mut stick, 512)], &[GAVE_UP])?;
    said(&console, "passed over recovery: its boot image is not the one that was signed")?;
    said(&console, GAVE_UP)
}

/// The same from an ISO: the guard's volume is then the El Torito image, and its disk the CD.
fn iso(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "iso")?;
    let image = lab.payload("reset");
    let (seal, _) = disk::release("2.0.0", 9, &image, &disk::key())?;
    let file = disk::sealed(&seal, &image);
    let files = [("EFI/BOOT/BOOTX64.EFI", &lab.guard[..]), ("EFI/RAYOS/RECOVERY.IMG", &file)];
    let folder = lab.dir.join("iso-root");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("efi.img"), disk::fat(16 << 20, 512, &files)?)?;
    let made = lab.dir.join("lab.iso");
    let status = std::process::Command::new("xorriso")
        .args("-report_about WARNING -as mkisofs -e efi.img -no-emul-boot -o".split(' '))
        .args([&made, &folder])
        .status()?;
    ensure!(status.success(), "xorriso: {status}");
    installed.machine.extra = vec!["-cdrom".to_owned(), made.display().to_string()];
    let esp = installed.disk.len(ESP);
    installed.disk.write(ESP, 0, &vec![0; esp]);
    let before = installed.disk.bytes.clone();
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting recovery, release 2.0.0 (asked for)")?;
    said(&console, TOLD)?;
    ensure!(installed.disk.bytes == before, "the disk was written to");
    Ok(())
}

fn everything_damaged(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "everything-damaged", 512, ["reset"; 3])?;
    for part in [BOOT[0], BOOT[1], RECOVERY] {
        installed.disk.write(part, 0, &[0; 4096]);
    }
    let console = installed.boot(&[GAVE_UP])?;
    said(&console, "rayos-guard: passed over recovery: the header of its boot image is damaged (empty")?;
    said(&console, "rayos-guard: nothing can be started: going back to the firmware")?;
    said(&console, GAVE_UP)?;
    let record = installed.record()?;
    ensure!(record.slots.iter().all(|slot| slot.reason == Reason::HeaderDamaged), "{record:?}");
    Ok(())
}

fn no_keys(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "no-keys")?;
    let esp = disk::fat(8 << 20, 512, &[("EFI/BOOT/BOOTX64.EFI", &lab.guard_without_keys)])?;
    installed.disk.write(ESP, 0, &esp);
    let before = installed.disk.bytes.clone();
    let console = installed.boot(&[GAVE_UP])?;
    said(&console, "rayos-guard: no trusted keys are built into this program")?;
    said(&console, GAVE_UP)?;
    ensure!(installed.disk.bytes == before, "the disk was written to");
    Ok(())
}

/// The trial in B hangs; after the reset its tries tell of it. One boot, since a reset ends the machine here.
fn hang(lab: &Lab, name: &str, orders: &str, extra: &[&str]) -> Result<()> {
    let mut installed = Installed::new(lab, name, 512, ["reset", orders, "reset"])?;
    installed.put(Slot::A, GOOD, Status::Pending { tries_left: 1 });
    installed.machine.extra = extra.iter().map(|&word| word.to_owned()).collect();
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot B, release 1.1.0 (trial, 0 tries left)")?;
    said(&console, TOLD)?;
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")
}

/// A clock that runs as instructions are executed, and leaps ahead while the CPU is stopped, makes minutes of
/// waiting short.
const LEAP: &str = "shift=6,sleep=off";

fn hang_in_firmware(lab: &Lab) -> Result<()> {
    hang(lab, "hang-in-firmware", "hang", &["-icount", LEAP])
}

/// Nothing resets it, since there is no watchdog: a person presses the button, and the try is spent all the same.
fn hang_unwatched(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "hang-unwatched", 512, ["reset", "dead", "reset"])?;
    installed.put(Slot::A, GOOD, Status::Pending { tries_left: 1 });
    let console = installed.boot(&["orders: dead"])?;
    said(&console, "rayos-guard: starting slot B, release 1.1.0 (trial, 0 tries left)")?;
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)")
}

fn hang_i6300esb(lab: &Lab) -> Result<()> {
    let extra = ["-icount", LEAP, "-device", "i6300esb", "-action", "watchdog=reset"];
    hang(lab, "hang-i6300esb", "dead", &extra)
}

fn hang_tco(lab: &Lab) -> Result<()> {
    let extra = ["-icount", LEAP, "-global", "ICH9-LPC.noreboot=false", "-action", "watchdog=reset"];
    hang(lab, "hang-tco", "dead", &extra)
}
