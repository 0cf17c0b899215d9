//! A Debian system from our packages: installed from its stick, updated over HTTP, with everything
//! that persists. `scripts/test-debian` makes its releases and runs this scenario; `scripts/test`
//! leaves it out.

use crate::installed::install;
use crate::scenario::Steps as _;
use anyhow::{Context as _, Result, ensure};
use qemu::{Disk, Machine, Running, Scratch, project_folder};
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;
use tests::WebServer;

/// Size of the disk: the default layout, and something for the data partition.
const DISK_LEN: u64 = 6 << 30;
/// Maximum duration of one boot of systemd under translation, on a busy host.
const BOOT_LIMIT: Duration = Duration::from_secs(420);
/// Signs on the console that a boot or an installation failed.
const LOST: [&str; 6] = [
    "Kernel panic",
    "RAYOS_BOOTCTL:HEALTH_FAILED",
    "RAYOS_INSTALLER:FAILED",
    "rayos-guard: nothing can be started",
    "rayos-root: restarting",
    "emergency mode",
];

#[test]
fn debian_installs_persists_updates_and_keeps_its_data() -> Result<()> {
    let folder: PathBuf = std::env::var_os("RAYOS_DEBIAN")
        .context("RAYOS_DEBIAN is not set: scripts/test-debian makes the releases")?
        .into();
    let scratch = Scratch::new("debian")?;
    let result = scenario(&scratch, &folder);
    scratch.finish(result)
}

fn scenario(scratch: &Scratch, folder: &PathBuf) -> Result<()> {
    let web = WebServer::start(folder)?;
    let image = scratch.file("disk.img");
    File::create(&image)?.set_len(DISK_LEN)?;
    let disk = || Disk::virtio(&image);

    let stick = Disk::usb(folder.join("stick.img")).read_only();
    let mut machine = Machine::new(scratch)
        .disk(disk())
        .disk(stick)
        .start("install")?;
    install(&mut machine)?;
    machine.power_off()?;

    let machine = Machine::new(scratch).disk(disk()).network();
    let mut machine = machine.memory_mib(1024).start("debian")?;
    machine.fatal(&LOST);
    machine.step("the first boot formats the data partition");
    machine.expect_guard("a", "1.0.0", "trial")?;
    machine.expect_within("rayos-root: formatting /dev/vda8 as ext4, once", BOOT_LIMIT)?;
    expect_commit(&mut machine, "a", "1.0.0")?;
    let first = identity(&mut machine)?;
    everything_persists(&mut machine)?;

    machine.step("a newer release is applied");
    machine.check("echo of-the-user >/var/lib/first; echo of-the-user >/etc/first")?;
    let url = web.guest_url("rayos-1.1.0.bundle");
    let apply = format!("rayos-updater apply --progress none {url}");
    let applied = machine.run_within(&apply, BOOT_LIMIT)?;
    ensure!(applied.code == 0, "{}", applied.output);

    machine.step("it starts with the data of the older one");
    machine.send_line("systemctl reboot")?;
    machine.expect_within(
        "rayos-guard: starting slot B, release 1.1.0 (trial",
        BOOT_LIMIT,
    )?;
    expect_commit(&mut machine, "b", "1.1.0")?;
    ensure!(identity(&mut machine)? == first, "the identity changed");
    machine.check("grep -q of-the-user /var/lib/first /etc/first")?;
    machine.check("test -e /usr/share/second-release")?;
    everything_persists(&mut machine)?;
    for page in ["operate.md", "troubleshoot.md"] {
        commands_work(&mut machine, page)?;
    }
    machine.power_off()?;
    Ok(())
}

/// Runs the commands for machines of a page of docs/guide, one by one.
fn commands_work(machine: &mut Running, page: &str) -> Result<()> {
    let text = fs::read_to_string(project_folder().join("docs/guide").join(page))?;
    let blocks = text.split("```sh machine\n").skip(1);
    let mut commands = blocks
        .filter_map(|block| block.split("```").next())
        .flat_map(str::lines)
        .peekable();
    ensure!(commands.peek().is_some(), "{page} has no commands");
    for command in commands {
        machine.step(format!("{page}: {command}"));
        let run = machine.run_within(command, BOOT_LIMIT)?;
        ensure!(run.code == 0, "{page}: {command}: {}", run.output);
    }
    Ok(())
}

/// Waits until the release has committed, and for the shell.
fn expect_commit(machine: &mut Running, slot: &str, version: &str) -> Result<()> {
    let line = format!("RAYOS_BOOTCTL:COMMITTED slot={slot} version={version}");
    machine.expect_within(&line, BOOT_LIMIT)?;
    machine.send_line("")?;
    Ok(machine.expect_shell()?)
}

/// Returns what must be the same in each boot, and differ between machines.
fn identity(machine: &mut Running) -> Result<String> {
    let found = machine
        .check("cat /etc/machine-id; hostname; cut -c 1-80 /etc/ssh/ssh_host_ed25519_key.pub")?;
    ensure!(
        found.contains("edge-") && found.contains("ssh-ed25519"),
        "{found}"
    );
    Ok(found)
}

/// Checks the services and the mounts.
fn everything_persists(machine: &mut Running) -> Result<()> {
    machine.check("systemctl is-active nginx ssh rayos-health")?;
    for mount in [
        "/ erofs /dev/mapper/rayos-root",
        "/etc overlay overlay",
        "/var ext4 /dev/vda8[/rayos/bind/var]",
        "/data ext4 /dev/vda8",
        "/tmp tmpfs tmpfs",
    ] {
        let found = machine.check(&format!(
            "findmnt -rn -o TARGET,FSTYPE,SOURCE {} | tail -n 1",
            mount.split(' ').next().unwrap_or_default()
        ))?;
        let same = found.trim().replace("/dev/dm-0", "/dev/mapper/rayos-root");
        ensure!(same == mount, "{mount}: {found}");
    }
    let failed = machine.check("systemctl --failed --plain --no-legend")?;
    ensure!(failed.trim().is_empty(), "failed units:\n{failed}");
    let status = machine.check("rayos-bootctl status")?;
    ensure!(!status.contains("arning"), "{status}");
    Ok(())
}
