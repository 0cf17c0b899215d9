//! Firmware that forgets, rearranges, is full, or dies in the middle of a write: the guard needs
//! none of it, and the entries are mended.

use crate::installed::{Installed, LOST, machine, settled};
use anyhow::{Context as _, Result, ensure};
use qemu::{Disk, Machine, Running, Scratch};
use std::fs;

const EFIVARS: &str = "/sys/firmware/efi/efivars";
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Waits until the booted release, 1.0.0 in slot A, has committed, and for its shell.
fn comes_up(machine: &mut Running) -> Result<()> {
    machine.fatal(&LOST).step("slot A is started");
    machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
    machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
    settled(machine, "a", "1.0.0")
}

/// Our three entries are there, once each, by the word of a tool that is not ours.
fn entries_are_whole(machine: &mut Running) -> Result<String> {
    let entries = machine.check("efibootmgr")?;
    for label in ["RayOS A", "RayOS B", "RayOS Recovery"] {
        ensure!(
            entries.matches(label).count() == 1,
            "entry {label} is not there once:\n{entries}"
        );
    }
    Ok(entries)
}

/// The numbers in BootOrder, as efibootmgr shows them.
fn order(entries: &str) -> Vec<&str> {
    entries
        .lines()
        .find_map(|line| line.strip_prefix("BootOrder: "))
        .map_or(Vec::new(), |list| list.trim().split(',').collect())
}

/// The number of the entry with this label.
fn number<'a>(entries: &'a str, label: &str) -> Option<&'a str> {
    entries.lines().find(|line| line.contains(label))?.get(4..8)
}

