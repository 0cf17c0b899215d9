//! Questions and answers as lines of text, for screen readers, pipes and printers: the other
//! renderer of a view. *Pure.*

use super::keys::Key;
use super::model::Event;
use super::view::View;

/// Prints views, each only if it says something new.
#[derive(Debug, Default)]
pub struct PlainPrinter {
    last: Option<View>,
    tenth: Option<u64>,
}

impl PlainPrinter {
    /// Returns the text to print for `view`; nothing if it is still the same question. *Pure.*
    pub fn print(&mut self, view: &View) -> String {
        let Some(percent) = view.percent else {
            self.tenth = None;
            return match view.is_working {
                true => self.start(view),
                false => self.question(view),
            };
        };
        let tenth = percent / 10;
        let line = view.text.iter().rfind(|line| line.contains('%'));
        let is_new_phase = self
            .last
            .as_ref()
            .is_none_or(|last| phases(last) != phases(view));
        let is_new = is_new_phase || self.tenth != Some(tenth);
        self.tenth = Some(tenth);
        self.last = Some(view.clone());
        match line {
            Some(line) if is_new => format!("{line}\n"),
            _ => String::new(),
        }
    }

    /// Returns the first lines of a write; nothing after that.
    fn start(&mut self, view: &View) -> String {
        let is_known = self.last.as_ref().is_some_and(|last| last.is_working);
        self.last = Some(view.clone());
        if is_known {
            return String::new();
        }
        let mut text = String::new();
        body(&mut text, view);
        text
    }

    fn question(&mut self, view: &View) -> String {
        // The cursor is not shown, so it is no news.
        let is_same = |last: &View| {
            (&last.title, &last.text, &last.items, &last.below)
                == (&view.title, &view.text, &view.items, &view.below)
        };
        let note_only = self.last.as_ref().is_some_and(is_same);
        let is_old_note = self
            .last
            .as_ref()
            .is_some_and(|last| last.revision == view.revision);
        if note_only && (is_old_note || view.note.is_empty()) {
            return String::new();
        }
        self.last = Some(view.clone());
        let mut text = String::new();
        if !note_only {
            body(&mut text, view);
        }
        if !view.note.is_empty() {
            text.push_str(&format!("! {}\n", view.note));
        }
        text.push_str(&prompt(view));
        text
    }
}

fn phases(view: &View) -> usize {
    view.text.iter().filter(|line| line.contains('%')).count()
}

fn body(text: &mut String, view: &View) {
    text.push_str(&format!("\n== {} ==\n", view.title));
    for line in &view.text {
        text.push_str(&format!("{line}\n"));
    }
    for (number, item) in (1..).zip(&view.items) {
        let mark = if item.reasons.is_empty() {
            ""
        } else {
            "not possible: "
        };
        text.push_str(&format!("{number}) {mark}{}\n", item.label));
        for reason in &item.reasons {
            text.push_str(&format!("     {reason}\n"));
        }
        for line in &item.detail {
            text.push_str(&format!("     {line}\n"));
        }
    }
    for line in &view.below {
        text.push_str(&format!("{line}\n"));
    }
}

fn prompt(view: &View) -> String {
    match (&view.input, view.items.len()) {
        (Some((question, _)), _) => format!("{question} (b back, q leave): "),
        (None, 0) => String::new(),
        (None, 1) => "Number 1 (b back, q leave): ".to_owned(),
        (None, count) => format!("Number 1 to {count} (b back, q leave): "),
    }
}

/// Returns the events of a line that was typed at `view`'s prompt. *Pure.* An empty line is none,
/// except for an input.
#[must_use]
pub fn reply(view: &View, line: &str) -> Vec<Event> {
    let line = line.trim();
    let key = |key| vec![Event::Key(key)];
    match (line, &view.input) {
        ("b" | "B", _) => key(Key::Escape),
        ("q" | "Q", _) => key(Key::Interrupt),
        (line, Some((_, typed))) => {
            let erase = typed.chars().map(|_| Key::Backspace);
            let characters = line
                .chars()
                .filter(|c| c.is_ascii() && !c.is_ascii_control());
            let keys = erase
                .chain(characters.map(Key::Character))
                .chain([Key::Enter]);
            keys.map(Event::Key).collect()
        }
        ("", None) => Vec::new(),
        (number, None) => {
            let place = number.parse::<usize>().unwrap_or(0);
            vec![Event::Select(place.checked_sub(1).unwrap_or(usize::MAX))]
        }
    }
}
