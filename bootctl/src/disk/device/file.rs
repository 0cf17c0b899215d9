//! A block device or an image file, through the kernel.

use super::aligned::{ALIGNMENT, AlignedBuffer};
use super::block_device::{BlockDevice, is_inside, outside, write_zeroes};
use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Most bytes that one direct read asks for where memory is not aligned: bounds the second buffer.
const DIRECT_MAX: usize = 1024 * 1024;
/// Shortest write that passes the page cache by: below it, the disk's answer takes longer than
/// copying.
const DIRECT_WRITE_MIN: usize = 64 * 1024;

/// What a device is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading. Takes no lock.
    Read,
    /// Reading and writing the boot record and the event ring, and nothing else. Takes no lock, so
    /// that an update, which holds that of the whole disk, does not stand in the way of a commit;
    /// each change of the record keeps others out for its moment.
    Record,
    /// Reading and writing, under an exclusive advisory lock that is held until the device is
    /// dropped. It is the lock that udev and systemd honour on whole disks.
    Write,
    /// As [`Access::Write`], and nobody else may use the block device: not mounted, no swap, no
    /// mapping.
    Claim,
}

/// Bytes in a logical sector of an image file; a block device always tells its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectorSize {
    /// 4096 if a partition table with such sectors is there, else 512.
    Detect,
    /// This many: 512 or 4096.
    Bytes(u32),
}

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was opened.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another program holds the lock, or uses the device.
    #[error("{}: busy: in use by another program", .0.display())]
    Busy(PathBuf),
    /// The disk takes no writes.
    #[error("{}: write-protected", .0.display())]
    ReadOnly(PathBuf),
    /// Neither a block device nor a regular file.
    #[error("{}: neither a block device nor a file", .0.display())]
    NotADevice(PathBuf),
    /// Sectors of another size than 512 or 4096 bytes.
    #[error("{}: sector size {found}, expected 512 or 4096", path.display())]
    SectorSize {
        /// What was opened.
        path: PathBuf,
        /// What it has.
        found: u32,
    },
}

/// A block device or an image file.
#[derive(Debug)]
pub struct FileDevice {
    path: PathBuf,
    file: File,
    /// Second handle that passes the page cache by; `None` where the file system cannot.
    direct: OnceLock<Option<File>>,
    access: Access,
    is_block_device: bool,
    sector_size: u32,
    len: u64,
}

impl FileDevice {
    /// Opens the block device or image at `path`. *Reads* only, whatever the access.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, access: Access, sector_size: SectorSize) -> Result<Self, OpenError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock => {
                OpenError::Busy(path.to_owned())
            }
            io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly(path.to_owned()),
            _ => OpenError::Io {
                path: path.to_owned(),
                source,
            },
        };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(OpenError::NotADevice(path.to_owned()));
        }
        // The kernel opens a write-protected disk for writing, and refuses the first write.
        if access != Access::Read && kind.is_block_device() && is_write_protected(metadata.rdev()) {
            return Err(OpenError::ReadOnly(path.to_owned()));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(access != Access::Read);
        if access == Access::Claim && kind.is_block_device() {
            // Without O_CREAT, O_EXCL on a block device asks the kernel for sole use.
            options.custom_flags(OFlags::EXCL.bits() as i32);
        }
        let mut file = options.open(path).map_err(failed)?;
        if matches!(access, Access::Write | Access::Claim) {
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(|errno| failed(errno.into()))?;
        }
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let sector_size = if kind.is_block_device() {
            rustix::fs::ioctl_blksszget(&file).map_err(|errno| failed(errno.into()))?
        } else {
            match sector_size {
                SectorSize::Bytes(bytes) => bytes,
                SectorSize::Detect => detect_sector_size(&file),
            }
        };
        if !matches!(sector_size, 512 | 4096) {
            return Err(OpenError::SectorSize {
                path: path.to_owned(),
                found: sector_size,
            });
        }
        let is_block_device = kind.is_block_device();
        let direct = OnceLock::new();
        Ok(Self {
            path: path.to_owned(),
            file,
            direct,
            access,
            is_block_device,
            sector_size,
            len,
        })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn direct(&self) -> Option<&File> {
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(self.access != Access::Read);
            options.custom_flags(OFlags::DIRECT.bits() as i32);
            // The file that is open already, whatever its name stands for by now.
            options
                .open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
                .ok()
        };
        self.direct.get_or_init(open).as_ref()
    }

    fn takes_direct(&self, offset: u64, data: &[u8]) -> bool {
        data.len() >= DIRECT_WRITE_MIN && is_aligned(offset, data)
    }

    /// Writes past the page cache; false where the file system took the flag and then not the
    /// write.
    fn write_direct(&self, offset: u64, data: &[u8]) -> io::Result<bool> {
        let Some(direct) = self.direct() else {
            return Ok(false);
        };
        match direct.write_all_at(data, offset) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Drops what the page cache holds of a range that was flushed before, so that it is read anew.
    fn drop_cached(&self, offset: u64, count: usize) -> io::Result<()> {
        rustix::fs::fdatasync(&self.file)?;
        rustix::fs::fadvise(
            &self.file,
            offset,
            NonZeroU64::new(count as u64),
            Advice::DontNeed,
        )?;
        Ok(())
    }
}

