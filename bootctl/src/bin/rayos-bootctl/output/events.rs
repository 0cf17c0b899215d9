//! Events of the event ring as text and as JSON.

use bootctl::status::choice_word;
use cli::output::printable;
use jiff::Timestamp;
use record::Reason;
use record::event::Event;
use serde::Serialize;

#[derive(Serialize)]
struct EventJson<'a> {
    seq: u64,
    time: u64,
    kind: &'static str,
    subject: Option<&'static str>,
    version: String,
    reason: Option<&'static str>,
    left: u8,
    record_seq: u64,
    text: &'a str,
}

/// The event ring as JSON, schema `rayos-bootctl.log/1`.
#[derive(Serialize)]
pub(crate) struct LogJson<'a> {
    schema: &'static str,
    events: Vec<EventJson<'a>>,
}

fn event_json(event: &Event) -> EventJson<'_> {
    EventJson {
        seq: event.seq,
        time: event.time,
        kind: event.kind.word(),
        subject: event.subject.map(choice_word),
        version: event.version.to_string(),
        reason: (event.reason != Reason::None).then(|| event.reason.words()),
        left: event.left,
        record_seq: event.record_seq,
        text: event.text(),
    }
}

/// Returns the events as a JSON object. *Pure.*
pub(crate) fn log_json(events: &[Event]) -> LogJson<'_> {
    LogJson {
        schema: "rayos-bootctl.log/1",
        events: events.iter().map(event_json).collect(),
    }
}

/// First line of a kernel panic: the lines before it are the boot, those after it are the stack.
const PANIC: &str = "Kernel panic - not syncing";

/// Line before the panic about a wrong block: it names partition and block.
const WRONG_BLOCK: &str = "device-mapper: verity: ";

/// Returns at most `max` lines of `text`: those from a kernel panic and its cause on, or the last
/// ones.
fn excerpt(text: &str, max: usize) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let start = lines
        .iter()
        .position(|line| line.contains(PANIC))
        .map(|panic| match panic.checked_sub(1) {
            Some(before) if lines[before].contains(WRONG_BLOCK) => before,
            _ => panic,
        })
        .unwrap_or(lines.len().saturating_sub(max));
    lines.into_iter().skip(start).take(max).collect()
}

/// Returns `text` with `margin` before each line: all of it if `full`, otherwise an excerpt of at
/// most `max` lines and the number of lines left out. Control characters are escaped, because the
/// text comes from releases and firmware.
pub(crate) fn quoted(text: &str, margin: &str, max: usize, full: bool) -> String {
    let lines = if full {
        text.lines().collect()
    } else {
        excerpt(text, max)
    };
    let left_out = text.lines().count() - lines.len();
    let mut quoted: String = lines
        .iter()
        .map(|line| format!("{margin}| {}\n", printable(line)))
        .collect();
    if left_out > 0 {
        let noun = if left_out == 1 { "line" } else { "lines" };
        quoted += &format!("{margin}  ({left_out} more {noun}: --full)\n");
    }
    quoted
}

/// Maximum number of lines of an event's text without `--full`.
const EVENT_LINES: usize = 3;

/// Returns one event on one line, with its text indented below it.
pub(crate) fn event_text(event: &Event, full: bool) -> String {
    let subject = event.subject.map_or("", choice_word);
    let mut line = format!(
        "{:>5}  {:<20}  {:<15} {subject:<9}",
        event.seq,
        utc(event.time),
        event.kind.word()
    );
    let reason = match event.reason {
        Reason::None => "",
        reason => reason.words(),
    };
    for word in [event.version.as_str(), reason] {
        if !word.is_empty() {
            line.push_str("  ");
            line.push_str(word);
        }
    }
    let text = quoted(event.text(), "         ", EVENT_LINES, full);
    format!("{}\n{text}", line.trim_end())
}

/// Formats seconds since 1970 as `2026-01-31 12:00:00Z`; `-` for 0, which means unknown, and for
/// years after 9999.
fn utc(time: u64) -> String {
    let timestamp = i64::try_from(time)
        .ok()
        .filter(|seconds| *seconds != 0)
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(
        || "-".to_owned(),
        |timestamp| timestamp.strftime("%F %TZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::event::Kind;

    #[test]
    fn an_excerpt_of_a_panic_starts_at_the_panic() {
        let text = "loading\nRun /init\nKernel panic - not syncing: no init\nCPU: 0\nCall Trace:\n f\n g\n";
        let shown =
            "  | Kernel panic - not syncing: no init\n  | CPU: 0\n    (5 more lines: --full)\n";
        assert_eq!(quoted(text, "  ", 2, false), shown);
        assert_eq!(quoted(text, "", 2, true).lines().count(), 7);
    }

    #[test]
    fn an_excerpt_of_other_text_is_its_end() {
        assert_eq!(
            quoted("a\nb\nc\n", "", 2, false),
            "| b\n| c\n  (1 more line: --full)\n"
        );
        assert_eq!(quoted("a\nb\n", "", 2, false), "| a\n| b\n");
    }

    #[test]
    fn text_of_an_event_cannot_control_the_terminal() {
        let event = Event::new(Kind::Note, None).with_text("a\u{1b}[2Jb\rc\n\u{9b}d");
        let text = event_text(&event, true);
        assert!(
            text.ends_with("| a\\u{1b}[2Jb\\rc\n         | \\u{9b}d\n"),
            "{text:?}"
        );
    }

    /// Golden values by `date -u -d @N`.
    #[test]
    fn times_agree_with_date() {
        assert_eq!(utc(0), "-");
        assert_eq!(utc(1), "1970-01-01 00:00:01Z");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31 23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00Z");
        assert_eq!(utc(253_402_300_800), "-");
        assert_eq!(utc(u64::MAX), "-");
    }
}
