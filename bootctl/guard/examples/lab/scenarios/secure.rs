//! Secure Boot with our own keys: the guard passes over an image that the firmware refuses, and
//! gives a reason.

use super::{A, B, GOOD, Installed, TOLD, TRIAL, said};
use crate::Lab;
use crate::disk::{self, BOOT, ESP, RECOVERY};
use anyhow::{Context as _, Result, ensure};
use qemu::Firmware;
use record::event::Kind;
use record::{Reason, Slot, Status};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const REFUSED: &str =
    "passed over slot B: the firmware's Secure Boot does not accept its boot image (";

/// A key for Secure Boot, made by openssl, for sbsign.
struct Signer {
    dir: PathBuf,
}

impl Signer {
    fn new(lab: &Lab, name: &str) -> Result<Self> {
        let signer = Self {
            dir: lab.dir.join(name),
        };
        std::fs::create_dir_all(&signer.dir)?;
        let request = "req -new -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=lab -keyout key.pem -out cert.pem";
        signer.run("openssl", &request.split(' ').collect::<Vec<_>>())?;
        signer.run(
            "openssl",
            &[
                "x509", "-in", "cert.pem", "-outform", "DER", "-out", "cert.der",
            ],
        )?;
        Ok(signer)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        let output = command.output().with_context(|| program.to_owned())?;
        ensure!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn sign(&self, program: &[u8]) -> Result<Vec<u8>> {
        std::fs::write(self.dir.join("in.efi"), program)?;
        self.run(
            "sbsign",
            &[
                "--key", "key.pem", "--cert", "cert.pem", "--output", "out.efi", "in.efi",
            ],
        )?;
        self.run("sbverify", &["--cert", "cert.pem", "out.efi"])?;
        Ok(std::fs::read(self.dir.join("out.efi"))?)
    }

    fn certificate(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.dir.join("cert.der"))?)
    }
}

/// A machine whose firmware accepts only `signer`, with this guard on its ESP.
fn secure(lab: &Lab, name: &str, signer: &Signer, guard: &[u8]) -> Result<Installed> {
    let mut installed = Installed::new(lab, name, 512, ["reset"; 3])?;
    let esp = disk::fat(
        installed.disk.len(ESP),
        512,
        &[("EFI/BOOT/BOOTX64.EFI", guard)],
    )?;
    installed.disk.write(ESP, 0, &esp);
    installed.machine.firmware = Firmware::SecureBootWithoutKeys;
    installed
        .machine
        .variables()
        .enrol(&signer.certificate()?)?;
    Ok(installed)
}

impl Installed {
    /// Puts `image` into a slot's boot partition, with our seal.
    fn hold(&mut self, slot: Slot, version: &str, image: &[u8]) -> Result<()> {
        let (seal, release) = disk::release(version, slot as u64 + 1, image, &disk::key())?;
        self.disk
            .write(BOOT[slot as usize], 0, &disk::sealed(&seal, image));
        self.releases[slot as usize] = release;
        Ok(())
    }
}

/// Guard and A are signed for the firmware. B is not, then it is signed by an unknown key, then by
/// the right one. Our own signatures are valid in all cases.
pub(super) fn accepted_and_refused(lab: &Lab) -> Result<()> {
    let (ours, stranger) = (
        Signer::new(lab, "secure-ours")?,
        Signer::new(lab, "secure-stranger")?,
    );
    let mut installed = secure(lab, "secure-boot", &ours, &ours.sign(&lab.guard)?)?;
    let image = lab.payload("reset");
    installed.hold(Slot::A, "1.0.0", &ours.sign(&image)?)?;
    for (version, image) in [("1.1.0", image.clone()), ("1.1.1", stranger.sign(&image)?)] {
        installed.hold(Slot::B, version, &image)?;
        installed.put(Slot::A, GOOD, TRIAL);
        let before = installed.events().len();
        let console = installed.boot(&[])?;
        said(&console, &format!("rayos-guard: {REFUSED}"))?;
        said(
            &console,
            "rayos-guard: starting slot A, release 1.0.0 (default, boot budget 7)",
        )?;
        said(&console, TOLD)?;
        said(&console, "guard-payload: SecureBoot=1")?;
        let state = *installed.record()?.slot(Slot::B);
        ensure!(
            state.status == Status::Pending { tries_left: 2 },
            "{state:?}"
        );
        let expected = [
            (Kind::Launched, B, Reason::None),
            (Kind::PassedOver, B, Reason::SecureBoot),
            (Kind::Launched, A, Reason::None),
        ];
        ensure!(
            installed.events()[before..] == expected,
            "{:?}",
            installed.events()
        );
    }
    installed.hold(Slot::B, "1.1.2", &ours.sign(&image)?)?;
    installed.put(Slot::A, GOOD, TRIAL);
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting slot B, release 1.1.2 (trial, 2 tries left)",
    )?;
    said(&console, "guard-payload: SecureBoot=1")
}

/// The firmware does not start an unsigned guard, and a signed guard does not start an unsigned
/// recovery.
pub(super) fn unsigned_guard(lab: &Lab) -> Result<()> {
    let ours = Signer::new(lab, "secure-guard")?;
    let mut installed = secure(lab, "secure-boot-unsigned-guard", &ours, &lab.guard)?;
    let before = installed.disk.bytes.clone();
    let console = installed.boot(&["BdsDxe: failed to load"])?;
    said(&console, "BdsDxe: failed to load")?;
    ensure!(
        !console.contains("rayos-guard"),
        "the guard was started:\n{console}"
    );
    ensure!(installed.disk.bytes == before, "the disk was written to");

    let mut installed = secure(lab, "secure-boot-recovery", &ours, &ours.sign(&lab.guard)?)?;
    for part in BOOT {
        installed.disk.write(part, 0, &[0; 4096]);
    }
    let console = installed.boot(&[super::GAVE_UP])?;
    said(
        &console,
        "passed over recovery: the firmware's Secure Boot does not accept its boot image (",
    )?;
    let signed = ours.sign(&lab.payload("reset"))?;
    let (seal, _) = disk::release("1.0.0", 1, &signed, &disk::key())?;
    installed
        .disk
        .write(RECOVERY, 0, &disk::sealed(&seal, &signed));
    let console = installed.boot(&[])?;
    said(
        &console,
        "rayos-guard: starting recovery, release 1.0.0 (no slot can be started)",
    )?;
    said(&console, TOLD)
}
