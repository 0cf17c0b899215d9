//! One terminal: a view is drawn on it, and what it sends becomes events.

use super::reader::Input;
use installer::interactive::frame::{COLUMNS, LINES, draw};
use installer::interactive::keys::{Key, KeyDecoder};
use installer::interactive::model::Event;
use installer::interactive::plain::{PlainPrinter, reply};
use installer::interactive::view::View;
use ratatui_core::buffer::{Buffer, Cell};
use ratatui_core::layout::Rect;
use ratatui_core::style::Modifier;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

/// Maximum number of bytes of a line that is typed; the rest of a longer one is dropped.
const MAX_LINE: usize = 256;
/// Another screen, no cursor, cleared.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[0m\x1b[2J";
/// The cursor, and the screen that was there before.
const LEAVE: &str = "\x1b[0m\x1b[2J\x1b[H\x1b[?25h\x1b[?1049l";
/// Ctrl-L: draw everything again, for a serial line that was connected later.
const REDRAW: u8 = 0x0c;

/// How a terminal is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Full screen.
    Full,
    /// Questions and answers.
    Plain,
}

/// A terminal, or a pair of pipes.
pub(crate) struct Console {
    input: File,
    output: File,
    style: Style,
    /// The settings to restore.
    saved: Option<Termios>,
    /// What is on the screen.
    drawn: Buffer,
    decoder: KeyDecoder,
    printer: PlainPrinter,
    line: Vec<u8>,
    received: VecDeque<Received>,
}

/// Something that a terminal sent and that was not handled yet.
enum Received {
    Key(Key),
    Line(String),
    /// It was closed.
    End,
}

impl Console {
    /// Returns the console of standard input and standard output.
    pub(crate) fn standard(style: Style) -> io::Result<Self> {
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Self::new(input, output, style)
    }

    /// Opens the terminal at `path`.
    pub(crate) fn open(path: &Path, style: Style) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        Self::new(file.try_clone()?, file, style)
    }

    fn new(input: File, output: File, style: Style) -> io::Result<Self> {
        let mut console = Self {
            input,
            output,
            style,
            saved: None,
            drawn: blank(),
            decoder: KeyDecoder::default(),
            printer: PlainPrinter::default(),
            line: Vec::new(),
            received: VecDeque::new(),
        };
        if style == Style::Full {
            let settings = tcgetattr(&console.input)?;
            let mut raw = settings.clone();
            raw.make_raw();
            tcsetattr(&console.input, OptionalActions::Flush, &raw)?;
            console.saved = Some(settings);
            console.print(ENTER);
        }
        Ok(console)
    }

    /// Returns a handle for the thread that reads.
    pub(crate) fn reader(&self) -> io::Result<File> {
        self.input.try_clone()
    }

    /// Shows `view`: the cells that changed, or a question that is new.
    pub(crate) fn show(&mut self, view: &View) {
        match self.style {
            Style::Full => {
                let next = draw(view);
                let changed = self.drawn.diff(&next);
                let sequences = sequences(&changed);
                self.print(&sequences);
                self.drawn = next;
            }
            Style::Plain => {
                let text = self.printer.print(view);
                self.print(&text);
            }
        }
    }

    /// Takes what the terminal sent.
    pub(crate) fn receive(&mut self, input: &Input) {
        match (self.style, input) {
            (_, Input::Closed) => self.received.push_back(Received::End),
            (Style::Full, Input::Bytes(bytes)) => {
                if bytes.contains(&REDRAW) {
                    self.print(ENTER);
                    self.drawn = blank();
                }
                let keys = self.decoder.decode(bytes);
                self.received.extend(keys.into_iter().map(Received::Key));
            }
            (Style::Full, Input::Quiet) => {
                let key = self.decoder.flush();
                self.received.extend(key.map(Received::Key));
            }
            (Style::Plain, Input::Quiet) => {}
            (Style::Plain, Input::Bytes(bytes)) => self.lines(bytes),
        }
    }

    fn lines(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if !matches!(byte, b'\n' | b'\r') {
                if self.line.len() < MAX_LINE {
                    self.line.push(byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line).into_owned();
            self.received.push_back(Received::Line(line));
        }
    }

    /// Returns the events of the next key or line that was received; it is a reply to `view`. `None`
    /// if there is none, or if it has to wait for the end of a write.
    pub(crate) fn next(&mut self, view: &View) -> Option<Vec<Event>> {
        let waits = match self.received.front()? {
            Received::Key(_) => false,
            Received::Line(_) | Received::End => view.is_working,
        };
        if waits {
            return None;
        }
        Some(match self.received.pop_front()? {
            Received::Key(key) => vec![Event::Key(key)],
            Received::Line(line) => reply(view, &line),
            Received::End => vec![Event::Key(Key::Interrupt)],
        })
    }

    /// Leaves the full screen, then prints `text`.
    pub(crate) fn close(&mut self, text: &str) {
        if let Some(saved) = self.saved.take() {
            self.print(LEAVE);
            // A terminal that is gone needs no settings.
            let _lost = tcsetattr(&self.input, OptionalActions::Flush, &saved);
        }
        self.print(text);
    }

    /// Writes to the terminal. A terminal that is gone loses it, and the work continues.
    fn print(&mut self, text: &str) {
        drop(self.output.write_all(text.as_bytes()));
        drop(self.output.flush());
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.close("");
    }
}

fn blank() -> Buffer {
    Buffer::empty(Rect::new(0, 0, COLUMNS, LINES))
}

/// Returns the escape sequences that draw `cells`: positions, and reverse, bold and dim. (ECMA-48.)
fn sequences(cells: &[(u16, u16, &Cell)]) -> String {
    let mut text = String::new();
    let mut at = None;
    let mut modifier = Modifier::empty();
    for &(x, y, cell) in cells {
        if at != Some((x, y)) {
            text.push_str(&format!("\x1b[{};{}H", y + 1, x + 1));
        }
        if cell.modifier != modifier {
            modifier = cell.modifier;
            text.push_str("\x1b[0");
            for (flag, code) in [
                (Modifier::BOLD, ";1"),
                (Modifier::DIM, ";2"),
                (Modifier::REVERSED, ";7"),
            ] {
                if modifier.contains(flag) {
                    text.push_str(code);
                }
            }
            text.push('m');
        }
        text.push_str(cell.symbol());
        at = Some((x + 1, y));
    }
    if !modifier.is_empty() {
        text.push_str("\x1b[0m");
    }
    text
}
