//! Whether a disk may be left like this, by a reader that shares no code with what wrote it.

use anyhow::{Context as _, Result, ensure};
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use tests::Sample;
use tests::sim::image::Image;
use tests::sim::oracle::{Part, Reader, RecordView};

const SECTOR: u64 = 512;
/// Length of the part of a seal that is signed, and of the whole (docs/format.md).
const STATEMENT_LEN: usize = 512;
const SEAL_LEN: usize = 4096;
/// Paths of the guard on the ESP, as firmware knows them.
const GUARDS: [&str; 4] = [
    "EFI/BOOT/BOOTX64.EFI",
    "EFI/RAYOS/GUARDA.EFI",
    "EFI/RAYOS/GUARDB.EFI",
    "EFI/RAYOS/GUARDR.EFI",
];

/// What a slot holds when it holds a release.
struct Release {
    version: &'static str,
    seal: Vec<u8>,
    boot: Vec<u8>,
    root: Vec<u8>,
}

/// What a machine that is switched on with this disk starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Starts {
    /// Nothing of ours is on the disk yet.
    Nothing,
    /// This release.
    Release(&'static str),
}

/// The releases that may be on a disk, and what was found of them so far.
pub(crate) struct Judge {
    releases: Vec<Release>,
    guard: Vec<u8>,
    /// What was compared already, by place and content.
    known: HashMap<(u64, u64), bool>,
}

impl Judge {
    /// A judge who knows the sample's releases. *Reads.*
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

    /// What `image` starts: one of `allowed`.
    ///
    /// # Errors
    /// In words, when it starts anything else, a slot that may be started does not hold the whole
    /// release that the boot record names, or firmware would not find the guard.
    pub(crate) fn verdict(&mut self, image: &Image, allowed: &[Starts]) -> Result<Starts> {
        let starts = self.starts(image)?;
        ensure!(
            allowed.contains(&starts),
            "the disk starts {starts:?}, expected one of {allowed:?}"
        );
        Ok(starts)
    }

    fn starts(&mut self, image: &Image) -> Result<Starts> {
        let reader = Reader {
            image,
            sector: SECTOR,
        };
        let (Some(table), Some(record)) = (reader.table(), reader.record()) else {
            return Ok(Starts::Nothing);
        };
        let mut starts = Starts::Nothing;
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
                found.with_context(|| format!("slot {name} is to hold a release nobody knows"))?;
            let version = self.releases[number].version;
            ensure!(
                self.is_whole(image, &table, slot, number)?,
                "slot {name} holds no whole {version}"
            );
            if starts == Starts::Nothing {
                starts = Starts::Release(version);
            }
        }
        if starts != Starts::Nothing {
            self.guards(&reader)?;
        }
        Ok(starts)
    }

    /// Whether boot and root partition of the slot hold this release, byte by byte.
    fn is_whole(
        &mut self,
        image: &Image,
        table: &[Part],
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
            let is = *self
                .known
                .entry(key)
                .or_insert_with(|| image.is(start, &bytes));
            if !is {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The guard, wherever firmware may look for it.
    fn guards(&mut self, reader: &Reader<'_>) -> Result<()> {
        let esp = reader.esp().context("there is no EFI system partition")?;
        let key = (esp.start, reader.image.hash_of(pages(esp.start, esp.len)));
        let is = *self.known.entry(key).or_insert_with(|| {
            GUARDS
                .iter()
                .all(|path| reader.file(esp, path).as_ref() == Some(&self.guard))
        });
        ensure!(is, "not every copy of the guard is whole");
        Ok(())
    }
}

/// Slots in the order in which they are started: the request for one boot, what is on trial, the
/// default, the other.
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

/// Types of the partitions, as they stand on a disk (docs/architecture.md, "The disk").
const BOOT: [[u8; 16]; 2] = [
    *b"\xb0\x9a\x5f\xd3\x06\x28\xc9\x49\xb0\xa5\xdc\x10\x32\xbc\xab\x4e",
    *b"\xeb\x2d\x52\x75\x7a\x9b\xe4\x4d\x88\x72\x97\x4e\xd9\xd6\xfe\xb5",
];
const ROOT: [[u8; 16]; 2] = [
    *b"\xea\x4d\x1d\x7b\x01\x2d\x44\x46\xa9\xdc\x03\x6d\xa9\x8a\xcc\x9b",
    *b"\xf9\x99\xf1\x92\x4b\xdf\x4c\x48\x9f\x09\x04\x18\xf3\x55\xc4\xe9",
];

/// Partitions that an update of slot B leaves alone: slot A's two and recovery.
pub(crate) const KEPT_BY_B: [[u8; 16]; 3] = [
    BOOT[0],
    ROOT[0],
    *b"\x4c\x57\xba\x75\x44\x6c\x95\x44\x92\x03\x56\xb5\x93\x67\x38\x91",
];

/// The hash of a partition's content.
pub(crate) fn content(image: &Image, kind: [u8; 16]) -> Result<u64> {
    let table = Reader {
        image,
        sector: SECTOR,
    }
    .table()
    .context("there is no partition table")?;
    let part = part(&table, kind)?;
    Ok(image.hash_of(pages(part.start, part.len)))
}

fn part(table: &[Part], kind: [u8; 16]) -> Result<Part> {
    let found = table.iter().find(|part| part.kind == kind);
    found.copied().context("a partition of a slot is missing")
}

fn pages(start: u64, len: u64) -> Range<u64> {
    start / 4096 * 4096..(start + len).next_multiple_of(4096)
}
