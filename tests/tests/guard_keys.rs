//! A boot guard has its trusted keys built in. Nothing is written that the guard of that disk would
//! refuse, and no guard is placed that would refuse what is on the disk.

use bootctl::device::BlockDevice;
use bundle::create::{BundleOutput, CreateOptions};
use bundle::recipe::Recipe;
use fixtures::guard_program::guard_program;
use installer::esp::guards::{Guard, RepairError};
use installer::install::{InstallError, InstallOptions};
use installer::media::images;
use record::{Choice, Slot};
use seal::{Link, Role, Trust, TrustChain, TrustedKey};
use std::io::Cursor;
use std::sync::Arc;
use tests::memory_machine::{
    FIRST, MemoryMachine, SECOND, guard, image, installed, key, options, trust,
};
use updater::guard_keys::machine_chain;
use updater::plan::Refusal;
use updater::source::MemorySource;
use updater::{ApplyError, ApplyFailure, Outcome};

/// Returns trust of key epoch `epoch` in the keys with these seeds.
fn trust_in(epoch: u64, seeds: &[u8]) -> Trust {
    let roles = [Role::Release, Role::Recovery];
    let keys: Vec<_> = seeds
        .iter()
        .map(|seed| TrustedKey::new(&key(*seed).public_key(), &roles).expect("key"))
        .collect();
    Trust::new(epoch, [1, 0, 1], &keys).expect("trust")
}

fn guard_of_key(seed: u8) -> Vec<u8> {
    guard_program(&trust_in(0, &[seed]).to_block(), &image(4, 90_000))
}

fn bundle_with_guard(guard: Vec<u8>) -> Vec<u8> {
    let images = [
        ("boot", image(1, 700_000)),
        ("root", image(2, 1_000_000)),
        ("recovery", image(3, 500_000)),
        ("guard", guard),
    ];
    FIRST.bundle_of(&images, "test-machine", 1)
}

/// A release that other keys signed.
struct Rotated<'a> {
    version: &'a str,
    index: u64,
    revoke: bool,
    links: &'a [Link],
    signers: &'a [u8],
}

impl Rotated<'_> {
    /// Returns its bundle. Its key epoch is 1 if it is not signed by key 1 alone.
    fn bundle(&self) -> Vec<u8> {
        let dir = tempfile::tempdir().expect("directory");
        let links: Vec<u8> = self
            .links
            .iter()
            .flat_map(Link::as_bytes)
            .copied()
            .collect();
        std::fs::write(dir.path().join("trust.links"), links).expect("links");
        let epoch = u64::from(self.signers != [1] || self.version == "1.1.0");
        let mut recipe = format!(
            "[release]\nversion = \"{}\"\nrollback_index = {}\nrevoke = {}\nkey_epoch = {epoch}\n\
             compatible = [\"test-machine\"]\ntrust_links = \"trust.links\"\n",
            self.version, self.index, self.revoke
        );
        let images = [
            ("boot", image(7, 100_000)),
            ("root", image(8 + self.index, 500_000)),
            ("recovery", image(9, 100_000)),
            ("guard", guard(13, 100_000)),
        ];
        for (role, bytes) in images {
            std::fs::write(dir.path().join(role), bytes).expect("image");
            recipe += &format!("[[image]]\nrole = \"{role}\"\npath = \"{role}\"\n");
        }
        let recipe = Recipe::parse(&recipe, &dir.path().join("bundle.toml"), None).expect("recipe");
        let mut out = Vec::new();
        let keys: Vec<_> = self.signers.iter().map(|seed| key(*seed)).collect();
        let spool = &mut Cursor::new(Vec::new());
        let output = BundleOutput {
            spool,
            out: &mut out,
        };
        let options = CreateOptions {
            keys: &keys,
            workers: 1,
        };
        bundle::create(&recipe, options, output, &mut |_| {}).expect("bundle");
        out
    }
}

/// Returns release 1.1.0 of key epoch 1 without links, signed with the keys of these seeds.
fn of_epoch_one(signers: &[u8]) -> Vec<u8> {
    let release = Rotated {
        version: "1.1.0",
        index: 2,
        revoke: false,
        links: &[],
        signers,
    };
    release.bundle()
}

