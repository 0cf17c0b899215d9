//! The event sink of command lines: a bar on a terminal, lines on a serial console, JSON for
//! programs. Everything goes to standard error.

use crate::events::{Amounts, Event, EventSink, Phase};
use cli::output::{note, printable};
use cli::quantity::{bytes, duration};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time after which a line shows speed and remaining time.
const MIN_TIME_FOR_SPEED: Duration = Duration::from_millis(100);

/// The form of progress output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressStyle {
    /// A bar on a terminal, lines elsewhere
    Auto,
    /// A bar
    Bar,
    /// A line for each tenth of a phase
    Lines,
    /// JSON lines
    Json,
    /// Nothing
    None,
}

/// Shows events on standard error.
pub struct Terminal {
    style: ProgressStyle,
    current: Mutex<Option<PhaseProgress>>,
    /// Also receives every event as a line of JSON.
    json_lines: Option<Mutex<File>>,
}

/// The progress of one phase.
struct PhaseProgress {
    phase: Phase,
    /// Hidden if progress is shown as lines; it then serves for speed and remaining time.
    bar: ProgressBar,
    /// The last tenth that was shown as a line.
    tenth: Option<u64>,
}

impl Terminal {
    /// Returns a sink of this style. For [`ProgressStyle::Auto`] it *reads* whether standard error
    /// is a terminal, and `TERM`.
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
            current: Mutex::new(None),
            json_lines: None,
        }
    }

    /// Also writes every event as a line of JSON to `file`.
    #[must_use]
    pub fn with_json_lines(mut self, file: File) -> Self {
        self.json_lines = Some(Mutex::new(file));
        self
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(current) = self.current().take() {
            current.bar.finish_and_clear();
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<PhaseProgress>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        let text = printable(text);
        match (self.style, &*self.current()) {
            (ProgressStyle::None, _) => {}
            (ProgressStyle::Bar, Some(current)) => current.bar.println(text),
            _ => note(&text),
        }
    }

    fn progress(&self, phase: Phase, done: u64, total: u64) {
        let is_shown_as_lines = match self.style {
            ProgressStyle::Bar => false,
            ProgressStyle::Lines => true,
            ProgressStyle::Auto | ProgressStyle::Json | ProgressStyle::None => return,
        };
        let mut current = self.current();
        if let Some(ended) = current.take_if(|current| current.phase != phase) {
            ended.bar.finish_and_clear();
        }
        let current = current.get_or_insert_with(|| PhaseProgress {
            phase,
            bar: new_bar(phase, total, is_shown_as_lines),
            tenth: None,
        });
        current.bar.set_position(done);
        let tenth = done.saturating_mul(10).checked_div(total).unwrap_or(10);
        if is_shown_as_lines && current.tenth != Some(tenth) {
            current.tenth = Some(tenth);
            note(&progress_text(phase, tenth * 10, &current.bar));
        }
    }
}

impl EventSink for Terminal {
    fn event(&self, event: Event) {
        if let Some(file) = &self.json_lines {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // If the reader closed the descriptor, nothing is left to write to.
            drop(file.write_all(format!("{}\n", json(&event)).as_bytes()));
        }
        if self.style == ProgressStyle::Json {
            return note(&json(&event));
        }
        match event {
            Event::Progress { phase, done, total } => self.progress(phase, done, total),
            Event::Release {
                version,
                rollback_index,
            } => self.line(&format!(
                "release {version} (rollback index {rollback_index}): signature accepted"
            )),
            Event::Planned { slot, amounts } => self.line(&planned_text(slot, &amounts)),
            Event::Disarmed { slot } => self.line(&format!(
                "slot {}: disarmed until it is complete",
                slot.to_ascii_uppercase()
            )),
            Event::Retry { error, pause_ms } => self.line(&format!(
                "{error}: retrying in {:.1} s",
                pause_ms as f64 / 1000.0
            )),
            Event::Warning { message } => self.line(&format!("warning: {message}")),
            Event::Activated { .. } => {}
        }
    }
}

fn json(event: &Event) -> String {
    serde_json::to_string(event).unwrap_or_default()
}

fn planned_text(slot: char, amounts: &Amounts) -> String {
    format!(
        "slot {}: {} of images: {} in place, {} from the other slot, {} to fetch for {}",
        slot.to_ascii_uppercase(),
        bytes(amounts.image_bytes),
        bytes(amounts.in_place_bytes),
        bytes(amounts.composed_bytes),
        bytes(amounts.fetch_bytes),
        bytes(amounts.decoded_bytes),
    )
}

/// Returns a line about a phase: percentage, bytes, and, once they can be estimated, speed and
/// remaining time.
fn progress_text(phase: Phase, percent: u64, bar: &ProgressBar) -> String {
    let (done, total) = (bar.position(), bar.length().unwrap_or_default());
    let mut text = format!(
        "{percent:>3}% {}: {} of {}",
        phase.word(),
        bytes(done),
        bytes(total)
    );
    if done > 0 && bar.elapsed() >= MIN_TIME_FOR_SPEED {
        text += &format!(", {}/s", bytes(bar.per_sec() as u64));
        if done < total {
            text += &format!(", {} left", duration(bar.eta()));
        }
    }
    text
}

/// Returns whether the terminal cannot overwrite a line.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

fn new_bar(phase: Phase, total: u64, is_hidden: bool) -> ProgressBar {
    if is_hidden {
        return ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    }
    let template = "{msg:>12} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = BarStyle::with_template(template).unwrap_or_else(|_| BarStyle::default_bar());
    ProgressBar::new(total)
        .with_style(style.progress_chars("=> "))
        .with_message(phase.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_bytes_and_later_speed_and_remaining_time() {
        let bar = new_bar(Phase::Write, 40 << 20, true);
        bar.set_position(10 << 20);
        let fresh = progress_text(Phase::Write, 20, &bar.clone().with_elapsed(Duration::ZERO));
        assert_eq!(fresh, " 20% writing: 10.00 MiB of 40.00 MiB");
        let bar = bar.with_elapsed(Duration::from_secs(5));
        let later = progress_text(Phase::Write, 20, &bar);
        let start = " 20% writing: 10.00 MiB of 40.00 MiB, ";
        assert!(later.starts_with(start), "{later}");
        assert!(
            later.contains("/s, ") && later.ends_with(" left"),
            "{later}"
        );
        bar.set_position(40 << 20);
        let complete = progress_text(Phase::Write, 100, &bar);
        assert!(complete.ends_with("/s"), "{complete}");
    }
}
