//! Firmware that loses, rewrites or cannot store variables, or loses power in the middle of a write:
//! the guard starts without them, and the entries are repaired.

use crate::scenario::{Steps as _, scenario};
use anyhow::{Context as _, Result, ensure};
use qemu::{Disk, Machine, Running};
use std::fs;

/// `rayos-bootctl`: there are no EFI variables.
const NO_VARIABLES: i32 = 77;
const EFIVARS: &str = "/sys/firmware/efi/efivars";
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Checks that each of our three entries exists once, and returns the output of efibootmgr.
fn complete_entries(machine: &mut Running) -> Result<String> {
    let entries = machine.check("efibootmgr")?;
    for label in ["RayOS A", "RayOS B", "RayOS Recovery"] {
        ensure!(
            entries.matches(label).count() == 1,
            "entry {label} does not exist once:\n{entries}"
        );
    }
    Ok(entries)
}

/// The numbers in BootOrder, as efibootmgr prints them. *Pure.*
fn order(entries: &str) -> Vec<&str> {
    entries
        .lines()
        .find_map(|line| line.strip_prefix("BootOrder: "))
        .map_or(Vec::new(), |list| list.trim().split(',').collect())
}

/// The number of the entry with this label. *Pure.*
fn number<'a>(entries: &'a str, label: &str) -> Option<&'a str> {
    entries.lines().find(|line| line.contains(label))?.get(4..8)
}

#[test]
fn firmware_that_lost_every_variable() -> Result<()> {
    scenario("firmware-lost", |scenario| {
        scenario.copy_installed()?;
        // The machine starts with an empty store, as after a change of its battery.
        fs::remove_file(scenario.file("vars.fd"))?;
        let mut machine = scenario.start(scenario.machine(), "lost")?;
        machine.expect_start("a", "1.0.0", "")?;
        complete_entries(&mut machine)?;
        Ok(())
    })
}

/// `bootindex`, a blank disk before ours: OVMF deletes our entries and makes its own before it
/// boots.
#[test]
fn firmware_that_deletes_our_entries() -> Result<()> {
    scenario("firmware-deletes", |scenario| {
        scenario.copy_installed()?;
        let other = scenario.file("other.img");
        fs::File::create(&other)?.set_len(64 << 20)?;
        let machine = Machine::new(&scenario.scratch)
            .disk(scenario.disk().bootindex(1))
            .disk(Disk::virtio(other).bootindex(0))
            .network();
        let mut machine = scenario.start(machine, "deletes")?;
        machine.step("slot A starts without an entry");
        machine.expect_guard("a", "1.0.0", "")?;
        machine.expect_up("a", "1.0.0")
    })
}

/// `bootindex` on our disk: OVMF rewrites BootOrder before every boot. Later in the same machine:
/// `BootNext` is lost before the trial, an immutable entry points elsewhere, and the variables
/// cannot be accessed.
#[test]
fn firmware_that_rewrites_the_order_and_loses_boot_next() -> Result<()> {
    scenario("firmware-rewrites", |scenario| {
        scenario.copy_installed()?;
        let machine = Machine::new(&scenario.scratch)
            .disk(scenario.disk().bootindex(0))
            .network();
        let mut machine = scenario.start(machine, "rewrites")?;
        machine.expect_start("a", "1.0.0", "")?;
        let entries = complete_entries(&mut machine)?;
        ensure!(
            order(&entries).first().copied() == number(&entries, "RayOS A"),
            "A is not first:\n{entries}"
        );

        // A boot entry that points elsewhere is written again, although it is immutable.
        let b = number(&entries, "RayOS B").context("no entry for B")?;
        let file = format!("{EFIVARS}/Boot{b}-{GLOBAL}");
        machine.check(&format!(
            "cp {file} /tmp/b && {{ head -c 40 /tmp/b; printf '\\1\\1\\1\\1'; tail -c +45 /tmp/b; }} >/tmp/bad && \
             dd if=/tmp/bad of={file} bs=4096 && chattr +i {file}"
        ))?;
        machine.check("rayos-bootctl repair --entries-only")?;
        machine.check(&format!("cmp {file} /tmp/b"))?;

        // The firmware loses BootNext before the trial.
        scenario.apply(&mut machine, "1.1.0")?;
        machine.check(&format!("rm {EFIVARS}/BootNext-{GLOBAL}"))?;

        // Without access to variables, the disk can still be named.
        machine.check(&format!("umount {EFIVARS}"))?;
        machine.check_fails("rayos-bootctl status", NO_VARIABLES, &[])?;
        let offline = machine.check("rayos-bootctl status --disk /dev/vda")?;
        ensure!(
            offline.contains("the next boot starts slot B 1.1.0, on trial"),
            "{offline}"
        );

        machine.reboot_into("b", "1.1.0", "trial, 2 tries left)")
    })
}

