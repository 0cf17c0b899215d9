//! Results of `verify-slot` and `repair`.

use super::{apply, bytes, failed, result, result_json};
use crate::exit_code::Classified;
use cli::ExitStatus;
use serde_json::json;
use updater::RepairOutcome;
use updater::verify_slot::{ImageReport, SlotReport};

/// Name of the JSON format of `verify-slot`.
const SCHEMA: &str = "rayos-updater.verify-slot/1";

/// Prints the result of `verify-slot`.
pub(crate) fn verified_slot(report: &SlotReport, json: bool) {
    let word = if report.is_intact() {
        "intact"
    } else if report.is_damaged() {
        "damaged"
    } else {
        "unknown"
    };
    if json {
        return result_json(&json!({ "schema": SCHEMA, "result": word, "report": report }));
    }
    for image in &report.images {
        result(&image_text(image));
    }
    let slot = report.slot.to_ascii_uppercase();
    let version = &report.version;
    if !report.matches_record {
        result(&format!(
            "The boot record names another release than {version} for slot {slot}."
        ));
    }
    result(&match word {
        "intact" => format!("Slot {slot} holds {version} as it was signed."),
        "damaged" => format!("Slot {slot} does not hold {version} as it was signed."),
        _ => format!(
            "Slot {slot} holds {version}, but stores no index: --bundle compares all of it."
        ),
    });
}

fn image_text(image: &ImageReport) -> String {
    let name = format!("{}: {} image", image.partition, image.role);
    match (image.intact, image.damaged.first()) {
        (Some(true), _) => format!("{name} is intact"),
        (None, _) => format!("{name} was not compared"),
        (Some(false), None) => format!("{name} is damaged"),
        (Some(false), Some(first)) => format!(
            "{name} is damaged: {} chunks, {}, the first at offset {}",
            image.damaged_chunks,
            bytes(image.damaged_bytes),
            first.offset
        ),
    }
}

/// Prints the error of `verify-slot`. Returns the exit status.
pub(crate) fn failed_verify_slot(error: &anyhow::Error, json: bool) -> ExitStatus {
    let Classified { status, reason } = error.into();
    if json {
        result_json(&json!({
            "schema": SCHEMA,
            "result": "failed",
            "error": format!("{error:#}"),
            "reason": reason.word(),
            "exit_code": status.code(),
        }));
    }
    failed(error)
}

/// Prints the result of `repair`.
pub(crate) fn repaired(outcome: &RepairOutcome, json: bool) {
    let schema = apply::SCHEMA;
    match outcome {
        RepairOutcome::Intact(slot) if json => result_json(&json!({
            "schema": schema,
            "result": "intact",
            "slot": slot.letter(),
        })),
        RepairOutcome::Repaired(report) if json => result_json(&json!({
            "schema": schema,
            "result": "repaired",
            "report": report,
        })),
        RepairOutcome::Intact(slot) => result(&format!("Slot {slot} is intact: nothing to do.")),
        RepairOutcome::Repaired(report) => result(&format!(
            "Slot {} holds {} as it was signed: {} were damaged, {} were fetched. The default \
             slot is unchanged.",
            report.slot.to_ascii_uppercase(),
            report.version,
            bytes(report.written_bytes),
            bytes(report.fetched_bytes),
        )),
    }
}
