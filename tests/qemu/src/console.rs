//! The serial line: a thread reads it into a log file and into the text that scenarios wait on.

use crate::terminal::Terminal;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Called with every complete line of the console as it arrives.
pub(crate) type LineCallback = Box<dyn FnMut(&str) + Send>;

/// The text received so far.
#[derive(Default)]
struct Received {
    text: String,
    /// End of the text that earlier waits have consumed, in bytes.
    consumed: usize,
    ended: bool,
}

/// The console of one machine.
pub(crate) struct Console {
    received: Arc<(Mutex<Received>, Condvar)>,
    input: ChildStdin,
}

/// Result of a wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The pattern with this index arrived, in this line (complete unless the machine ended in it).
    Found(usize, String),
    /// The machine ended first.
    Ended,
    /// The limit passed first.
    TimedOut,
}

impl Console {
    /// Reads `output` into `log` and to `on_line` until it ends.
    ///
    /// # Errors
    /// When the log cannot be created.
    pub(crate) fn start(
        input: ChildStdin,
        output: ChildStdout,
        log: &Path,
        on_line: Option<LineCallback>,
    ) -> std::io::Result<Self> {
        let received = Arc::new((Mutex::new(Received::default()), Condvar::new()));
        let file = File::create(log)?;
        let listener = Arc::clone(&received);
        std::thread::spawn(move || listen(output, file, on_line, &listener));
        Ok(Self { received, input })
    }

    /// Waits until one of `patterns` arrives in the text that is not consumed, and consumes the text
    /// up to the end of its line. If the text has several of them, the first in the text counts,
    /// not the first in the list.
    pub(crate) fn wait(&self, patterns: &[&str], limit: Duration) -> Waited {
        let until = Instant::now() + limit;
        let (mutex, changed) = &*self.received;
        let mut received = lock(mutex);
        loop {
            if let Some((index, line, end)) = first_of(&received, patterns) {
                received.consumed = end;
                return Waited::Found(index, line);
            }
            if received.ended {
                return Waited::Ended;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::TimedOut;
            }
            received = changed
                .wait_timeout(received, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sends `bytes` as they are.
    ///
    /// # Errors
    /// When the machine has ended.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.input.write_all(bytes)?;
        self.input.flush()
    }

    /// The text from byte `from` on, as [`Console::position`] returns it.
    pub(crate) fn text_from(&self, from: usize) -> String {
        lock(&self.received.0)
            .text
            .get(from..)
            .unwrap_or_default()
            .to_owned()
    }

    /// The byte at which the next wait begins.
    pub(crate) fn position(&self) -> usize {
        lock(&self.received.0).consumed
    }

    /// The last `count` lines.
    pub(crate) fn tail(&self, count: usize) -> String {
        let received = lock(&self.received.0);
        let lines: Vec<_> = received
            .text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

fn lock(mutex: &Mutex<Received>) -> MutexGuard<'_, Received> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The earliest of `patterns` in the text that is not consumed: its index, its line, and the end of
/// that line. A pattern on an incomplete line counts only if it ends with a space (a prompt).
fn first_of(received: &Received, patterns: &[&str]) -> Option<(usize, String, usize)> {
    let rest = received.text.get(received.consumed..)?;
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
            received.consumed + at + length + 1,
        )),
        None if received.ended || patterns[index].ends_with(' ') => {
            Some((index, rest[begin..].to_owned(), received.text.len()))
        }
        None => None,
    }
}

fn listen(
    mut output: ChildStdout,
    mut log: File,
    mut on_line: Option<LineCallback>,
    received: &(Mutex<Received>, Condvar),
) {
    let mut terminal = Terminal::default();
    let mut piece = [0; 4096];
    let mut reported = 0;
    while let Ok(length @ 1..) = output.read(&mut piece) {
        let bytes = &piece[..length];
        // A full disk must not hide the real result: the text in memory is still complete.
        log.write_all(bytes).ok();
        let mut state = lock(&received.0);
        terminal.feed(bytes, &mut state.text);
        received.1.notify_all();
        if let Some(on_line) = &mut on_line {
            while let Some(length) = state.text[reported..].find('\n') {
                on_line(&state.text[reported..reported + length]);
                reported += length + 1;
            }
        }
    }
    lock(&received.0).ended = true;
    received.1.notify_all();
}

#[cfg(test)]
mod tests {
    use super::{Received, first_of};

    fn received(text: &str) -> Received {
        Received {
            text: text.to_owned(),
            consumed: 0,
            ended: false,
        }
    }

    #[test]
    fn the_first_pattern_in_the_text_counts() {
        let found = first_of(&received("x\nbad thing\ngood thing\n"), &["good", "bad"]);
        assert_eq!(found, Some((1, "bad thing".to_owned(), 12)));
    }

    #[test]
    fn a_pattern_counts_when_its_line_is_complete() {
        assert_eq!(
            first_of(&received("RAYOS:UP version=1.0"), &["RAYOS:UP"]),
            None
        );
        let found = first_of(&received("RAYOS:UP version=1.0.0\n"), &["RAYOS:UP"]);
        assert_eq!(found, Some((0, "RAYOS:UP version=1.0.0".to_owned(), 23)));
    }

    #[test]
    fn a_prompt_counts_without_end_of_line() {
        assert_eq!(
            first_of(&received("a\nrayos# "), &["rayos# "]),
            Some((0, "rayos# ".to_owned(), 9))
        );
    }

    #[test]
    fn consumed_text_does_not_count_again() {
        let mut state = received("one\ntwo\n");
        state.consumed = 4;
        assert_eq!(first_of(&state, &["one"]), None);
        assert_eq!(first_of(&state, &["two"]), Some((0, "two".to_owned(), 8)));
    }
}
