//! What people see: results on standard output, the rest on standard error.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the only place that prints"
)]

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};

/// Prints a result. Who reads it through a pipe may have seen enough before its end, as `head`
/// does: that is no failure.
pub(crate) fn result(text: &str) -> io::Result<()> {
    match print(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Prints JSON as a result.
pub(crate) fn json(value: &serde_json::Value) -> io::Result<()> {
    result(&format!("{value:#}"))
}

/// Prints what happened, for people.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// Prints an error with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// A bar over `len` bytes; it is seen on a terminal only.
pub(crate) fn bar(len: u64, what: &'static str) -> ProgressBar {
    let style = "{msg:<10} {bar:30} {binary_bytes:>10}/{binary_total_bytes} {binary_bytes_per_sec:>12} {eta:>4}";
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    bar.with_message(what).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}
