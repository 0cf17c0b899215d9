//! Damaged or wrong images and disks that cannot be written: the guard passes over and gives a
//! reason.

use super::{A, B, GAVE_UP, GOOD, Installed, R, TOLD, TRIAL, on_trial, said};
use crate::Lab;
use crate::disk::{self, BOOT, ESP, RECOVERY, STATE};
use anyhow::{Result, ensure};
use record::event::Kind;
use record::{COPY_OFFSETS, Copies, Pair, RECORD_LEN, Reason, Record, Slot, Status};

/// Recovery is requested but damaged: the guard starts a slot.
pub(super) fn damaged_recovery(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "damaged-recovery", 512, ["reset"; 3])?;
    installed.disk.write(RECOVERY, 9000, &[0xee; 64]);
    let record = Record {
        one_shot: R,
        ..installed.record()?
    };
    installed.disk.put_record(&record);
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: passed over recovery: its boot image is not the one that was signed",
    )?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )
}

/// Checks that the trial in B becomes Unbootable for `reason`, with `words`, and that A is started.
fn passed_over(mut installed: Installed, words: &str, reason: Reason) -> Result<()> {
    let console = installed.boot(&[])?;
    said(
        &console,
        &format!("rayos-guard: passed over slot B: {words}"),
    )?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )?;
    said(&console, TOLD)?;
    let record = installed.record()?;
    ensure!(
        record.slot(Slot::B).status == Status::Unbootable,
        "{record:?}"
    );
    ensure!(record.slot(Slot::B).reason == reason, "{record:?}");
    ensure!(
        installed.events()
            == [
                (Kind::PassedOver, B, reason),
                (Kind::Launched, A, Reason::None)
            ]
    );
    Ok(())
}

pub(super) fn damaged_header(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "damaged-header")?;
    installed.disk.write(BOOT[1], 0, &[0; 4096]);
    passed_over(
        installed,
        "the header of its boot image is damaged (empty",
        Reason::HeaderDamaged,
    )
}

pub(super) fn damaged_image(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "damaged-image")?;
    let byte = installed.disk.read(BOOT[1], 9000, 1)[0];
    installed.disk.write(BOOT[1], 9000, &[byte ^ 1]);
    passed_over(
        installed,
        "its boot image is not the one that was signed",
        Reason::ImageDamaged,
    )
}

pub(super) fn damaged_signature(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "damaged-signature")?;
    let image = lab.payload("reset");
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    let (seal, _) = disk::release("1.1.0", 2, &image, &stranger)?;
    installed
        .disk
        .write(BOOT[1], 0, &disk::sealed(&seal, &image));
    let words = "the signature of its boot image is not accepted (signed by 0 trusted release key(s), expected 1)";
    passed_over(installed, words, Reason::SignatureRefused)
}

pub(super) fn other_release(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "other-release")?;
    let image = lab.payload("reset");
    let (seal, _) = disk::release("1.2.0", 3, &image, &disk::key())?;
    installed
        .disk
        .write(BOOT[1], 0, &disk::sealed(&seal, &image));
    let words = "it holds a different release than the boot record names (it holds 1.2.0)";
    passed_over(installed, words, Reason::OtherRelease)
}

pub(super) fn below_floor(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "below-floor")?;
    let image = lab.payload("reset");
    let (seal, release) = disk::release("0.9.0", 0, &image, &disk::key())?;
    installed
        .disk
        .write(BOOT[1], 0, &disk::sealed(&seal, &image));
    installed.releases[1] = release;
    installed.put(Slot::A, GOOD, TRIAL);
    let words = "its release is older than this machine accepts (rollback index 0, floor 1)";
    passed_over(installed, words, Reason::BelowFloor)
}

/// The firmware cannot load a signed image: that costs the try, and the slot stays on trial.
pub(super) fn not_a_program(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "not-a-program")?;
    let image = b"not a PE file at all".repeat(10);
    let (seal, _) = disk::release("1.1.0", 2, &image, &disk::key())?;
    installed
        .disk
        .write(BOOT[1], 0, &disk::sealed(&seal, &image));
    let console = installed.boot(&[])?;
    said(
        &console,
        "passed over slot B: the firmware refused to load its boot image (UNSUPPORTED)",
    )?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )?;
    ensure!(installed.record()?.slot(Slot::B).status == Status::Pending { tries_left: 2 });
    Ok(())
}

