//! The story itself: every step through our own programs, on a machine with real firmware.

use crate::Given;
use crate::teller::Teller;
use anyhow::{Context as _, Result, ensure};
use qemu::{Disk, Machine, Running, Scratch};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::WebServer;

/// Several boots in a row.
const LIMIT: Duration = Duration::from_secs(900);

/// Size of the machine's disk.
const DISK_LEN: u64 = 400 << 20;

/// Tells all of it.
pub(crate) fn tell(given: &Given, teller: &mut Teller) -> Result<()> {
    let mut scratch = Scratch::at(given.out.clone())?;
    scratch.keep();
    let story = Story {
        given,
        scratch: &scratch,
    };
    story.bundle(teller)?;
    story.install(teller)?;
    let web = WebServer::start(&given.sample)?;
    let mut machine = story.first_boot(teller)?;
    story.update(&mut machine, &web, teller)?;
    story.broken_release(&mut machine, &web, teller)?;
    story.refusals(&mut machine, teller)?;
    machine.power_off()?;
    story.the_end(teller)
}

struct Story<'a> {
    given: &'a Given,
    scratch: &'a Scratch,
}

impl Story<'_> {
    fn bundle(&self, teller: &mut Teller) -> Result<()> {
        teller.chapter("A release is one signed file");
        teller.say("One bundle holds kernel, root file system, recovery system and boot guard. Its first 4096 bytes\nare its seal: the signatures, over everything.");
        self.host(
            teller,
            "rayos-bundle",
            &["inspect", "rayos-1.0.0.bundle", "--trust", "trust.toml"],
        )
    }

    fn install(&self, teller: &mut Teller) -> Result<()> {
        teller.chapter("Installing from the stick, without questions");
        teller.say("A machine with an empty disk and a USB stick is switched on. The firmware starts the boot guard on the\nstick, the guard starts the recovery system, and that applies the bundle to the empty slot A.");
        let disk = self.scratch.file("disk.img");
        File::create(&disk)?.set_len(DISK_LEN)?;
        let stick = Disk::usb(&self.given.stick).read_only();
        let mut machine = self
            .told(
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
        self.disk(teller)
    }

    fn first_boot(&self, teller: &mut Teller) -> Result<Running> {
        teller.chapter("The first boot, on trial");
        teller.say("Without the stick. Installing was the first update, so slot A is on trial: the guard takes one of its\nthree tries before it starts it, and the release commits itself when its health checks pass.");
        let machine = Machine::new(self.scratch)
            .disk(Disk::virtio(self.scratch.file("disk.img")))
            .network();
        let mut machine = self.told(machine).start("2-running")?;
        machine
            .step("1.0.0 commits")
            .expect_within("RAYOS_BOOTCTL:COMMITTED slot=a version=1.0.0", LIMIT)?;
        prompt(&mut machine)?;
        guest(&mut machine, teller, "rayos-bootctl status")?;
        guest(&mut machine, teller, "efibootmgr")?;
        Ok(machine)
    }

    fn update(&self, machine: &mut Running, web: &WebServer, teller: &mut Teller) -> Result<()> {
        teller.chapter("An update over HTTP");
        teller.say("The running system streams release 1.1.0 from a web server into slot B: every chunk is verified before\nit is written, and the whole slot is read back. Slot A is not touched.");
        guest(
            machine,
            teller,
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
        guest(machine, teller, "rayos-bootctl status")
    }

    fn broken_release(
        &self,
        machine: &mut Running,
        web: &WebServer,
        teller: &mut Teller,
    ) -> Result<()> {
        teller.chapter("A release that panics");
        teller.say("Release 1.2.0-panic is signed and whole, and its kernel panics at once. It goes to slot A. Nobody touches\nthe machine from here on.");
        guest(
            machine,
            teller,
            &format!(
                "rayos-updater apply --progress lines {}",
                web.guest_url("rayos-1.2.0-panic.bundle")
            ),
        )?;
        machine.send_line("reboot")?;
        machine
            .step("the machine comes back by itself")
            .expect_within("RAYOS_BOOTCTL:COMMITTED slot=b version=1.1.0", LIMIT)?;
        prompt(machine)?;
        teller.say("It came back with the release that works. Why is 1.2.0-panic not running?");
        guest(machine, teller, "rayos-bootctl status")?;
        guest(machine, teller, "rayos-bootctl why")
    }

    fn refusals(&self, machine: &mut Running, teller: &mut Teller) -> Result<()> {
        teller.chapter("What is refused");
        teller.say("One flipped bit, a signature by a stranger, and a release older than the floor: each is refused before a\nbyte of the disk is written.");
        let folder = self.scratch.file("bad");
        fs::create_dir(&folder)?;
        let mut bytes = fs::read(self.given.sample.join("rayos-1.1.0.bundle"))?;
        *bytes.get_mut(4200).context("bundle 1.1.0 is too short")? ^= 1;
        fs::write(folder.join("flipped.bundle"), bytes)?;
        let foreign = folder.join("stranger.bundle");
        let made = Command::new(self.given.sample.join("bin/rayos-bundle"))
            .current_dir(&self.given.sample)
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
            self.given.sample.join("rayos-0.9.0.bundle"),
            folder.join("old.bundle"),
        )?;
        let web = WebServer::start(&folder)?;
        for name in ["flipped", "stranger", "old"] {
            let command = format!(
                "rayos-updater apply --progress lines {}",
                web.guest_url(&format!("{name}.bundle"))
            );
            let shell = machine.run(&command)?;
            teller.answer(
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

    fn the_end(&self, teller: &mut Teller) -> Result<()> {
        teller.chapter("The disk as it is now");
        self.disk(teller)?;
        let machine = Machine::new(self.scratch)
            .disk(Disk::virtio(self.scratch.file("disk.img")))
            .network();
        let out = self.given.out.display();
        teller.say(&format!(
            "All of this took {}. The disk, the EFI variables and the consoles are in {out}.",
            teller.time()
        ));
        teller.say(
            "To go on playing with this machine (its shell is on this terminal; ctrl-a x switches it off):",
        );
        teller.say(&machine.command_line()?);
        teller.say(&format!("To hand it bundles, serve the sample's folder to it:\npython3 -m http.server --directory {} 8000    # in the machine: rayos-updater apply http://10.0.2.2:8000/rayos-1.3.0-sick.bundle", self.given.sample.display()));
        Ok(())
    }

    /// What the disk looks like: the partitions by a tool that is not ours, the record by ours,
    /// offline.
    fn disk(&self, teller: &Teller) -> Result<()> {
        let disk = self.scratch.file("disk.img");
        let columns = ["-q", "-l", "-o", "Start,Size,Name"];
        teller.answer(
            "$",
            "sfdisk -l disk.img",
            &output(Command::new("/sbin/sfdisk").args(columns).arg(&disk))?,
        );
        let mut status = Command::new(self.given.sample.join("bin/rayos-bootctl"));
        status.args(["status", "--disk"]).arg(&disk);
        teller.answer(
            "$",
            "rayos-bootctl status --disk disk.img",
            &output(&mut status)?,
        );
        Ok(())
    }

    /// Runs one of our programs on this machine, in the sample's folder.
    fn host(&self, teller: &Teller, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(self.given.sample.join("bin").join(program));
        command.current_dir(&self.given.sample).args(arguments);
        teller.answer(
            "$",
            &format!("{program} {}", arguments.join(" ")),
            &output(&mut command)?,
        );
        Ok(())
    }

    /// The machine, with its console told.
    fn told<'m>(&self, machine: Machine<'m>) -> Machine<'m> {
        let verbose = self.given.verbose;
        machine.on_line(move |line| Teller::console(line, verbose))
    }
}

/// Runs a command in the guest and shows it with its answer.
fn guest(machine: &mut Running, teller: &Teller, command: &str) -> Result<()> {
    let output = machine.check(command)?;
    teller.answer("rayos#", command, &output);
    Ok(())
}

/// A fresh prompt: what the release said meanwhile stands after the first one.
fn prompt(machine: &mut Running) -> Result<()> {
    machine.send_line("")?;
    Ok(machine.expect_shell()?)
}

fn output(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| name.clone())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name}: {}: {}",
        output.status,
        said.trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}
