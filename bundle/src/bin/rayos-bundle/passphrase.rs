//! The passphrase of a private key: from a file, or typed at the terminal.

use bundle::keys::Passphrase;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use zeroize::Zeroizing;

/// Maximum length of a passphrase in bytes, because the path may name any file.
const MAX_LEN: u64 = 4096;

/// Reads the passphrase in `file` (its first line), or asks for that of `key` at the terminal.
/// *Reads.*
pub(crate) fn read(file: Option<&Path>, key: &Path) -> io::Result<Passphrase> {
    match file {
        Some(file) => first_line(File::open(file)?),
        None => ask(&format!("Passphrase of {}: ", key.display())),
    }
}

/// Asks twice for the passphrase of a new key, if there is no file. *Reads.*
pub(crate) fn read_new(file: Option<&Path>, key: &Path) -> io::Result<Passphrase> {
    let first = read(file, key)?;
    if file.is_none() && first != ask("Again: ")? {
        return Err(io::Error::other("the two differ"));
    }
    if first.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(first)
}

fn first_line(file: File) -> io::Result<Passphrase> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LEN as usize + 1));
    BufReader::new(file.take(MAX_LEN + 1)).read_until(b'\n', &mut line)?;
    if line.len() as u64 > MAX_LEN {
        return Err(io::Error::other(format!("longer than {MAX_LEN} bytes")));
    }
    while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        line.pop();
    }
    Ok(line)
}

/// Asks at the terminal of the process, which does not echo meanwhile.
fn ask(words: &str) -> io::Result<Passphrase> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(words.as_bytes())?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let line = terminal.try_clone().and_then(first_line);
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    terminal.write_all(b"\n")?;
    line
}
