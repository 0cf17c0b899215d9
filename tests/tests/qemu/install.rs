//! Installation is the first update: afterwards the disk has the content of the bundle.

use crate::installed::{Installed, text};
use crate::scenario::scenario;
use anyhow::{Result, ensure};
use qemu::Scratch;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use tests::{Fat, digest_of, partition, partitions};

/// Partition labels in their order, with their type GUIDs (docs/architecture.md, "The disk").
const LAYOUT: [(&str, &str); 8] = [
    ("esp", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
    ("rayos-state", "6C676A6C-78D6-4E96-909A-4BDD1C9EAD12"),
    ("boot-a", "D35F9AB0-2806-49C9-B0A5-DC1032BCAB4E"),
    ("root-a", "7B1D4DEA-2D01-4644-A9DC-036DA98ACC9B"),
    ("boot-b", "75522DEB-9B7A-4DE4-8872-974ED9D6FEB5"),
    ("root-b", "92F199F9-DF4B-484C-9F09-0418F355C4E9"),
    ("recovery", "75BA574C-6C44-4495-9203-56B593673891"),
    ("data", "3868540F-0576-487C-971D-E96A7DC7158B"),
];

const SEAL_LEN: u64 = 4096;

#[test]
fn the_stick_installs_the_content_of_the_bundle() -> Result<()> {
    let installed = Installed::ready()?;
    let disk = installed.file("installed.img");
    let found = partitions(&disk)?;
    let layout: Vec<_> = found
        .iter()
        .map(|it| (it.name.as_str(), it.kind.as_str()))
        .collect();
    ensure!(layout == LAYOUT, "partitions are {layout:?}");

    let release = installed.sample.file("releases/1.0.0");
    holds(&disk, "boot-a", SEAL_LEN, &release.join("boot.efi"))?;
    holds(&disk, "root-a", 0, &release.join("root.erofs"))?;
    holds(
        &disk,
        "recovery",
        SEAL_LEN,
        &installed.sample.file("recovery.efi"),
    )?;
    let mut seal = vec![0; SEAL_LEN as usize];
    File::open(installed.sample.bundle("1.0.0"))?.read_exact(&mut seal)?;
    for name in ["boot-a", "recovery"] {
        ensure!(
            partition(&disk, name)?.head(&disk, seal.len())? == seal,
            "{name} does not begin with the seal"
        );
    }
    let empty = partition(&disk, "boot-b")?.head(&disk, seal.len())?;
    ensure!(empty.iter().all(|byte| *byte == 0), "slot B is not empty");
    Ok(())
}

#[test]
fn four_copies_of_the_guard_are_on_the_esp() -> Result<()> {
    let installed = Installed::ready()?;
    let disk = installed.file("installed.img");
    let esp = Fat::at(&disk, partition(&disk, "esp")?.offset);
    let scratch = Scratch::new("install-guards")?;
    let guard = fs::read(installed.sample.file("guard.efi"))?;
    for path in [
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/RAYOS/GUARDA.EFI",
        "EFI/RAYOS/GUARDB.EFI",
        "EFI/RAYOS/GUARDR.EFI",
    ] {
        let copy = scratch.file(path.replace('/', "-"));
        esp.take(path, &copy)?;
        ensure!(
            fs::read(&copy)? == guard,
            "{path} is not the guard of the bundle"
        );
    }
    Ok(())
}

#[test]
fn the_first_release_commits_after_its_trial() -> Result<()> {
    let installed = Installed::ready()?;
    let first = text(&installed.file("first.log"))?;
    ensure!(
        first.matches("rayos-guard: starting slot A").count() == 1,
        "slot A was not started once:\n{first}"
    );

    scenario("install-committed", |scenario| {
        let mut machine = scenario.start_installed()?;
        let status: Value = serde_json::from_str(&machine.check("rayos-bootctl status --json")?)?;
        ensure!(
            status["schema"] == "rayos-bootctl.status/1",
            "status is {status:#}"
        );
        // The firmware's view, by a tool that is not ours.
        let entries = machine.check("efibootmgr -v")?;
        for (label, file) in [
            ("RayOS A", "GUARDA.EFI"),
            ("RayOS B", "GUARDB.EFI"),
            ("RayOS Recovery", "GUARDR.EFI"),
        ] {
            let named = entries
                .lines()
                .filter(|line| line.contains(label) && line.contains(file))
                .count();
            ensure!(
                named == 1,
                "{named} entries {label} with {file}:\n{entries}"
            );
        }
        ensure!(
            !entries.contains("BootNext"),
            "BootNext is still there:\n{entries}"
        );
        Ok(())
    })
}

/// Checks that partition `name`, from byte `skip` on, begins with the content of `file`.
fn holds(disk: &Path, name: &str, skip: u64, file: &Path) -> Result<()> {
    let len = fs::metadata(file)?.len();
    let place = partition(disk, name)?;
    let (have, want) = (
        digest_of(disk, place.offset + skip, len)?,
        digest_of(file, 0, len)?,
    );
    ensure!(
        have == want,
        "{name} has digest {have}, expected {want} ({})",
        file.display()
    );
    Ok(())
}
