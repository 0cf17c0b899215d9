//! The last words of a run: what was done, how the machine stands, and what comes next.

use serde_json::json;
use std::io::Write as _;
use updater::apply::{Failure, Outcome, Report};

/// Says it: results on standard output, errors on standard error.
pub(crate) struct Words;

impl Words {
    pub(crate) fn outcome(outcome: &Outcome, json: bool) {
        if json {
            return output_line(&outcome_json(outcome).to_string());
        }
        match outcome {
            Outcome::Activated(report) => {
                let phases = report.phase_ms;
                let [scan, write, read_back] =
                    [phases.scan, phases.write, phases.read_back].map(|ms| ms as f64 / 1000.0);
                output_line(&format!(
                    "fetched {}, found {} in place and {} in the other slot, wrote {} (scan {scan:.1} s, write {write:.1} s, read back {read_back:.1} s)",
                    mebibytes(report.fetched_bytes),
                    mebibytes(report.reused_bytes),
                    mebibytes(report.composed_bytes),
                    mebibytes(report.written_bytes),
                ));
                output_line(&report_words(report));
            }
            Outcome::UpToDate(up_to_date) => {
                output_line(&format!("Slot {} runs this release already: nothing to do.", up_to_date.slot));
            }
            Outcome::Planned(plan, amounts) => output_line(&format!(
                "Slot {} would get release {}, {} to be fetched. Nothing was changed; leave out --plan to apply it.",
                plan.target.slot(),
                plan.release.version,
                mebibytes(amounts.fetch_bytes),
            )),
        }
    }

    pub(crate) fn failure(error: &anyhow::Error, code: u8, json: bool) {
        let disarmed = error.downcast_ref::<Failure>().and_then(|failure| failure.disarmed);
        let state = match disarmed {
            _ if code == 130 => "Stopped. The same command goes on where it stopped.".to_owned(),
            Some(slot) => format!(
                "Slot {slot} holds no release now; the running system is as it was. \
                                   The same command goes on where it stopped."
            ),
            None => "Nothing was changed.".to_owned(),
        };
        if json {
            let words = format!("{error:#}");
            let slot = disarmed.map(|slot| slot.letter());
            output_line(
                &json!({ "schema": "rayos-updater.apply/1", "result": "failed", "error": words,
                         "exit_code": code, "invalid_slot": slot })
                .to_string(),
            );
        }
        error_line(&format!("rayos-updater: {error:#}"));
        error_line(&state);
    }
}

fn outcome_json(outcome: &Outcome) -> serde_json::Value {
    let schema = "rayos-updater.apply/1";
    match outcome {
        Outcome::Activated(report) => json!({ "schema": schema, "result": "activated", "report": report }),
        Outcome::UpToDate(up_to_date) => {
            json!({ "schema": schema, "result": "up-to-date", "slot": up_to_date.slot.letter() })
        }
        Outcome::Planned(plan, amounts) => json!({ "schema": schema, "result": "planned",
            "slot": plan.target.slot().letter(), "version": plan.release.version.as_str(),
            "rollback_index": plan.release.rollback_index, "revoke": plan.revoke,
            "amounts": amounts }),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

fn output_line(text: &str) {
    // A closed pipe is the reader's choice.
    drop(std::io::stdout().write_all(format!("{text}\n").as_bytes()));
}

fn error_line(text: &str) {
    drop(std::io::stderr().write_all(format!("{text}\n").as_bytes()));
}

fn report_words(report: &Report) -> String {
    let slot = report.slot.to_ascii_uppercase();
    format!(
        "Slot {slot} holds {}, tried on the next boot ({} tries). Restart to start it, or \
         `rayos-bootctl mark-bad {}` to cancel.",
        report.version, report.tries, report.slot
    )
}
