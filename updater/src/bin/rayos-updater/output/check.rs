//! Results of `check`.

use super::{failed, result, result_json};
use crate::exit_code::Classified;
use cli::ExitStatus;
use record::Release as RecordRelease;
use serde_json::json;
use updater::plan::check::Verdict;

/// Name of the JSON format.
const SCHEMA: &str = "rayos-updater.check/1";

/// Result of `check`.
pub(crate) struct CheckResult {
    pub(crate) verdict: Verdict,
    /// Version of the bundle.
    pub(crate) offered: String,
    /// Rollback index of the bundle.
    pub(crate) rollback_index: u64,
    /// The running release.
    pub(crate) running: RecordRelease,
}

/// Prints the result of `check`.
pub(crate) fn checked(checked: &CheckResult, json: bool) {
    let sentence = checked.sentence();
    if !json {
        return result(&sentence);
    }
    let (slot, reason) = match &checked.verdict {
        Verdict::Waiting(slot) | Verdict::RolledBack(slot) => (Some(slot.letter()), None),
        Verdict::Failed(slot, reason) => (Some(slot.letter()), Some(reason.words().to_owned())),
        Verdict::Refused(refusal) => (None, Some(refusal.to_string())),
        Verdict::Newer | Verdict::Same | Verdict::Older => (None, None),
    };
    result_json(&json!({
        "schema": SCHEMA,
        "verdict": checked.verdict.word(),
        "sentence": sentence,
        "version": checked.offered,
        "rollback_index": checked.rollback_index,
        "running_version": checked.running.version.as_str(),
        "running_rollback_index": checked.running.rollback_index,
        "slot": slot,
        "reason": reason,
    }));
}

impl CheckResult {
    fn sentence(&self) -> String {
        let Self {
            verdict,
            offered,
            rollback_index,
            running,
        } = self;
        let version = running.version;
        match verdict {
            Verdict::Newer if *rollback_index == running.rollback_index => {
                format!("{offered} is another release than {version}, with the same rollback index")
            }
            Verdict::Newer => format!("{offered} is newer than {version}"),
            Verdict::Same => format!("{offered} runs already"),
            Verdict::Waiting(slot) => {
                format!("{offered} waits in slot {slot} for its first boot")
            }
            Verdict::Failed(slot, reason) => {
                format!("{offered} failed in slot {slot}: {}", reason.words())
            }
            Verdict::RolledBack(slot) => format!(
                "{offered} is in slot {slot}, but an operator rolled it back or marked it bad"
            ),
            Verdict::Older => format!("{offered} is older than {version}"),
            Verdict::Refused(refusal) => format!("{offered} cannot be applied: {refusal}"),
        }
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
