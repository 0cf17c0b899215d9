//! Our systemd units, run by the distribution's systemd: they commit a release, look for the next
//! one, apply it and restart. It falls back because one of its units fails.

use crate::scenario::{Steps as _, scenario};
use anyhow::{Result, ensure};
use qemu::Running;
use std::fs;
use std::time::Duration;

/// Maximum duration of several boots in a row.
const LIMIT: Duration = Duration::from_secs(900);
const GOOD: &str = "1.4.0-systemd";
const SICK: &str = "1.5.0-systemd-sick";

#[test]
fn units_commit_update_restart_and_fall_back() -> Result<()> {
    scenario("systemd", |scenario| {
        let mut machine = scenario.start_installed()?;
        scenario.apply(&mut machine, GOOD)?;
        // rayos-health.service commits the release.
        machine.reboot_into("b", GOOD, "trial")?;
        units_are_active(&mut machine)?;

        machine.step("rayos-update.service finds nothing newer");
        update_from(&mut machine, &scenario.bundle_url(GOOD))?;
        let status =
            machine.check("systemctl show --property=ExecMainStatus rayos-update.service")?;
        ensure!(status.contains("ExecMainStatus=7"), "{status}");
        let waiting = machine.run("rayos-updater status --waiting")?;
        ensure!(waiting.code != 0, "a release waits: {}", waiting.output);
        machine.step("it applies a newer release");
        update_from(&mut machine, &scenario.bundle_url(SICK))?;
        machine.check("rayos-updater status --waiting")?;

        machine
            .step("rayos-update-restart.service starts it; it falls back")
            .send_line("systemctl start rayos-update-restart.service")?;
        machine.expect_guard("a", SICK, "trial")?;
        machine.expect_within(
            &format!("rayos-guard: starting slot B, release {GOOD}"),
            LIMIT,
        )?;
        machine.expect_commit("b", GOOD)?;
        let console = fs::read_to_string(machine.log())?;
        let tries = console
            .matches(&format!("rayos-guard: starting slot A, release {SICK}"))
            .count();
        ensure!(tries == 3, "{SICK} was started {tries} times");
        let why = machine.check("rayos-bootctl why")?;
        ensure!(
            why.contains(SICK) && why.contains("application.service"),
            "why prints:\n{why}"
        );
        machine.step("the restart unit has nothing to do if no release waits");
        machine.check("systemctl start rayos-update-restart.service")?;
        had_nothing_to_do(&mut machine, "rayos-update-restart.service")?;
        Ok(())
    })
}

/// Checks that the health unit and the timers are active and that no unit has failed.
fn units_are_active(machine: &mut Running) -> Result<()> {
    machine.check(
        "systemctl is-active rayos-health.service rayos-update.timer rayos-update-restart.timer",
    )?;
    let failed = machine.check("systemctl --failed --plain --no-legend")?;
    ensure!(failed.trim().is_empty(), "failed units:\n{failed}");
    Ok(())
}

/// Checks that the condition of `unit` has ended its last run.
fn had_nothing_to_do(machine: &mut Running, unit: &str) -> Result<()> {
    let result = machine.check(&format!("systemctl show --property=Result {unit}"))?;
    ensure!(result.contains("Result=exec-condition"), "{unit}: {result}");
    Ok(())
}

/// Starts rayos-update.service, as its timer does every day, and waits for its end.
fn update_from(machine: &mut Running, url: &str) -> Result<()> {
    machine.check(&format!(
        "echo BUNDLE={url} >/run/update.env; systemctl start rayos-update.service"
    ))?;
    let state =
        machine.check("systemctl show --property=ActiveState,Result rayos-update.service")?;
    ensure!(
        state.contains("ActiveState=inactive"),
        "rayos-update.service: {state}"
    );
    Ok(())
}
