//! A bundle is verified as a whole before the first byte of an old system is overwritten.

use installer::install::{InstallError, InstallOptions};
use record::Slot;
use std::sync::Arc;
use tests::memory_machine::{FIRST, MemoryMachine, SECOND, installed};
use updater::ApplyError;
use updater::source::{FetchError, MemorySource};

/// Maximum length of the boot guard in the sample bundles.
const GUARD: u64 = 128 << 10;

/// How the installer reaches the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Medium,
    Network,
    Pipe,
}

fn source(bundle: Vec<u8>, place: Place) -> MemorySource {
    let mut source = MemorySource::new(bundle, 10_000);
    source.reports_length = place != Place::Pipe;
    source.local = place == Place::Medium;
    source.seekable = place != Place::Pipe;
    source
}

async fn install(
    machine: &MemoryMachine,
    bundle: Vec<u8>,
    place: Place,
) -> Result<updater::Report, InstallError> {
    let device = Arc::clone(&machine.device) as _;
    let source = source(bundle, place);
    let options = InstallOptions::default();
    machine
        .install_on(device, source, "test-machine", options)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_bundle_does_not_cost_the_old_system() {
    let machine = installed(512).await;
    let before = machine.device.bytes();
    let good = SECOND.bundle();
    for place in [Place::Medium, Place::Network] {
        for part in [2, 3, 5, 7] {
            let mut bad = good.clone();
            bad[good.len() * (part - 1) / part] ^= 1;
            let error = install(&machine, bad, place).await.expect_err("damaged");
            assert!(error.disk_is_unchanged(), "{place:?}: {error}");
            assert!(machine.device.bytes() == before, "{place:?}: {error}");
        }
        let cut = good[..good.len() / 2].to_vec();
        let error = install(&machine, cut, place).await.expect_err("cut off");
        let is_short = matches!(
            error,
            InstallError::Bundle(ApplyError::Fetch(FetchError::Short { .. }))
        );
        assert!(is_short, "{place:?}: {error}");
        assert!(machine.device.bytes() == before, "{place:?}");
    }
    install(&machine, good, Place::Network)
        .await
        .expect("the whole bundle");
    assert!(machine.record().slot(Slot::A).is_bootable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_can_be_read_once_is_for_disks_with_nothing_to_lose() {
    let machine = installed(512).await;
    let before = machine.device.bytes();
    let error = install(&machine, SECOND.bundle(), Place::Pipe)
        .await
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the disk is not blank, and a bundle from a pipe cannot be verified first: name a file"
    );
    assert!(machine.device.bytes() == before);
    let blank = MemoryMachine::new(512);
    install(&blank, SECOND.bundle(), Place::Pipe)
        .await
        .expect("installed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_disk_takes_the_bundle_in_one_download() {
    let bundle = FIRST.bundle();
    let len = bundle.len() as u64;
    let blank = MemoryMachine::new(512);
    let once = install(&blank, bundle.clone(), Place::Network)
        .await
        .expect("installed");
    // The boot guard is read first, to compare its keys.
    let limit = len + GUARD;
    assert!(once.fetched_bytes <= limit, "{} bytes", once.fetched_bytes);
    let twice = install(&blank, bundle, Place::Network)
        .await
        .expect("installed again");
    assert!(twice.fetched_bytes > limit, "{} bytes", twice.fetched_bytes);
}
