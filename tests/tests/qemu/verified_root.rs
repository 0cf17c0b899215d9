//! A root that is not as it was signed: altered before the start, while it runs, and in its hash
//! tree; and a handoff that another system made up.

use crate::scenario::{Scenario, Steps as _, scenario};
use anyhow::{Context as _, Result, ensure};
use qemu::VariableStore;
use record::{HANDOFF_LEN, Handoff, VENDOR};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;
use tests::partition;

const BLOCK: u64 = 4096;
/// Maximum duration of several boots in a row.
const LIMIT: Duration = Duration::from_secs(900);
/// Tries of a release, each of them a boot.
const TRIES: usize = 3;
/// Words of the kernel when it meets a wrong block.
pub(crate) const PANIC: &str = "Kernel panic - not syncing: dm-verity device";

/// Inverts a byte of the partition `name`, which need not be one that is ever used. *Writes.*
pub(crate) fn alter(scenario: &Scenario, name: &str, offset: u64) -> Result<()> {
    let image = scenario.image();
    let at = partition(&image, name)?.offset + offset;
    let file = OpenOptions::new().read(true).write(true).open(&image)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)?;
    Ok(file.sync_all()?)
}

/// Blocks of the root image of `version`.
fn root_blocks(scenario: &Scenario, version: &str) -> Result<u64> {
    let path = scenario
        .sample
        .file(&format!("releases/{version}/root.erofs"));
    let len = fs::metadata(&path)
        .with_context(|| path.display().to_string())?
        .len();
    Ok(len.div_ceil(BLOCK))
}

/// Applies 1.1.0, alters `offset` of its root partition, and waits until 1.0.0 runs again. Every try
/// must have ended with a panic, and `why` must have `words`.
fn falls_back(
    name: &str,
    offset: impl Fn(u64) -> u64,
    words: impl Fn(u64) -> String,
) -> Result<()> {
    scenario(name, |scenario| {
        let mut machine = scenario.start_installed()?;
        scenario.apply(&mut machine, "1.1.0")?;
        machine.power_off()?;
        let blocks = root_blocks(scenario, "1.1.0")?;
        alter(scenario, "root-b", offset(blocks))?;

        let mut machine = scenario.start(scenario.machine(), "altered")?;
        machine.fatal(&[]);
        machine.step("the machine returns to 1.0.0 by itself");
        machine.expect_within("RAYOS:UP version=1.0.0 slot=a", LIMIT)?;
        machine.expect_commit("a", "1.0.0")?;
        let console = fs::read_to_string(machine.log())?;
        let panics = console.matches(PANIC).count();
        ensure!(panics == TRIES, "{panics} panics, expected {TRIES}");
        ensure!(
            !console.contains("RAYOS:UP version=1.1.0"),
            "an altered root ran"
        );
        let (why, words) = (machine.check("rayos-bootctl why")?, words(blocks));
        ensure!(
            why.contains(&words),
            "why does not have \"{words}\":\n{why}"
        );
        let words = "root-b: root image is damaged";
        machine.check_fails("rayos-updater verify-slot b", 6, &[words])
    })
}

#[test]
fn a_root_that_was_altered_before_the_start() -> Result<()> {
    // erofs does not use the first byte of its image: no file is any different.
    falls_back(
        "verity-data",
        |_| 0,
        |_| "data block 0 is corrupted".to_owned(),
    )
}

#[test]
fn a_hash_tree_that_was_altered_before_the_start() -> Result<()> {
    // The top of the tree follows the superblock.
    let top = |blocks: u64| blocks + 1;
    falls_back(
        "verity-tree",
        |blocks| top(blocks) * BLOCK,
        |blocks| format!("metadata block {} is corrupted", top(blocks)),
    )
}

#[test]
fn a_root_that_is_altered_while_it_runs() -> Result<()> {
    scenario("verity-running", |scenario| {
        let mut machine = scenario.start_installed()?;
        let status = machine.check("rayos-bootctl status 2>&1")?;
        ensure!(!status.contains("warning: "), "{status}");
        let device = machine.check("rayos-bootctl root")?;
        ensure!(device.trim().starts_with("/dev/dm-"), "{device}");
        machine.fatal(&[]);
        alter(scenario, "root-a", 0)?;
        machine.step("the wrong block is read").send_line(&format!(
            "echo 3 >/proc/sys/vm/drop_caches; cat {} >/dev/null",
            device.trim()
        ))?;
        machine.expect("data block 0 is corrupted")?;
        machine.expect(PANIC)?;
        machine.step("the guard decides again");
        machine.expect_guard("a", "1.0.0", "default, boot budget ")?;
        Ok(())
    })
}

#[test]
fn a_handoff_of_another_system_is_not_the_guards() -> Result<()> {
    scenario("verity-forged", |scenario| {
        scenario.copy_installed()?;
        // As the guard would write it for slot B, but in a variable that outlasts the start.
        let mut forged = [0; HANDOFF_LEN];
        forged[..3].copy_from_slice(&[1, 2, 2]);
        let store = VariableStore::at(scenario.file("vars.fd"));
        store.insert(VENDOR.0, Handoff::VARIABLE, &forged)?;

        let mut machine = scenario.start(scenario.machine(), "forged")?;
        machine.step("the guard's own handoff takes its place");
        machine.expect_start("a", "1.0.0", "default")?;
        let booted = machine.check("rayos-bootctl booted")?;
        ensure!(booted.trim() == "a", "{booted}");
        let variable = "/sys/firmware/efi/efivars/RayosBoot-b26979f1-9f36-4d93-800d-db9948687231";
        let attributes = machine.check(&format!("head -c 4 {variable} | od -An -tx1"))?;
        ensure!(attributes.trim() == "06 00 00 00", "{attributes}");
        machine.power_off()?;
        let left = store.read()?;
        let is_forged = left
            .iter()
            .any(|variable| variable.name == Handoff::VARIABLE);
        ensure!(!is_forged, "the other system's variable is still there");
        Ok(())
    })
}
