//! The versions of our kernels, which distinguish our panics from those of another system.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use crate::disk::Disk;
use crate::disk::device::BlockDevice;
use record::PartitionName;
use seal::SEAL_LEN;
use seal::field::get;
use seal::pe::PeHeaders;

/// Number of bytes at the beginning of an image that are read for its headers.
const HEADER_LEN: usize = 4096;
/// Maximum length of a version, that of utsname(2).
const VERSION_MAX: usize = 64;
/// Where a Linux kernel for x86 has its header and the position of its version (Linux,
/// Documentation/arch/x86/boot.rst).
const LINUX_HEADER: (usize, [u8; 4]) = (0x202, *b"HdrS");
const LINUX_VERSION: usize = 0x20e;

/// Returns the versions of the running kernel and of those in the slots and in recovery. *Reads.*
/// An image that cannot be read has none.
#[must_use]
pub fn ours(disk: &Disk) -> Vec<String> {
    let running = rustix::system::uname();
    let running = running.release().to_string_lossy().into_owned();
    let images = [
        PartitionName::BootA,
        PartitionName::BootB,
        PartitionName::Recovery,
    ];
    let of_image = |name: PartitionName| in_image(&disk.partition(name).ok()?);
    [running]
        .into_iter()
        .chain(images.into_iter().filter_map(of_image))
        .collect()
}

/// Returns the version of the kernel in the unified image behind a seal: that in its section
/// `.uname`, or that in the header of the kernel. *Reads.*
fn in_image(partition: &dyn BlockDevice) -> Option<String> {
    let read = |at: usize, len: usize| {
        let mut bytes = vec![0; len];
        let offset = SEAL_LEN.checked_add(at)? as u64;
        partition.read_at(offset, &mut bytes).ok()?;
        Some(bytes)
    };
    let header = read(0, HEADER_LEN)?;
    let headers = PeHeaders::parse(&header).ok()?;
    let section = |name| headers.section_in_file(name).ok().flatten();
    if let Some(uname) = section(b".uname\0\0") {
        return first_word(&read(uname.start, uname.len().min(VERSION_MAX))?);
    }
    let linux = section(b".linux\0\0")?.start;
    let setup = read(linux, 0x210)?;
    if get::<4>(&setup, LINUX_HEADER.0) != LINUX_HEADER.1 {
        return None;
    }
    let at = usize::from(u16::from_le_bytes(get(&setup, LINUX_VERSION)));
    let at = linux.checked_add(at)?.checked_add(0x200)?;
    first_word(&read(at, VERSION_MAX)?)
}

fn first_word(bytes: &[u8]) -> Option<String> {
    let word = bytes.split(|byte| !byte.is_ascii_graphic()).next()?;
    let word = String::from_utf8(word.to_vec()).ok()?;
    (!word.is_empty()).then_some(word)
}

/// Returns the version of the kernel whose panic `text` is: the word before the number of the build,
/// as in `CPU: 0 PID: 1 Comm: init Not tainted 6.12.1-rayos #1`. *Pure.*
#[must_use]
pub fn in_panic(text: &str) -> Option<&str> {
    let lines = text.lines().filter(|line| line.contains(" Comm: "));
    lines.rev().find_map(|line| {
        let (before, _) = line.split_once(" #")?;
        before.rsplit(' ').next().filter(|word| !word.is_empty())
    })
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;
    use crate::disk::device::MemDevice;

    #[test]
    fn a_panic_names_its_kernel() {
        for (line, version) in [
            (
                "[  2.1] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0-18-amd64 #1  Debian",
                "6.1.0-18-amd64",
            ),
            (
                "CPU: 3 UID: 0 PID: 7 Comm: sh Tainted: G        W          6.12.1 #3 SMP",
                "6.12.1",
            ),
        ] {
            let text = format!("[  2.0] Kernel panic - not syncing\n{line}\nHardware name: x");
            assert_eq!(in_panic(&text), Some(version));
        }
        assert_eq!(in_panic("Kernel panic - not syncing: #1\nend"), None);
    }

    /// An image with one section, from byte 1024 on.
    fn image(name: &[u8; 8], content: &[u8]) -> MemDevice {
        let mut bytes = vec![0; 64 * 1024];
        let image = &mut bytes[SEAL_LEN..];
        image[..2].copy_from_slice(b"MZ");
        image[0x3c] = 0x80;
        image[0x80..0x84].copy_from_slice(b"PE\0\0");
        image[0x86] = 1;
        image[0x94] = 112;
        image[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
        let section = 0x98 + 112;
        image[section..section + 8].copy_from_slice(name);
        let len = u32::try_from(content.len()).unwrap();
        image[section + 16..section + 20].copy_from_slice(&len.to_le_bytes());
        image[section + 20..section + 24].copy_from_slice(&1024_u32.to_le_bytes());
        image[1024..1024 + content.len()].copy_from_slice(content);
        MemDevice::from_bytes(bytes, 512)
    }

    #[test]
    fn an_image_names_its_kernel_in_either_way() {
        assert_eq!(
            in_image(&image(b".uname\0\0", b"6.1.0-ours\n")).unwrap(),
            "6.1.0-ours"
        );
        let mut linux = vec![0; 0x400];
        linux[0x202..0x206].copy_from_slice(b"HdrS");
        linux[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        linux[0x300..0x318].copy_from_slice(b"6.12.1-ours (builder) #1");
        assert_eq!(
            in_image(&image(b".linux\0\0", &linux)).unwrap(),
            "6.12.1-ours"
        );
        assert_eq!(in_image(&image(b".osrel\0\0", b"x")), None);
        assert_eq!(in_image(&MemDevice::new(64 * 1024, 512)), None);
    }
}
