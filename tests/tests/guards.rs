//! The EFI system partition is lost, in whole or in part: the guard is put back into all of its
//! places, and nothing else on the disk is touched.

mod lab;

use bootctl::device::BlockDevice as _;
use installer::esp::guards::{Guard, RepairError, missing_copies};
use installer::esp::{self, EspFile, GUARD_PATHS};
use lab::{Lab, image, installed};
use std::process::Command;

/// The guard of `lab::FIRST`.
fn program() -> Vec<u8> {
    image(13, 100_000)
}

fn guard(program: &[u8]) -> Guard<'_> {
    Guard {
        program,
        rollback_index: 1,
    }
}

/// Everything on the disk but the EFI system partition.
fn rest(lab: &Lab) -> Vec<u8> {
    let esp = lab.disk().esp().expect("esp");
    let mut bytes = lab.device.bytes();
    bytes.drain(esp.start() as usize..(esp.start() + esp.len()) as usize);
    bytes
}

/// fsck.vfat has nothing to say of it.
fn sound(lab: &Lab) {
    let esp = lab.disk().esp().expect("esp");
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
async fn what_is_whole_is_left_alone() {
    for sector_size in [512, 4096] {
        let lab = installed(sector_size).await;
        let (before, program) = (lab.device.bytes(), program());
        assert_eq!(
            guard(&program)
                .repair(&lab.disk(), false, false)
                .expect("whole"),
            [""; 0]
        );
        assert!(lab.device.bytes() == before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zeroed_partition_and_a_lost_copy_are_made_anew() {
    for sector_size in [512, 4096] {
        let lab = installed(sector_size).await;
        let (before, program) = (rest(&lab), program());
        let esp = lab.disk().esp().expect("esp");
        esp.write_at(0, &vec![0; esp.len() as usize])
            .expect("zeroed");
        assert_eq!(
            guard(&program)
                .repair(&lab.disk(), false, false)
                .expect("mended"),
            GUARD_PATHS
        );
        assert_eq!(missing_copies(&esp, &program), [""; 0]);
        sound(&lab);

        let mut three: Vec<_> = GUARD_PATHS[..3]
            .iter()
            .map(|path| EspFile::new(path, &program))
            .collect();
        esp::create(&esp, 0, esp.len(), 9, &mut three).expect("three copies");
        assert_eq!(
            guard(&program)
                .repair(&lab.disk(), false, false)
                .expect("mended"),
            [GUARD_PATHS[3]]
        );
        sound(&lab);
        assert!(rest(&lab) == before, "something else was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_there_is_given_up_only_on_request() {
    let lab = installed(512).await;
    let (esp, program) = (lab.disk().esp().expect("esp"), program());
    let mut files = vec![EspFile::new("EFI/vendor/firmware.cap", b"capsule")];
    esp::create(&esp, 0, esp.len(), 9, &mut files).expect("foreign");
    let before = lab.device.bytes();
    let refused = guard(&program)
        .repair(&lab.disk(), false, false)
        .expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "EFI system partition: EFI/vendor/firmware.cap would be deleted"
    );
    assert!(lab.device.bytes() == before);
    assert_eq!(
        guard(&program)
            .repair(&lab.disk(), false, true)
            .expect("overwritten"),
        GUARD_PATHS
    );

    // Somebody's own file system: its clusters are of another size.
    let mut first = [0; 512];
    esp.read_at(0, &mut first).expect("read");
    first[13] *= 2;
    esp.write_at(0, &first).expect("write");
    let refused = guard(&program)
        .repair(&lab.disk(), false, false)
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
    let lab = installed(512).await;
    let esp = lab.disk().esp().expect("esp");
    esp.write_at(0, &vec![0; esp.len() as usize])
        .expect("zeroed");
    let (before, program) = (lab.device.bytes(), program());
    let floor = lab.record().floor;
    assert!(floor > 0, "the committed release has raised it");
    let older = Guard {
        program: &program,
        rollback_index: floor - 1,
    };
    let refused = older.repair(&lab.disk(), false, false).expect_err("older");
    assert!(
        matches!(refused, RepairError::BelowFloor { .. }),
        "{refused}"
    );
    let refused = guard(&program)
        .repair(&lab.disk(), true, false)
        .expect_err("unsigned");
    assert!(matches!(refused, RepairError::Unsigned), "{refused}");
    assert!(lab.device.bytes() == before);
}