#[test]
fn that_forgot_every_variable() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("firmware-forgot")?;
    let result = || -> Result<()> {
        installed.copy_to(&scratch)?;
        // The machine starts with an empty store, as after its battery was changed.
        fs::remove_file(scratch.file("vars.fd"))?;
        let mut machine = machine(&scratch).start("forgot")?;
        comes_up(&mut machine)?;
        entries_are_whole(&mut machine)?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// `bootindex`, a blank disk before ours: OVMF deletes our entries and makes its own before it
/// boots.
#[test]
fn that_deletes_our_entries() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("firmware-deletes")?;
    let result = || -> Result<()> {
        installed.copy_to(&scratch)?;
        let other = scratch.file("other.img");
        fs::File::create(&other)?.set_len(64 << 20)?;
        let disks = [
            Disk::virtio(scratch.file("disk.img")).bootindex(1),
            Disk::virtio(other).bootindex(0),
        ];
        let machine = disks
            .into_iter()
            .fold(Machine::new(&scratch), Machine::disk);
        let mut machine = machine.network().start("deletes")?;
        machine.fatal(&LOST).step("slot A is started all the same");
        machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
        machine.expect("RAYOS:UP version=1.0.0 slot=a")?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// `bootindex` on our disk: OVMF rewrites BootOrder before every boot. Then, in the same machine:
/// `BootNext` is lost before the trial, entries are immutable, one points elsewhere, and there are
/// no variables at all.
#[test]
fn that_rewrites_the_order_and_loses_boot_next() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("firmware-rewrites")?;
    let result = || -> Result<()> {
        installed.copy_to(&scratch)?;
        let disk = Disk::virtio(scratch.file("disk.img")).bootindex(0);
        let mut machine = Machine::new(&scratch)
            .disk(disk)
            .network()
            .start("rewrites")?;
        comes_up(&mut machine)?;
        let entries = entries_are_whole(&mut machine)?;
        ensure!(
            order(&entries).first().copied() == number(&entries, "RayOS A"),
            "A is not first:\n{entries}"
        );

        // A boot entry that points elsewhere is written anew; that it is immutable is no obstacle.
        let b = number(&entries, "RayOS B").context("no entry for B")?;
        let file = format!("{EFIVARS}/Boot{b}-{GLOBAL}");
        machine.check(&format!(
            "cp {file} /tmp/b && {{ head -c 40 /tmp/b; printf '\\1\\1\\1\\1'; tail -c +45 /tmp/b; }} >/tmp/bad && \
             dd if=/tmp/bad of={file} bs=4096 && chattr +i {file}"
        ))?;
        machine.check("rayos-bootctl repair --entries-only")?;
        machine.check(&format!("cmp {file} /tmp/b"))?;

        // A trial whose BootNext the firmware loses, or whose order has only dangling numbers, is
        // started all the same.
        let web = tests::WebServer::start(installed.sample.folder())?;
        machine.check(&format!(
            "rayos-updater apply {}",
            web.guest_url("rayos-1.1.0.bundle")
        ))?;
        machine.check(&format!("rm {EFIVARS}/BootNext-{GLOBAL}"))?;

        // Without variables a disk can still be asked.
        machine.check(&format!("umount {EFIVARS}"))?;
        let shell = machine.run("rayos-bootctl status")?;
        ensure!(
            shell.code == 77,
            "status without variables: {}: {}",
            shell.code,
            shell.output
        );
        let offline = machine.check("rayos-bootctl status --disk /dev/vda")?;
        ensure!(
            offline.contains("the next boot starts slot B 1.1.0, on trial"),
            "{offline}"
        );

        machine
            .step("the trial is started without BootNext")
            .send_line("reboot")?;
        machine.expect("rayos-guard: starting slot B, release 1.1.0 (trial, 2 tries left)")?;
        machine.expect("RAYOS_BOOTCTL:COMMITTED slot=b version=1.1.0")?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// Fills the store with variables that are not ours, until not even a small one fits.
const FILL: &str = "n=0; for size in 30000 3000 300 30; do \
    while n=$((n + 1)); { printf '\\7\\0\\0\\0'; head -c $size /dev/zero; } >/tmp/v && \
    dd if=/tmp/v of=/sys/firmware/efi/efivars/Fill$n-5f3a1f2e-0f0a-4c0b-9d55-3d9f1c2b7a10 bs=65536 2>/dev/null; \
    do :; done; done; echo filled by $n";

#[test]
fn that_is_full() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("firmware-full")?;
    let result = || -> Result<()> {
        let web = tests::WebServer::start(installed.sample.folder())?;
        let mut machine = installed.start(&scratch)?;
        machine.check("until rayos-bootctl status | grep -q 'budget 8'; do usleep 100000; done")?;
        machine.check(FILL)?;
        let said = machine.check(&format!(
            "rayos-updater apply {}",
            web.guest_url("rayos-1.1.0.bundle")
        ))?;
        ensure!(
            said.contains("variable store is full"),
            "the updater did not warn: {said}"
        );

        machine
            .step("the trial is started without BootNext")
            .send_line("reboot")?;
        machine.expect("rayos-guard: starting slot B, release 1.1.0 (trial, 2 tries left)")?;
        settled(&mut machine, "b", "1.1.0")?;
        // Foreign variables were not touched to make room.
        machine.check(&format!(
            "test -e {EFIVARS}/Fill1-5f3a1f2e-0f0a-4c0b-9d55-3d9f1c2b7a10"
        ))?;
        machine.check(&format!("chattr -i {EFIVARS}/Fill* && rm {EFIVARS}/Fill*"))?;

        // The store is tidied up when the machine starts; then the entries can be brought in line.
        machine
            .step("with room again, the entries are mended")
            .send_line("reboot")?;
        machine.expect("rayos-guard: starting slot B, release 1.1.0")?;
        settled(&mut machine, "b", "1.1.0")?;
        let entries = entries_are_whole(&mut machine)?;
        ensure!(
            order(&entries).first().copied() == number(&entries, "RayOS B"),
            "B is not first:\n{entries}"
        );
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// QEMU is killed while the guest writes BootOrder again and again: the firmware finds the old
/// order or the new one.
#[test]
fn that_dies_while_it_writes() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("firmware-dies")?;
    let result = || -> Result<()> {
        installed.copy_to(&scratch)?;
        for (kill, turn) in [3, 14, 37].into_iter().enumerate() {
            let mut machine = machine(&scratch).start(&format!("dies-{kill}"))?;
            comes_up(&mut machine)?;
            let entries = entries_are_whole(&mut machine)?;
            // The order as it is, and the same with its first number at the end.
            machine.check(&format!(
                "cp {EFIVARS}/BootOrder-{GLOBAL} /tmp/old && \
                 {{ head -c 4 /tmp/old; tail -c +7 /tmp/old; head -c 6 /tmp/old | tail -c 2; }} >/tmp/new"
            ))?;
            machine.send_line(&format!(
                "n=0; while :; do n=$((n + 1)); echo TU''RN-$n.; for v in new old; do \
                 dd if=/tmp/$v of={EFIVARS}/BootOrder-{GLOBAL} bs=64 2>/dev/null; done; done"
            ))?;
            machine
                .step("the order is being written")
                .expect(&format!("TURN-{turn}."))?;
            machine.kill()?;

            let old = order(&entries);
            let mut machine = self::machine(&scratch).start(&format!("after-{kill}"))?;
            let line = machine
                .step("firmware starts an entry")
                .expect("BdsDxe: starting Boot")?;
            let begun = line
                .split_once("starting Boot")
                .and_then(|(_, rest)| rest.get(..4));
            ensure!(
                begun.is_some_and(|number| old.iter().take(2).any(|first| *first == number)),
                "{line}, of {old:?}"
            );
            machine.expect("rayos-guard: starting slot A, release 1.0.0")?;
            machine.power_off()?;
        }
        Ok(())
    }();
    scratch.finish(result)
}
