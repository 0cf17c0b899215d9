//! A bad release uses up its tries, and the machine comes back by itself.

use crate::installed::{Installed, settled};
use anyhow::{Result, ensure};
use qemu::{Running, Scratch};
use std::fs;
use std::time::Duration;
use tests::WebServer;

/// A release's tries, each of them a boot.
const TRIES: usize = 3;
/// Several boots in a row.
const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn from_a_release_that_panics_at_once() -> Result<()> {
    comes_back(
        "fallback-panic",
        "1.2.0-panic",
        &["Kernel panic - not syncing: Attempted to kill init"],
    )
}

#[test]
fn from_a_release_that_is_never_healthy() -> Result<()> {
    comes_back(
        "fallback-sick",
        "1.3.0-sick",
        &[
            "RAYOS:UP version=1.3.0-sick slot=b",
            "RAYOS_BOOTCTL:HEALTH_FAILED check=30-application",
        ],
    )
}

/// Applies `version` to slot B and waits, without a finger on the machine, until slot A runs again;
/// `signs` are on the console once for each try.
fn comes_back(name: &str, version: &str, signs: &[&str]) -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new(name)?;
    let result = || -> Result<()> {
        let web = WebServer::start(installed.sample.folder())?;
        let mut machine = installed.start(&scratch)?;
        machine.fatal(&[]);
        machine.check(&format!(
            "rayos-updater apply {}",
            web.guest_url(&format!("rayos-{version}.bundle"))
        ))?;
        machine
            .step("the machine comes back to 1.0.0 by itself")
            .send_line("reboot")?;
        machine.expect_within("RAYOS:UP version=1.0.0 slot=a", LIMIT)?;
        settled(&mut machine, "a", "1.0.0")?;

        let console = fs::read_to_string(machine.log())?;
        let started = format!("rayos-guard: starting slot B, release {version}");
        for sign in signs.iter().copied().chain([started.as_str()]) {
            let times = console.matches(sign).count();
            ensure!(
                times == TRIES,
                "\"{sign}\" is on the console {times} times, expected {TRIES}"
            );
        }
        tells_why(&mut machine, version)?;
        last_words(&mut machine, signs.last().copied().unwrap_or_default())?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// `why` ends with what the release said last: the panic, which the firmware kept, or the check
/// that failed.
fn last_words(machine: &mut Running, sign: &str) -> Result<()> {
    // Panics are taken over before the health checks run, and those have passed.
    let why = machine.check("rayos-bootctl why")?;
    let words = sign.rsplit('=').next().unwrap_or_default();
    ensure!(
        why.lines()
            .any(|line| line.contains(" | ") && line.contains(words)),
        "why says:\n{why}"
    );
    Ok(())
}

/// The surviving slot says in its first sentence which release failed and which runs.
fn tells_why(machine: &mut Running, version: &str) -> Result<()> {
    let status = machine.check("rayos-bootctl status")?;
    let sentence = status.lines().next().unwrap_or_default();
    ensure!(
        sentence.contains(version) && sentence.contains("1.0.0"),
        "status begins with \"{sentence}\""
    );
    Ok(())
}
