//! Disks that cannot be updated: messages, exit codes, and that nothing was changed. Disks that
//! fail during the update are in `tests/tests/faults.rs`, copies of a disk in
//! `bootctl/tests/running_machine.rs`.

use crate::fixture::{Bench, Finished, bundle, bundle_with_root};
use bootctl::device::{BlockDevice as _, SectorSize};
use record::{COPY_OFFSETS, RECORD_LEN};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of the root partition.
const ROOT_LEN: usize = 4 << 20;

fn apply(bench: &Bench, bundle: &[u8]) -> Finished {
    let path = bench.file("x.bundle");
    std::fs::write(&path, bundle).expect("bundle");
    bench.run("apply", &[path.to_str().expect("path"), "--json"])
}

/// Applies a bundle, which must not change the disk. Returns exit code, reason and message.
fn refused(bench: &Bench, bundle: &[u8]) -> (Option<i32>, String, String) {
    let before = bench.bytes();
    let finished = apply(bench, bundle);
    assert!(bench.bytes() == before, "{finished:?}: the disk changed");
    let reason = finished.json()["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (finished.code, reason, finished.err)
}

/// Maximum length of a root image whose hash tree fits behind it: 8 blocks of level 0, one above
/// them, and the superblock.
const FITS: usize = ROOT_LEN - 10 * 4096;

#[test]
fn a_partition_one_sector_too_small_is_refused() {
    let bench = Bench::new();
    let (code, reason, words) = refused(&bench, &bundle_with_root("1.1.0", FITS + 512));
    assert_eq!((code, reason.as_str()), (Some(3), "refused"), "{words}");
    let expected =
        "root image needs 4198400 bytes: partition root-b has 4194304\nNothing was changed.\n";
    assert!(words.ends_with(expected), "{words}");
    // One byte too many is refused; an image that fills the partition with its tree is not.
    let (code, _, words) = refused(&bench, &bundle_with_root("1.1.0", FITS + 1));
    assert_eq!(code, Some(3), "{words}");
    let finished = apply(&bench, &bundle_with_root("1.1.0", FITS));
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn a_boot_record_of_a_later_version_is_neither_used_nor_overwritten() {
    let bench = Bench::new();
    let state = bench.disk().state().expect("state");
    for offset in COPY_OFFSETS {
        let mut copy = [0; RECORD_LEN];
        state.read_at(offset, &mut copy).expect("record");
        copy[8..10].copy_from_slice(&2_u16.to_le_bytes());
        let sum = crc32fast::hash(&copy[..RECORD_LEN - 4]);
        copy[RECORD_LEN - 4..].copy_from_slice(&sum.to_le_bytes());
        state.write_at(offset, &copy).expect("record");
    }
    drop(state);
    let (code, reason, words) = refused(&bench, &bundle("1.1.0", 2, 1));
    assert_eq!((code, reason.as_str()), (Some(1), "record"), "{words}");
    let expected = "boot record: version 2, expected 1\nNothing was changed.\n";
    assert!(words.ends_with(expected), "{words}");
}

#[test]
fn a_truncated_disk_image_is_refused() {
    let bench = Bench::new();
    let image = std::fs::File::options()
        .write(true)
        .open(bench.file("disk.img"))
        .expect("image");
    let len = image.metadata().expect("image").len();
    // Bytes behind the last whole sector do not matter.
    image.set_len(len + 100).expect("length");
    let finished = bench.run("status", &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    // Without the backup table and the end of the last partition.
    image.set_len(len - (3 << 20)).expect("length");
    let before = bench.bytes();
    let finished = apply(&bench, &bundle("1.1.0", 2, 1));
    assert_eq!(
        (finished.code, finished.json()["reason"].as_str()),
        (Some(5), Some("unsuitable")),
        "{finished:?}"
    );
    assert!(finished.err.contains("disk.img: primary: "), "{finished:?}");
    assert!(bench.bytes() == before);
}

#[test]
fn a_path_that_is_not_a_disk_is_refused() {
    let bench = Bench::new();
    for (disk, words) in [
        ("/dev/null", "/dev/null: neither a block device nor a file"),
        ("/no/disk", "/no/disk: "),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rayos-updater"));
        command.args(["status", "--disk", disk, "--booted", "a"]);
        let finished = Finished::new(&command.output().expect("rayos-updater"));
        assert_eq!(finished.code, Some(5), "{finished:?}");
        assert!(finished.err.contains(words), "{finished:?}");
    }
    std::fs::write(bench.file("disk.img"), vec![0; 1 << 20]).expect("image");
    let (code, reason, words) = refused(&bench, &bundle("1.1.0", 2, 1));
    assert_eq!((code, reason.as_str()), (Some(5), "unsuitable"), "{words}");
    assert!(words.contains("disk.img: primary: "), "{words}");
}

#[expect(
    clippy::print_stderr,
    reason = "a note for the person who runs the tests"
)]
fn not_tested(why: &str) {
    eprintln!("not tested {why}");
}

/// A loop device over a file, which only root can create; it is detached when dropped.
struct Loop(PathBuf);

impl Loop {
    /// Returns `None`, after a note, if this machine has no loop devices.
    fn over(file: &Path, options: &[&str]) -> Option<Self> {
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .args(options)
            .arg(file)
            .output();
        match made {
            Ok(made) if made.status.success() => Some(Self(PathBuf::from(
                String::from_utf8_lossy(&made.stdout).trim(),
            ))),
            made => {
                not_tested(&format!(
                    "on a real block device, because there is no loop device here: {made:?}"
                ));
                None
            }
        }
    }

    fn run(&self, bench: &Bench, bundle: &Path) -> Finished {
        let mut command = bench.command_on(&self.0, "apply");
        Finished::new(
            &command
                .arg(bundle)
                .arg("--json")
                .output()
                .expect("rayos-updater"),
        )
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .status()
            .ok();
    }
}

#[test]
fn a_write_protected_disk_is_refused() {
    let bench = Bench::new();
    let Some(disk) = Loop::over(&bench.file("disk.img"), &["--read-only"]) else {
        return;
    };
    let finished = disk.run(&bench, &bench.file("1.1.0.bundle"));
    assert_eq!(
        (finished.code, finished.json()["reason"].as_str()),
        (Some(5), Some("unsuitable")),
        "{finished:?}"
    );
    let words = format!(
        "rayos-updater: {}: write-protected\nNothing was changed.\n",
        disk.0.display()
    );
    assert!(finished.err.ends_with(&words), "{finished:?}");
}

#[test]
fn a_disk_with_sectors_of_4096_bytes_is_updated() {
    let bench = Bench::with_sectors(SectorSize::Bytes(4096));
    let Some(disk) = Loop::over(&bench.file("disk.img"), &["--sector-size", "4096"]) else {
        let finished = bench.run(
            "apply",
            &[bench.file("1.1.0.bundle").to_str().expect("path")],
        );
        assert_eq!(finished.code, Some(0), "{finished:?}");
        return;
    };
    let finished = disk.run(&bench, &bench.file("1.1.0.bundle"));
    assert_eq!(
        (finished.code, finished.json()["result"].as_str()),
        (Some(0), Some("activated")),
        "{finished:?}"
    );
    // With sectors of 512 bytes the same bytes have no partition table.
    drop(disk);
    let Some(other) = Loop::over(&bench.file("disk.img"), &["--sector-size", "512"]) else {
        return;
    };
    let finished = other.run(&bench, &bench.file("1.1.0.bundle"));
    assert_eq!(
        (finished.code, finished.json()["reason"].as_str()),
        (Some(5), Some("unsuitable")),
        "{finished:?}"
    );
}

/// The image is on a file system of 8 MiB in memory, where its zeroes take no room.
#[test]
fn a_full_file_system_leaves_the_slot_empty() {
    let bench = Bench::new();
    let small = bench.file("small");
    std::fs::create_dir(&small).expect("folder");
    let script = r#"mount -t tmpfs -o size=8M none "$1" && cp --sparse=always "$2" "$1/disk.img" &&
        head -c 16M /dev/zero >"$1/rest"; shift 2; "$@""#;
    let mut command = Command::new("unshare");
    // As root, or where the kernel lets any user be root of a mount namespace.
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(&small).arg(bench.file("disk.img"));
    let disk = small.join("disk.img");
    let apply = bench.command_on(&disk, "apply");
    command
        .arg(apply.get_program())
        .args(apply.get_args())
        .arg(bench.file("1.1.0.bundle"))
        .arg("--json");
    let finished = Finished::new(&command.output().expect("unshare"));
    if finished.out.is_empty() {
        not_tested(&format!(
            "on a full file system, because none can be mounted here: {}",
            finished.err
        ));
        return;
    }
    assert_eq!(
        (finished.code, finished.json()["reason"].as_str()),
        (Some(8), Some("device")),
        "{finished:?}"
    );
    // The first write, over what was a hole.
    let place = format!(
        "header of the boot image: {}: writing 4096 bytes at offset ",
        disk.display()
    );
    assert!(finished.err.contains(&place), "{finished:?}");
    assert!(
        finished
            .err
            .contains(": No space left on device (os error 28)\n"),
        "{finished:?}"
    );
}
