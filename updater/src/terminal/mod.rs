//! The event sink of the command lines: a bar on a terminal, lines on a serial console, JSON for
//! programs.

mod pace;

use crate::events::Amounts;
use crate::events::{Event, EventSink, Phase};
use indicatif::{ProgressBar, ProgressStyle as BarStyle};
use pace::Pace;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressStyle {
    /// A bar on a terminal, lines elsewhere
    Auto,
    /// A bar
    Bar,
    /// A line now and then
    Lines,
    /// JSON lines
    Json,
    /// Nothing
    None,
}

/// Shows events on standard error.
pub struct Terminal {
    style: ProgressStyle,
    bar: Mutex<Option<(Phase, ProgressBar)>>,
    /// The phase that is told in lines, when it began, and the tenth of it that was told last.
    told: Mutex<Option<(Phase, Instant, u64)>>,
    /// Where JSON lines go too.
    lines: Option<Mutex<File>>,
}

impl Terminal {
    /// A sink of this style; `Auto` looks at standard error and at `TERM`.
    #[must_use]
    pub fn new(style: ProgressStyle) -> Self {
        let style = match style {
            ProgressStyle::Auto if std::io::stderr().is_terminal() && !is_dumb() => {
                ProgressStyle::Bar
            }
            ProgressStyle::Auto => ProgressStyle::Lines,
            style => style,
        };
        Self {
            style,
            bar: Mutex::new(None),
            told: Mutex::new(None),
            lines: None,
        }
    }

    /// The same, with every event as a line of JSON in `file` too.
    #[must_use]
    pub fn with_json_lines(mut self, file: File) -> Self {
        self.lines = Some(Mutex::new(file));
        self
    }

    /// Takes the bar away.
    pub fn done(&self) {
        if let Some((_, bar)) = self
            .bar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        if let Some((_, bar)) = &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.println(text);
        } else if self.style != ProgressStyle::None {
            error_line(text);
        }
    }

    fn progress(&self, phase: Phase, done: u64, total: u64) {
        match self.style {
            ProgressStyle::Bar => {
                let mut shown = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
                if shown.as_ref().is_none_or(|(of, _)| *of != phase) {
                    if let Some((_, bar)) = shown.take() {
                        bar.finish_and_clear();
                    }
                    *shown = Some((phase, new_bar(phase, total)));
                }
                if let Some((_, bar)) = &*shown {
                    bar.set_position(done);
                }
            }
            ProgressStyle::Lines => {
                let tenth = done.saturating_mul(10).checked_div(total).unwrap_or(10);
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                let (began, last) = match *told {
                    Some((of, began, tenth)) if of == phase => (began, Some(tenth)),
                    _ => (Instant::now(), None),
                };
                if last != Some(tenth) {
                    *told = Some((phase, began, tenth));
                    let pace = Pace {
                        done,
                        total,
                        elapsed: began.elapsed(),
                    };
                    error_line(&format!("{:>3}% {}{pace}", tenth * 10, phase.word()));
                }
            }
            ProgressStyle::Auto | ProgressStyle::Json | ProgressStyle::None => {}
        }
    }
}

impl EventSink for Terminal {
    fn event(&self, event: Event) {
        if let Some(lines) = &self.lines {
            let line = serde_json::to_string(&event).unwrap_or_default() + "\n";
            // Nothing can be told to somebody who has closed the line.
            drop(
                lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .write_all(line.as_bytes()),
            );
        }
        if self.style == ProgressStyle::Json {
            return error_line(&serde_json::to_string(&event).unwrap_or_default());
        }
        match event {
            Event::Progress { phase, done, total } => self.progress(phase, done, total),
            Event::Release {
                version,
                rollback_index,
            } => {
                self.line(&format!(
                    "release {version} (rollback index {rollback_index}): signature holds"
                ));
            }
            Event::Planned { slot, amounts } => self.line(&planned(slot, &amounts)),
            Event::Disarmed { slot } => {
                self.line(&format!(
                    "slot {} is disarmed until it is whole again",
                    slot.to_ascii_uppercase()
                ));
            }
            Event::Retry { error, pause_ms } => {
                self.line(&format!(
                    "{error}: trying again in {:.1} s",
                    pause_ms as f64 / 1000.0
                ));
            }
            Event::Warning { message } => self.line(&format!("warning: {message}")),
            Event::Activated { .. } => {}
        }
    }
}

fn planned(slot: char, amounts: &Amounts) -> String {
    format!(
        "slot {}: {} of images: {} there already, {} from the other slot, {} to fetch for {}",
        slot.to_ascii_uppercase(),
        mebibytes(amounts.image_bytes),
        mebibytes(amounts.in_place_bytes),
        mebibytes(amounts.composed_bytes),
        mebibytes(amounts.fetch_bytes),
        mebibytes(amounts.decoded_bytes),
    )
}

/// Whether the terminal says that it cannot write over a line.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

fn new_bar(phase: Phase, total: u64) -> ProgressBar {
    let template = "{msg:>12} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = BarStyle::with_template(template).unwrap_or_else(|_| BarStyle::default_bar());
    ProgressBar::new(total)
        .with_style(style.progress_chars("=> "))
        .with_message(phase.word())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

fn error_line(text: &str) {
    // Nothing can be told to somebody who has closed the line.
    drop(std::io::stderr().write_all(format!("{text}\n").as_bytes()));
}
