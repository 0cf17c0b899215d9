//! Installing anew: the floor of the installation before is kept, and the medium knows what it has
//! done.

mod lab;

use bootctl::store::RecordStore;
use installer::install::media_fingerprint::MediaFingerprint;
use installer::install::{InstallError, InstallOptions};
use lab::{FIRST, Lab, SECOND, installed};
use record::{COPY_OFFSETS, Record, Slot};
use updater::plan::Refusal;

/// A machine that has committed 1.1.0 and has nothing older to go back to: its floor is 2.
async fn at_floor_two() -> Lab {
    let lab = installed(512).await;
    let store = RecordStore::open(&lab.disk()).expect("store");
    let record = store.read().expect("record");
    store.write(&Record { floor: 2, ..record }).expect("record");
    lab
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
async fn the_floor_outlives_an_installation_anew() {
    let lab = at_floor_two().await;
    let before = lab.device.bytes();
    assert_eq!(below_floor(lab.install(FIRST.bundle()).await), Some((1, 2)));
    assert!(
        lab.device.bytes() == before,
        "refused before the first byte is written"
    );
    lab.install(SECOND.bundle()).await.expect("installed");
    assert_eq!(lab.record().floor, 2);
    lab.commit(Slot::A);
    assert_eq!(lab.record().floor, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn either_copy_of_the_record_is_enough() {
    for lost in COPY_OFFSETS {
        let lab = at_floor_two().await;
        let store = RecordStore::open(&lab.disk()).expect("store");
        let record = store.read().expect("record");
        store.initialise(&record).expect("both copies");
        bootctl::device::BlockDevice::write_at(
            &lab.disk().state().expect("state"),
            lost,
            &[0; 4096],
        )
        .expect("written");
        assert_eq!(below_floor(lab.install(FIRST.bundle()).await), Some((1, 2)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_forgotten_by_word_and_for_another_product() {
    let forget = InstallOptions {
        forget_floor: true,
        ..InstallOptions::default()
    };
    let lab = at_floor_two().await;
    assert_eq!(
        below_floor(
            lab.install_after(FIRST.bundle(), "test-machine", forget)
                .await
        ),
        None
    );
    assert_eq!(lab.record().floor, 0);
    let lab = at_floor_two().await;
    let other = FIRST.bundle_for("other-machine", 1);
    assert_eq!(
        below_floor(
            lab.install_after(other, "other-machine", InstallOptions::default())
                .await
        ),
        None
    );
    assert_eq!(
        lab.record().floor,
        0,
        "the numbers of another product say nothing of this one's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_medium_leaves_its_mark_and_the_next_installation_takes_it_away() {
    let lab = Lab::new(4096);
    let medium = Some(MediaFingerprint::of(b"answers", b"seal"));
    let options = InstallOptions {
        fingerprint: medium,
        ..InstallOptions::default()
    };
    lab.install_after(FIRST.bundle(), "test-machine", options)
        .await
        .expect("installed");
    assert_eq!(MediaFingerprint::read(&lab.disk()).expect("state"), medium);
    lab.commit(Slot::A);
    assert_eq!(
        MediaFingerprint::read(&lab.disk()).expect("state"),
        medium,
        "the record lies elsewhere"
    );
    lab.install(SECOND.bundle()).await.expect("installed");
    assert_eq!(MediaFingerprint::read(&lab.disk()).expect("state"), None);
}
