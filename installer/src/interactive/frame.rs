//! The full screen: a view drawn into 80 columns and 24 lines, without colour. *Pure.*

use super::view::{TEXT, View, wrapped};
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Modifier, Style};

/// Columns of the screen.
pub const COLUMNS: u16 = 80;
/// Lines of the screen.
pub const LINES: u16 = 24;
/// Lines between title and note.
pub const PAGE: usize = 20;

/// A line between title and note.
struct Line {
    text: String,
    style: Style,
}

/// Returns the number of lines between title and note that the view has. *Pure.*
#[must_use]
pub fn height(view: &View) -> usize {
    lines(view).0.len()
}

/// Returns the first line that is shown. *Pure.*
#[must_use]
pub fn first_line(view: &View) -> usize {
    let (lines, cursor) = lines(view);
    first(view, lines.len(), cursor)
}

/// Draws `view`. *Pure.*
#[must_use]
pub fn draw(view: &View) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, COLUMNS, LINES));
    let reverse = Style::new().add_modifier(Modifier::REVERSED);
    let title = format!(" RayOS installer: {}", view.title);
    let width = usize::from(COLUMNS);
    buffer.set_stringn(0, 0, format!("{title:<width$}"), width, reverse);
    let (lines, cursor) = lines(view);
    let first = first(view, lines.len(), cursor);
    for (row, line) in (2..).zip(lines.iter().skip(first).take(PAGE)) {
        buffer.set_stringn(1, row, &line.text, TEXT, line.style);
    }
    let more = match (first > 0, first + PAGE < lines.len()) {
        (true, true) => "more above and below: PgUp, PgDn",
        (true, false) => "more above: PgUp",
        (false, true) => "more below: PgDn",
        (false, false) => "",
    };
    let note = if view.note.is_empty() {
        more
    } else {
        &view.note
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    // A note may take the last line of the text, too.
    let note = wrapped(note, TEXT);
    let row = LINES - 1 - (note.len().min(2) as u16);
    for (row, line) in (row..).zip(note.iter().take(2)) {
        buffer.set_stringn(1, row, format!("{line:<TEXT$}"), TEXT, bold);
    }
    let keys = format!(" {}", view.keys);
    buffer.set_stringn(0, LINES - 1, format!("{keys:<width$}"), width, reverse);
    buffer
}

fn first(view: &View, count: usize, cursor: Option<(usize, usize)>) -> usize {
    let last = count.saturating_sub(PAGE);
    match (view.scroll, cursor) {
        (Some(first), _) => first.min(last),
        (None, Some((_, end))) if end >= PAGE => (end + 1 - PAGE).min(last),
        (None, Some(_)) => 0,
        // An input is the last line.
        (None, None) if view.input.is_some() => last,
        (None, None) => 0,
    }
}

/// Returns the lines, and the first and last line of the highlighted choice.
fn lines(view: &View) -> (Vec<Line>, Option<(usize, usize)>) {
    let plain = |text: String| Line {
        text,
        style: Style::new(),
    };
    let mut lines: Vec<Line> = view.text.iter().cloned().map(plain).collect();
    let mut place = None;
    for (at, item) in view.items.iter().enumerate() {
        let is_current = view.cursor == Some(at);
        let mark = if is_current { ">" } else { " " };
        let start = lines.len();
        for (row, text) in wrapped(&item.label, TEXT - 2).into_iter().enumerate() {
            let style = match (is_current, item.reasons.is_empty()) {
                (true, _) => Style::new().add_modifier(Modifier::REVERSED),
                (false, true) => Style::new(),
                (false, false) => Style::new().add_modifier(Modifier::DIM),
            };
            let mark = if row == 0 { mark } else { " " };
            lines.push(Line {
                text: format!("{mark} {text}"),
                style,
            });
        }
        for reason in &item.reasons {
            let reason = format!("    no: {reason}");
            lines.extend(wrapped(&reason, TEXT).into_iter().map(plain));
        }
        if is_current {
            place = Some((start, lines.len() - 1));
        }
    }
    let current = view.cursor.and_then(|cursor| view.items.get(cursor));
    if let Some(item) = current.filter(|item| !item.detail.is_empty()) {
        lines.push(plain(String::new()));
        lines.extend(item.detail.iter().cloned().map(plain));
    }
    lines.extend(view.below.iter().cloned().map(plain));
    if let Some((question, typed)) = &view.input {
        lines.push(Line {
            text: format!("{question}: {typed}_"),
            style: Style::new().add_modifier(Modifier::BOLD),
        });
    }
    (lines, place)
}

/// Returns the lines of a screen as text, without spaces at their ends. *Pure.*
#[must_use]
pub fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width.max(1));
    let row = |cells: &[ratatui_core::buffer::Cell]| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned()
    };
    rows.map(row).collect::<Vec<_>>().join("\n")
}
