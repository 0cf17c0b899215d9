//! An installation beside another system, which sgdisk and mtools have made: all of it stays, and
//! the machine starts our release by its boot entries.

use crate::installed::install;
use crate::scenario::{Scenario, Steps as _, scenario};
use anyhow::{Context as _, Result, ensure};
use qemu::Machine;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use tests::{Fat, digest_of, partition, partitions};

const MIB: u64 = 1 << 20;
/// Offset and length of the other system's EFI system partition and data.
const THEIRS: [(u64, u64); 2] = [(MIB, 40 * MIB), (41 * MIB, 16 * MIB)];

/// Runs a tool on `image` and returns its stdout.
fn output_of(tool: &str, arguments: &[&str], image: &Path) -> Result<String> {
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

/// Creates a disk with another system: partition numbers with a gap, names, attributes, a loader at
/// the removable path. *Writes.*
fn another_system(scenario: &Scenario) -> Result<()> {
    let image = &scenario.image();
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
    output_of("sgdisk", &made, image)?;
    let esp = scenario.file("their-esp.img");
    let fat = Fat::create(&esp, 40)?;
    fat.put(
        &scenario.sample.file("releases/1.1.0/boot.efi"),
        "EFI/BOOT/BOOTX64.EFI",
    )?;
    let disk = OpenOptions::new().write(true).open(image)?;
    disk.write_all_at(&fs::read(&esp)?, THEIRS[0].0)?;
    let data: Vec<u8> = (0..THEIRS[1].1 / 8)
        .flat_map(|number| (number * 0x9e37_79b9).to_le_bytes())
        .collect();
    Ok(disk.write_all_at(&data, THEIRS[1].0)?)
}

/// Returns what must not change: digests of the other system's partitions and of the MBR, its
/// entries in the partition table and the GUID of the disk as sfdisk prints them.
fn theirs(image: &Path) -> Result<Vec<String>> {
    let mut found = THEIRS
        .map(|(offset, len)| digest_of(image, offset, len))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    found.push(digest_of(image, 0, 512)?);
    let dump = output_of("sfdisk", &["-d"], image)?;
    let stays = |line: &&str| line.contains("their ") || line.starts_with("label-id");
    found.extend(dump.lines().filter(stays).map(str::to_owned));
    ensure!(found.len() == 6, "the other system has {found:?}");
    Ok(found)
}

#[test]
fn the_other_system_is_not_changed() -> Result<()> {
    scenario("beside", |scenario| {
        let image = scenario.image();
        another_system(scenario)?;
        let before = theirs(&image)?;
        let bundle = scenario.sample.bundle("1.0.0");
        let stick = scenario.stick("stick.img", &bundle, "beside = true")?;

        let machine = Machine::new(&scenario.scratch)
            .disk(scenario.disk().bootindex(1))
            .disk(stick.bootindex(0));
        let mut machine = scenario.start(machine, "install")?;
        install(&mut machine)?;
        machine.power_off()?;
        is_beside(&image, &before)?;

        let mut machine = scenario.start(scenario.machine(), "first")?;
        machine.step("the firmware starts our boot entry, not the loader of the other system");
        machine.expect_start("a", "1.0.0", "trial, 2 tries left)")?;
        scenario.apply(&mut machine, "1.1.0")?;
        machine.reboot_into("b", "1.1.0", "trial")?;
        machine.reboot_into("b", "1.1.0", "default")?;
        machine.power_off()?;
        is_beside(&image, &before)
    })
}

/// The other system is unchanged, ours is beside it, and sgdisk finds no problem.
fn is_beside(image: &Path, before: &[String]) -> Result<()> {
    ensure!(
        theirs(image)? == before,
        "the other system was changed: {before:?}"
    );
    let found = output_of("sgdisk", &["-v"], image)?;
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
