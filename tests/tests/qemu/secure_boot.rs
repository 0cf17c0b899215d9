//! Firmware with Secure Boot on: a signed stick installs, the signed release commits, and an
//! unsigned release is refused before a restart into it; an altered root does not run. The guard's
//! own scenarios are in the lab of `scripts/test-guard`.

use crate::installed::{blank_disk, install};
use crate::scenario::{Steps as _, scenario};
use crate::verified_root::{PANIC, alter};
use anyhow::{Result, ensure};
use qemu::{Firmware, Machine};
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::Sample;

/// `rayos-updater`: refused.
const REFUSED: i32 = 3;

/// The test key of the package `ovmf`, which the firmware's variables accept, and its pass phrase.
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

/// Makes the bundle of 1.0.0 with guard, boot and recovery image signed for the firmware. *Writes.*
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
    scenario("secure-boot", |scenario| {
        let parts = scenario.file("signed");
        fs::create_dir(&parts)?;
        let bundle = signed_bundle(&scenario.sample, &parts)?;
        let stick = scenario.stick("stick.img", &bundle, "")?;
        blank_disk(&scenario.image())?;
        let machine = Machine::new(&scenario.scratch)
            .firmware(Firmware::SecureBoot)
            .disk(scenario.disk())
            .disk(stick);
        let mut machine = scenario.start(machine, "install")?;
        install(&mut machine)?;
        machine.power_off()?;

        let machine = scenario.machine().firmware(Firmware::SecureBoot);
        let mut machine = scenario.start(machine, "first")?;
        machine
            .step("the signed release commits")
            .expect_start("a", "1.0.0", "")?;
        let status = machine.check("rayos-bootctl status")?;
        ensure!(status.contains("Secure Boot on"), "{status}");
        ensure!(!status.contains("not signed"), "{status}");
        let words = "release 1.1.0 is not signed for Secure Boot, which is on: \
                     the firmware would not start it";
        machine.check_fails(&scenario.apply_command("1.1.0"), REFUSED, &[words])?;
        let status = machine.check("rayos-bootctl status --json")?;
        ensure!(status.contains("\"secure_boot\": \"on\""), "{status}");
        machine.power_off()?;

        alter(scenario, "root-a", 0)?;
        let machine = scenario.machine().firmware(Firmware::SecureBoot);
        let mut machine = scenario.start(machine, "altered")?;
        machine.fatal(&["RAYOS:UP"]);
        machine.step("an altered root does not run").expect(PANIC)?;
        Ok(())
    })
}
