//! Variables in efivarfs, or in a plain folder in its format.
//!
//! A file `Name-GUID` holds 4 bytes of attributes (little-endian), then the data. One write(2) is
//! one `SetVariable` (Linux, Documentation/filesystems/efivarfs.rst). A value is therefore written
//! by one call, over the old one. Removing the old one first would let a power cut leave no
//! variable.

use super::variable::{EfiVars, VarError, VarName, Variable};
use record::Guid;
use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where Linux mounts efivarfs.
pub const EFIVARS_DIR: &str = "/sys/firmware/efi/efivars";
/// Maximum length of a variable. Stops a huge file in a folder from filling memory. The limit of
/// OVMF is 33 KiB.
const MAX_LEN: usize = 64 * 1024;
/// Length of a GUID as text.
const GUID_LEN: usize = 36;

/// The variables in a folder.
#[derive(Clone, Debug)]
pub struct Efivarfs {
    dir: PathBuf,
}

impl Efivarfs {
    /// Returns the variables in `dir`. *Pure*: nothing is read yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    fn path(&self, name: &VarName) -> PathBuf {
        self.dir.join(format!("{}-{}", name.name, name.vendor))
    }

    /// Fails if the folder is missing, or is the mount point of efivarfs and empty: the machine has
    /// no EFI variables.
    fn check(&self) -> Result<(), VarError> {
        let is_mount_point = self.dir == Path::new(EFIVARS_DIR);
        match std::fs::read_dir(&self.dir) {
            Ok(entries) => {
                let is_mounted = !is_mount_point || entries.into_iter().next().is_some();
                if is_mounted {
                    Ok(())
                } else {
                    Err(VarError::Unsupported)
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(VarError::Unsupported)
            }
            Err(_) => Err(VarError::Io),
        }
    }
}

/// Returns the meaning of an errno of efivarfs (Linux, `efi_status_to_err`).
fn meaning(errno: Errno) -> VarError {
    match errno {
        Errno::NOSPC => VarError::Full,
        Errno::ROFS | Errno::PERM | Errno::ACCESS => VarError::ReadOnly,
        Errno::INVAL => VarError::Refused,
        _ => VarError::Io,
    }
}

/// Repeats a call that a signal interrupted. The kernel limits the rate of reads by a sleep, which
/// a signal ends.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Clears the immutable flag, which efivarfs sets on variables that it does not know. Files in
/// plain folders have none.
fn make_mutable(path: &Path) -> Result<(), VarError> {
    let file =
        match retry(|| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())) {
            Err(Errno::NOENT) => return Ok(()),
            file => file.map_err(meaning)?,
        };
    let Ok(flags) = rustix::fs::ioctl_getflags(&file) else {
        return Ok(());
    };
    if flags.contains(IFlags::IMMUTABLE) {
        rustix::fs::ioctl_setflags(&file, flags - IFlags::IMMUTABLE).map_err(meaning)?;
    }
    Ok(())
}

/// Writes all bytes by one write(2).
fn write_whole(file: &OwnedFd, bytes: &[u8]) -> Result<(), VarError> {
    if retry(|| rustix::io::write(file, bytes)).map_err(meaning)? != bytes.len() {
        return Err(VarError::Io);
    }
    let len = bytes.len() as u64;
    // efivarfs sets the length itself; in a plain folder the end of a longer value may remain.
    if rustix::fs::fstat(file)
        .map_err(meaning)?
        .st_size
        .unsigned_abs()
        > len
    {
        rustix::fs::ftruncate(file, len).map_err(meaning)?;
    }
    Ok(())
}

impl EfiVars for Efivarfs {
    fn get(&self, name: &VarName) -> Result<Option<Variable>, VarError> {
        let path = self.path(name);
        let file = match retry(|| {
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        }) {
            Err(Errno::NOENT) => return self.check().map(|()| None),
            file => file.map_err(meaning)?,
        };
        let mut bytes = vec![0; MAX_LEN];
        let mut len = 0;
        loop {
            match retry(|| rustix::io::read(&file, &mut bytes[len..])).map_err(meaning)? {
                0 => break,
                count => len += count,
            }
        }
        bytes.truncate(len);
        // A file that was created but not written yet: the firmware has no such variable.
        if bytes.is_empty() {
            return Ok(None);
        }
        let (attributes, data) = bytes.split_first_chunk::<4>().ok_or(VarError::Io)?;
        if len == MAX_LEN {
            return Err(VarError::Io);
        }
        Ok(Some(Variable {
            attributes: u32::from_le_bytes(*attributes),
            data: data.to_vec(),
        }))
    }

