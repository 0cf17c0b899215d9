//! Checks the disk that an interrupted operation leaves, with a reader that shares no code with the
//! programs that wrote it.

use anyhow::{Context as _, Result, ensure};
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use tests::Sample;
use tests::sim::hardware::image::Image;
use tests::sim::oracle::{DiskReader, PartitionView, RecordView};

const SECTOR: u64 = 512;
/// Length of the signed part of a seal, and of the whole seal (docs/format.md).
const STATEMENT_LEN: usize = 512;
const SEAL_LEN: usize = 4096;
/// Paths of the guard on the ESP.
const GUARDS: [&str; 4] = [
    "EFI/BOOT/BOOTX64.EFI",
    "EFI/RAYOS/GUARDA.EFI",
    "EFI/RAYOS/GUARDB.EFI",
    "EFI/RAYOS/GUARDR.EFI",
];

/// The content of a slot that holds a release.
struct Release {
    version: &'static str,
    seal: Vec<u8>,
    boot: Vec<u8>,
    root: Vec<u8>,
}

/// What a machine with this disk starts when it is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NextBoot {
    /// Nothing of ours is on the disk yet.
    Nothing,
    /// This release.
    Release(&'static str),
}

/// The releases that a disk may have, and the results of earlier comparisons.
pub(crate) struct DiskOracle {
    releases: Vec<Release>,
    guard: Vec<u8>,
    /// Results of comparisons, by offset and content.
    known: HashMap<(u64, u64), bool>,
}

impl DiskOracle {
    /// Returns an oracle for the releases of the sample. *Reads.*
    pub(crate) fn new(sample: &Sample) -> Result<Self> {
        let release = |version: &'static str| -> Result<Release> {
            let file = |name: &str| sample.file(&format!("releases/{version}/{name}"));
            let mut seal = fs::read(sample.bundle(version))?;
            seal.truncate(SEAL_LEN);
            Ok(Release {
                version,
                seal,
                boot: fs::read(file("boot.efi"))?,
                root: fs::read(file("root.erofs"))?,
            })
        };
        let releases = ["1.0.0", "1.1.0"]
            .into_iter()
            .map(release)
            .collect::<Result<_>>()?;
        Ok(Self {
            releases,
            guard: fs::read(sample.file("guard.efi"))?,
            known: HashMap::new(),
        })
    }

    /// Returns what `image` starts: one of `allowed`.
    ///
    /// # Errors
    /// When it starts something else, a slot that may be started does not have the complete release
    /// that the boot record names, or the firmware would not find the guard.
    pub(crate) fn check(&mut self, image: &Image, allowed: &[NextBoot]) -> Result<NextBoot> {
        let next = self.next_boot(image)?;
        ensure!(
            allowed.contains(&next),
            "the disk starts {next:?}, expected one of {allowed:?}"
        );
        Ok(next)
    }

    fn next_boot(&mut self, image: &Image) -> Result<NextBoot> {
        let reader = DiskReader {
            image,
            sector: SECTOR,
        };
        let (Some(table), Some(record)) = (reader.table(), reader.record()) else {
            return Ok(NextBoot::Nothing);
        };
        let mut next = NextBoot::Nothing;
        for slot in in_order(&record) {
            let view = record.slots[slot];
            if view.status == 0 || view.left == 0 {
                continue;
            }
            let found = self.releases.iter().position(|it| {
                it.seal[..STATEMENT_LEN]
                    .windows(view.manifest.len())
                    .any(|part| part == view.manifest)
            });
            let name = ["A", "B"][slot];
            let number =
                found.with_context(|| format!("slot {name} should have an unknown release"))?;
            let version = self.releases[number].version;
            ensure!(
                self.is_complete(image, &table, slot, number)?,
                "slot {name} does not have the complete {version}"
            );
            if next == NextBoot::Nothing {
                next = NextBoot::Release(version);
            }
        }
        if next != NextBoot::Nothing {
            self.check_guards(&reader)?;
        }
        Ok(next)
    }

    /// Compares boot and root partition of the slot with this release, byte by byte.
    fn is_complete(
        &mut self,
        image: &Image,
        table: &[PartitionView],
        slot: usize,
        number: usize,
    ) -> Result<bool> {
        let release = &self.releases[number];
        let (boot, root) = (part(table, BOOT[slot])?, part(table, ROOT[slot])?);
        let ranges = [
            (
                boot.start,
                [release.seal.as_slice(), &release.boot].concat(),
            ),
            (root.start, release.root.clone()),
        ];
        for (start, bytes) in ranges {
            let key = (
                start,
                image.hash_of(pages(start, bytes.len() as u64)) ^ number as u64,
            );
            let same = *self
                .known
                .entry(key)
                .or_insert_with(|| image.equals(start, &bytes));
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Checks that each copy of the guard is complete.
    fn check_guards(&mut self, reader: &DiskReader<'_>) -> Result<()> {
        let esp = reader.esp().context("there is no EFI system partition")?;
        let key = (esp.start, reader.image.hash_of(pages(esp.start, esp.len)));
        let same = *self.known.entry(key).or_insert_with(|| {
            GUARDS
                .iter()
                .all(|path| reader.file(esp, path).as_ref() == Some(&self.guard))
        });
        ensure!(same, "a copy of the guard is not complete");
        Ok(())
    }
}

/// Slots in the order in which the guard starts them: the one-shot request, the trial, the default,
/// the other. *Pure.*
fn in_order(record: &RecordView) -> Vec<usize> {
    let default = usize::from(record.default == 2);
    let mut slots = vec![default, 1 - default];
    slots.sort_by_key(|slot| {
        (
            record.one_shot != *slot as u8 + 1,
            record.slots[*slot].status != 1,
        )
    });
    slots
}

/// Type GUIDs of the partitions, in their order on a disk (docs/architecture.md, "The disk").
const BOOT: [[u8; 16]; 2] = [
    *b"\xb0\x9a\x5f\xd3\x06\x28\xc9\x49\xb0\xa5\xdc\x10\x32\xbc\xab\x4e",
    *b"\xeb\x2d\x52\x75\x7a\x9b\xe4\x4d\x88\x72\x97\x4e\xd9\xd6\xfe\xb5",
];
const ROOT: [[u8; 16]; 2] = [
    *b"\xea\x4d\x1d\x7b\x01\x2d\x44\x46\xa9\xdc\x03\x6d\xa9\x8a\xcc\x9b",
    *b"\xf9\x99\xf1\x92\x4b\xdf\x4c\x48\x9f\x09\x04\x18\xf3\x55\xc4\xe9",
];

/// Type GUIDs of the partitions that an update of slot B does not change.
pub(crate) const KEPT_BY_B: [[u8; 16]; 3] = [
    BOOT[0],
    ROOT[0],
    *b"\x4c\x57\xba\x75\x44\x6c\x95\x44\x92\x03\x56\xb5\x93\x67\x38\x91",
];

/// Returns a hash of a partition's content. *Pure.*
pub(crate) fn content(image: &Image, kind: [u8; 16]) -> Result<u64> {
    let table = DiskReader {
        image,
        sector: SECTOR,
    }
    .table()
    .context("there is no partition table")?;
    let part = part(&table, kind)?;
    Ok(image.hash_of(pages(part.start, part.len)))
}

fn part(table: &[PartitionView], kind: [u8; 16]) -> Result<PartitionView> {
    let found = table.iter().find(|part| part.kind == kind);
    found.copied().context("a partition of a slot is missing")
}

fn pages(start: u64, len: u64) -> Range<u64> {
    start / 4096 * 4096..(start + len).next_multiple_of(4096)
}
