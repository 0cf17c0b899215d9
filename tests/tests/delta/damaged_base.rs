//! A base that is damaged, cannot be read, or cannot be identified.

use super::{SECOND, THIRD, delta, device, holds, release, report, update};
use bootctl::device::{BlockDevice, MemDevice};
use record::Slot;
use seal::SEAL_LEN;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use tests::memory_machine::{FIRST, MemoryMachine, image, installed};

/// Returns the offset on the disk of byte `at` of the root image in slot A.
fn in_root_a(machine: &MemoryMachine, at: u64) -> u64 {
    machine.disk().root(Slot::A).expect("root").start() + at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_base_is_reported_or_replaced_from_the_full_bundle() {
    let machine = installed(512).await;
    let second = release(&SECOND, 1);
    let bundle = delta(&FIRST.bundle(), &second);
    machine
        .device
        .write_at(in_root_a(&machine, 2_600_000), b"not what was signed")
        .expect("damage");
    let failure = update(device(&machine), &bundle, None)
        .await
        .expect_err("damaged");
    let text = failure.to_string();
    // The damaged chunk of the first release: 32 KiB or less around byte 2,600,000.
    let numbers: Vec<u64> = text
        .split([' ', ':'])
        .filter_map(|word| word.parse().ok())
        .take(2)
        .collect();
    assert!(
        text.starts_with("root-a: bytes ") && text.contains(": --full takes them"),
        "{text}"
    );
    assert!(
        numbers[0] <= 2_600_000 && 2_600_000 <= numbers[1] && numbers[1] - numbers[0] < 65_536,
        "{text}"
    );
    assert_eq!(failure.disarmed, Some(Slot::B));
    assert!(!machine.record().slot(Slot::B).is_good() && machine.record().slot(Slot::A).is_good());
    // Chunks that could be made are in their place; only the others come from the full bundle.
    let done = report(update(device(&machine), &bundle, Some(&second)).await);
    holds(&machine, Slot::B, 1);
    assert!(done.reused_bytes > 0, "{done:?}");
    assert!(done.fetched_bytes < second.len() as u64, "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_bundle_of_another_release_is_refused() {
    let machine = installed(512).await;
    let bundle = delta(&FIRST.bundle(), &release(&SECOND, 1));
    machine
        .device
        .write_at(in_root_a(&machine, 300_000), &[1; 100])
        .expect("damage");
    let failure = update(device(&machine), &bundle, Some(&release(&THIRD, 2)))
        .await
        .expect_err("other");
    assert_eq!(
        failure.to_string(),
        "the full bundle of release 1.2.0 does not hold the images of release 1.1.0"
    );
    let failure = update(device(&machine), &bundle, Some(&bundle))
        .await
        .expect_err("a delta itself");
    assert!(
        failure.to_string().contains("does not hold the images"),
        "{failure}"
    );
}

/// A disk with an unreadable sector.
struct BadSector {
    inner: Arc<MemDevice>,
    bad: Range<u64>,
}

impl BlockDevice for BadSector {
    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if offset < self.bad.end && self.bad.start < offset + into.len() as u64 {
            return Err(io::Error::other("medium error"));
        }
        self.inner.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, data)
    }
    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_base_is_handled_like_a_damaged_one() {
    let machine = installed(512).await;
    let second = release(&SECOND, 1);
    let bundle = delta(&FIRST.bundle(), &second);
    let at = in_root_a(&machine, 2_600_448);
    let faulty = || {
        Arc::new(BadSector {
            inner: Arc::clone(&machine.device),
            bad: at..at + 512,
        })
    };
    let failure = update(faulty(), &bundle, None)
        .await
        .expect_err("unreadable");
    assert!(
        failure.to_string().starts_with("root-a: bytes ")
            && failure.to_string().contains("medium error"),
        "{failure}"
    );
    report(update(faulty(), &bundle, Some(&second)).await);
    holds(&machine, Slot::B, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_without_a_stored_index_is_hashed() {
    let machine = installed(512).await;
    let bundle = delta(&FIRST.bundle(), &release(&SECOND, 1));
    let boot_a = machine.disk().boot(Slot::A).expect("boot");
    let index = (SEAL_LEN + 700_000).next_multiple_of(4096) as u64;
    boot_a.write_at(index, &[0; 4096]).expect("forgotten");
    machine
        .device
        .write_at(in_root_a(&machine, 2_600_000), b"!")
        .expect("damage");
    let before = machine.device.bytes();
    let failure = machine
        .update(bundle.clone(), Slot::A)
        .await
        .expect_err("refused");
    assert_eq!(
        failure.to_string(),
        "release 1.1.0 is a delta to 1.0.0: slot A holds another root image of that version"
    );
    assert!(machine.device.bytes() == before);
    let byte = &image(11, 3_000_000)[2_600_000..2_600_001];
    machine
        .device
        .write_at(in_root_a(&machine, 2_600_000), byte)
        .expect("repaired");
    report(machine.update(bundle, Slot::A).await);
    holds(&machine, Slot::B, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_without_a_valid_seal_is_not_a_base() {
    let machine = installed(512).await;
    let bundle = delta(&FIRST.bundle(), &release(&SECOND, 1));
    machine
        .disk()
        .boot(Slot::A)
        .expect("boot")
        .write_at(10, b"torn")
        .expect("damage");
    let before = machine.device.bytes();
    let failure = machine.update(bundle, Slot::A).await.expect_err("refused");
    assert!(
        failure
            .to_string()
            .starts_with("release 1.1.0 is a delta to 1.0.0: the content of slot A is unknown: "),
        "{failure}"
    );
    assert!(machine.device.bytes() == before);
}