impl FileDevice {
    fn check(&self, offset: u64, count: usize) -> io::Result<()> {
        if is_inside(offset, count, self.len) {
            Ok(())
        } else {
            Err(outside(offset, count, self.len))
        }
    }

    /// What the kernel said, with the device and the place in it.
    fn failed<'a>(
        &'a self,
        what: &'a str,
        offset: u64,
        count: u64,
    ) -> impl Fn(io::Error) -> io::Error + 'a {
        move |error| {
            let path = self.path.display();
            let words = format!("{path}: {what} {count} bytes at offset {offset}: {error}");
            io::Error::new(error.kind(), words)
        }
    }

    fn read_once(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if is_aligned(offset, into)
            && let Some(direct) = self.direct()
        {
            match read_exact_direct(direct, offset, into) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                done => return done,
            }
        }
        self.file.read_exact_at(into, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let whole = data.len() - data.len() % ALIGNMENT;
        let (aligned, rest) = data.split_at(whole);
        if self.takes_direct(offset, aligned) && self.write_direct(offset, aligned)? {
            return if rest.is_empty() {
                Ok(())
            } else {
                self.file.write_all_at(rest, offset + whole as u64)
            };
        }
        self.file.write_all_at(data, offset)
    }

    fn read_medium(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if let Some(direct) = self.direct() {
            let read = match is_aligned(offset, into) {
                true => read_exact_direct(direct, offset, into),
                false => read_direct(direct, offset, into),
            };
            match read {
                // The file system took the flag and then not the read, or the image ends inside a
                // sector.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                done => return done,
            }
        }
        self.drop_cached(offset, into.len())?;
        self.file.read_exact_at(into, offset)
    }
}

impl BlockDevice for FileDevice {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn is_rotating(&self) -> bool {
        let number = |metadata: Metadata| {
            if self.is_block_device {
                metadata.rdev()
            } else {
                metadata.dev()
            }
        };
        self.file
            .metadata()
            .is_ok_and(|metadata| is_rotating(Path::new("/sys"), number(metadata)))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.check(offset, into.len())?;
        self.file.read_exact_at(into, offset).map_err(self.failed(
            "reading",
            offset,
            into.len() as u64,
        ))
    }

