//! Firmware with Secure Boot on: a release that it would not start is refused before the restart.

use bootctl::efivars::{EfiVars as _, VarName, Variable};
use fixtures::guard_program::with_signature;
use installer::install::InstallError;
use record::{Choice, Slot, Status};
use tests::memory_machine::{FIRST, MemoryMachine, SECOND, guard, image, installed};
use updater::plan::Refusal;
use updater::source::MemorySource;
use updater::{ApplyError, Outcome};

/// Returns more than a chunk of bytes with the headers of an EFI program, signed or not.
fn program(seed: u64, signed: bool) -> Vec<u8> {
    let mut bytes = image(seed, 700_000);
    bytes[..0x200].fill(0);
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
    bytes[0x98 + 108] = 16;
    if signed {
        let (offset, certificate) = (
            bytes.len() as u32,
            [16, 0, 0, 0, 0, 2, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        );
        let place = 0x98 + 112 + 32;
        bytes[place..place + 4].copy_from_slice(&offset.to_le_bytes());
        bytes[place + 4..place + 8].copy_from_slice(&16_u32.to_le_bytes());
        bytes.extend(certificate);
    }
    bytes
}

fn guard_program(signed: bool) -> Vec<u8> {
    let program = guard(4, 100_000);
    if signed {
        with_signature(program)
    } else {
        program
    }
}

fn bundle(boot: bool, guard: bool) -> Vec<u8> {
    let images = [
        ("boot", program(1, boot)),
        ("root", image(2, 1_000_000)),
        ("recovery", program(3, true)),
        ("guard", guard_program(guard)),
    ];
    SECOND.bundle_of(&images, "test-machine", 1)
}

fn secure(machine: &MemoryMachine) {
    let value = Variable {
        attributes: 6,
        data: vec![1],
    };
    machine
        .vars
        .set(&VarName::global("SecureBoot"), &value)
        .expect("variable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_release_is_refused_and_nothing_is_written() {
    let machine = installed(512).await;
    secure(&machine);
    let (disk, writes) = (machine.device.bytes(), machine.vars.writes());
    let failure = machine
        .update(bundle(false, true), Slot::A)
        .await
        .expect_err("refused");
    assert!(
        matches!(failure.error, ApplyError::Refused(Refusal::Unsigned { .. })),
        "{failure}"
    );
    let words =
        "release 1.1.0 is not signed for Secure Boot, which is on: the firmware would not start it";
    assert_eq!(
        (failure.to_string().as_str(), failure.disarmed),
        (words, None)
    );
    assert!(machine.device.bytes() == disk);
    assert_eq!(machine.vars.writes(), writes);
    let done = machine
        .update(bundle(true, true), Slot::A)
        .await
        .expect("signed");
    assert!(matches!(done, Outcome::Activated(_)));
}

/// A pipe cannot be read ahead: the image is checked in the slot, which is not put on trial.
#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_release_from_a_pipe_is_not_put_on_trial() {
    let machine = installed(512).await;
    secure(&machine);
    let booted = machine.bytes(Slot::A);
    let pipe = |bundle| {
        let mut source = MemorySource::new(bundle, 10_000);
        source.seekable = false;
        source
    };
    let failure = machine
        .update_from(pipe(bundle(false, true)), Choice::Slot(Slot::A))
        .await
        .expect_err("refused");
    assert!(
        matches!(failure.error, ApplyError::Refused(Refusal::Unsigned { .. })),
        "{failure}"
    );
    assert_eq!(failure.disarmed, Some(Slot::B));
    assert_eq!(machine.record().slot(Slot::B).status, Status::Unbootable);
    assert!(
        machine.bytes(Slot::B)[0][..4096]
            .iter()
            .all(|byte| *byte == 0),
        "the slot has a header"
    );
    assert!(machine.bytes(Slot::A) == booted);
    let done = machine
        .update_from(pipe(bundle(true, true)), Choice::Slot(Slot::A))
        .await
        .expect("signed");
    assert!(matches!(done, Outcome::Activated(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_needs_a_signed_guard() {
    let machine = MemoryMachine::new(512);
    secure(&machine);
    let error = machine
        .install(bundle(true, false))
        .await
        .expect_err("refused");
    assert!(matches!(error, InstallError::Apply(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("the guard is not signed for Secure Boot"),
        "{error}"
    );
    assert_eq!(machine.record().slot(Slot::A).status, Status::Unbootable);
    machine
        .install(bundle(true, true))
        .await
        .expect("installed");
    // The disk holds a system now: both programs are inspected before it is overwritten.
    let (disk, writes) = (machine.device.bytes(), machine.vars.writes());
    for (bad, expected) in [
        (bundle(false, true), "release 1.1.0 is not signed"),
        (bundle(true, false), "the guard is not signed"),
    ] {
        let error = machine.install(bad).await.expect_err("refused");
        assert!(error.disk_is_unchanged(), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(machine.device.bytes() == disk, "{error}");
        assert_eq!(machine.vars.writes(), writes);
    }
    // With Secure Boot off, nothing needs a signature for the firmware.
    let machine = MemoryMachine::new(512);
    machine.install(FIRST.bundle()).await.expect("installed");
}
