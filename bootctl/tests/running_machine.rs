//! A running machine: its disk found through sysfs and the guard's variable, committed, lost and
//! rebuilt. The block devices are image files in a folder laid out like sysfs.

#[allow(dead_code, reason = "shared")]
mod fixture;

use bootctl::device::BlockDevice as _;
use bootctl::disk::Disk;
use bootctl::efivars::{VarName, Variable};
use bootctl::evidence::{self, EvidenceError};
use bootctl::machine::{Machine, UNCHECKED};
use bootctl::store::{RecordStore, StoreError};
use bootctl::sysfs::FindError;
use bootctl::transition::{Refusal, TargetSlot};
use ed25519_dalek::{Signer as _, SigningKey};
use fixture::host::Host;
use record::event::{Event, Kind};
use record::{
    COPY_OFFSETS, Choice, Guid, Handoff, Pair, REBUILT_TRIES, RECORD_LEN, Reason, Record, Slot,
    SlotState, Status, VENDOR, WATCHDOG_VARIABLE, Why, rebuild,
};
use seal::{
    ImageDigest, KeyId, Role, SEAL_LEN, Seal, Statement, Text64, Trust, TrustChain, TrustedKey,
    VerifyError,
};
use sha2::{Digest as _, Sha256};
use std::process::Command;

/// Returns the handoff after the guard started slot B on trial.
fn handoff(disk: &Disk) -> Handoff {
    let uuid = |partition: Option<record::gpt::Partition>| partition.unwrap().uuid;
    Handoff {
        verified_root: None,
        choice: Choice::Slot(Slot::B),
        why: Why::Trial,
        left: 2,
        seq: 1,
        disk_guid: disk.guid(),
        boot_uuid: uuid(disk.partitions().boot(Slot::B)),
        root_uuid: uuid(disk.partitions().root(Slot::B)),
        state_uuid: uuid(disk.partitions().state),
    }
}

#[test]
fn the_disk_is_the_one_that_the_guard_named_and_a_copy_of_it_is_refused() {
    let host = Host::new();
    let handoff = handoff(&host.disk());
    let found = host.devices().booted(&handoff).unwrap();
    assert_eq!(
        (found.name.as_str(), found.path),
        ("sda", host.path("dev/sda"))
    );
    let stick = Handoff {
        state_uuid: Guid::ZERO,
        ..handoff
    };
    assert!(matches!(
        host.devices().booted(&stick),
        Err(FindError::NoRecord)
    ));
    let other = Handoff {
        disk_guid: Guid([1; 16]),
        ..handoff
    };
    assert!(matches!(
        host.devices().booted(&other),
        Err(FindError::NotFound { .. })
    ));
    host.add_disk("sdc", &std::fs::read(host.path("dev/sda")).unwrap());
    let error = host.devices().booted(&handoff).unwrap_err();
    assert!(error.to_string().contains(": found twice: "), "{error}");
}

#[test]
fn a_partition_is_found_by_its_number_and_place_without_any_partuuid_in_sysfs() {
    let host = Host::new();
    let disk = host.disk();
    let node = host.devices().booted(&handoff(&disk)).unwrap();
    let root = disk.partitions().root(Slot::B).unwrap();
    let find = || host.devices().partition(&node, &disk, &root);
    assert_eq!(
        find().unwrap_err().to_string(),
        "sda: the kernel does not show partition 6"
    );
    host.show_partition(6, root.first_lba + 8, root.sectors());
    assert!(
        find().is_err(),
        "the kernel still shows the table before this one"
    );
    host.show_partition(6, root.first_lba, root.sectors());
    assert_eq!(find().unwrap(), host.path("dev/sda6"));
}

