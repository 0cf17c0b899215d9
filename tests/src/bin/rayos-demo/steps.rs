//! The steps of the demo: by our programs, on a machine with UEFI firmware.

use crate::Options;
use crate::narrator::Narrator;
use anyhow::{Context as _, Result, ensure};
use qemu::{Disk, Machine, Running, Scratch};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::WebServer;

/// Maximum duration of several boots in a row.
const LIMIT: Duration = Duration::from_secs(900);

/// Size of the machine's disk.
const DISK_LEN: u64 = 400 << 20;

/// Runs all steps.
pub(crate) fn run(options: &Options, narrator: &mut Narrator) -> Result<()> {
    let mut scratch = Scratch::at(options.out.clone())?;
    scratch.keep();
    let demo = Demo {
        options,
        scratch: &scratch,
    };
    demo.bundle(narrator)?;
    demo.install(narrator)?;
    let web = WebServer::start(&options.sample)?;
    let mut machine = demo.first_boot(narrator)?;
    demo.update(&mut machine, &web, narrator)?;
    demo.broken_release(&mut machine, &web, narrator)?;
    demo.refusals(&mut machine, narrator)?;
    machine.power_off()?;
    demo.summary(narrator)
}

struct Demo<'a> {
    options: &'a Options,
    scratch: &'a Scratch,
}

