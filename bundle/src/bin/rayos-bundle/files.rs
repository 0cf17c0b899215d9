//! Files as the command line names them: `-` is standard input or output, and a result gets its
//! name when it is complete.

use anyhow::{Context as _, Result, bail, ensure};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Read, StdoutLock, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

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
    let part = PartFile::new(path)?;
    let mut out = BufWriter::new(&part.file);
    out.write_all(bytes)?;
    out.flush()?;
    drop(out);
    part.finish()
}

/// A file without a name that vanishes with its handle.
pub(crate) fn unnamed_file(folder: &Path) -> Result<File> {
    let path = folder.join(format!(".rayos-bundle.{}.payload", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    fs::remove_file(&path).with_context(|| path.display().to_string())?;
    Ok(file)
}

/// A file that gets its name only when it is complete.
pub(crate) struct PartFile {
    pub(crate) file: File,
    part: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl PartFile {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        // Renaming over a device or a pipe would replace it by a file.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            bail!("{}: not a regular file", path.display());
        }
        let mut part = path.to_owned().into_os_string();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(&part);
        let file = file.with_context(|| path.display().to_string())?;
        Ok(Self {
            file,
            part,
            path: path.to_owned(),
            finished: false,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        let name = || self.path.display().to_string();
        self.file.sync_all().with_context(name)?;
        fs::rename(&self.part, &self.path).with_context(name)?;
        File::open(self.folder())
            .and_then(|folder| folder.sync_all())
            .with_context(name)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.finished {
            // An error is being reported already; that the part stays behind adds nothing to it.
            fs::remove_file(&self.part).unwrap_or_default();
        }
    }
}
