//! The EFI system partition is lost, in whole or in part: all copies of the guard are restored, and
//! the rest of the disk does not change.

use bootctl::device::BlockDevice as _;
use installer::esp::guards::{Guard, RepairError, missing_copies};
use installer::esp::{self, EspFile, GUARD_PATHS};
use std::process::Command;
use std::sync::LazyLock;
use tests::memory_machine::{MemoryMachine, installed};

/// Returns the guard of [`tests::memory_machine::FIRST`].
fn program() -> Vec<u8> {
    tests::memory_machine::guard(13, 100_000)
}

fn guard(program: &[u8]) -> Guard<'_> {
    static COMPATIBLE: LazyLock<[String; 1]> = LazyLock::new(|| ["test-machine".to_owned()]);
    Guard {
        program,
        rollback_index: 1,
        compatible: &*COMPATIBLE,
    }
}

/// Returns the disk without the EFI system partition.
fn rest(machine: &MemoryMachine) -> Vec<u8> {
    let esp = machine.disk().esp().expect("esp");
    let mut bytes = machine.device.bytes();
    bytes.drain(esp.start() as usize..(esp.start() + esp.len()) as usize);
    bytes
}

/// Checks the EFI system partition with fsck.vfat.
fn check_file_system(machine: &MemoryMachine) {
    let esp = machine.disk().esp().expect("esp");
    let mut bytes = vec![0; esp.len() as usize];
    esp.read_at(0, &mut bytes).expect("read");
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), bytes).expect("image");
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let judged = Command::new("fsck.vfat")
        .arg("-n")
        .arg(file.path())
        .env("PATH", path)
        .output();
    assert!(judged.expect("fsck.vfat").status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_copies_are_not_written() {
    for sector_size in [512, 4096] {
        let machine = installed(sector_size).await;
        let (before, program) = (machine.device.bytes(), program());
        assert_eq!(
            guard(&program)
                .repair(&machine.disk(), false, false)
                .expect("complete"),
            [""; 0]
        );
        assert!(machine.device.bytes() == before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zeroed_partition_and_a_lost_copy_are_restored() {
    for sector_size in [512, 4096] {
        let machine = installed(sector_size).await;
        let (before, program) = (rest(&machine), program());
        let esp = machine.disk().esp().expect("esp");
        esp.write_at(0, &vec![0; esp.len() as usize])
            .expect("zeroed");
        assert_eq!(
            guard(&program)
                .repair(&machine.disk(), false, false)
                .expect("repaired"),
            GUARD_PATHS
        );
        assert_eq!(missing_copies(&esp, &program), [""; 0]);
        check_file_system(&machine);

        let mut three: Vec<_> = GUARD_PATHS[..3]
            .iter()
            .map(|path| EspFile::new(path, &program))
            .collect();
        esp::create(&esp, 0, esp.len(), 9, &mut three).expect("three copies");
        assert_eq!(
            guard(&program)
                .repair(&machine.disk(), false, false)
                .expect("repaired"),
            [GUARD_PATHS[3]]
        );
        check_file_system(&machine);
        assert!(
            rest(&machine) == before,
            "another part of the disk was written"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_files_are_deleted_only_on_request() {
    let machine = installed(512).await;
    let (esp, program) = (machine.disk().esp().expect("esp"), program());
    let mut files = vec![EspFile::new("EFI/vendor/firmware.cap", b"capsule")];
    esp::create(&esp, 0, esp.len(), 9, &mut files).expect("foreign");
    let before = machine.device.bytes();
    let refused = guard(&program)
        .repair(&machine.disk(), false, false)
        .expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "EFI system partition: EFI/vendor/firmware.cap would be deleted"
    );
    assert!(machine.device.bytes() == before);
    assert_eq!(
        guard(&program)
            .repair(&machine.disk(), false, true)
            .expect("overwritten"),
        GUARD_PATHS
    );

    // A file system that we did not make: its clusters have another size.
    let mut first = [0; 512];
    esp.read_at(0, &mut first).expect("read");
    first[13] *= 2;
    esp.write_at(0, &first).expect("write");
    let refused = guard(&program)
        .repair(&machine.disk(), false, false)
        .expect_err("refused");
    assert!(
        refused
            .to_string()
            .contains("a file system that is damaged or of another system"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_and_an_unsigned_guard_are_refused() {
    let machine = installed(512).await;
    let esp = machine.disk().esp().expect("esp");
    esp.write_at(0, &vec![0; esp.len() as usize])
        .expect("zeroed");
    let (before, program) = (machine.device.bytes(), program());
    let floor = machine.record().floor;
    assert!(floor > 0, "the committed release has raised it");
    let older = Guard {
        rollback_index: floor - 1,
        ..guard(&program)
    };
    let refused = older
        .repair(&machine.disk(), false, false)
        .expect_err("older");
    assert!(
        matches!(refused, RepairError::BelowFloor { .. }),
        "{refused}"
    );
    let refused = guard(&program)
        .repair(&machine.disk(), true, false)
        .expect_err("unsigned");
    assert!(matches!(refused, RepairError::Unsigned), "{refused}");
    assert!(machine.device.bytes() == before);
}
