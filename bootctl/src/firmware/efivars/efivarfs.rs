//! Variables in efivarfs, or in a plain directory in its format.
//!
//! A file `Name-GUID` holds 4 bytes of attributes (little-endian), then the data. One write(2) is
//! one `SetVariable` (Linux, Documentation/filesystems/efivarfs.rst), so a value is written whole,
//! over the old one and never by removing it first: between the two, a power cut would leave no
//! variable at all.

use super::variable::{EfiVars, VarError, VarName, Variable};
use record::Guid;
use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where Linux mounts efivarfs.
pub const EFIVARS_DIR: &str = "/sys/firmware/efi/efivars";
/// Longest variable that is read. Stops a dump with a huge file from filling memory; OVMF's own
/// limit is 33 KiB.
const MAX_LEN: usize = 64 * 1024;
/// Length of a written GUID.
const GUID_LEN: usize = 36;

/// The variables in a directory.
#[derive(Clone, Debug)]
pub struct Efivarfs {
    dir: PathBuf,
}

impl Efivarfs {
    /// The variables in `dir`. *Pure*: nothing is read yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    fn path(&self, name: &VarName) -> PathBuf {
        self.dir.join(format!("{}-{}", name.name, name.vendor))
    }

    /// No directory, or an empty one where efivarfs is not mounted: the machine tells us nothing
    /// about EFI.
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

/// What an errno of efivarfs means (Linux, `efi_status_to_err`).
fn meaning(errno: Errno) -> VarError {
    match errno {
        Errno::NOSPC => VarError::Full,
        Errno::ROFS | Errno::PERM | Errno::ACCESS => VarError::ReadOnly,
        Errno::INVAL => VarError::Refused,
        _ => VarError::Io,
    }
}

/// Calls again what a signal interrupted; the kernel limits the rate of reads by a sleep that a
/// signal ends.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Clears the immutable flag that efivarfs puts on variables it does not know. Plain directories
/// have none.
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

/// One write(2) with everything in it.
fn write_whole(file: &OwnedFd, bytes: &[u8]) -> Result<(), VarError> {
    if retry(|| rustix::io::write(file, bytes)).map_err(meaning)? != bytes.len() {
        return Err(VarError::Io);
    }
    let len = bytes.len() as u64;
    // efivarfs sets the length itself; a plain directory may hold the rest of a longer value.
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
        // A file just made and not yet written: for firmware there is no such variable.
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
            // The file was made by opening it; without a variable behind it, it would be a ghost.
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

/// `Name-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`; the name may have hyphens itself.
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
    fn a_variable_is_attributes_then_data_in_one_file() {
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
            "a shorter value leaves no rest"
        );
        assert_eq!(vars.names(), Ok(vec![order.clone()]));
        vars.delete(&order).unwrap();
        vars.delete(&order).unwrap();
        assert_eq!(vars.names(), Ok(vec![]));
    }

    #[test]
    fn an_absent_directory_is_no_efi_and_a_short_file_is_no_absent_variable() {
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
    fn names_may_have_hyphens_and_other_files_are_passed_over() {
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
    fn errors_are_told_apart() {
        assert_eq!(meaning(Errno::NOSPC), VarError::Full);
        assert_eq!(meaning(Errno::ROFS), VarError::ReadOnly);
        assert_eq!(meaning(Errno::INVAL), VarError::Refused);
        assert_eq!(meaning(Errno::IO), VarError::Io);
    }
}
