//! Results of `apply`, and the errors of `apply` and `repair`.

use super::check::details;
use super::{PROGRAM, bytes, result, result_json};
use crate::exit_code::{Classified, Reason};
use cli::ExitStatus;
use cli::output::{error, note, printable};
use record::Slot;
use serde_json::{Value, json};
use updater::{Amounts, ApplyFailure, Outcome, PhaseMs, Report, plan::Plan};

/// Name of the JSON format of `apply` and `repair`.
pub(super) const SCHEMA: &str = "rayos-updater.apply/1";

/// Prints the result of `apply`.
pub(crate) fn applied(outcome: &Outcome, json: bool) {
    if json {
        return result_json(&outcome_json(outcome));
    }
    match outcome {
        Outcome::Activated(report) => {
            result(&amounts_text(report));
            result(&activated_text(report));
        }
        Outcome::UpToDate(up_to_date) => result(&format!(
            "Slot {} runs this release already: nothing to do.",
            up_to_date.slot
        )),
        Outcome::NotNewer(comparison) => {
            result(&format!("{}: nothing to do.", comparison.sentence()));
        }
        Outcome::Planned(plan, amounts) => result(&planned_text(plan, amounts)),
    }
}

fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Activated(report) => json!({
            "schema": SCHEMA,
            "result": "activated",
            "report": report,
        }),
        Outcome::UpToDate(up_to_date) => json!({
            "schema": SCHEMA,
            "result": "up-to-date",
            "slot": up_to_date.slot.letter(),
        }),
        Outcome::NotNewer(comparison) => {
            let (slot, reason) = details(&comparison.verdict);
            json!({
                "schema": SCHEMA,
                "result": "not-newer",
                "verdict": comparison.verdict.word(),
                "sentence": comparison.sentence(),
                "version": comparison.offered.version.as_str(),
                "rollback_index": comparison.offered.rollback_index,
                "slot": slot.map(Slot::letter),
                "cause": reason,
            })
        }
        Outcome::Planned(plan, amounts) => json!({
            "schema": SCHEMA,
            "result": "planned",
            "slot": plan.target.slot().letter(),
            "version": plan.release.version.as_str(),
            "rollback_index": plan.release.rollback_index,
            "revoke": plan.revoke,
            "amounts": amounts,
        }),
    }
}

fn amounts_text(report: &Report) -> String {
    let PhaseMs {
        scan,
        verify,
        write,
        read_back,
    } = report.phase_ms;
    let seconds = |milliseconds: u64| format!("{:.1} s", milliseconds as f64 / 1000.0);
    format!(
        "fetched {}{}, in place {}, from the other slot {}, written {} \
         (scan {}, verify {}, write {}, read back {})",
        bytes(report.fetched_bytes),
        in_requests(report.requests),
        bytes(report.reused_bytes),
        bytes(report.composed_bytes),
        bytes(report.written_bytes),
        seconds(scan),
        seconds(verify),
        seconds(write),
        seconds(read_back),
    )
}

fn activated_text(report: &Report) -> String {
    format!(
        "Slot {} holds {}. The next boot tries it ({} tries): restart to start it, or cancel with \
         `rayos-bootctl mark-bad {}`.",
        report.slot.to_ascii_uppercase(),
        report.version,
        report.tries,
        report.slot
    )
}

fn in_requests(requests: u64) -> String {
    match requests {
        0 => String::new(),
        1 => " in 1 request".to_owned(),
        requests => format!(" in {requests} requests"),
    }
}

fn planned_text(plan: &Plan, amounts: &Amounts) -> String {
    format!(
        "Slot {} would get release {}: {} to fetch{}, {} in place, {} from the other slot. Nothing \
         was changed; omit --plan to apply it.",
        plan.target.slot(),
        plan.release.version,
        bytes(amounts.fetch_bytes),
        if amounts.is_whole {
            " as a whole, which is faster here than to skip what is not needed".to_owned()
        } else {
            in_requests(amounts.requests)
        },
        bytes(amounts.in_place_bytes),
        bytes(amounts.composed_bytes),
    )
}

/// Prints the error of `apply` or `repair`, and the state of the machine. Returns the exit status.
pub(crate) fn failed_apply(failure: &anyhow::Error, json: bool) -> ExitStatus {
    let Classified { status, reason } = failure.into();
    let disarmed = failure
        .downcast_ref::<ApplyFailure>()
        .and_then(|failure| failure.disarmed);
    let text = format!("{failure:#}");
    if json {
        result_json(&json!({
            "schema": SCHEMA,
            "result": "failed",
            "error": text,
            "reason": reason.word(),
            "exit_code": status.code(),
            "disarmed_slot": disarmed.map(Slot::letter),
        }));
    }
    error(PROGRAM, printable(&text));
    let is_bundle = matches!(reason, Reason::Bundle | Reason::Length | Reason::Refused);
    note(&match disarmed {
        None => "Nothing was changed.".to_owned(),
        Some(slot) if is_bundle => {
            format!(
                "{} Another bundle can be applied to it.",
                emptied_text(slot)
            )
        }
        Some(slot) => format!("{} {CONTINUES}", emptied_text(slot)),
    });
    status
}

/// Prints that a signal stopped `apply` or `repair`, and the state of the machine.
pub(crate) fn stopped(status: ExitStatus, disarmed: Option<Slot>, json: bool) {
    let text = "stopped by a signal";
    if json {
        result_json(&json!({
            "schema": SCHEMA,
            "result": "stopped",
            "error": text,
            "reason": "signal",
            "exit_code": status.code(),
            "disarmed_slot": disarmed.map(Slot::letter),
        }));
    }
    error(PROGRAM, text);
    note(&match disarmed {
        None => "Nothing was changed. The same command starts again.".to_owned(),
        Some(slot) => format!("{} {CONTINUES}", emptied_text(slot)),
    });
}

const CONTINUES: &str = "The same command continues where it stopped.";

fn emptied_text(slot: Slot) -> String {
    format!("Slot {slot} holds no release now; the running system is unchanged.")
}
