//! What must not be applied is refused with a clear error, and not a byte of the disk changes.

use crate::installed::{Installed, project};
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::{Sample, Scratch, WebServer, digest_of};

/// Signature, digest or compatibility refused.
const REFUSED: i32 = 3;
/// The target slot holds no release now; the booted one is untouched.
const SLOT_INVALID: i32 = 8;

#[test]
fn damaged_foreign_and_old_bundles() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("refuse")?;
    let result = || -> Result<()> {
        let bad = scratch.file("bundles");
        fs::create_dir(&bad)?;
        flipped(&installed.sample, &bad.join("seal.bundle"), 100)?;
        flipped(&installed.sample, &bad.join("manifest.bundle"), 4096 + 40)?;
        foreign(&installed.sample, &bad.join("foreign.bundle"))?;
        fs::copy(installed.sample.bundle("0.9.0"), bad.join("old.bundle"))?;
        let web = WebServer::start(&bad)?;

        let mut machine = installed.start(&scratch)?;
        let disk = scratch.file("disk.img");
        let len = fs::metadata(&disk)?.len();
        // Until the boot has committed, the boot record may still change by itself.
        machine.check("until rayos-bootctl status | grep -q 'budget 8'; do usleep 100000; done; sync")?;
        let before = digest_of(&disk, 0, len)?;
        for (name, words) in [
            ("seal", ["sign", "seal", "statement"]),
            ("manifest", ["manifest", "digest", "SHA-256"]),
            ("foreign", ["sign", "trust", "key"]),
            ("old", ["rollback index", "floor", "older"]),
        ] {
            let url = web.guest_url(&format!("{name}.bundle"));
            let shell = machine.run(&format!("rayos-updater apply {url}"))?;
            ensure!(shell.code == REFUSED, "{name}: exit code {}: {}", shell.code, shell.output);
            ensure!(
                words.iter().any(|word| shell.output.contains(word)),
                "{name}: said only: {}",
                shell.output
            );
        }
        machine.check("sync")?;
        ensure!(digest_of(&disk, 0, len)? == before, "a refused bundle left a trace on the disk");
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

#[test]
fn a_byte_flipped_in_the_payload_leaves_the_running_slot() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("refuse-payload")?;
    let result = || -> Result<()> {
        let bad = scratch.file("bundles");
        fs::create_dir(&bad)?;
        let len = fs::metadata(installed.sample.bundle("1.1.0"))?.len();
        // The images that an update takes come first.
        flipped(&installed.sample, &bad.join("payload.bundle"), len / 4)?;
        let web = WebServer::start(&bad)?;
        let mut machine = installed.start(&scratch)?;
        let shell = machine.run(&format!("rayos-updater apply {}", web.guest_url("payload.bundle")))?;
        ensure!(shell.code == SLOT_INVALID, "exit code {}: {}", shell.code, shell.output);
        ensure!(shell.output.contains("digest"), "said only: {}", shell.output);
        machine.step("the running release starts again").send_line("reboot")?;
        machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
        machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// The bundle 1.1.0 with one bit of the byte at `offset` flipped.
fn flipped(sample: &Sample, to: &Path, offset: u64) -> Result<()> {
    let mut bytes = fs::read(sample.bundle("1.1.0"))?;
    bytes[usize::try_from(offset)?] ^= 1;
    Ok(fs::write(to, bytes)?)
}

/// The release 1.1.0, signed by somebody whom the machine does not trust.
fn foreign(sample: &Sample, to: &Path) -> Result<()> {
    let made = Command::new(sample.program("rayos-bundle"))
        .current_dir(project())
        .arg("create")
        .arg(sample.file("releases/1.1.0/bundle.toml"))
        .arg("--key")
        .arg(sample.file("keys/stranger.key"))
        .arg("-o")
        .arg(to)
        .output()?;
    ensure!(made.status.success(), "rayos-bundle create: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}