#[test]
fn a_running_trial_commits_logs_it_and_orders_its_entries() {
    let host = Host::new();
    let disk = host.disk();
    let before = fixture::unused(&disk);
    let trial = SlotState {
        status: Status::Pending { tries_left: 2 },
        ..*before.slot(Slot::B)
    };
    RecordStore::open(&disk)
        .unwrap()
        .initialise(&before.with_slot(Slot::B, trial))
        .unwrap();
    let handoff = handoff(&disk);
    drop(disk);
    let machine = host.machine(&handoff).unwrap();
    let change = machine.commit(1000).unwrap();
    assert_eq!(change.after.default, Slot::B);
    assert_eq!(
        (change.entries.done.len(), change.entries.warning),
        (4, None)
    );
    let committed = machine.log.events().unwrap();
    assert_eq!(
        (committed[0].kind, committed[0].time),
        (Kind::Committed, 1000)
    );
    let again = machine.commit(2000).unwrap();
    assert!(!again.is_change());
    assert_eq!(
        machine.log.events().unwrap().len(),
        1,
        "a second commit is no news"
    );
}

/// Returns the content of a boot partition: a seal and an image.
fn sealed(key: &SigningKey, version: &str, rollback_index: u64, image: &[u8]) -> Vec<u8> {
    let digest = |bytes: &[u8]| ImageDigest {
        len: bytes.len() as u64,
        sha256: Sha256::digest(bytes).into(),
    };
    let statement = Statement {
        version: Text64::new(version).unwrap(),
        rollback_index,
        key_epoch: 1,
        revoke: false,
        watchdog: false,
        manifest: digest(version.as_bytes()),
        boot: digest(image),
        recovery: ImageDigest::NONE,
        root: None,
        links: ImageDigest::NONE,
        bundle_len: 1 << 20,
    };
    let mut seal = Seal::new(&statement);
    let signature = key.sign(&seal.to_be_signed()).to_bytes();
    seal.add_signature(KeyId::of(&key.verifying_key().to_bytes()), &signature)
        .unwrap();
    [seal.as_bytes().as_slice(), image].concat()
}

fn trust(key: &SigningKey) -> Trust {
    let key = TrustedKey::new(&key.verifying_key().to_bytes(), &[Role::Release]).unwrap();
    Trust::new(1, [1, 0, 0], &[key]).unwrap()
}

#[test]
fn a_lost_record_is_rebuilt_from_verified_slots_only() {
    let host = Host::new();
    let disk = host.disk();
    let key = SigningKey::from_bytes(&[3; 32]);
    let write = |slot, bytes: &[u8]| disk.boot(slot).unwrap().write_at(0, bytes).unwrap();
    write(Slot::A, &sealed(&key, "1.0.0", 1, &[7; 5000]));
    write(Slot::B, &sealed(&key, "1.1.0", 2, &[8; 6000]));
    let mut event = Event::new(Kind::Note, None);
    event.record_seq = 40;
    bootctl::log::EventLog::open(&disk)
        .unwrap()
        .append(&event)
        .unwrap();

    let (found, errors) = evidence::gather(&disk, &TrustChain::new(trust(&key)));
    assert!(errors.iter().all(Option::is_none), "{errors:?}");
    let record = rebuild(disk.partitions(), &found).unwrap();
    assert!(record.seq > 40);
    assert_eq!((record.default, record.floor), (Slot::A, 1));
    assert!(record.slot(Slot::A).is_good());
    assert_eq!(
        record.slot(Slot::B).status,
        Status::Pending {
            tries_left: REBUILT_TRIES
        }
    );
    assert_eq!(
        record.slot(Slot::B).boot_uuid,
        disk.partitions().boot(Slot::B).unwrap().uuid
    );
    let store = RecordStore::open(&disk).unwrap();
    assert!(matches!(store.read(), Err(StoreError::Lost(_))));
    assert_eq!(store.initialise(&record).unwrap(), record);

    // A changed byte of the image, an erased seal, an untrusted key.
    disk.boot(Slot::B)
        .unwrap()
        .write_at(SEAL_LEN as u64 + 100, &[1])
        .unwrap();
    let (found, errors) = evidence::gather(&disk, &TrustChain::new(trust(&key)));
    assert!(matches!(errors, [None, Some(EvidenceError::Image)]));
    let record = rebuild(disk.partitions(), &found).unwrap();
    assert_eq!(
        (record.default, record.slot(Slot::A).status),
        (
            Slot::A,
            Status::Pending {
                tries_left: REBUILT_TRIES
            }
        )
    );
    assert_eq!(record.slot(Slot::B).reason, Reason::ImageDamaged);
    write(Slot::A, &[0; SEAL_LEN]);
    let stranger = trust(&SigningKey::from_bytes(&[9; 32]));
    let (found, errors) = evidence::gather(&disk, &TrustChain::new(stranger));
    assert_eq!(rebuild(disk.partitions(), &found), None);
    let short = VerifyError::ThresholdNotMet {
        role: Role::Release,
        have: 0,
        need: 1,
    };
    assert!(
        matches!(&errors, [Some(EvidenceError::Seal(_)), Some(EvidenceError::Refused(error))] if *error == short)
    );
}

