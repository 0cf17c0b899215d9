//! Text on the console and progress markers.

use installer::progress_markers::ProgressMarker;

/// Prints a line on the console. A closed console loses it, and the work continues.
pub(crate) fn say(text: &str) {
    drop(cli::output::print(text));
}

/// Prints a progress marker on standard error.
pub(crate) fn emit(marker: &ProgressMarker<'_>) {
    cli::output::note(&marker.to_string());
}