    fn names(&self) -> Result<Vec<VarName>, VarError> {
        self.check()?;
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(|_| VarError::Io)? {
            let file = entry.map_err(|_| VarError::Io)?.file_name();
            names.extend(file.to_str().and_then(parse_name));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn set(&self, name: &VarName, value: &Variable) -> Result<(), VarError> {
        self.check()?;
        let path = self.path(name);
        make_mutable(&path)?;
        let bytes = [value.attributes.to_le_bytes().as_slice(), &value.data].concat();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let is_new = !path.exists();
        let file = retry(|| rustix::fs::open(&path, flags, mode)).map_err(meaning)?;
        if let Err(error) = write_whole(&file, &bytes) {
            // Opening created the file; there is no variable behind it.
            if is_new && rustix::fs::unlink(&path).is_err() {
                return Err(VarError::Io);
            }
            return Err(error);
        }
        match self.get(name)? {
            Some(found) if found.data == value.data => Ok(()),
            _ => Err(VarError::Io),
        }
    }

    fn delete(&self, name: &VarName) -> Result<(), VarError> {
        self.check()?;
        let path = self.path(name);
        make_mutable(&path)?;
        match retry(|| rustix::fs::unlink(&path)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(meaning(errno)),
        }
    }
}

/// Parses `Name-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`. The name may contain hyphens.
fn parse_name(file: &str) -> Option<VarName> {
    let at = file.len().checked_sub(GUID_LEN)?;
    let (name, vendor) = (file.get(..at)?, file.get(at..)?);
    let name = name.strip_suffix('-').filter(|name| !name.is_empty())?;
    Some(VarName {
        name: name.to_owned(),
        vendor: Guid::parse(vendor)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::efivars::PERSISTENT;

    #[test]
    fn a_file_holds_attributes_then_data() {
        let dir = tempfile::tempdir().unwrap();
        let vars = Efivarfs::new(dir.path());
        let order = VarName::global("BootOrder");
        assert_eq!(vars.get(&order), Ok(None));
        vars.set(
            &order,
            &Variable {
                attributes: PERSISTENT,
                data: vec![1, 0, 2, 0],
            },
        )
        .unwrap();
        let file = dir
            .path()
            .join("BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c");
        assert_eq!(std::fs::read(&file).unwrap(), [7, 0, 0, 0, 1, 0, 2, 0]);
        vars.set(
            &order,
            &Variable {
                attributes: PERSISTENT,
                data: vec![2, 0],
            },
        )
        .unwrap();
        assert_eq!(
            std::fs::read(&file).unwrap(),
            [7, 0, 0, 0, 2, 0],
            "a shorter value leaves nothing of a longer one"
        );
        assert_eq!(vars.names(), Ok(vec![order.clone()]));
        vars.delete(&order).unwrap();
        vars.delete(&order).unwrap();
        assert_eq!(vars.names(), Ok(vec![]));
    }

    #[test]
    fn a_missing_folder_is_unsupported_and_a_short_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let vars = Efivarfs::new(&dir.path().join("none"));
        let order = VarName::global("BootOrder");
        assert_eq!(vars.get(&order), Err(VarError::Unsupported));
        assert_eq!(
            vars.set(
                &order,
                &Variable {
                    attributes: 7,
                    data: vec![1]
                }
            ),
            Err(VarError::Unsupported)
        );
        std::fs::write(
            dir.path()
                .join("BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c"),
            [7, 0, 0],
        )
        .unwrap();
        assert_eq!(Efivarfs::new(dir.path()).get(&order), Err(VarError::Io));
    }

    #[test]
    fn names_may_contain_hyphens_and_other_files_are_skipped() {
        let name = |text: &str| parse_name(text).map(|found| found.name);
        let guid = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
        assert_eq!(
            name(&format!("dump-type0-1-{guid}")),
            Some("dump-type0-1".to_owned())
        );
        for other in [
            "",
            "-",
            "BootOrder",
            &format!("-{guid}"),
            &format!("x{guid}"),
            "ä-8be4df61",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }

    #[test]
    fn errors_keep_their_meaning() {
        assert_eq!(meaning(Errno::NOSPC), VarError::Full);
        assert_eq!(meaning(Errno::ROFS), VarError::ReadOnly);
        assert_eq!(meaning(Errno::INVAL), VarError::Refused);
        assert_eq!(meaning(Errno::IO), VarError::Io);
    }
}
