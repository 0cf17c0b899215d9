//! Output files that get their name when they are complete.

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// Names that are tried before giving up: each is random, so a second one is hardly ever needed.
const ATTEMPTS: u32 = 16;

/// A file without a name in the folder of its future name.
///
/// However the program ends before [`NewFile::publish`], by an error, a signal or a power cut, the
/// file vanishes. On file systems without unnamed files (`O_TMPFILE`) it has a random name
/// meanwhile, which is removed when it is dropped.
#[derive(Debug)]
pub struct NewFile {
    /// The open file, for reading and writing.
    pub file: File,
    path: PathBuf,
    /// Its name meanwhile, where it could not be without one.
    staged: Option<PathBuf>,
}

impl NewFile {
    /// Creates a file that will be called `path`. *Writes.*
    ///
    /// # Errors
    /// `path` is not a regular file (renaming over a device would replace it), or its folder cannot
    /// be written; the message names the folder.
    pub fn create(path: &Path) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            let words = "not a regular file: write to a file, then copy it there (dd)";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        // The new file replaces what a symbolic link leads to, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = folder_of(&path);
        let mode = Mode::from_raw_mode(0o666);
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::open(folder, flags, mode) {
            let file = File::from(file);
            return Ok(Self {
                file,
                path,
                staged: None,
            });
        }
        let (staged, file) = named(folder, |name| {
            let mut options = File::options();
            options.read(true).write(true).create_new(true).open(name)
        })
        .map_err(|error| in_folder(folder, &error))?;
        let staged = Some(staged);
        Ok(Self { file, path, staged })
    }

    /// Returns a path by which the file can be opened while it is open here.
    #[must_use]
    pub fn open_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Returns the folder that the file is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        folder_of(&self.path)
    }

    /// Gives the file its name, in place of a file that had it. *Writes*: durable on return.
    ///
    /// # Errors
    /// Those of the file system; the message names the folder.
    ///
    /// # Power loss
    /// Leaves the old file or the new one under the name, whole; in a short moment between two
    /// system calls, the new one under a random name beside it.
    pub fn publish(mut self) -> io::Result<()> {
        let folder = folder_of(&self.path).to_owned();
        let failed = |error: io::Error| in_folder(&folder, &error);
        self.file.sync_all().map_err(failed)?;
        if self.staged.is_none() {
            let source = self.open_path();
            let (staged, ()) = named(&folder, |name| {
                let linked = rustix::fs::linkat(CWD, &source, CWD, name, AtFlags::SYMLINK_FOLLOW);
                Ok(linked?)
            })
            .map_err(failed)?;
            self.staged = Some(staged);
        }
        if let Some(staged) = &self.staged {
            fs::rename(staged, &self.path).map_err(failed)?;
        }
        self.staged = None;
        File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(staged) = &self.staged {
            // An error is being reported already; that the file stays adds nothing to it.
            fs::remove_file(staged).unwrap_or_default();
        }
    }
}

/// Returns a file without a name in `folder`, which vanishes with its handle. *Writes.*
///
/// # Errors
/// Those of the file system; the message names the folder.
pub fn unnamed(folder: &Path) -> io::Result<File> {
    tempfile::tempfile_in(folder).map_err(|error| in_folder(folder, &error))
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes something under a random name in `folder`.
fn named<T>(folder: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = folder.join(format!(".rayos-{:016x}.part", u64::from_le_bytes(random)));
        match make(&name) {
            Ok(made) => return Ok((name, made)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
}

fn in_folder(folder: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("folder {}: {error}", folder.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_name_comes_with_the_whole_content_and_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "old").unwrap();
        let mut new = NewFile::create(&path).unwrap();
        new.file.write_all(b"new").unwrap();
        assert_eq!(fs::read(new.open_path()).unwrap(), b"new");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        new.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut new = NewFile::create(&folder.path().join("out")).unwrap();
        new.file.write_all(b"new").unwrap();
        drop(new);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_is_no_file_is_refused_and_a_folder_is_named() {
        let error = NewFile::create(Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("dd"), "{error}");
        let error = NewFile::create(Path::new("/nonexistent/out")).unwrap_err();
        assert!(
            error.to_string().starts_with("folder /nonexistent: "),
            "{error}"
        );
    }
}
