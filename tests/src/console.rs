//! The serial line: read by a thread of its own into a log file and into the text that scenarios
//! wait on.

use crate::terminal::Terminal;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Called with every complete line of the console, as it comes.
pub(crate) type LineSink = Box<dyn FnMut(&str) + Send>;

/// The text so far, and whether more can come.
#[derive(Default)]
struct Heard {
    text: String,
    /// Everything before this byte of `text` has been taken by an earlier wait.
    taken: usize,
    ended: bool,
}

/// The console of one machine.
pub(crate) struct Console {
    heard: Arc<(Mutex<Heard>, Condvar)>,
    input: ChildStdin,
}

/// What a wait came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The pattern with this index came, in this line (complete, unless the machine ended in it).
    Came(usize, String),
    /// The machine ended first.
    Ended,
    /// The limit passed first.
    TooLong,
}

impl Console {
    /// Reads `output` into `log` and to `sink` until it ends.
    ///
    /// # Errors
    /// When the log cannot be made.
    pub(crate) fn start(
        input: ChildStdin,
        output: ChildStdout,
        log: &Path,
        sink: Option<LineSink>,
    ) -> std::io::Result<Self> {
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let file = File::create(log)?;
        let listener = Arc::clone(&heard);
        std::thread::spawn(move || listen(output, file, sink, &listener));
        Ok(Self { heard, input })
    }

    /// Waits until one of `patterns` comes after what was taken before, and takes everything
    /// through the end of its line. Of patterns in the text already, the first in the text counts,
    /// not the first in the list.
    pub(crate) fn wait(&self, patterns: &[&str], limit: Duration) -> Waited {
        let until = Instant::now() + limit;
        let (mutex, changed) = &*self.heard;
        let mut heard = lock(mutex);
        loop {
            if let Some((index, line, end)) = first_of(&heard, patterns) {
                heard.taken = end;
                return Waited::Came(index, line);
            }
            if heard.ended {
                return Waited::Ended;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::TooLong;
            }
            heard = changed
                .wait_timeout(heard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sends `line` and a line end.
    ///
    /// # Errors
    /// When the machine is gone.
    pub(crate) fn send_line(&mut self, line: &str) -> std::io::Result<()> {
        self.send(format!("{line}\n").as_bytes())
    }

    /// Sends `bytes` as they are.
    ///
    /// # Errors
    /// When the machine is gone.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.input.write_all(bytes)?;
        self.input.flush()
    }

    /// The text from byte `from` on; [`Console::position`] gives such a place.
    pub(crate) fn text_from(&self, from: usize) -> String {
        lock(&self.heard.0)
            .text
            .get(from..)
            .unwrap_or_default()
            .to_owned()
    }

    /// Where the next wait begins.
    pub(crate) fn position(&self) -> usize {
        lock(&self.heard.0).taken
    }

    /// The last `count` lines.
    pub(crate) fn tail(&self, count: usize) -> String {
        let heard = lock(&self.heard.0);
        let lines: Vec<_> = heard
            .text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

fn lock(mutex: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The earliest of `patterns` in what is not taken: its index, its line, and the end of that line.
/// A pattern whose line is not complete yet counts only when it is the last thing on its line that
/// can be waited for (a prompt).
fn first_of(heard: &Heard, patterns: &[&str]) -> Option<(usize, String, usize)> {
    let rest = heard.text.get(heard.taken..)?;
    let (at, index) = patterns
        .iter()
        .enumerate()
        .filter_map(|(index, pattern)| Some((rest.find(pattern)?, index)))
        .min()?;
    let begin = rest[..at].rfind('\n').map_or(0, |end| end + 1);
    match rest[at..].find('\n') {
        Some(length) => Some((
            index,
            rest[begin..at + length].to_owned(),
            heard.taken + at + length + 1,
        )),
        None if heard.ended || patterns[index].ends_with(' ') => {
            Some((index, rest[begin..].to_owned(), heard.text.len()))
        }
        None => None,
    }
}

fn listen(
    mut output: ChildStdout,
    mut log: File,
    mut sink: Option<LineSink>,
    heard: &(Mutex<Heard>, Condvar),
) {
    let mut terminal = Terminal::default();
    let mut piece = [0; 4096];
    let mut told = 0;
    while let Ok(length @ 1..) = output.read(&mut piece) {
        let bytes = &piece[..length];
        // A full disk must not end the test with the wrong reason: the text in memory still serves.
        log.write_all(bytes).ok();
        let mut state = lock(&heard.0);
        terminal.feed(bytes, &mut state.text);
        heard.1.notify_all();
        if let Some(sink) = &mut sink {
            while let Some(length) = state.text[told..].find('\n') {
                sink(&state.text[told..told + length]);
                told += length + 1;
            }
        }
    }
    lock(&heard.0).ended = true;
    heard.1.notify_all();
}

#[cfg(test)]
mod tests {
    use super::{Heard, first_of};

    fn heard(text: &str) -> Heard {
        Heard {
            text: text.to_owned(),
            taken: 0,
            ended: false,
        }
    }

    #[test]
    fn the_first_in_the_text_wins() {
        let found = first_of(&heard("x\nbad thing\ngood thing\n"), &["good", "bad"]);
        assert_eq!(found, Some((1, "bad thing".to_owned(), 12)));
    }

    #[test]
    fn a_line_is_waited_for_to_its_end() {
        assert_eq!(
            first_of(&heard("RAYOS:UP version=1.0"), &["RAYOS:UP"]),
            None
        );
        let found = first_of(&heard("RAYOS:UP version=1.0.0\n"), &["RAYOS:UP"]);
        assert_eq!(found, Some((0, "RAYOS:UP version=1.0.0".to_owned(), 23)));
    }

    #[test]
    fn a_prompt_has_no_end_of_line() {
        assert_eq!(
            first_of(&heard("a\nrayos# "), &["rayos# "]),
            Some((0, "rayos# ".to_owned(), 9))
        );
    }

    #[test]
    fn what_was_taken_does_not_count_again() {
        let mut state = heard("one\ntwo\n");
        state.taken = 4;
        assert_eq!(first_of(&state, &["one"]), None);
        assert_eq!(first_of(&state, &["two"]), Some((0, "two".to_owned(), 8)));
    }
}
