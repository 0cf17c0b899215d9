//! Files as the command line names them: `-` is standard input or output, and a result gets its
//! name when it is complete.

use anyhow::{Context as _, Result, ensure};
use cli::new_file::NewFile;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read, StdoutLock, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub(crate) fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What an input is called in messages.
pub(crate) fn name_of(path: &Path) -> String {
    if is_dash(path) {
        STANDARD_INPUT.to_owned()
    } else {
        path.display().to_string()
    }
}

/// The name of standard input; as a path it lies in the current directory, and so does what is
/// named relative to it.
pub(crate) const STANDARD_INPUT: &str = "standard input";

pub(crate) fn open_input(path: &Path) -> Result<Box<dyn Read>> {
    if is_dash(path) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok(Box::new(file))
}

/// Standard output for bytes that nobody wants to see on a terminal.
pub(crate) fn open_stdout() -> Result<StdoutLock<'static>> {
    let out = io::stdout();
    ensure!(
        !out.is_terminal(),
        "standard output is a terminal: name a file, or a program behind a pipe"
    );
    Ok(out.lock())
}

pub(crate) fn open_to_sign(path: &Path) -> Result<File> {
    ensure!(
        !is_dash(path),
        "a bundle is signed in its place, and standard input has none: name a file"
    );
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| path.display().to_string())
}

pub(crate) fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    let name = || path.display().to_string();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(name)?;
    file.write_all(bytes).with_context(name)?;
    file.sync_all().with_context(name)
}

pub(crate) fn write_output(path: &Path, bytes: &[u8]) -> Result<()> {
    if is_dash(path) {
        let mut out = open_stdout()?;
        out.write_all(bytes)?;
        return Ok(out.flush()?);
    }
    let name = || path.display().to_string();
    let mut new = NewFile::create(path).with_context(name)?;
    new.file.write_all(bytes).with_context(name)?;
    new.publish().with_context(name)
}
