//! A second installation: the floor of the first one is kept, and the medium leaves a fingerprint of
//! what it has installed.

use bootctl::device::BlockDevice as _;
use bootctl::store::RecordStore;
use installer::install::media_fingerprint::MediaFingerprint;
use installer::install::{InstallError, InstallOptions};
use record::{COPY_OFFSETS, Record, Slot};
use tests::memory_machine::{FIRST, MemoryMachine, SECOND, installed};
use updater::plan::Refusal;

/// Returns a machine that has committed 1.1.0 and has no older fallback: its floor is 2.
async fn at_floor_two() -> MemoryMachine {
    let machine = installed(512).await;
    let store = RecordStore::open(&machine.disk()).expect("store");
    let record = store.read().expect("record");
    store.write(&Record { floor: 2, ..record }).expect("record");
    machine
}

fn below_floor(result: Result<updater::Report, InstallError>) -> Option<(u64, u64)> {
    match result {
        Err(InstallError::Refused(Refusal::BelowFloor { offered, floor, .. })) => {
            Some((offered, floor))
        }
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_floor_survives_a_reinstallation() {
    let machine = at_floor_two().await;
    let before = machine.device.bytes();
    assert_eq!(
        below_floor(machine.install(FIRST.bundle()).await),
        Some((1, 2))
    );
    assert!(
        machine.device.bytes() == before,
        "refused before the first byte is written"
    );
    machine.install(SECOND.bundle()).await.expect("installed");
    assert_eq!(machine.record().floor, 2);
    machine.commit(Slot::A);
    assert_eq!(machine.record().floor, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn either_copy_of_the_record_is_enough() {
    for lost in COPY_OFFSETS {
        let machine = at_floor_two().await;
        let store = RecordStore::open(&machine.disk()).expect("store");
        let record = store.read().expect("record");
        store.initialise(&record).expect("both copies");
        bootctl::device::BlockDevice::write_at(
            &machine.disk().state().expect("state"),
            lost,
            &[0; 4096],
        )
        .expect("written");
        assert_eq!(
            below_floor(machine.install(FIRST.bundle()).await),
            Some((1, 2))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_floor_is_dropped_on_request_and_for_another_product() {
    let forget = InstallOptions {
        forget_floor: true,
        ..InstallOptions::default()
    };
    let machine = at_floor_two().await;
    assert_eq!(
        below_floor(
            machine
                .install_with(FIRST.bundle(), "test-machine", forget)
                .await
        ),
        None
    );
    assert_eq!(machine.record().floor, 0);
    let machine = at_floor_two().await;
    let other = FIRST.bundle_for("other-machine", 1);
    assert_eq!(
        below_floor(
            machine
                .install_with(other, "other-machine", InstallOptions::default())
                .await
        ),
        None
    );
    assert_eq!(
        machine.record().floor,
        0,
        "rollback indices of different products are not comparable"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_the_previous_owner_are_erased() {
    let machine = installed(512).await;
    let data = machine.disk();
    let data = data.partition(record::PartitionName::Data).expect("data");
    let last = data.len() - 4096;
    for offset in [0, data.len() / 2, last] {
        data.write_at(offset, b"a secret").expect("written");
    }
    machine.install(SECOND.bundle()).await.expect("installed");
    let bytes = machine.device.bytes();
    assert!(!bytes.windows(8).any(|bytes| bytes == b"a secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_medium_leaves_its_fingerprint_and_the_next_installation_removes_it() {
    let machine = MemoryMachine::new(4096);
    let medium = Some(MediaFingerprint::of(b"answers", b"seal"));
    let options = InstallOptions {
        fingerprint: medium,
        ..InstallOptions::default()
    };
    machine
        .install_with(FIRST.bundle(), "test-machine", options)
        .await
        .expect("installed");
    assert_eq!(
        MediaFingerprint::read(&machine.disk()).expect("state"),
        medium
    );
    machine.commit(Slot::A);
    assert_eq!(
        MediaFingerprint::read(&machine.disk()).expect("state"),
        medium,
        "a commit does not overwrite it"
    );
    machine.install(SECOND.bundle()).await.expect("installed");
    assert_eq!(
        MediaFingerprint::read(&machine.disk()).expect("state"),
        None
    );
}
