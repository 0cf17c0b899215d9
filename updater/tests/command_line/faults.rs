//! Disks that cannot be updated, as a person meets them: the words, the exit code, and that nothing
//! was changed. Disks that fail under the update are in `tests/tests/faults.rs`; that two disks are
//! copies of one another is told by what finds the disk, in `bootctl/tests/running_machine.rs`.

use crate::fixture::{Bench, Said, bundle, bundle_with_root};
use bootctl::device::{BlockDevice as _, SectorSize};
use record::{COPY_OFFSETS, RECORD_LEN};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of the root partition.
const ROOT_LEN: usize = 4 << 20;

fn apply(bench: &Bench, bundle: &[u8]) -> Said {
    let path = bench.file("x.bundle");
    std::fs::write(&path, bundle).expect("bundle");
    bench.run("apply", &[path.to_str().expect("path"), "--json"])
}

/// Exit code and reason of an apply that must leave the disk as it is, and its words.
fn refused(bench: &Bench, bundle: &[u8]) -> (Option<i32>, String, String) {
    let before = bench.bytes();
    let said = apply(bench, bundle);
    assert!(bench.bytes() == before, "{said:?}: the disk changed");
    let reason = said.json()["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (said.code, reason, said.err)
}

/// The longest root image whose hash tree still fits behind it: 8 blocks of level 0, one above them,
/// and the superblock.
const FITS: usize = ROOT_LEN - 10 * 4096;

#[test]
fn a_partition_that_is_one_sector_too_small() {
    let bench = Bench::new();
    let (code, reason, words) = refused(&bench, &bundle_with_root("1.1.0", FITS + 512));
    assert_eq!((code, reason.as_str()), (Some(3), "refused"), "{words}");
    let expected =
        "root image needs 4198400 bytes: partition root-b has 4194304\nNothing was changed.\n";
    assert!(words.ends_with(expected), "{words}");
    // One byte too many is one too many, and what fits to the last byte fits.
    let (code, _, words) = refused(&bench, &bundle_with_root("1.1.0", FITS + 1));
    assert_eq!(code, Some(3), "{words}");
    let said = apply(&bench, &bundle_with_root("1.1.0", FITS));
    assert_eq!(said.code, Some(0), "{said:?}");
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
fn an_image_that_was_cut_short() {
    let bench = Bench::new();
    let image = std::fs::File::options()
        .write(true)
        .open(bench.file("disk.img"))
        .expect("image");
    let len = image.metadata().expect("image").len();
    // Some bytes too many are no whole sector, and do not matter.
    image.set_len(len + 100).expect("length");
    let said = bench.run("status", &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    // The backup table and some of the data are gone.
    image.set_len(len - (1 << 20)).expect("length");
    let before = bench.bytes();
    let said = apply(&bench, &bundle("1.1.0", 2, 1));
    assert_eq!(
        (said.code, said.json()["reason"].as_str()),
        (Some(5), Some("unsuitable")),
        "{said:?}"
    );
    assert!(said.err.contains("disk.img: primary: "), "{said:?}");
    assert!(bench.bytes() == before);
}

#[test]
fn something_that_is_no_disk() {
    let bench = Bench::new();
    for (disk, words) in [
        ("/dev/null", "/dev/null: neither a block device nor a file"),
        ("/no/disk", "/no/disk: "),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rayos-updater"));
        command.args(["status", "--disk", disk, "--booted", "a"]);
        let said = Said::new(&command.output().expect("rayos-updater"));
        assert_eq!(said.code, Some(5), "{said:?}");
        assert!(said.err.contains(words), "{said:?}");
    }
    std::fs::write(bench.file("disk.img"), vec![0; 1 << 20]).expect("image");
    let (code, reason, words) = refused(&bench, &bundle("1.1.0", 2, 1));
    assert_eq!((code, reason.as_str()), (Some(5), "unsuitable"), "{words}");
    assert!(words.contains("disk.img: primary: "), "{words}");
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
fn not_shown(why: &str) {
    eprintln!("not shown {why}");
}

/// A loop device over a file, for root alone; it goes away in the end.
struct Loop(PathBuf);

impl Loop {
    /// `None`, after a sentence, where this machine gives no loop devices.
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
                not_shown(&format!(
                    "on a real block device, since there is no loop device here: {made:?}"
                ));
                None
            }
        }
    }

    fn run(&self, bench: &Bench, bundle: &Path) -> Said {
        let mut command = bench.command_on(&self.0, "apply");
        Said::new(
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
fn a_write_protected_disk() {
    let bench = Bench::new();
    let Some(disk) = Loop::over(&bench.file("disk.img"), &["--read-only"]) else {
        return;
    };
    let said = disk.run(&bench, &bench.file("1.1.0.bundle"));
    assert_eq!(
        (said.code, said.json()["reason"].as_str()),
        (Some(5), Some("unsuitable")),
        "{said:?}"
    );
    let words = format!(
        "rayos-updater: {}: write-protected\nNothing was changed.\n",
        disk.0.display()
    );
    assert!(said.err.ends_with(&words), "{said:?}");
}

#[test]
fn a_disk_with_sectors_of_4096_bytes() {
    let bench = Bench::with_sectors(SectorSize::Bytes(4096));
    let Some(disk) = Loop::over(&bench.file("disk.img"), &["--sector-size", "4096"]) else {
        let said = bench.run(
            "apply",
            &[bench.file("1.1.0.bundle").to_str().expect("path")],
        );
        assert_eq!(said.code, Some(0), "{said:?}");
        return;
    };
    let said = disk.run(&bench, &bench.file("1.1.0.bundle"));
    assert_eq!(
        (said.code, said.json()["result"].as_str()),
        (Some(0), Some("activated")),
        "{said:?}"
    );
    // With sectors of 512 bytes the same bytes are no disk of ours.
    drop(disk);
    let Some(other) = Loop::over(&bench.file("disk.img"), &["--sector-size", "512"]) else {
        return;
    };
    let said = other.run(&bench, &bench.file("1.1.0.bundle"));
    assert_eq!(
        (said.code, said.json()["reason"].as_str()),
        (Some(5), Some("unsuitable")),
        "{said:?}"
    );
}

/// A file system of 8 MiB in memory with the image on it, of which all that is zero takes no room.
#[test]
fn a_file_system_that_is_full() {
    let bench = Bench::new();
    let small = bench.file("small");
    std::fs::create_dir(&small).expect("folder");
    let script = r#"mount -t tmpfs -o size=8M none "$1" && cp --sparse=always "$2" "$1/disk.img" &&
        head -c 16M /dev/zero >"$1/rest"; shift 2; "$@""#;
    let mut command = Command::new("unshare");
    // As root, or as nobody in particular where the kernel lets one be root of one's own mounts.
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(&small).arg(bench.file("disk.img"));
    let disk = small.join("disk.img");
    let apply = bench.command_on(&disk, "apply");
    command
        .arg(apply.get_program())
        .args(apply.get_args())
        .arg(bench.file("1.1.0.bundle"))
        .arg("--json");
    let said = Said::new(&command.output().expect("unshare"));
    if said.out.is_empty() {
        not_shown(&format!(
            "on a full file system, since none can be mounted here: {}",
            said.err
        ));
        return;
    }
    assert_eq!(
        (said.code, said.json()["reason"].as_str()),
        (Some(8), Some("device")),
        "{said:?}"
    );
    // What is written first, over what was a hole until then.
    let place = format!(
        "header of the boot image: {}: writing 4096 bytes at offset ",
        disk.display()
    );
    assert!(said.err.contains(&place), "{said:?}");
    assert!(
        said.err
            .contains(": No space left on device (os error 28)\n"),
        "{said:?}"
    );
}
