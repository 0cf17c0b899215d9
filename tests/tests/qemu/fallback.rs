//! A bad release uses up its tries, and the machine returns to the other slot by itself.

use crate::scenario::{Steps as _, scenario};
use anyhow::{Result, ensure};
use qemu::Running;
use std::fs;
use std::time::Duration;

/// Tries of a release, each of them a boot.
const TRIES: usize = 3;
/// Maximum duration of several boots in a row.
const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn from_a_release_whose_kernel_panics() -> Result<()> {
    falls_back(
        "fallback-panic",
        "1.2.0-panic",
        &["Kernel panic - not syncing: Attempted to kill init"],
    )
}

#[test]
fn from_a_release_that_is_never_healthy() -> Result<()> {
    falls_back(
        "fallback-sick",
        "1.3.0-sick",
        &[
            "RAYOS:UP version=1.3.0-sick slot=b",
            "RAYOS_BOOTCTL:HEALTH_FAILED check=30-application",
        ],
    )
}

/// Applies `version` to slot B, restarts, and waits until slot A runs again. The console must have
/// each of `signs` once for each try.
fn falls_back(name: &str, version: &str, signs: &[&str]) -> Result<()> {
    scenario(name, |scenario| {
        let mut machine = scenario.start_installed()?;
        machine.fatal(&[]);
        scenario.apply(&mut machine, version)?;
        machine
            .step("the machine returns to 1.0.0 by itself")
            .send_line("reboot")?;
        machine.expect_within("RAYOS:UP version=1.0.0 slot=a", LIMIT)?;
        machine.expect_commit("a", "1.0.0")?;

        let console = fs::read_to_string(machine.log())?;
        let started = format!("rayos-guard: starting slot B, release {version}");
        for sign in signs.iter().copied().chain([started.as_str()]) {
            let times = console.matches(sign).count();
            ensure!(
                times == TRIES,
                "\"{sign}\" is on the console {times} times, expected {TRIES}"
            );
        }
        status_names_both_releases(&mut machine, version)?;
        why_ends_with(&mut machine, signs.last().copied().unwrap_or_default())
    })
}

/// The first sentence of `status` names the release that failed and the one that runs.
fn status_names_both_releases(machine: &mut Running, version: &str) -> Result<()> {
    let status = machine.check("rayos-bootctl status")?;
    let sentence = status.lines().next().unwrap_or_default();
    ensure!(
        sentence.contains(version) && sentence.contains("1.0.0"),
        "status begins with \"{sentence}\""
    );
    Ok(())
}

/// `why` quotes the last output of the failed release: the panic, which the firmware kept, or the
/// check that failed.
fn why_ends_with(machine: &mut Running, sign: &str) -> Result<()> {
    // Panics are collected before the health checks run, and those have passed.
    let why = machine.check("rayos-bootctl why")?;
    let words = sign.rsplit('=').next().unwrap_or_default();
    ensure!(
        why.lines()
            .any(|line| line.contains(" | ") && line.contains(words)),
        "why prints:\n{why}"
    );
    Ok(())
}