impl Demo<'_> {
    fn bundle(&self, narrator: &mut Narrator) -> Result<()> {
        narrator.chapter("A release is one signed file");
        narrator.say("One bundle holds kernel, root file system, recovery system and boot guard. Its first 4096 bytes\n\
             are its seal, with signatures that cover everything.");
        self.host(
            narrator,
            "rayos-bundle",
            &["inspect", "rayos-1.0.0.bundle", "--trust", "trust.toml"],
        )
    }

    fn install(&self, narrator: &mut Narrator) -> Result<()> {
        narrator.chapter("Unattended installation from a stick");
        narrator.say("A machine with an empty disk and a USB stick is switched on. The firmware starts the boot guard on\n\
             the stick, the guard starts the recovery system, and that applies the bundle to the empty slot A.");
        let disk = self.scratch.file("disk.img");
        File::create(&disk)?.set_len(DISK_LEN)?;
        let stick = Disk::usb(&self.options.stick).read_only();
        let mut machine = self
            .with_console(
                Machine::new(self.scratch)
                    .disk(Disk::virtio(&disk))
                    .disk(stick),
            )
            .start("1-install")?;
        machine.fatal(&["RAYOS_INSTALLER:FAILED", "Kernel panic"]);
        machine
            .step("the release is installed")
            .expect_within("RAYOS_INSTALLER:COMPLETE", LIMIT)?;
        machine
            .step("the machine restarts")
            .expect("reboot: Restarting system")?;
        machine.power_off()?;
        self.disk(narrator)
    }

    fn first_boot(&self, narrator: &mut Narrator) -> Result<Running> {
        narrator.chapter("The first boot, on trial");
        narrator.say("Without the stick. The installation was the first update, so slot A is on trial: the guard spends\n\
             one of its three tries before it starts it, and the release commits when its health checks pass.");
        let machine = Machine::new(self.scratch)
            .disk(Disk::virtio(self.scratch.file("disk.img")))
            .network();
        let mut machine = self.with_console(machine).start("2-running")?;
        machine
            .step("1.0.0 commits")
            .expect_within("RAYOS_BOOTCTL:COMMITTED slot=a version=1.0.0", LIMIT)?;
        prompt(&mut machine)?;
        guest(&mut machine, narrator, "rayos-bootctl status")?;
        guest(&mut machine, narrator, "efibootmgr")?;
        Ok(machine)
    }

    fn update(
        &self,
        machine: &mut Running,
        web: &WebServer,
        narrator: &mut Narrator,
    ) -> Result<()> {
        narrator.chapter("An update over HTTP");
        narrator.say("The running system streams release 1.1.0 from a web server into slot B. Every chunk is verified\n\
             before it is written, and the whole slot is read back. Slot A does not change.");
        guest(
            machine,
            narrator,
            &format!(
                "rayos-updater apply --progress lines {}",
                web.guest_url("rayos-1.1.0.bundle")
            ),
        )?;
        machine.send_line("reboot")?;
        machine
            .step("1.1.0 commits")
            .expect_within("RAYOS_BOOTCTL:COMMITTED slot=b version=1.1.0", LIMIT)?;
        prompt(machine)?;
        guest(machine, narrator, "rayos-bootctl status")
    }

    fn broken_release(
        &self,
        machine: &mut Running,
        web: &WebServer,
        narrator: &mut Narrator,
    ) -> Result<()> {
        narrator.chapter("A release that panics");
        narrator.say("Release 1.2.0-panic is signed and complete, but its kernel panics at once. It is applied to slot A.\n\
             From here on the machine runs without help.");
        guest(
            machine,
            narrator,
            &format!(
                "rayos-updater apply --progress lines {}",
                web.guest_url("rayos-1.2.0-panic.bundle")
            ),
        )?;
        machine.send_line("reboot")?;
        machine
            .step("the machine returns to 1.1.0 by itself")
            .expect_within("RAYOS_BOOTCTL:COMMITTED slot=b version=1.1.0", LIMIT)?;
        prompt(machine)?;
        narrator.say(
            "The machine has returned to the release that works. Why is 1.2.0-panic not running?",
        );
        guest(machine, narrator, "rayos-bootctl status")?;
        guest(machine, narrator, "rayos-bootctl why")
    }

    fn refusals(&self, machine: &mut Running, narrator: &mut Narrator) -> Result<()> {
        narrator.chapter("Refused bundles");
        narrator.say("A bundle with a flipped bit, one with a foreign signature, and a release below the floor: each is\n\
             refused before a byte of the disk is written.");
        let folder = self.scratch.file("bad");
        fs::create_dir(&folder)?;
        let mut bytes = fs::read(self.options.sample.join("rayos-1.1.0.bundle"))?;
        *bytes.get_mut(4200).context("bundle 1.1.0 is too short")? ^= 1;
        fs::write(folder.join("flipped.bundle"), bytes)?;
        let foreign = folder.join("foreign.bundle");
        let made = Command::new(self.options.sample.join("bin/rayos-bundle"))
            .current_dir(&self.options.sample)
            .args([
                "create",
                "releases/1.1.0/bundle.toml",
                "--key",
                "keys/stranger.key",
                "-o",
            ])
            .arg(&foreign)
            .output()?;
        ensure!(
            made.status.success(),
            "rayos-bundle create: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        fs::copy(
            self.options.sample.join("rayos-0.9.0.bundle"),
            folder.join("old.bundle"),
        )?;
        let web = WebServer::start(&folder)?;
        for name in ["flipped", "foreign", "old"] {
            let command = format!(
                "rayos-updater apply --progress lines {}",
                web.guest_url(&format!("{name}.bundle"))
            );
            let shell = machine.run(&command)?;
            narrator.answer(
                "rayos#",
                &command,
                &format!("{}(exit code {})", shell.output, shell.code),
            );
            ensure!(
                shell.code == 3,
                "{name}.bundle: exit code {}, expected 3",
                shell.code
            );
        }
        Ok(())
    }

    fn summary(&self, narrator: &mut Narrator) -> Result<()> {
        narrator.chapter("The disk at the end");
        self.disk(narrator)?;
        let machine = Machine::new(self.scratch)
            .disk(Disk::virtio(self.scratch.file("disk.img")))
            .network();
        let out = self.options.out.display();
        narrator.say(&format!(
            "The demo took {}. The disk, the EFI variables and the consoles are in {out}.",
            narrator.time()
        ));
        narrator.say(
            "To continue with this machine (its shell is on this terminal; ctrl-a x switches it off):",
        );
        narrator.say(&machine.command_line()?);
        narrator.say(&format!("To apply other bundles, serve the sample's folder:\npython3 -m http.server --directory {} 8000    # in the machine: rayos-updater apply http://10.0.2.2:8000/rayos-1.3.0-sick.bundle", self.options.sample.display()));
        Ok(())
    }

    /// Shows the partitions by another tool, and the boot record by our program, offline.
    fn disk(&self, narrator: &Narrator) -> Result<()> {
        let disk = self.scratch.file("disk.img");
        let columns = ["-q", "-l", "-o", "Start,Size,Name"];
        narrator.answer(
            "$",
            "sfdisk -l disk.img",
            &output(Command::new("/sbin/sfdisk").args(columns).arg(&disk))?,
        );
        let mut status = Command::new(self.options.sample.join("bin/rayos-bootctl"));
        status.args(["status", "--disk"]).arg(&disk);
        narrator.answer(
            "$",
            "rayos-bootctl status --disk disk.img",
            &output(&mut status)?,
        );
        Ok(())
    }

    /// Runs one of our programs on the host, in the sample's folder.
    fn host(&self, narrator: &Narrator, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(self.options.sample.join("bin").join(program));
        command.current_dir(&self.options.sample).args(arguments);
        narrator.answer(
            "$",
            &format!("{program} {}", arguments.join(" ")),
            &output(&mut command)?,
        );
        Ok(())
    }

    /// Shows the console of the machine.
    fn with_console<'m>(&self, machine: Machine<'m>) -> Machine<'m> {
        let verbose = self.options.verbose;
        machine.on_line(move |line| Narrator::console(line, verbose))
    }
}

/// Runs a command in the guest and shows its output.
fn guest(machine: &mut Running, narrator: &Narrator, command: &str) -> Result<()> {
    let output = machine.check(command)?;
    narrator.answer("rayos#", command, &output);
    Ok(())
}

/// Waits for a new prompt: the first one may be followed by output of the release.
fn prompt(machine: &mut Running) -> Result<()> {
    machine.send_line("")?;
    Ok(machine.expect_shell()?)
}

fn output(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| name.clone())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name}: {}: {}",
        output.status,
        stderr.trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}
