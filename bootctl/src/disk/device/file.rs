//! A block device or an image file, through the kernel.

use super::aligned::ALIGNMENT;
use super::attributes::{is_rotating, is_write_protected};
use super::block_device::{BlockDevice, is_inside, outside, write_zeroes};
use super::direct;
use super::open::{Access, OpenError, SectorSize};
use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags};
use rustix::io::Errno;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Minimum length of a write that bypasses the page cache. Below it, waiting for the disk takes
/// longer than copying.
const DIRECT_WRITE_MIN: usize = 64 * 1024;

/// A block device or an image file.
#[derive(Debug)]
pub struct FileDevice {
    path: PathBuf,
    file: File,
    /// Second handle, which bypasses the page cache; `None` if the file system cannot do that.
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
        let failed = |source| OpenError::new(path, source);
        let metadata = std::fs::metadata(path).map_err(failed)?;
        let is_block_device = metadata.file_type().is_block_device();
        if !metadata.is_file() && !is_block_device {
            return Err(OpenError::NotADevice(path.to_owned()));
        }
        // The kernel opens a write-protected disk for writing, and refuses the first write.
        if access.writes() && is_block_device && is_write_protected(metadata.rdev()) {
            return Err(OpenError::ReadOnly(path.to_owned()));
        }
        let mut file = open_file(path, access, is_block_device).map_err(failed)?;
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let sector_size = match sector_size {
            _ if is_block_device => {
                rustix::fs::ioctl_blksszget(&file).map_err(|errno| failed(errno.into()))?
            }
            SectorSize::Bytes(bytes) => bytes,
            SectorSize::Detect => detect_sector_size(&file),
        };
        if !matches!(sector_size, 512 | 4096) {
            return Err(OpenError::SectorSize {
                path: path.to_owned(),
                found: sector_size,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            direct: OnceLock::new(),
            access,
            is_block_device,
            sector_size,
            len,
        })
    }

    /// Returns the path at which the device was opened. *Pure.*
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn direct(&self) -> Option<&File> {
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(self.access.writes());
            options.custom_flags(OFlags::DIRECT.bits() as i32);
            // The file that is open already, even if its name stands for another one by now.
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            options.open(path).ok()
        };
        self.direct.get_or_init(open).as_ref()
    }

    /// Writes without the page cache. Returns false if the file system accepted `O_DIRECT` but not
    /// the write.
    fn write_direct(&self, offset: u64, data: &[u8]) -> io::Result<bool> {
        let Some(direct) = self.direct() else {
            return Ok(false);
        };
        match direct.write_all_at(data, offset) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Drops a range from the page cache, so that the next read comes from the medium.
    fn drop_cached(&self, offset: u64, count: usize) -> io::Result<()> {
        rustix::fs::fdatasync(&self.file)?;
        let count = NonZeroU64::new(count as u64);
        rustix::fs::fadvise(&self.file, offset, count, Advice::DontNeed)?;
        Ok(())
    }

    fn check(&self, offset: u64, count: u64) -> io::Result<()> {
        if is_inside(offset, count, self.len) {
            Ok(())
        } else {
            Err(outside(offset, count, self.len))
        }
    }

    /// Returns a function that adds the device and the range to an error.
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
        if direct::is_aligned(offset, into)
            && let Some(file) = self.direct()
        {
            match direct::read_aligned(file, offset, into) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                done => return done,
            }
        }
        self.file.read_exact_at(into, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (aligned, rest) = data.split_at(data.len() - data.len() % ALIGNMENT);
        let can_bypass = aligned.len() >= DIRECT_WRITE_MIN && direct::is_aligned(offset, aligned);
        if can_bypass && self.write_direct(offset, aligned)? {
            return if rest.is_empty() {
                Ok(())
            } else {
                self.file.write_all_at(rest, offset + aligned.len() as u64)
            };
        }
        self.file.write_all_at(data, offset)
    }

    fn read_medium(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if let Some(file) = self.direct() {
            match direct::read(file, offset, into) {
                // The file system accepted `O_DIRECT` but not the read, or the image ends inside a
                // sector.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                done => return done,
            }
        }
        self.drop_cached(offset, into.len())?;
        self.file.read_exact_at(into, offset)
    }
}

fn open_file(path: &Path, access: Access, is_block_device: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(access.writes());
    if access == Access::Claim && is_block_device {
        // Without O_CREAT, O_EXCL on a block device asks the kernel for exclusive use.
        options.custom_flags(OFlags::EXCL.bits() as i32);
    }
    let file = options.open(path)?;
    if access.locks() {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    }
    Ok(file)
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
        let count = into.len() as u64;
        self.check(offset, count)?;
        self.file
            .read_exact_at(into, offset)
            .map_err(self.failed("reading", offset, count))
    }

    fn read_once_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let count = into.len() as u64;
        self.check(offset, count)?;
        self.read_once(offset, into)
            .map_err(self.failed("reading", offset, count))
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let count = into.len() as u64;
        self.check(offset, count)?;
        self.read_medium(offset, into)
            .map_err(self.failed("reading", offset, count))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let count = data.len() as u64;
        self.check(offset, count)?;
        self.write(offset, data)
            .map_err(self.failed("writing", offset, count))
    }

    fn write_zeroes_at(&self, offset: u64, count: u64) -> io::Result<()> {
        self.check(offset, count)?;
        // Both are defined to read as zeroes afterwards; a discard is not. If the kernel refuses,
        // the zeroes are written.
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

    fn erase_at(&self, offset: u64, count: u64) -> io::Result<()> {
        self.check(offset, count)?;
        // Of a block device the kernel refuses this if the device does not guarantee zeroes.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, count) {
            Err(Errno::OPNOTSUPP) => Err(io::ErrorKind::Unsupported.into()),
            done => Ok(done?),
        }
    }

    fn flush(&self) -> io::Result<()> {
        rustix::fs::fdatasync(&self.file).map_err(|errno| {
            let error = io::Error::from(errno);
            let path = self.path.display();
            io::Error::new(error.kind(), format!("{path}: flush: {error}"))
        })
    }

    /// By a lock of fcntl(2), which is independent of those of flock(2). The kernel releases it if
    /// the program is killed.
    fn lock(&self) -> io::Result<()> {
        loop {
            match rustix::fs::fcntl_lock(&self.file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    fn unlock(&self) {
        // Releasing a lock that is held does not fail.
        rustix::fs::fcntl_lock(&self.file, FlockOperation::Unlock).ok();
    }
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
    use crate::disk::device::AlignedBuffer;
    use std::io::Write as _;

    fn image(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn written_bytes_are_read_back_from_the_medium_at_any_offset() {
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
    fn direct_and_cached_access_give_the_same_bytes() {
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
    fn zeroes_are_a_hole_in_an_image() {
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
    fn ranges_outside_are_refused_and_the_image_does_not_grow() {
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
    fn an_error_names_the_device_and_the_range() {
        let file = image(&[0; 8192]);
        let device = FileDevice::open(file.path(), Access::Read, SectorSize::Detect).unwrap();
        let error = device.write_at(4096, &[1; 512]).unwrap_err();
        let words = format!(
            "{}: writing 512 bytes at offset 4096: ",
            file.path().display()
        );
        assert!(error.to_string().starts_with(&words), "{error}");
        // Another program truncates the image.
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
    fn a_second_writer_is_refused_as_busy() {
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
    fn the_sector_size_of_an_image_is_detected_or_given() {
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