/// Fills the store with variables that are not ours until the smallest one does not fit.
const FILL: &str = "n=0; for size in 30000 3000 300 30; do \
    while n=$((n + 1)); { printf '\\7\\0\\0\\0'; head -c $size /dev/zero; } >/tmp/v && \
    dd if=/tmp/v of=/sys/firmware/efi/efivars/Fill$n-5f3a1f2e-0f0a-4c0b-9d55-3d9f1c2b7a10 bs=65536 2>/dev/null; \
    do :; done; done; echo filled by $n";

#[test]
fn firmware_whose_store_is_full() -> Result<()> {
    scenario("firmware-full", |scenario| {
        let mut machine = scenario.start_installed()?;
        machine.check("until rayos-bootctl status | grep -q 'budget 8'; do usleep 100000; done")?;
        machine.check(FILL)?;
        let said = scenario.apply(&mut machine, "1.1.0")?;
        ensure!(
            said.contains("variable store is full"),
            "the updater did not warn: {said}"
        );

        // The trial starts without BootNext.
        machine.reboot_into("b", "1.1.0", "trial, 2 tries left)")?;
        // Foreign variables were not deleted to make room.
        machine.check(&format!(
            "test -e {EFIVARS}/Fill1-5f3a1f2e-0f0a-4c0b-9d55-3d9f1c2b7a10"
        ))?;
        machine.check(&format!("chattr -i {EFIVARS}/Fill* && rm {EFIVARS}/Fill*"))?;

        // OVMF reclaims the space of deleted variables when it starts; then the entries can be
        // repaired.
        machine.reboot_into("b", "1.1.0", "")?;
        let entries = complete_entries(&mut machine)?;
        ensure!(
            order(&entries).first().copied() == number(&entries, "RayOS B"),
            "B is not first:\n{entries}"
        );
        Ok(())
    })
}

/// QEMU is killed while the guest writes BootOrder in a loop: the firmware finds the old order or
/// the new one.
#[test]
fn firmware_that_loses_power_while_it_writes() -> Result<()> {
    scenario("firmware-power", |scenario| {
        scenario.copy_installed()?;
        for (kill, turn) in [3, 14, 37].into_iter().enumerate() {
            let mut machine = scenario.start(scenario.machine(), &format!("killed-{kill}"))?;
            machine.expect_start("a", "1.0.0", "")?;
            let entries = complete_entries(&mut machine)?;
            // The present order, and the same with its first number at the end.
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
            let mut machine = scenario.start(scenario.machine(), &format!("after-{kill}"))?;
            let line = machine
                .step("the firmware starts the first entry of one of the orders")
                .expect("BdsDxe: starting Boot")?;
            let started = line
                .split_once("starting Boot")
                .and_then(|(_, rest)| rest.get(..4));
            ensure!(
                started.is_some_and(|number| old.iter().take(2).any(|first| *first == number)),
                "{line}, of {old:?}"
            );
            machine.expect_guard("a", "1.0.0", "")?;
            machine.power_off()?;
        }
        Ok(())
    })
}