/// Returns the link from the machine's trust to key 2, of key epoch 1.
fn link_to_second_key() -> Link {
    let mut link = Link::new(&trust(), &trust_in(1, &[2]));
    for seed in [1, 2] {
        key(seed).sign_link(&mut link).expect("signature");
    }
    link
}

/// Updates `machine`, which runs `booted`, as `rayos-updater apply` does.
async fn update(
    machine: &MemoryMachine,
    bundle: Vec<u8>,
    booted: Slot,
) -> Result<Outcome, ApplyFailure> {
    let device = Arc::clone(&machine.device) as Arc<dyn BlockDevice>;
    let chain = machine_chain(&machine.disk(), Some(&machine.record()), trust());
    let source = MemorySource::new(bundle, 10_000);
    machine
        .update_on(device, source, Choice::Slot(booted), &options(&chain))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_replaced_by_a_link_and_withdrawn_by_a_revocation() {
    let machine = installed(512).await;
    let link = [link_to_second_key()];
    let second = Rotated {
        version: "1.2.0",
        index: 3,
        revoke: false,
        links: &link,
        signers: &[2],
    };
    update(&machine, second.bundle(), Slot::A)
        .await
        .expect("a release of the new key");
    let epochs = |machine: &MemoryMachine| {
        let record = machine.record();
        let [a, b] = record.slots.map(|slot| slot.trust_epoch);
        (a, b, record.recovery_epoch, record.trust_floor)
    };
    assert_eq!(
        epochs(&machine),
        (0, 1, 0, 0),
        "both keys are accepted during the trial"
    );
    machine.commit(Slot::B);
    // The link is on the disk: the next bundle needs none. Recovery holds the floor down.
    let third = Rotated {
        version: "1.3.0",
        index: 4,
        links: &[],
        ..second
    };
    update(&machine, third.bundle(), Slot::B)
        .await
        .expect("without a link");
    machine.commit(Slot::A);
    assert_eq!(epochs(&machine), (1, 1, 0, 0));
    let old_key = || Rotated {
        version: "9.0.0",
        index: 90,
        revoke: false,
        links: &[],
        signers: &[1],
    };
    update(&machine, old_key().bundle(), Slot::A)
        .await
        .expect("the old key is not withdrawn yet");
    let revoking = Rotated {
        version: "1.4.0",
        index: 91,
        revoke: true,
        ..third
    };
    update(&machine, revoking.bundle(), Slot::A)
        .await
        .expect("revoking");
    machine.commit(Slot::B);
    assert_eq!(machine.record().trust_floor, 1);
    refuse_first_key(
        &machine,
        &Rotated {
            index: 99,
            ..old_key()
        }
        .bundle(),
    )
    .await;
}

/// Checks that neither an update nor an installation accepts `bundle` of key 1, and that nothing is
/// written.
async fn refuse_first_key(machine: &MemoryMachine, bundle: &[u8]) {
    let before = machine.device.bytes();
    let words = "signed by keys of key epoch 0, this machine accepts 1 or higher";
    let failure = update(machine, bundle.to_vec(), Slot::B)
        .await
        .expect_err("withdrawn");
    assert_eq!(failure.to_string(), words);
    let error = machine
        .install(bundle.to_vec())
        .await
        .expect_err("withdrawn");
    assert_eq!(error.to_string(), words);
    assert!(machine.device.bytes() == before, "something was written");
}

/// Returns why an update by a system with this trust is refused, which leaves no trace.
async fn refusal_of_update(bundle: Vec<u8>, trust: &Trust) -> ApplyError {
    let machine = installed(512).await;
    let before = machine.device.bytes();
    let device = Arc::clone(&machine.device) as Arc<dyn BlockDevice>;
    let source = MemorySource::new(bundle, 10_000);
    let failure = machine
        .update_on(
            device,
            source,
            Choice::Slot(Slot::A),
            &options(&TrustChain::from(trust)),
        )
        .await
        .expect_err("refused");
    assert_eq!(failure.disarmed, None);
    assert!(machine.device.bytes() == before, "something was written");
    failure.error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_a_key_epoch_that_the_guard_does_not_know_is_refused_beforehand() {
    let newer = trust_in(1, &[1, 2]);
    for signers in [&[1][..], &[2], &[1, 2]] {
        let error = refusal_of_update(of_epoch_one(signers), &newer).await;
        let ApplyError::Refused(Refusal::Guard { path, .. }) = &error else {
            panic!("{error}");
        };
        assert_eq!(*path, "EFI/BOOT/BOOTX64.EFI");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_one_copy_of_the_guard_refuses_is_refused() {
    let machine = installed(512).await;
    let esp = machine.disk().esp().expect("esp");
    let (ours, other) = (guard(13, 100_000), guard_of_key(2));
    let mut files: Vec<_> = installer::esp::GUARD_PATHS
        .iter()
        .zip([&ours, &ours, &other, &ours])
        .map(|(path, program)| installer::esp::EspFile::new(path, program))
        .collect();
    installer::esp::create(&esp, 0, esp.len(), 9, &mut files).expect("copies");
    let failure = machine
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect_err("refused");
    assert_eq!(
        failure.to_string(),
        "release 1.1.0 is not accepted by the boot guard EFI/RAYOS/GUARDB.EFI of this disk: \
         signed by 0 trusted release key(s), expected 1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_guard_does_not_stop_an_update() {
    let machine = installed(512).await;
    let esp = machine.disk().esp().expect("esp");
    esp.write_at(0, &[0; 4096]).expect("zeroed");
    machine
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect("updated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_starts_nothing_of_its_bundle_is_not_installed() {
    let mut empty = guard_program(&[0; 2048], b"");
    empty[0x400..0x410].copy_from_slice(&seal::TRUST_BLOCK_MAGIC);
    for (guard, words) in [
        (empty, "no trusted keys are built into this program"),
        (
            guard_of_key(2),
            "the boot guard does not accept release 1.0.0",
        ),
    ] {
        let machine = MemoryMachine::new(512);
        let before = machine.device.bytes();
        let error = machine
            .install(bundle_with_guard(guard.clone()))
            .await
            .expect_err("refused");
        assert!(matches!(error, InstallError::Guard(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(machine.device.bytes() == before, "something was written");
        // From a pipe the guard is known last: the slot is not activated.
        let mut pipe = MemorySource::new(bundle_with_guard(guard), 10_000);
        pipe.seekable = false;
        let device = Arc::clone(&machine.device) as Arc<dyn BlockDevice>;
        let error = machine
            .install_on(device, pipe, "test-machine", InstallOptions::default())
            .await
            .expect_err("refused");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!machine.record().slot(Slot::A).is_bootable());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_places_no_guard_that_refuses_what_is_on_the_disk() {
    let machine = installed(512).await;
    let esp = machine.disk().esp().expect("esp");
    esp.write_at(0, &[0; 4096]).expect("zeroed");
    let before = machine.device.bytes();
    let (compatible, program) = (["test-machine".to_owned()], guard_of_key(2));
    let other_keys = Guard {
        program: &program,
        rollback_index: 9,
        compatible: &compatible,
    };
    let refused = other_keys
        .repair(&machine.disk(), false, false)
        .expect_err("other keys");
    assert_eq!(
        refused.to_string(),
        "the boot guard does not accept boot-a: signed by 0 trusted release key(s), expected 1"
    );
    let program = guard(13, 100_000);
    let other_product = Guard {
        program: &program,
        compatible: &["other-machine".to_owned()],
        ..other_keys
    };
    let refused = other_product
        .repair(&machine.disk(), false, false)
        .expect_err("another product");
    assert!(
        matches!(refused, RepairError::Incompatible { .. }),
        "{refused}"
    );
    assert!(machine.device.bytes() == before, "something was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_medium_is_made_with_a_guard_that_does_not_start_it() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("rayos.bundle");
    for (guard, is_good) in [(guard(13, 100_000), true), (guard_of_key(2), false)] {
        std::fs::write(&path, bundle_with_guard(guard)).expect("bundle");
        let images = images(&path, &trust()).await.expect("images");
        assert_eq!(images.starts.is_ok(), is_good, "{:?}", images.starts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_no_program_is_a_warning() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x.bundle");
    std::fs::write(&path, bundle_with_guard(image(4, 90_000))).expect("file");
    let images = installer::media::images(&path, &tests::memory_machine::trust()).await;
    let warning = images.expect("images").starts.expect("not refused");
    let warning = warning.expect("a warning").to_string();
    assert_eq!(
        warning,
        "boot guard: not an EFI program: MZ header not found"
    );
}
