//! Standard output and standard error: results on the first, everything else on the second.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the one module of the programs that prints"
)]

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints a result on standard output, with a line feed at its end if it has none.
///
/// A reader that closed the pipe, as `head` does, is no error: the work that the result is about
/// continues.
///
/// # Errors
/// Any other error of writing, such as a full file system.
pub fn print(text: &str) -> io::Result<()> {
    match write(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        // EBADF: the program was started with standard output closed.
        Err(error) if error.raw_os_error() == Some(9) => Ok(()),
        written => written,
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Prints a line about progress or state on standard error. A closed standard error loses it.
pub fn note(text: &str) {
    let mut err = io::stderr().lock();
    // There is no other place to report it to.
    drop(err.write_all(format!("{text}\n").as_bytes()));
}

/// Prints an error on standard error, after the name of the program.
///
/// `error` is printed in its alternate form, which for `anyhow::Error` includes its causes.
pub fn error(program: &str, error: impl Display) {
    note(&format!("{program}: {error:#}"));
}

/// Returns `text` with control characters escaped, so that text from outside cannot move the cursor
/// or change colours. Line feeds and tabs stay. *Pure.*
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if harmless(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_default());
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_text_is_not() {
        assert_eq!(printable("grün\n\tok"), "grün\n\tok");
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\r"), "a\\u{1b}[2Jb\\u{9b}c\\r");
    }
}
