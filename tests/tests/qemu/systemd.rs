//! The units that are delivered for systemd, run by the distribution's systemd: a release is
//! committed, the next one is looked for, applied and restarted into, and left again since one of
//! its units fails.

use crate::installed::{Installed, LOST, settled};
use anyhow::{Result, ensure};
use qemu::{Running, Scratch};
use std::fs;
use std::time::Duration;
use tests::WebServer;

/// Several boots in a row.
const LIMIT: Duration = Duration::from_secs(900);
const GOOD: &str = "1.4.0-systemd";
const SICK: &str = "1.5.0-systemd-sick";

#[test]
fn its_units_commit_update_restart_and_fall_back() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("systemd")?;
    let result = || -> Result<()> {
        let web = WebServer::start(installed.sample.folder())?;
        let mut machine = installed.start(&scratch)?;
        machine.check(&format!(
            "rayos-updater apply {}",
            web.guest_url(&format!("rayos-{GOOD}.bundle"))
        ))?;
        machine
            .fatal(&LOST)
            .step("systemd brings the release up")
            .send_line("reboot")?;
        machine.expect(&format!("RAYOS:UP version={GOOD} slot=b"))?;
        machine.step("rayos-health.service commits it");
        settled(&mut machine, "b", GOOD)?;
        states(&mut machine)?;

        machine.step("rayos-update.service finds nothing newer");
        update_from(
            &mut machine,
            &web.guest_url(&format!("rayos-{GOOD}.bundle")),
        )?;
        skipped(&mut machine, "rayos-update.service")?;
        let waiting = machine.run("rayos-updater status --waiting")?;
        ensure!(waiting.code != 0, "a release waits: {}", waiting.output);
        machine.step("it applies a newer release");
        update_from(
            &mut machine,
            &web.guest_url(&format!("rayos-{SICK}.bundle")),
        )?;
        machine.check("rayos-updater status --waiting")?;

        machine
            .step("rayos-update-restart.service starts it; it is left again")
            .send_line("systemctl start rayos-update-restart.service")?;
        machine.expect(&format!(
            "rayos-guard: starting slot A, release {SICK} (trial"
        ))?;
        machine.expect_within(
            &format!("rayos-guard: starting slot B, release {GOOD}"),
            LIMIT,
        )?;
        settled(&mut machine, "b", GOOD)?;
        let console = fs::read_to_string(machine.log())?;
        let tries = console
            .matches(&format!("rayos-guard: starting slot A, release {SICK}"))
            .count();
        ensure!(tries == 3, "{SICK} was started {tries} times");
        let why = machine.check("rayos-bootctl why")?;
        ensure!(
            why.contains(SICK) && why.contains("application.service"),
            "why says:\n{why}"
        );
        machine.step("with nothing waiting, the restart unit does nothing");
        machine.check("systemctl start rayos-update-restart.service")?;
        skipped(&mut machine, "rayos-update-restart.service")?;
        Ok(machine.power_off()?)
    }();
    scratch.finish(result)
}

/// The health unit has run and nothing failed; the timers are set.
fn states(machine: &mut Running) -> Result<()> {
    machine.check(
        "systemctl is-active rayos-health.service rayos-update.timer rayos-update-restart.timer",
    )?;
    let failed = machine.check("systemctl --failed --plain --no-legend")?;
    ensure!(failed.trim().is_empty(), "failed units:\n{failed}");
    Ok(())
}

/// The unit's condition has ended its last run: nothing was to be done.
fn skipped(machine: &mut Running, unit: &str) -> Result<()> {
    let result = machine.check(&format!("systemctl show --property=Result {unit}"))?;
    ensure!(result.contains("Result=exec-condition"), "{unit}: {result}");
    Ok(())
}

/// What the timer does every day, now. *Starts the unit and waits for its end.*
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
