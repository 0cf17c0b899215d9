//! JSON and progress, as the user sees them.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io;

/// Prints JSON on standard output.
pub(crate) fn json(value: &serde_json::Value) -> io::Result<()> {
    cli::output::print(&format!("{value:#}"))
}

/// Returns a progress bar over `len` bytes on standard error. It is visible on a terminal only.
pub(crate) fn progress_bar(len: u64, what: &'static str) -> ProgressBar {
    let template = "{msg:<10} {bar:30} {binary_bytes:>10}/{binary_total_bytes} \
                    {binary_bytes_per_sec:>12} {eta:>4}";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr())
        .with_message(what)
        .with_style(style)
}