    fn read_once_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.check(offset, into.len())?;
        self.read_once(offset, into)
            .map_err(self.failed("reading", offset, into.len() as u64))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(offset, data.len())?;
        self.write(offset, data)
            .map_err(self.failed("writing", offset, data.len() as u64))
    }

    fn write_zeroes_at(&self, offset: u64, count: u64) -> io::Result<()> {
        self.check(offset, usize::try_from(count).unwrap_or(usize::MAX))?;
        // Both are defined to read as zeroes afterwards; discarding is not. What the kernel refuses
        // is written out.
        let flags = if self.is_block_device {
            FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE
        } else {
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE
        };
        match rustix::fs::fallocate(&self.file, flags, offset, count) {
            Ok(()) => Ok(()),
            Err(_) => write_zeroes(self, offset, count),
        }
    }

    fn flush(&self) -> io::Result<()> {
        let path = self.path.display();
        let failed =
            |error: io::Error| io::Error::new(error.kind(), format!("{path}: flush: {error}"));
        rustix::fs::fdatasync(&self.file).map_err(|errno| failed(errno.into()))
    }

    /// By a lock of fcntl(2), which those of flock(2) know nothing of; it goes with a program that
    /// is killed.
    fn keep_others_out(&self) -> io::Result<()> {
        loop {
            match rustix::fs::fcntl_lock(&self.file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    fn let_others(&self) {
        // A lock that is there can be given back.
        if rustix::fs::fcntl_lock(&self.file, FlockOperation::Unlock).is_err() {}
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.check(offset, into.len())?;
        self.read_medium(offset, into)
            .map_err(self.failed("reading", offset, into.len() as u64))
    }
}

/// Whether offset, length and memory are as a direct handle wants them.
fn is_aligned(offset: u64, bytes: &[u8]) -> bool {
    offset.is_multiple_of(ALIGNMENT as u64)
        && bytes.len().is_multiple_of(ALIGNMENT)
        && bytes.as_ptr().align_offset(ALIGNMENT) == 0
}

/// Reads through a handle that wants everything aligned, and gets it. A read that ends short is no
/// error of the device, but leaves nothing aligned to go on with: `InvalidInput`, so that the
/// caller takes the other way.
fn read_exact_direct(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        let got = match file.read_at(&mut into[done..], offset + done as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if got == 0 || !got.is_multiple_of(ALIGNMENT) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        done += got;
    }
    Ok(())
}

/// Reads through a handle that wants everything aligned.
fn read_direct(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let align = ALIGNMENT as u64;
    let room = into
        .len()
        .saturating_add(2 * ALIGNMENT)
        .min(DIRECT_MAX)
        .next_multiple_of(ALIGNMENT);
    let mut aligned = AlignedBuffer::new(room);
    let mut done = 0;
    while done < into.len() {
        let from = offset + done as u64;
        let start = from - from % align;
        let skip = (from - start) as usize;
        let wanted = (skip + into.len() - done)
            .next_multiple_of(ALIGNMENT)
            .min(room);
        let got = match file.read_at(&mut aligned[..wanted], start) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if got <= skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = (got - skip).min(into.len() - done);
        into[done..done + count].copy_from_slice(&aligned[skip..skip + count]);
        done += count;
    }
    Ok(())
}

/// What sysfs says of the block device with this number.
fn is_write_protected(number: u64) -> bool {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let path = format!("/sys/dev/block/{major}:{minor}/ro");
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

/// What sysfs at `sys` says of the block device with this number, or of the disk that it is a
/// partition of. A virtio disk calls itself rotating whatever it stands on, and is not believed.
fn is_rotating(sys: &Path, number: u64) -> bool {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let Ok(device) = sys
        .join(format!("dev/block/{major}:{minor}"))
        .canonicalize()
    else {
        return false;
    };
    let is_virtio = device
        .iter()
        .any(|part| part.to_str().is_some_and(|part| part.starts_with("virtio")));
    let says_so = |folder: &Path| {
        std::fs::read_to_string(folder.join("queue/rotational"))
            .is_ok_and(|text| text.trim() == "1")
    };
    !is_virtio && (says_so(&device) || device.parent().is_some_and(says_so))
}

fn detect_sector_size(file: &File) -> u32 {
    let is_header_at = |offset| {
        let mut magic = [0; 8];
        file.read_exact_at(&mut magic, offset).is_ok() && magic == *b"EFI PART"
    };
    if !is_header_at(512) && is_header_at(4096) {
        4096
    } else {
        512
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn image(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn what_is_written_is_read_back_from_the_medium_at_any_offset() {
        let bytes: Vec<u8> = (0..3 * 1024 * 1024 + 700_u32)
            .map(|at| (at % 251) as u8)
            .collect();
        let file = image(&bytes);
        let device = FileDevice::open(file.path(), Access::Write, SectorSize::Detect).unwrap();
        assert_eq!(
            (device.len(), device.sector_size()),
            (bytes.len() as u64, 512)
        );
        device.write_at(5000, b"changed").unwrap();
        device.flush().unwrap();
        let mut expected = bytes;
        expected[5000..5007].copy_from_slice(b"changed");
        for (offset, count) in [
            (0, 1),
            (4999, 9),
            (4096, 4096),
            (1, 2 * 1024 * 1024 + 5),
            (3_145_000, 1428),
        ] {
            let mut read = vec![0; count];
            device.read_medium_at(offset, &mut read).unwrap();
            assert_eq!(
                read,
                expected[offset as usize..offset as usize + count],
                "{offset} {count}"
            );
        }
    }

    #[test]
    fn a_disk_that_says_so_is_rotating_and_its_partitions_are_unless_it_is_a_virtual_one() {
        let sys = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(sys.path().join("dev/block")).unwrap();
        for (minor, folder, queue, rotational) in [
            (
                0,
                "devices/pci0/ata1/block/sda",
                "devices/pci0/ata1/block/sda",
                "1\n",
            ),
            (
                1,
                "devices/pci0/ata1/block/sda/sda1",
                "devices/pci0/ata1/block/sda",
                "1\n",
            ),
            (
                2,
                "devices/pci0/nvme/nvme0n1",
                "devices/pci0/nvme/nvme0n1",
                "0\n",
            ),
            (
                3,
                "devices/pci0/virtio3/block/vda",
                "devices/pci0/virtio3/block/vda",
                "1\n",
            ),
        ] {
            let [folder, queue] = [folder, queue].map(|path| sys.path().join(path));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::create_dir_all(queue.join("queue")).unwrap();
            std::fs::write(queue.join("queue/rotational"), rotational).unwrap();
            std::os::unix::fs::symlink(&folder, sys.path().join(format!("dev/block/8:{minor}")))
                .unwrap();
        }
        let says =
            [0, 1, 2, 3, 4].map(|minor| is_rotating(sys.path(), rustix::fs::makedev(8, minor)));
        assert_eq!(says, [true, true, false, false, false]);
    }

    #[test]
    fn long_aligned_writes_and_reads_are_the_same_bytes_as_any_others() {
        let file = image(&vec![1; 1 << 20]);
        let device = FileDevice::open(file.path(), Access::Write, SectorSize::Detect).unwrap();
        let mut aligned = AlignedBuffer::new(200 * 1024 + 100);
        (0..)
            .zip(aligned.iter_mut())
            .for_each(|(at, byte): (u32, _)| *byte = (at % 241) as u8);
        let mut expected = vec![1; 1 << 20];
        for (offset, skip) in [(4096, 0), (300_000, 0), (512 * 1024, 8)] {
            let bytes = &aligned[skip..];
            device.write_at(offset, bytes).unwrap();
            expected[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
            let mut once = AlignedBuffer::new(64 * 1024);
            device.read_once_at(offset, &mut once).unwrap();
            assert_eq!(
                once[..],
                expected[offset as usize..offset as usize + once.len()]
            );
        }
        device.flush().unwrap();
        let mut medium = AlignedBuffer::new(1 << 20);
        device.read_medium_at(0, &mut medium).unwrap();
        assert!(medium[..] == expected[..]);
        assert!(std::fs::read(file.path()).unwrap() == expected);
    }

    #[test]
    fn zeroes_are_zeroes_and_a_hole_in_an_image() {
        use std::os::unix::fs::MetadataExt as _;
        let file = image(&vec![7; 1 << 20]);
        let device = FileDevice::open(file.path(), Access::Write, SectorSize::Detect).unwrap();
        device.write_zeroes_at(4096, 512 * 1024).unwrap();
        device.write_zeroes_at(900_001, 17).unwrap();
        device.flush().unwrap();
        let mut expected = vec![7; 1 << 20];
        expected[4096..4096 + 512 * 1024].fill(0);
        expected[900_001..900_018].fill(0);
        assert!(std::fs::read(file.path()).unwrap() == expected);
        let metadata = std::fs::metadata(file.path()).unwrap();
        assert_eq!(metadata.len(), 1 << 20);
        assert!(
            metadata.blocks() * 512 <= 600 * 1024,
            "{} blocks",
            metadata.blocks()
        );
        assert!(device.write_zeroes_at(1 << 20, 1).is_err());
        assert!(device.write_zeroes_at(u64::MAX, 1).is_err());
    }

    #[test]
    fn ranges_outside_are_refused_and_nothing_grows() {
        let file = image(&[7; 4096]);
        let device = FileDevice::open(file.path(), Access::Write, SectorSize::Detect).unwrap();
        for (offset, count) in [(4096, 1), (4095, 2), (u64::MAX, 1)] {
            let mut into = vec![0; count];
            assert!(device.read_at(offset, &mut into).is_err());
            assert!(device.read_medium_at(offset, &mut into).is_err());
            assert!(device.write_at(offset, &into).is_err());
        }
        assert_eq!(std::fs::metadata(file.path()).unwrap().len(), 4096);
    }

    #[test]
    fn an_error_names_device_and_place() {
        let file = image(&[0; 8192]);
        let device = FileDevice::open(file.path(), Access::Read, SectorSize::Detect).unwrap();
        let error = device.write_at(4096, &[1; 512]).unwrap_err();
        let words = format!(
            "{}: writing 512 bytes at offset 4096: ",
            file.path().display()
        );
        assert!(error.to_string().starts_with(&words), "{error}");
        // Cut short behind our back.
        file.as_file().set_len(4096).unwrap();
        let error = device.read_at(4096, &mut [0; 512]).unwrap_err();
        let words = format!(
            "{}: reading 512 bytes at offset 4096: ",
            file.path().display()
        );
        assert!(error.to_string().starts_with(&words), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_second_writer_is_told_that_the_device_is_busy() {
        let file = image(&[0; 4096]);
        let first = FileDevice::open(file.path(), Access::Write, SectorSize::Detect).unwrap();
        let second = FileDevice::open(file.path(), Access::Write, SectorSize::Detect).unwrap_err();
        assert_eq!(
            second.to_string(),
            format!("{}: busy: in use by another program", file.path().display())
        );
        FileDevice::open(file.path(), Access::Read, SectorSize::Detect).unwrap();
        drop(first);
        FileDevice::open(file.path(), Access::Write, SectorSize::Detect).unwrap();
    }

    #[test]
    fn sector_size_of_an_image_is_seen_in_its_table_or_told() {
        let mut bytes = vec![0; 8192];
        bytes[4096..4104].copy_from_slice(b"EFI PART");
        let file = image(&bytes);
        let open = |size| FileDevice::open(file.path(), Access::Read, size);
        assert_eq!(open(SectorSize::Detect).unwrap().sector_size(), 4096);
        assert_eq!(open(SectorSize::Bytes(512)).unwrap().sector_size(), 512);
        assert!(matches!(
            open(SectorSize::Bytes(520)),
            Err(OpenError::SectorSize { found: 520, .. })
        ));
    }
}