/// A running machine whose slot B has this status, beside a Good slot A.
fn running_b(host: &Host, status: Status) -> Machine {
    let disk = host.disk();
    let good = Status::Good { budget_left: 8 };
    let record = fixture::holding(fixture::unused(&disk), Slot::A, good, "1.0.0", 1);
    let record = fixture::holding(record, Slot::B, status, "1.1.0", 2);
    let store = RecordStore::open(&disk).unwrap();
    store.initialise(&record).unwrap();
    let handoff = handoff(&disk);
    drop((store, disk));
    host.machine(&handoff).unwrap()
}

#[test]
fn a_start_that_the_guard_could_not_count_is_not_a_commit() {
    let host = Host::new();
    drop(running_b(&host, Status::Good { budget_left: 8 }));
    let seq = RecordStore::open(&host.disk()).unwrap().read().unwrap().seq;
    let handoff = Handoff {
        left: 7,
        seq,
        why: Why::Default,
        ..handoff(&host.disk())
    };
    let machine = host.machine(&handoff).unwrap();
    let target = || {
        let record = machine.store.read().unwrap();
        let default = Slot::B;
        let record = Record { default, ..record };
        TargetSlot::of(&record, Choice::Slot(Slot::B), Slot::A)
    };
    assert!(matches!(target(), Err(Refusal::OnlyFallback { .. })));
    machine.commit(1000).unwrap();
    assert!(target().is_ok(), "it has committed in this boot");
    let Pair::Valid { record, .. } = machine.store.pair() else {
        panic!("expected a record")
    };
    assert_eq!(record.slot(Slot::B).status, Status::Good { budget_left: 8 });
}

#[test]
fn a_machine_without_a_watchdog_is_reported() {
    let host = Host::new();
    let machine = running_b(&host, Status::Good { budget_left: 8 });
    let name = VarName {
        name: WATCHDOG_VARIABLE.to_owned(),
        vendor: VENDOR,
    };
    let hang = |words: &String| words.ends_with("a release that hangs waits for a person");
    for (attributes, armed, expected) in [(6, 0, 1), (6, 255, 0), (6, 1, 0), (7, 0, 0)] {
        let data = vec![armed];
        let value = Variable { attributes, data };
        machine.vars.set(&name, &value).unwrap();
        let found = machine
            .status()
            .warnings
            .iter()
            .filter(|words| hang(words))
            .count();
        assert_eq!(found, expected, "{attributes} {armed}");
    }
}

#[test]
fn a_commit_without_any_check_is_reported() {
    let host = Host::new();
    let machine = running_b(&host, Status::Pending { tries_left: 2 });
    machine.commit_with(1000, UNCHECKED).unwrap();
    let expected = "slot B 1.1.0 was committed although no health check was there";
    let warnings = machine.status().warnings;
    assert!(
        warnings.iter().any(|words| words == expected),
        "{warnings:?}"
    );
}

