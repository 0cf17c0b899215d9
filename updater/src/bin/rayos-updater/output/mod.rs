//! The last words of a run: what was done, how the machine stands, and what comes next. Results go
//! to standard output, errors to standard error.

mod slot;

pub(crate) use slot::{compared, failed_compare, repaired};

use crate::exit_code::{Ending, Reason};
use record::{Release, Slot};
use serde_json::{Value, json};
use std::io::{self, Write as _};
use updater::plan::check::Verdict;
use updater::{Failure, Outcome, Report};

const APPLY: &str = "rayos-updater.apply/1";
const CHECK: &str = "rayos-updater.check/1";

/// What `apply` did.
pub(crate) fn outcome(outcome: &Outcome, json: bool) {
    if json {
        return output_line(&outcome_json(outcome).to_string());
    }
    match outcome {
        Outcome::Activated(report) => {
            let phases = report.phase_ms;
            let [scan, verify, write, read_back] =
                [phases.scan, phases.verify, phases.write, phases.read_back]
                    .map(|ms| ms as f64 / 1000.0);
            output_line(&format!(
                "fetched {}, found {} in place and {} in the other slot, wrote {} (scan {scan:.1} s, verify {verify:.1} s, write {write:.1} s, read back {read_back:.1} s)",
                mebibytes(report.fetched_bytes),
                mebibytes(report.reused_bytes),
                mebibytes(report.composed_bytes),
                mebibytes(report.written_bytes),
            ));
            output_line(&report_words(report));
        }
        Outcome::UpToDate(up_to_date) => {
            output_line(&format!(
                "Slot {} runs this release already: nothing to do.",
                up_to_date.slot
            ));
        }
        Outcome::Planned(plan, amounts) => output_line(&format!(
            "Slot {} would get release {}, for which {} would be fetched: {} of images are there already, {} lie in the \
             other slot. Nothing was changed; leave out --plan to apply it.",
            plan.target.slot(),
            plan.release.version,
            mebibytes(amounts.fetch_bytes),
            mebibytes(amounts.in_place_bytes),
            mebibytes(amounts.composed_bytes),
        )),
    }
}

/// Why `apply` failed, and how the machine stands.
pub(crate) fn failure(error: &anyhow::Error, json: bool) -> Ending {
    let ending = Ending::from(error);
    let disarmed = error
        .downcast_ref::<Failure>()
        .and_then(|failure| failure.disarmed);
    let words = format!("{error:#}");
    if json {
        output_line(&failed_json("failed", &words, ending, disarmed).to_string());
    }
    error_line(&format!("rayos-updater: {words}"));
    error_line(&standing(ending, disarmed));
    ending
}

/// A signal ended `apply`.
pub(crate) fn stopped(ending: Ending, disarmed: Option<Slot>, json: bool) {
    if json {
        output_line(&failed_json("stopped", "stopped by a signal", ending, disarmed).to_string());
    }
    error_line("rayos-updater: stopped by a signal");
    error_line(&match disarmed {
        Some(slot) => format!(
            "Slot {slot} holds no release now; the running system is as it was. The same command goes on where it stopped."
        ),
        None => "Nothing was changed. The same command begins again.".to_owned(),
    });
}

fn standing(ending: Ending, disarmed: Option<Slot>) -> String {
    let Some(slot) = disarmed else {
        return "Nothing was changed.".to_owned();
    };
    let next = match ending {
        Ending::Failed {
            reason: Reason::Bundle | Reason::Length | Reason::Refused,
            ..
        } => "Another bundle can be applied to it.",
        _ => "The same command goes on where it stopped.",
    };
    format!("Slot {slot} holds no release now; the running system is as it was. {next}")
}

fn failed_json(result: &str, words: &str, ending: Ending, disarmed: Option<Slot>) -> Value {
    let slot = disarmed.map(|slot| slot.letter());
    json!({ "schema": APPLY, "result": result, "error": words, "reason": ending.reason(),
            "exit_code": ending.code(), "invalid_slot": slot })
}

fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Activated(report) => {
            json!({ "schema": APPLY, "result": "activated", "report": report })
        }
        Outcome::UpToDate(up_to_date) => {
            json!({ "schema": APPLY, "result": "up-to-date", "slot": up_to_date.slot.letter() })
        }
        Outcome::Planned(plan, amounts) => json!({ "schema": APPLY, "result": "planned",
            "slot": plan.target.slot().letter(), "version": plan.release.version.as_str(),
            "rollback_index": plan.release.rollback_index, "revoke": plan.revoke,
            "amounts": amounts }),
    }
}

/// What `check` found.
pub(crate) struct Checked {
    /// The answer.
    pub(crate) verdict: Verdict,
    /// Version of the bundle.
    pub(crate) offered: String,
    /// Its rollback index.
    pub(crate) rollback_index: u64,
    /// What runs.
    pub(crate) running: Release,
}

/// Says what `check` found.
pub(crate) fn checked(checked: &Checked, json: bool) {
    let Checked {
        verdict,
        offered,
        rollback_index,
        running,
    } = checked;
    let sentence = sentence(checked);
    if json {
        let (slot, reason) = match verdict {
            Verdict::Waiting(slot) | Verdict::Left(slot) => (Some(slot.letter()), None),
            Verdict::Failed(slot, reason) => (Some(slot.letter()), Some(reason.words().to_owned())),
            Verdict::Refused(refusal) => (None, Some(refusal.to_string())),
            Verdict::Newer | Verdict::Same | Verdict::Older => (None, None),
        };
        return output_line(
            &json!({ "schema": CHECK, "verdict": verdict.word(), "sentence": sentence, "version": offered,
                     "rollback_index": rollback_index, "running_version": running.version.as_str(),
                     "running_rollback_index": running.rollback_index, "slot": slot, "reason": reason })
            .to_string(),
        );
    }
    output_line(&sentence);
}

fn sentence(checked: &Checked) -> String {
    let Checked {
        verdict,
        offered,
        rollback_index,
        running,
    } = checked;
    let Release {
        version,
        rollback_index: have,
        ..
    } = running;
    match verdict {
        Verdict::Newer if rollback_index == have => {
            format!("{offered} is another release than {version}, with the same rollback index")
        }
        Verdict::Newer => format!("{offered} is newer than {version}"),
        Verdict::Same => format!("{offered} runs already"),
        Verdict::Waiting(slot) => format!("{offered} waits in slot {slot} for the next boot"),
        Verdict::Failed(slot, reason) => {
            format!(
                "{offered} was tried in slot {slot} and failed: {}",
                reason.words()
            )
        }
        Verdict::Left(slot) => {
            format!("{offered} lies in slot {slot}, and somebody went back from it")
        }
        Verdict::Older => format!("{offered} is older than {version}"),
        Verdict::Refused(refusal) => format!("{offered} cannot be applied: {refusal}"),
    }
}

/// Why `check` failed.
pub(crate) fn failed_check(error: &anyhow::Error, json: bool) -> Ending {
    let ending = Ending::from(error);
    if json {
        output_line(
            &json!({ "schema": CHECK, "verdict": "failed-to-check", "error": format!("{error:#}"),
                     "reason": ending.reason(), "exit_code": ending.code() })
            .to_string(),
        );
    }
    self::error(error)
}

/// An error of a verb that changes nothing.
pub(crate) fn error(error: &anyhow::Error) -> Ending {
    error_line(&format!("rayos-updater: {error:#}"));
    Ending::from(error)
}

/// Something that is not as it should be.
pub(crate) fn warning(text: &str) {
    error_line(&format!("warning: {text}"));
}

/// A result, which must not be lost silently.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

fn output_line(text: &str) {
    // A closed pipe is the reader's choice.
    drop(io::stdout().write_all(format!("{text}\n").as_bytes()));
}

fn error_line(text: &str) {
    drop(io::stderr().write_all(format!("{text}\n").as_bytes()));
}

fn report_words(report: &Report) -> String {
    let slot = report.slot.to_ascii_uppercase();
    format!(
        "Slot {slot} holds {}, tried on the next boot ({} tries). Restart to start it, or \
         `rayos-bootctl mark-bad {}` to cancel.",
        report.version, report.tries, report.slot
    )
}
