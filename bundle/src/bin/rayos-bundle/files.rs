//! Input and output files. `-` is standard input or output.

use anyhow::{Context as _, Result, ensure};
use cli::new_file::NewFile;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read, StdoutLock, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The name of standard input in messages. As a path it is in the current directory, and paths
/// relative to it begin there.
pub(crate) const STANDARD_INPUT: &str = "standard input";

/// Returns true for `-`. *Pure.*
pub(crate) fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Returns the name of an input in messages. *Pure.*
pub(crate) fn name_of(path: &Path) -> String {
    if is_dash(path) {
        STANDARD_INPUT.to_owned()
    } else {
        path.display().to_string()
    }
}

/// Opens a file or standard input.
pub(crate) fn open_input(path: &Path) -> Result<Box<dyn Read>> {
    if is_dash(path) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| name_of(path))?;
    Ok(Box::new(file))
}

/// Opens a file that is read more than once, so that standard input is refused.
pub(crate) fn open_rereadable(path: &Path) -> Result<File> {
    ensure!(
        !is_dash(path),
        "standard input cannot be read twice: name a file"
    );
    File::open(path).with_context(|| name_of(path))
}

/// Opens a bundle to write a signature into it.
pub(crate) fn open_to_sign(path: &Path) -> Result<File> {
    ensure!(
        !is_dash(path),
        "standard input cannot be signed in place: name a file"
    );
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| name_of(path))
}

/// Opens standard output for binary data; a terminal is refused.
pub(crate) fn open_stdout() -> Result<StdoutLock<'static>> {
    let out = io::stdout();
    ensure!(
        !out.is_terminal(),
        "standard output is a terminal: name a file or use a pipe"
    );
    Ok(out.lock())
}

/// Creates a file with this content; fails if the path exists. Durable on return.
///
/// # Power loss
/// Leaves no file, or one that may be incomplete.
pub(crate) fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| name_of(path))
}

/// Writes `bytes` to a file, which they create or replace, or to standard output.
///
/// # Power loss
/// As [`NewFile::publish`].
pub(crate) fn write_output(path: &Path, bytes: &[u8]) -> Result<()> {
    with_output(path, |out, _| Ok(out.write_all(bytes)?))
}

/// Calls `write` with a file or standard output, and with a folder for temporary files. A file gets
/// its name after `write` has succeeded; it is durable on return.
///
/// # Power loss
/// As [`NewFile::publish`].
pub(crate) fn with_output<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write, &Path) -> Result<T>,
) -> Result<T> {
    if is_dash(path) {
        let mut out = open_stdout()?;
        let written = write(&mut out, &std::env::temp_dir())?;
        out.flush()?;
        return Ok(written);
    }
    let new = NewFile::create(path).with_context(|| name_of(path))?;
    let written = write(&mut &new.file, new.folder())?;
    new.publish().with_context(|| name_of(path))?;
    Ok(written)
}