#[test]
fn a_slot_that_waits_for_its_checks_gets_its_boots_back_and_one_given_up_is_armed_again() {
    let host = Host::new();
    let machine = running_b(&host, Status::Good { budget_left: 1 });
    machine.excuse().unwrap();
    let record = machine.store.read().unwrap();
    let status = Status::Good { budget_left: 7 };
    assert_eq!(record.slot(Slot::B).status, status);
    let given_up = record.slot(Slot::A).unbootable(Reason::BudgetExhausted);
    machine
        .store
        .write(&record.with_slot(Slot::A, given_up))
        .unwrap();
    let change = machine.rearm(Slot::A, 1000).unwrap();
    assert_eq!(change.after.slot(Slot::A).status, status);
    let events = machine.log.events().unwrap();
    let text = events.last().unwrap().text();
    assert_eq!(text, "its boot budget was given back by an operator");
    assert!(!machine.rearm(Slot::A, 1000).unwrap().is_change());
}

#[test]
fn repair_requires_trust_to_rebuild_a_record() {
    let host = Host::new();
    let disk = host.disk();
    let key = SigningKey::from_bytes(&[3; 32]);
    disk.boot(Slot::B)
        .unwrap()
        .write_at(0, &sealed(&key, "1.1.0", 2, &[8; 6000]))
        .unwrap();
    RecordStore::open(&disk)
        .unwrap()
        .initialise(&fixture::unused(&disk))
        .unwrap();
    for offset in COPY_OFFSETS {
        disk.state()
            .unwrap()
            .write_at(offset, &[0xff; RECORD_LEN])
            .unwrap();
    }
    drop(disk);
    // A guard program carries its trust in a section of its own.
    let guard = [
        b"MZ".as_slice(),
        &[0; 1000],
        &trust(&key).to_block(),
        &[0; 500],
    ]
    .concat();
    std::fs::write(host.path("guard.efi"), guard).unwrap();
    std::fs::create_dir(host.path("efivars")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rayos-bootctl"));
        command
            .args(arguments)
            .arg("--disk")
            .arg(host.path("dev/sda"))
            .arg("--efivars")
            .arg(host.path("efivars"));
        let output = command.output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, _, err) = run(&["status"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("boot record is lost: copy 0: not a boot record; copy 1: not a boot record"),
        "{err}"
    );
    let (code, _, err) = run(&["repair"]);
    assert_eq!(
        (code, err.as_str()),
        (
            2,
            "rayos-bootctl: boot record is lost: --trust FILE is required to rebuild it\n"
        )
    );
    let guard = host.path("guard.efi");
    let (code, out, err) = run(&["repair", "--trust", guard.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.starts_with("rebuild the boot record: slot B 1.1.0\nwrite Boot0000, RayOS A\n"),
        "{out}"
    );
    let (_, out, _) = run(&["status"]);
    assert!(
        out.starts_with("not running; the next boot starts slot B 1.1.0, on trial\n"),
        "{out}"
    );
    assert!(out.contains("compatible unknown"), "{out}");

    // The compatible is in no seal: an operator names it, once.
    let (code, out, _) = run(&["repair", "--plan", "--compatible", "rayos-x86_64"]);
    assert_eq!(
        (code, out.as_str()),
        (0, "write into the boot record: compatible rayos-x86_64\n")
    );
    assert_eq!(run(&["repair", "--compatible", "rayos-x86_64"]).0, 0);
    assert_eq!(
        run(&["repair", "--compatible", "rayos-x86_64"]).0,
        7,
        "it is known now"
    );
    let (code, _, err) = run(&["repair", "--compatible", "toaster"]);
    let words = "boot record: compatible is rayos-x86_64, expected toaster: it cannot be changed \
                 after installation";
    assert_eq!((code, err), (5, format!("rayos-bootctl: {words}\n")));
    assert_eq!(run(&["repair", "--compatible", ""]).0, 2);
}
