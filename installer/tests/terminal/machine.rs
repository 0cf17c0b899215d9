//! A machine in a folder: sysfs with one disk, and a sparse file as that disk; a signed bundle.

use bundle::create::{BundleOutput, CreateOptions};
use bundle::keys::SecretKey;
use bundle::recipe::Recipe;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

const DISK_LEN: u64 = 128 << 20;

/// The folder.
pub(crate) struct Machine {
    pub(crate) folder: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let machine = Self { folder };
        let sectors = format!("{}\n", DISK_LEN / 512);
        for (file, text) in [
            ("size", sectors.as_str()),
            ("ro", "0\n"),
            ("removable", "0\n"),
            ("dev", "252:0\n"),
            ("queue/logical_block_size", "512\n"),
            ("device/model", "Disk of a test\n"),
            ("device/serial", "TEST-7788\n"),
        ] {
            machine.put(&format!("sys/block/vda/{file}"), text.as_bytes());
        }
        machine.put("proc/swaps", b"");
        machine.put("dev/vda", b"");
        let disk = fs::File::options()
            .write(true)
            .open(machine.disk())
            .expect("disk");
        disk.set_len(DISK_LEN).expect("disk");
        let key = SecretKey::from_seed(&[1; 32]);
        machine.put("key.pem", key.public_pem().expect("key").as_bytes());
        machine.put("new.bundle", &bundle(machine.folder.path()));
        let layout = "version = 1\n[layout]\nesp = \"34M\"\nboot = \"2M\"\nroot = \"8M\"\n\
                      recovery = \"2M\"\n";
        machine.put("start.toml", layout.as_bytes());
        machine
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("folders");
        fs::write(path, bytes).expect("file");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.path("dev/vda")
    }

    /// Returns the program, with the machine and the bundle as arguments.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rayos-installer"));
        command.current_dir(self.folder.path()).arg("interactive");
        for (option, file) in [
            ("--machine", "."),
            ("--bundle", "new.bundle"),
            ("--trust", "key.pem"),
            ("--answers", "start.toml"),
            ("--save", "saved.toml"),
        ] {
            command.args([option, file]);
        }
        command
    }

    /// Returns the version of the release on the disk, as the boot record has it.
    pub(crate) fn installed(&self) -> Option<String> {
        use bootctl::device::{Access, FileDevice, SectorSize};
        let device = FileDevice::open(&self.disk(), Access::Read, SectorSize::Bytes(512));
        let device = std::sync::Arc::new(device.expect("device"));
        let disk = bootctl::disk::Disk::open(device).ok()?;
        let record = bootctl::store::RecordStore::open(&disk).ok()?.read().ok()?;
        Some(record.slots[0].release.version.to_string())
    }
}

fn bundle(folder: &Path) -> Vec<u8> {
    let mut recipe = "[release]\nversion = \"2.0.1\"\nrollback_index = 1\n\
                      compatible = [\"test-machine\"]\n"
        .to_owned();
    for (role, len) in [
        ("boot", 700_000),
        ("root", 3_000_000),
        ("recovery", 500_000),
        ("guard", 100_000),
    ] {
        let bytes: Vec<u8> = (0..len)
            .map(|at: u32| (at.wrapping_mul(at) >> 7) as u8)
            .collect();
        fs::write(folder.join(role), bytes).expect("image");
        recipe += &format!("[[image]]\nrole = \"{role}\"\npath = \"{role}\"\n");
    }
    let recipe = Recipe::parse(&recipe, &folder.join("bundle.toml"), None).expect("recipe");
    let mut out = Vec::new();
    let options = CreateOptions {
        keys: &[SecretKey::from_seed(&[1; 32])],
        workers: 2,
    };
    let output = BundleOutput {
        spool: &mut Cursor::new(Vec::new()),
        out: &mut out,
    };
    bundle::create(&recipe, options, output, &mut |_| {}).expect("bundle");
    out
}
