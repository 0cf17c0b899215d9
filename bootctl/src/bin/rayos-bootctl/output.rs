//! What `rayos-bootctl` prints: events, boot entries, progress and markers.

use bootctl::entry::LoadOption;
use bootctl::reconcile::{BootVars, Facts};
use bootctl::status::choice_word;
use record::event::Event;
use record::{Choice, Reason};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;

/// Progress, warnings and markers: one line on stderr in a single write, since others write to the
/// same console. Nobody listening is no reason to stop.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    if std::io::stderr()
        .write_all(format!("{text}\n").as_bytes())
        .is_err()
    {}
}

/// Ends with a result on stdout, which must not be lost silently.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

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

#[derive(Serialize)]
struct LogJson<'a> {
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

/// The event ring as JSON, schema `rayos-bootctl.log/1`.
pub(crate) fn log_json(events: &[Event]) -> serde_json::Result<String> {
    let events = events.iter().map(event_json).collect();
    serde_json::to_string_pretty(&LogJson {
        schema: "rayos-bootctl.log/1",
        events,
    })
}

/// The first line of a kernel that gives up: what came before it is the boot, what comes after it
/// is a stack.
const PANIC: &str = "Kernel panic - not syncing";

/// The lines of a text that tell most, at most `most`: those from a panic on, else its end.
fn excerpt(text: &str, most: usize) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len().saturating_sub(most);
    let from = lines
        .iter()
        .position(|line| line.contains(PANIC))
        .unwrap_or(last);
    lines.into_iter().skip(from).take(most).collect()
}

/// `text` with `margin` before each line: whole where `full`, else an excerpt of `most` lines and
/// the number of those left out.
pub(crate) fn quoted(text: &str, margin: &str, most: usize, full: bool) -> String {
    let all = text.lines().count();
    let lines = if full {
        text.lines().collect()
    } else {
        excerpt(text, most)
    };
    let mut quoted: String = lines
        .iter()
        .map(|line| format!("{margin}| {line}\n"))
        .collect();
    let left_out = all - lines.len();
    let noun = if left_out == 1 { "line" } else { "lines" };
    if left_out > 0 {
        quoted += &format!("{margin}  ({left_out} more {noun}: --full)\n");
    }
    quoted
}

/// Lines of an event's text that are shown without `--full`.
const MOST_OF_EVENT: usize = 3;

/// One event on one line, its text indented below it.
pub(crate) fn event_lines(event: &Event, full: bool) -> String {
    let subject = event.subject.map_or("", choice_word);
    let reason = if event.reason == Reason::None {
        ""
    } else {
        event.reason.words()
    };
    let mut line = format!(
        "{:>5}  {:<20}  {:<15} {subject:<9}",
        event.seq,
        utc(event.time),
        event.kind.word()
    );
    for word in [event.version.as_str(), reason] {
        if !word.is_empty() {
            line.push_str("  ");
            line.push_str(word);
        }
    }
    format!(
        "{}\n{}",
        line.trim_end(),
        quoted(event.text(), "         ", MOST_OF_EVENT, full)
    )
}

