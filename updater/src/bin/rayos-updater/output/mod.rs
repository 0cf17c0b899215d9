//! Results as text and as JSON, on standard output; errors on standard error.
//!
//! `apply`, `check` and `slot` have the results of the verbs.

mod apply;
mod check;
mod slot;

pub(crate) use apply::{applied, failed_apply, stopped};
pub(crate) use check::{checked, failed_check};
pub(crate) use slot::{failed_verify_slot, repaired, verified_slot};

use crate::exit_code::Classified;
use cli::output::{error, note, print, printable};
use cli::{ExitStatus, quantity};
use serde_json::Value;

/// The name of the program before its errors.
const PROGRAM: &str = "rayos-updater";

/// Prints the error of a verb that changes nothing. Returns the exit status.
pub(crate) fn failed(failure: &anyhow::Error) -> ExitStatus {
    error(PROGRAM, printable(&format!("{failure:#}")));
    Classified::from(failure).status
}

/// Prints a problem that does not stop the verb.
pub(crate) fn warn(text: &str) {
    note(&format!("warning: {}", printable(text)));
}

/// Prints a result. The work is done at this point, so an error of standard output does not change
/// the exit status.
fn result(text: &str) {
    if let Err(problem) = print(text) {
        error(PROGRAM, format!("standard output: {problem}"));
    }
}

fn result_json(value: &Value) {
    result(&value.to_string());
}

fn bytes(count: u64) -> String {
    quantity::bytes(count)
}
