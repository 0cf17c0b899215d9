//! Progress markers on standard error, and the result of an installation on standard output.

use installer::progress_markers::ProgressMarker;
use updater::Report;

/// Prints a progress marker on standard error.
pub(crate) fn emit(marker: &ProgressMarker<'_>) {
    cli::output::note(&marker.to_string());
}

/// Prints the markers and the sentence that end an installation. A failure to print it does not
/// change that the release is installed.
pub(crate) fn finish(report: &Report) {
    emit(&ProgressMarker::Activated(&report.version));
    let printed = cli::output::print(&format!(
        "Installed {} to slot {}: the next boot tries it ({} tries), and it commits when it is \
         healthy.",
        report.version,
        report.slot.to_ascii_uppercase(),
        report.tries
    ));
    if let Err(error) = printed {
        cli::output::note(&format!("rayos-installer: standard output: {error}"));
    }
    emit(&ProgressMarker::Complete);
}
