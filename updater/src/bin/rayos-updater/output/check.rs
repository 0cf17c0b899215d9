//! Results of `check`.

use super::{failed, result, result_json};
use crate::exit_code::Classified;
use cli::ExitStatus;
use record::Slot;
use serde_json::json;
use updater::plan::check::{Comparison, Verdict};

/// Name of the JSON format.
const SCHEMA: &str = "rayos-updater.check/1";

/// Prints the result of `check`.
pub(crate) fn checked(checked: &Comparison, json: bool) {
    let sentence = checked.sentence();
    if !json {
        return result(&sentence);
    }
    let (slot, reason) = details(&checked.verdict);
    result_json(&json!({
        "schema": SCHEMA,
        "verdict": checked.verdict.word(),
        "sentence": sentence,
        "version": checked.offered.version.as_str(),
        "rollback_index": checked.offered.rollback_index,
        "running_version": checked.running.version.as_str(),
        "running_rollback_index": checked.running.rollback_index,
        "slot": slot.map(Slot::letter),
        "reason": reason,
    }));
}

/// Returns the slot and the reason of a verdict, for JSON.
pub(super) fn details(verdict: &Verdict) -> (Option<Slot>, Option<String>) {
    match verdict {
        Verdict::Waiting(slot) | Verdict::RolledBack(slot) => (Some(*slot), None),
        Verdict::Failed(slot, reason) => (Some(*slot), Some(reason.words().to_owned())),
        Verdict::Refused(refusal) => (None, Some(refusal.to_string())),
        Verdict::Newer | Verdict::Same | Verdict::Older(_) | Verdict::Other(_) => (None, None),
    }
}

/// Prints the error of `check`. Returns the exit status.
pub(crate) fn failed_check(error: &anyhow::Error, json: bool) -> ExitStatus {
    let Classified { status, reason } = error.into();
    if json {
        result_json(&json!({
            "schema": SCHEMA,
            "verdict": "failed-to-check",
            "error": format!("{error:#}"),
            "reason": reason.word(),
            "exit_code": status.code(),
        }));
    }
    failed(error)
}
