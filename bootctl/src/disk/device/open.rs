//! How a device is opened, and why that can fail.

use std::io;
use std::path::{Path, PathBuf};

/// Purpose for which a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading. Takes no lock.
    Read,
    /// Reading, and writing only the boot record and the event ring. Takes no lock, so that an
    /// update, which holds the lock of the whole disk, blocks neither a commit nor an operator.
    /// Each change of the record takes the lock of [`super::BlockDevice::lock`].
    Record,
    /// Reading and writing, with an exclusive advisory lock until the device is dropped. It is the
    /// lock that udev and systemd honour on whole disks.
    Write,
    /// As [`Access::Write`], and with exclusive use of the block device: not mounted, no swap, no
    /// mapping.
    Claim,
}

impl Access {
    /// Returns whether the device is opened for writing. *Pure.*
    pub(super) fn writes(self) -> bool {
        self != Self::Read
    }

    /// Returns whether the lock of the whole disk is taken. *Pure.*
    pub(super) fn locks(self) -> bool {
        matches!(self, Self::Write | Self::Claim)
    }
}

/// Bytes in a logical sector of an image file. A block device has its own sector size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectorSize {
    /// 4096 if there is a partition table with such sectors, else 512.
    Detect,
    /// This number: 512 or 4096.
    Bytes(u32),
}

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the device.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// Another program holds the lock, or uses the device.
    #[error("{}: busy: in use by another program", .0.display())]
    Busy(PathBuf),
    /// The disk cannot be written.
    #[error("{}: write-protected", .0.display())]
    ReadOnly(PathBuf),
    /// Neither a block device nor a regular file.
    #[error("{}: neither a block device nor a file", .0.display())]
    NotADevice(PathBuf),
    /// The sector size is neither 512 nor 4096 bytes.
    #[error("{}: sector size {found}, expected 512 or 4096", path.display())]
    SectorSize {
        /// Path of the device.
        path: PathBuf,
        /// Its sector size.
        found: u32,
    },
}

impl OpenError {
    /// Returns the reason for an error of the kernel.
    pub(super) fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock => Self::Busy(path),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(path),
            _ => Self::Io { path, source },
        }
    }
}
