//! An installation beside another system, whose table and partitions sgdisk, mtools and we made:
//! all of it stays, and the machine starts ours by its boot entries.

use crate::installed::{LOST, install, machine, make_stick, sample_answers, settled};
use anyhow::{Context as _, Result, ensure};
use qemu::{Disk, Machine, Scratch};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use tests::{Fat, Sample, WebServer, digest_of, partition, partitions};

const MIB: u64 = 1 << 20;
/// Where the EFI system partition and the data of the other system are.
const THEIRS: [(u64, u64); 2] = [(MIB, 40 * MIB), (41 * MIB, 16 * MIB)];

/// What a tool of the system says.
fn said(tool: &str, arguments: &[&str], image: &Path) -> Result<String> {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new(tool)
        .args(arguments)
        .arg(image)
        .env("PATH", path)
        .output()
        .context(tool.to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{tool}: {}: {text}", output.status);
    Ok(text)
}

/// A disk with another system: numbers with a gap, names, attributes, a loader at the removable
/// path.
fn another_system(sample: &Sample, scratch: &Scratch, image: &Path) -> Result<()> {
    File::create(image)?.set_len(460 * MIB)?;
    let made = [
        "--new=1:2048:+40M",
        "--typecode=1:ef00",
        "--change-name=1:their ESP",
        "--new=5:83968:+16M",
        "--change-name=5:their data",
        "--attributes=5:set:60",
        "--disk-guid=11111111-2222-3333-4444-555555555555",
    ];
    said("sgdisk", &made, image)?;
    let esp = scratch.file("their-esp.img");
    let fat = Fat::create(&esp, 40)?;
    fat.put(
        &sample.file("releases/1.1.0/boot.efi"),
        "EFI/BOOT/BOOTX64.EFI",
    )?;
    let disk = OpenOptions::new().write(true).open(image)?;
    disk.write_all_at(&fs::read(&esp)?, THEIRS[0].0)?;
    let data: Vec<u8> = (0..THEIRS[1].1 / 8)
        .flat_map(|number| (number * 0x9e37_79b9).to_le_bytes())
        .collect();
    Ok(disk.write_all_at(&data, THEIRS[1].0)?)
}

/// What must stay: the partitions by their digests, their entries as sfdisk shows them, the MBR,
/// the GUID of the disk.
fn theirs(image: &Path) -> Result<Vec<String>> {
    let mut found = THEIRS
        .map(|(offset, len)| digest_of(image, offset, len))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    found.push(digest_of(image, 0, 512)?);
    let dump = said("sfdisk", &["-d"], image)?;
    let stays = |line: &&str| line.contains("their ") || line.starts_with("label-id");
    found.extend(dump.lines().filter(stays).map(str::to_owned));
    ensure!(found.len() == 6, "of the other system there is {found:?}");
    Ok(found)
}

#[test]
fn another_system_which_stays_as_it_is() -> Result<()> {
    let sample = Sample::ready()?;
    let scratch = Scratch::new("beside")?;
    let result = || -> Result<()> {
        let image = scratch.file("disk.img");
        another_system(&sample, &scratch, &image)?;
        let before = theirs(&image)?;
        let answers = scratch.file("install.toml");
        let text = fs::read_to_string(sample_answers())?;
        fs::write(
            &answers,
            text.replace("unattended = true", "unattended = true\nbeside = true"),
        )?;
        let stick = scratch.file("stick.img");
        make_stick(&sample, &sample.bundle("1.0.0"), &answers, &stick)?;

        let disk = Disk::virtio(&image).bootindex(1);
        let stick = Disk::usb(stick).read_only().bootindex(0);
        let mut running = Machine::new(&scratch)
            .disk(disk)
            .disk(stick)
            .start("install")?;
        install(&mut running)?;
        running.power_off()?;
        is_beside(&image, &before)?;

        let web = WebServer::start(sample.folder())?;
        let mut running = machine(&scratch).start("first")?;
        running
            .fatal(&LOST)
            .step("our entry is started, not their loader");
        running.expect("rayos-guard: starting slot A, release 1.0.0 (trial, 2 tries left)")?;
        running.expect("RAYOS:UP version=1.0.0 slot=a")?;
        settled(&mut running, "a", "1.0.0")?;
        running.step("1.1.0 is applied");
        running.check(&format!(
            "rayos-updater apply {}",
            web.guest_url("rayos-1.1.0.bundle")
        ))?;
        running.send_line("reboot")?;
        running
            .step("1.1.0 comes up")
            .expect("rayos-guard: starting slot B, release 1.1.0 (trial")?;
        running.expect("RAYOS:UP version=1.1.0 slot=b")?;
        settled(&mut running, "b", "1.1.0")?;
        running
            .step("a plain restart comes back to it")
            .send_line("reboot")?;
        running.expect("rayos-guard: starting slot B, release 1.1.0 (default")?;
        running.expect("RAYOS:UP version=1.1.0 slot=b")?;
        settled(&mut running, "b", "1.1.0")?;
        running.power_off()?;
        is_beside(&image, &before)
    }();
    scratch.finish(result)
}

/// The other system is as it was, ours is beside it, and sgdisk has nothing to say.
fn is_beside(image: &Path, before: &[String]) -> Result<()> {
    ensure!(
        theirs(image)? == before,
        "the other system was touched: {before:?}"
    );
    let found = said("sgdisk", &["-v"], image)?;
    ensure!(found.contains("No problems found"), "{found}");
    ensure!(partitions(image)?.len() == 10, "{:?}", partitions(image)?);
    let esp = partition(image, "esp")?;
    let state = partition(image, "rayos-state")?;
    ensure!(
        esp.offset == 57 * MIB && esp.offset + esp.len == state.offset,
        "{esp:?}"
    );
    Ok(())
}
