//! What comparing and mending a slot has come to.

use super::{APPLY, mebibytes, output_line};
use crate::exit_code::Ending;
use serde_json::json;
use updater::Repaired;
use updater::verify_slot::{ImageReport, SlotReport};

const VERIFY_SLOT: &str = "rayos-updater.verify-slot/1";

/// What `verify-slot` found.
pub(crate) fn compared(report: &SlotReport, json: bool) {
    if json {
        let json = json!({ "schema": VERIFY_SLOT, "result": result(report), "report": report });
        return output_line(&json.to_string());
    }
    let slot = report.slot.to_ascii_uppercase();
    for image in &report.images {
        output_line(&image_words(image));
    }
    if !report.as_in_record {
        output_line(&format!(
            "The boot record names another release than {} for slot {slot}.",
            report.version
        ));
    }
    output_line(&match result(report) {
        "whole" => format!("Slot {slot} holds {} as it was signed.", report.version),
        "damaged" => format!(
            "Slot {slot} does not hold {} as it was signed.",
            report.version
        ),
        _ => format!(
            "Slot {slot} holds {}. It keeps no list of chunks: give --bundle to compare all of it.",
            report.version
        ),
    });
}

/// The word for a result.
fn result(report: &SlotReport) -> &'static str {
    if report.is_whole() {
        "whole"
    } else if report.is_damaged() {
        "damaged"
    } else {
        "not-known"
    }
}

fn image_words(image: &ImageReport) -> String {
    let ImageReport {
        role,
        partition,
        damaged_chunks,
        damaged_bytes,
        damaged,
        ..
    } = image;
    match (image.whole, damaged.first()) {
        (Some(true), _) => format!("{partition}: {role} image is whole"),
        (None, _) => format!("{partition}: {role} image was not compared"),
        (Some(false), None) => format!("{partition}: {role} image is damaged"),
        (Some(false), Some(first)) => format!(
            "{partition}: {role} image is damaged: {damaged_chunks} chunks, {}, the first at offset {}",
            mebibytes(*damaged_bytes),
            first.offset
        ),
    }
}

/// Why `verify-slot` failed.
pub(crate) fn failed_compare(error: &anyhow::Error, json: bool) -> Ending {
    let ending = Ending::from(error);
    if json {
        let json = json!({ "schema": VERIFY_SLOT, "result": "failed", "error": format!("{error:#}"),
                           "reason": ending.reason(), "exit_code": ending.code() });
        output_line(&json.to_string());
    }
    super::error(error)
}

/// What `repair` did.
pub(crate) fn repaired(repaired: &Repaired, json: bool) {
    match repaired {
        Repaired::Whole(slot) if json => {
            output_line(
                &json!({ "schema": APPLY, "result": "whole", "slot": slot.letter() }).to_string(),
            );
        }
        Repaired::Mended(report) if json => {
            output_line(
                &json!({ "schema": APPLY, "result": "mended", "report": report }).to_string(),
            );
        }
        Repaired::Whole(slot) => output_line(&format!("Slot {slot} is whole: nothing to do.")),
        Repaired::Mended(report) => output_line(&format!(
            "Slot {} holds {} as it was signed: {} were damaged, {} were fetched. What boots next is as before.",
            report.slot.to_ascii_uppercase(),
            report.version,
            mebibytes(report.written_bytes),
            mebibytes(report.fetched_bytes),
        )),
    }
}
