//! The file system or container at the start of a partition, by its signature. The bytes are
//! another system's: nothing of them is trusted, and a label is made harmless before it is shown.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

/// Number of bytes at the start of a partition that [`identify`] needs: the superblock of btrfs is
/// at 64 KiB.
pub const PROBE_LEN: usize = 68 << 10;
/// Maximum number of characters of a label that are shown.
const MAX_LABEL: usize = 24;

/// A file system, or a container of file systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its kind, such as `ext4`.
    pub kind: &'static str,
    /// Its label, as [`shown`]; empty without one.
    pub label: String,
}

/// A signature: where it is, its bytes, the kind, and the range of the label, if it has one.
struct Signature {
    at: usize,
    magic: &'static [u8],
    kind: &'static str,
    label: Option<(usize, usize)>,
}

const fn signature(
    at: usize,
    magic: &'static [u8],
    kind: &'static str,
    label: Option<(usize, usize)>,
) -> Signature {
    Signature {
        at,
        magic,
        kind,
        label,
    }
}

/// The first one that matches counts. Containers come first: an encrypted volume may keep the boot
/// sector of the file system that it replaced.
const SIGNATURES: &[Signature] = &[
    signature(3, b"-FVE-FS-", "BitLocker", None),
    signature(0, b"LUKS\xba\xbe\0\x02", "LUKS", Some((24, 48))),
    signature(0, b"LUKS\xba\xbe", "LUKS", None),
    signature(536, b"LVM2 001", "LVM", None),
    signature(4096, b"\xfc\x4e\x2b\xa9", "RAID", Some((4128, 32))),
    signature(3, b"NTFS    ", "NTFS", None),
    signature(3, b"EXFAT   ", "exFAT", None),
    signature(82, b"FAT32   ", "FAT32", Some((71, 11))),
    signature(54, b"FAT", "FAT", Some((43, 11))),
    signature(0, b"XFSB", "XFS", Some((108, 12))),
    signature(32, b"NXSB", "APFS", None),
    signature(1024, b"H+\0\x04", "HFS+", None),
    signature(0, b"hsqs", "SquashFS", None),
    signature(1024, b"\xe2\xe1\xf5\xe0", "EROFS", Some((1088, 16))),
    signature(0x1_0040, b"_BHRfS_M", "btrfs", Some((0x1_012b, 64))),
    signature(1024, b"\x10\x20\xf5\xf2", "F2FS", None),
    signature(4086, b"SWAPSPACE2", "swap", Some((1052, 16))),
    signature(0x8001, b"CD001", "ISO 9660", Some((0x8028, 32))),
    signature(1080, b"\x53\xef", "ext", Some((1144, 16))),
];

/// Returns the file system at the start of a partition, given its first [`PROBE_LEN`] bytes or all
/// bytes of a shorter one; `None` if no signature is known. *Pure.*
#[must_use]
pub fn identify(start: &[u8]) -> Option<FileSystem> {
    let found = SIGNATURES.iter().find(|signature| {
        start
            .get(signature.at..)
            .is_some_and(|rest| rest.starts_with(signature.magic))
    })?;
    let label = found
        .label
        .and_then(|(at, len)| start.get(at..)?.get(..len));
    let label = label.map(text).unwrap_or_default();
    let is_unnamed = found.kind.starts_with("FAT") && label == "NO NAME";
    Some(FileSystem {
        kind: if found.kind == "ext" {
            ext(start)
        } else {
            found.kind
        },
        label: if is_unnamed { String::new() } else { label },
    })
}

/// Returns which of ext2, ext3 and ext4 it is, by its feature bits (extents, journal).
fn ext(start: &[u8]) -> &'static str {
    let has = |at: usize, bit: u8| start.get(at).is_some_and(|byte| byte & bit != 0);
    match (has(1024 + 0x60, 0x40), has(1024 + 0x5c, 0x04)) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    }
}

/// Returns the text up to the first zero, as [`shown`].
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    shown(&String::from_utf8_lossy(bytes))
}

/// Returns a label from a disk for people: at most 24 characters, on one line. Characters other
/// than letters, digits, and printable ASCII become `?`: no label can move the cursor, change the
/// direction of writing or look like another line. *Pure.*
#[must_use]
pub fn shown(label: &str) -> String {
    let harmless = |c: char| {
        let is_plain = c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
        if is_plain { c } else { '?' }
    };
    label.trim().chars().take(MAX_LABEL).map(harmless).collect()
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    reason = "test code may panic"
)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    fn with(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut start = vec![0; PROBE_LEN];
        for (at, bytes) in parts {
            start[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        start
    }

    fn found(parts: &[(usize, &[u8])]) -> String {
        identify(&with(parts)).map_or_else(String::new, |it| format!("{} {}", it.kind, it.label))
    }

    #[test]
    fn file_systems_are_identified_with_their_labels() {
        let ext: &[(usize, &[u8])] = &[(1080, &[0x53, 0xef]), (1144, b"home"), (1120, &[0x40])];
        assert_eq!(found(ext), "ext4 home");
        assert_eq!(
            found(&[(82, b"FAT32   "), (71, b"SYSTEM     ")]),
            "FAT32 SYSTEM"
        );
        assert_eq!(found(&[(82, b"FAT32   "), (71, b"NO NAME    ")]), "FAT32 ");
        assert_eq!(found(&[(3, b"NTFS    ")]), "NTFS ");
        assert_eq!(
            found(&[(0, b"LUKS\xba\xbe\0\x02"), (24, b"vault")]),
            "LUKS vault"
        );
        assert_eq!(
            found(&[(0x1_0040, b"_BHRfS_M"), (0x1_012b, b"fedora")]),
            "btrfs fedora"
        );
        assert_eq!(found(&[]), "");
    }

    #[test]
    fn a_label_cannot_move_the_cursor_or_turn_the_line() {
        let label = shown("\u{1b}[2Jdata\n\u{202e}gr\u{fc}n");
        assert_eq!(label, "?[2Jdata??gr\u{fc}n");
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_label_of_one_short_line(
            start in proptest::collection::vec(any::<u8>(), 0..2048),
            which in 0..SIGNATURES.len(),
        ) {
            let mut start = start;
            start.resize(PROBE_LEN, 0x41);
            let signature = &SIGNATURES[which];
            start[signature.at..signature.at + signature.magic.len()]
                .copy_from_slice(signature.magic);
            let found = identify(&start).expect("the signature is there");
            prop_assert!(found.label.chars().count() <= MAX_LABEL);
            prop_assert!(!found.label.contains(char::is_control));
        }
    }
}
