//! Whatever a disk does not return is never taken for absent: not an installation, not its rollback
//! floor, not the fingerprint of the medium that installed it.

use bootctl::device::{BlockDevice, MemDevice};
use installer::disk::safety::{DiskContent, inspect};
use installer::install::media_fingerprint::{
    FINGERPRINT_OFFSETS, FingerprintError, MediaFingerprint,
};
use installer::install::{InstallError, InstallOptions};
use record::COPY_OFFSETS;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use tests::memory_machine::{FIRST, MemoryMachine, SECOND, installed};
use updater::source::MemorySource;

const BLOCK: u64 = 4096;

/// A disk on which some ranges cannot be read.
struct Unreadable {
    disk: Arc<MemDevice>,
    ranges: Vec<Range<u64>>,
}

impl BlockDevice for Unreadable {
    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
    }

    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset + into.len() as u64;
        if self
            .ranges
            .iter()
            .any(|range| range.start < end && offset < range.end)
        {
            return Err(io::Error::other("unreadable"));
        }
        self.disk.read_at(offset, into)
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write_at(offset, data)
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }
}

fn without(machine: &MemoryMachine, ranges: Vec<Range<u64>>) -> Arc<dyn BlockDevice> {
    let disk = Arc::clone(&machine.device);
    Arc::new(Unreadable { disk, ranges })
}

fn blocks(starts: impl IntoIterator<Item = u64>) -> Vec<Range<u64>> {
    starts.into_iter().map(|at| at..at + BLOCK).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_with_unreadable_blocks_is_never_taken_for_anything_else() {
    let machine = installed(512).await;
    let state = machine.disk().state().expect("state").start();
    let len = machine.device.len();
    let primary = (0..40).map(|block| vec![block * BLOCK]);
    let backup = (1..=40).map(|block| vec![len - block * BLOCK]);
    let [first, second] = COPY_OFFSETS.map(|offset| state + offset);
    let records = [vec![first], vec![second], vec![first, second]];
    let both_tables = [vec![0, len - BLOCK]];
    let cases = primary.chain(backup).chain(records).chain(both_tables);
    for starts in cases {
        let found = inspect(&without(&machine, blocks(starts.clone())));
        let is_kept = found.as_ref().map_or(true, |found| {
            matches!(found.content, DiskContent::Installed { .. })
        });
        assert!(is_kept, "blocks at {starts:?}: {found:?}");
    }
    // One table and one copy of the record are enough to recognise it.
    let found = inspect(&without(&machine, blocks([0, first]))).expect("readable");
    assert!(matches!(found.content, DiskContent::Installed { version } if version == "1.0.0"));
    assert!(found.table.is_err(), "its table is reported as unreadable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_floor_that_cannot_be_read_is_not_zero() {
    let machine = installed(512).await;
    let before = machine.device.bytes();
    let state = machine.disk().state().expect("state").start();
    let device = without(&machine, blocks(COPY_OFFSETS.map(|offset| state + offset)));
    let source = MemorySource::new(SECOND.bundle(), 10_000);
    let options = InstallOptions::default();
    let error = machine
        .install_on(device, source, "test-machine", options)
        .await
        .expect_err("unreadable");
    assert!(matches!(error, InstallError::Floor(_)), "{error}");
    assert!(error.disk_is_unchanged());
    assert!(machine.device.bytes() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fingerprint_of_a_medium_survives_the_loss_of_either_copy_and_is_never_assumed() {
    let machine = MemoryMachine::new(512);
    let fingerprint = Some(MediaFingerprint::of(b"answers", b"seal"));
    let options = InstallOptions {
        fingerprint,
        ..InstallOptions::default()
    };
    machine
        .install_with(FIRST.bundle(), "test-machine", options)
        .await
        .expect("installed");
    let state = machine.disk().state().expect("state");
    let blocks = FINGERPRINT_OFFSETS.map(|offset| {
        let mut block = vec![0; BLOCK as usize];
        state.read_at(offset, &mut block).expect("copy");
        block
    });
    let read = || MediaFingerprint::read(&machine.disk());
    for (offset, block) in FINGERPRINT_OFFSETS.into_iter().zip(&blocks) {
        state
            .write_at(offset, &[0; BLOCK as usize])
            .expect("zeroed");
        assert_eq!(read().expect("the other copy"), fingerprint);
        let mut flipped = block.clone();
        flipped[20] ^= 1;
        state.write_at(offset, &flipped).expect("flipped");
        assert_eq!(read().expect("the other copy"), fingerprint);
        state.write_at(offset, block).expect("restored");
    }
    for offset in FINGERPRINT_OFFSETS {
        state
            .write_at(offset, &[0; BLOCK as usize])
            .expect("zeroed");
    }
    assert!(matches!(read(), Err(FingerprintError::Lost(_))));
    // An installation without a medium has a fingerprint, too.
    machine.install(SECOND.bundle()).await.expect("installed");
    assert_eq!(read().expect("written"), None);
}