pub(super) fn one_copy_lost(lab: &Lab) -> Result<()> {
    for copy in COPY_OFFSETS {
        let mut installed = on_trial(lab, "one-copy-lost")?;
        installed
            .disk
            .write(STATE, copy as usize, &[0xa5; RECORD_LEN]);
        let console = installed.boot(&[])?;
        said(
            &console,
            "rayos-guard: starting slot B, release 1.1.0 (trial, 2 tries left)",
        )?;
        let copies = COPY_OFFSETS.map(|at| {
            installed
                .disk
                .read(STATE, at as usize, RECORD_LEN)
                .try_into()
                .ok()
        });
        ensure!(
            matches!(Pair::read(Copies(copies)), Pair::Valid { both: true, .. }),
            "not repaired"
        );
    }
    Ok(())
}

/// The record is rebuilt from the seals: the newer release gets one try, then the older one, then
/// recovery.
pub(super) fn record_lost(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "record-lost", 512, ["reset"; 3])?;
    for copy in COPY_OFFSETS {
        installed.disk.write(STATE, copy as usize, &[0; RECORD_LEN]);
    }
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: both copies of the boot record are lost: copy 0 not a boot record, copy 1",
    )?;
    said(
        &console,
        "rayos-guard: starting slot B, release 1.1.0 (trial, 0 tries left)",
    )?;
    ensure!(
        installed.events()
            == [
                (Kind::Repaired, B, Reason::None),
                (Kind::Launched, B, Reason::None)
            ]
    );
    said(
        &installed.boot(&[])?,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 0)",
    )?;
    said(
        &installed.boot(&[])?,
        "rayos-guard: starting recovery, release 1.0.0 (no slot can be started)",
    )
}

pub(super) fn record_newer(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "record-newer", 512, ["reset"; 3])?;
    let mut block = installed.record()?.encode(1);
    block[8] = 2;
    let crc = crc32fast::hash(&block[..4092]);
    block[4092..].copy_from_slice(&crc.to_le_bytes());
    installed
        .disk
        .write(STATE, COPY_OFFSETS[1] as usize, &block);
    let before = installed.disk.bytes.clone();
    let console = installed.boot(&[])?;
    said(&console, "rayos-guard: boot record: version 2, expected 1")?;
    said(
        &console,
        "rayos-guard: starting recovery, release 1.0.0 (no slot can be started)",
    )?;
    ensure!(installed.disk.bytes == before, "the disk was written to");
    Ok(())
}

/// The primary table is erased. OVMF finds the ESP by the backup and may repair the primary.
pub(super) fn table_damaged(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "table-damaged", 512, ["reset"; 3])?;
    installed.disk.bytes[1024..1040].fill(0);
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )
}

/// The record cannot be written: a trial is not started, a committed release is.
pub(super) fn read_only(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "read-only")?;
    let before = installed.disk.bytes.clone();
    installed.machine.read_only = true;
    let console = installed.boot(&[])?;
    said(
        &console,
        "passed over slot B: its try cannot be counted, because the boot record cannot be written",
    )?;
    said(
        &console,
        "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
    )?;
    said(&console, TOLD)?;
    ensure!(installed.disk.bytes == before);
    Ok(())
}

pub(super) fn everything_damaged(lab: &Lab) -> Result<()> {
    let mut installed = Installed::new(lab, "everything-damaged", 512, ["reset"; 3])?;
    for part in [BOOT[0], BOOT[1], RECOVERY] {
        installed.disk.write(part, 0, &[0; 4096]);
    }
    let console = installed.boot(&[GAVE_UP])?;
    said(
        &console,
        "rayos-guard: passed over recovery: the header of its boot image is damaged (empty",
    )?;
    said(
        &console,
        "rayos-guard: nothing can be started: returning to the firmware",
    )?;
    said(&console, GAVE_UP)?;
    let record = installed.record()?;
    ensure!(
        record
            .slots
            .iter()
            .all(|slot| slot.reason == Reason::HeaderDamaged),
        "{record:?}"
    );
    Ok(())
}

pub(super) fn no_keys(lab: &Lab) -> Result<()> {
    let mut installed = on_trial(lab, "no-keys")?;
    let esp = disk::fat(
        8 << 20,
        512,
        &[("EFI/BOOT/BOOTX64.EFI", &lab.guard_without_keys)],
    )?;
    installed.disk.write(ESP, 0, &esp);
    let before = installed.disk.bytes.clone();
    let console = installed.boot(&[GAVE_UP])?;
    said(
        &console,
        "rayos-guard: no trusted keys are built into this program",
    )?;
    said(&console, GAVE_UP)?;
    ensure!(installed.disk.bytes == before, "the disk was written to");
    Ok(())
}