/// Seconds since 1970 as `2026-01-31 12:00:00Z`, `-` for 0 (unknown).
pub(crate) fn utc(time: u64) -> String {
    if time == 0 {
        return "-".to_owned();
    }
    let (days, second) = (time / 86_400, time % 86_400);
    // Days to date, in years that begin with March (Hinnant, chrono-compatible low-level date
    // algorithms).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[derive(Serialize)]
struct EntryJson {
    number: String,
    order: Option<usize>,
    next: bool,
    current: bool,
    active: bool,
    ours: Option<&'static str>,
    description: String,
    file: Option<String>,
    partuuid: Option<String>,
}

#[derive(Serialize)]
struct EntriesJson {
    schema: &'static str,
    entries: Vec<EntryJson>,
}

fn entry_json(vars: &BootVars, facts: Option<&Facts>, number: u16, bytes: &[u8]) -> EntryJson {
    let option = LoadOption::parse(bytes).ok();
    let drive = option.as_ref().and_then(LoadOption::hard_drive);
    let on_esp = facts
        .zip(drive)
        .is_some_and(|(facts, drive)| facts.esp.uuid == drive.uuid);
    let ours: Option<Choice> = option
        .as_ref()
        .filter(|_| on_esp)
        .and_then(LoadOption::starts);
    EntryJson {
        number: format!("{number:04X}"),
        order: vars.order.iter().position(|listed| *listed == number),
        next: vars.next == Some(number),
        current: vars.current == Some(number),
        active: option
            .as_ref()
            .is_some_and(|option| option.attributes & bootctl::entry::ACTIVE != 0),
        ours: ours.map(choice_word),
        description: option.as_ref().map_or_else(
            || "(damaged)".to_owned(),
            |option| option.description.clone(),
        ),
        file: option.as_ref().and_then(LoadOption::file),
        partuuid: drive.map(|drive| drive.uuid.to_string()),
    }
}

fn sorted(vars: &BootVars, facts: Option<&Facts>) -> Vec<EntryJson> {
    let entries = vars
        .entries
        .iter()
        .map(|(number, bytes)| entry_json(vars, facts, *number, bytes));
    let mut entries: Vec<EntryJson> = entries.collect();
    entries.sort_by_key(|entry| entry.order.unwrap_or(usize::MAX));
    entries
}

/// The boot entries as JSON, schema `rayos-bootctl.entries/1`.
pub(crate) fn entries_json(vars: &BootVars, facts: Option<&Facts>) -> serde_json::Result<String> {
    let entries = sorted(vars, facts);
    serde_json::to_string_pretty(&EntriesJson {
        schema: "rayos-bootctl.entries/1",
        entries,
    })
}

/// The boot entries in the order in which firmware takes them.
pub(crate) fn entries_text(vars: &BootVars, facts: Option<&Facts>, verbose: bool) -> String {
    let mut text = String::new();
    for entry in sorted(vars, facts) {
        let marks = [
            (entry.current, "started this boot"),
            (entry.next, "BootNext"),
            (!entry.active, "inactive"),
        ];
        let marks: Vec<&str> = marks
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, words)| words)
            .collect();
        let place = entry
            .order
            .map_or_else(|| "-".to_owned(), |place| (place + 1).to_string());
        let ours = entry.ours.unwrap_or("foreign");
        let line = format!(
            "{place:>3}  Boot{}  {ours:<9} {:<24} {}",
            entry.number,
            entry.description,
            marks.join(", ")
        );
        text.push_str(line.trim_end());
        text.push('\n');
        if verbose {
            let (file, uuid) = (
                entry.file.unwrap_or_default(),
                entry.partuuid.unwrap_or_default(),
            );
            if writeln!(text, "       {file} {uuid}").is_err() {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_panic_the_words_are_shown_and_not_the_boot_before_it_or_the_stack_after_it() {
        let text = "loading\nRun /init\nKernel panic - not syncing: no init\nCPU: 0\nCall Trace:\n f\n g\n";
        let shown =
            "  | Kernel panic - not syncing: no init\n  | CPU: 0\n    (5 more lines: --full)\n";
        assert_eq!(quoted(text, "  ", 2, false), shown);
        assert_eq!(quoted(text, "", 2, true).lines().count(), 7);
        assert_eq!(
            quoted("a\nb\nc\n", "", 2, false),
            "| b\n| c\n  (1 more line: --full)\n"
        );
        assert_eq!(quoted("a\nb\n", "", 2, false), "| a\n| b\n");
    }

    /// Golden values by `date -u -d @N`.
    #[test]
    fn times_are_those_of_date() {
        assert_eq!(utc(0), "-");
        assert_eq!(utc(1), "1970-01-01 00:00:01Z");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31 23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00Z");
    }
}
