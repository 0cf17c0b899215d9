//! A firmware that starts only what is signed: a signed stick installs, the signed release commits,
//! and an unsigned one is refused before anybody restarts into it. The guard's own side of it is in
//! the lab of `scripts/test-guard`.

use crate::installed::{LOST, blank_disk, install, machine, make_stick, sample_answers, settled};
use anyhow::{Result, ensure};
use qemu::{Disk, Firmware, Machine, Scratch};
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::{Sample, WebServer};

/// The key that the firmware's variables accept, of the package `ovmf`, and its pass phrase.
const KEY: [&str; 2] = ["/usr/share/ovmf/PkKek-1-snakeoil.key", "pass:snakeoil"];
const CERTIFICATE: &str = "/usr/share/ovmf/PkKek-1-snakeoil.pem";

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The bundle of 1.0.0 with guard, boot and recovery image signed for the firmware.
fn signed_bundle(sample: &Sample, dir: &Path) -> Result<std::path::PathBuf> {
    let key = dir.join("boot.key");
    run(Command::new("openssl")
        .args(["pkey", "-in", KEY[0], "-passin", KEY[1], "-out"])
        .arg(&key))?;
    let parts = [
        ("boot", "releases/1.0.0/boot.efi"),
        ("root", "releases/1.0.0/root.erofs"),
        ("recovery", "recovery.efi"),
        ("guard", "guard.efi"),
    ];
    let mut recipe =
        "[release]\nversion = \"1.0.0\"\nrollback_index = 1\ncompatible = [\"rayos-x86_64\"]\n"
            .to_owned();
    for (role, file) in parts {
        let (plain, part) = (sample.file(file), dir.join(role));
        if role == "root" {
            fs::copy(plain, part)?;
        } else {
            let mut sbsign = Command::new("sbsign");
            sbsign
                .arg("--key")
                .arg(&key)
                .args(["--cert", CERTIFICATE, "--output"])
                .arg(part)
                .arg(plain);
            run(&mut sbsign)?;
        }
        recipe += &format!("[[image]]\nrole = \"{role}\"\npath = \"{role}\"\n");
    }
    fs::write(dir.join("bundle.toml"), recipe)?;
    let bundle = dir.join("signed-1.0.0.bundle");
    let mut create = Command::new(sample.program("rayos-bundle"));
    create
        .arg("create")
        .arg(dir.join("bundle.toml"))
        .arg("--key")
        .arg(sample.file("keys/release.key"));
    run(create.arg("-o").arg(&bundle))?;
    Ok(bundle)
}

#[test]
fn a_signed_release_runs_and_an_unsigned_one_is_refused() -> Result<()> {
    let sample = Sample::ready()?;
    let scratch = Scratch::new("secure-boot")?;
    let result = || -> Result<()> {
        let parts = scratch.file("signed");
        fs::create_dir(&parts)?;
        let bundle = signed_bundle(&sample, &parts)?;
        let stick = scratch.file("stick.img");
        make_stick(&sample, &bundle, &sample_answers(), &stick)?;
        blank_disk(&scratch.file("disk.img"))?;
        let disk = Disk::virtio(scratch.file("disk.img"));
        let stick = Disk::usb(stick).read_only();
        let mut installing = Machine::new(&scratch)
            .firmware(Firmware::SecureBoot)
            .disk(disk)
            .disk(stick)
            .start("install")?;
        install(&mut installing)?;
        installing.power_off()?;

        let web = WebServer::start(sample.folder())?;
        let mut first = machine(&scratch)
            .firmware(Firmware::SecureBoot)
            .start("first")?;
        first
            .fatal(&LOST)
            .step("the signed release is tried, and commits");
        first.expect("rayos-guard: starting slot A, release 1.0.0")?;
        first.expect("RAYOS:UP version=1.0.0 slot=a")?;
        settled(&mut first, "a", "1.0.0")?;
        let status = first.check("rayos-bootctl status")?;
        ensure!(status.contains("Secure Boot on"), "{status}");
        ensure!(!status.contains("not signed"), "{status}");
        let url = web.guest_url("rayos-1.1.0.bundle");
        let shell = first.run(&format!("rayos-updater apply {url}"))?;
        let words = "release 1.1.0 is not signed for Secure Boot, which is on: the firmware would not start it";
        ensure!(
            shell.code == 3 && shell.output.contains(words),
            "exit code {}: {}",
            shell.code,
            shell.output
        );
        let status = first.check("rayos-bootctl status --json")?;
        ensure!(status.contains("\"secure_boot\": \"on\""), "{status}");
        Ok(first.power_off()?)
    }();
    scratch.finish(result)
}
