//! A computer of files: sysfs, procfs and device nodes as the installer sees them.

use bootctl::efivars::MemVars;
use installer::disk::choose::Candidate;
use installer::disk::disks::Roots;
use installer::install::answers::Answers;
use installer::install::unattended::{self, Environment, UnattendedError, assess_disks};
use record::{Guid, Text64};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use tests::memory_machine::{FIRST, trust};
use updater::Report;
use updater::events::Silent;
use updater::source::Location;

/// Sizes of the partitions in all answers, and no question.
const ANSWERS: &str = "version = 1\nunattended = true\n";
const LAYOUT: &str = "[layout]\nesp = \"34M\"\nboot = \"2M\"\nroot = \"8M\"\nrecovery = \"2M\"\n";

/// Length of each disk in bytes.
pub(crate) const DISK_LEN: u64 = 128 << 20;

/// A computer with disks, each an image file.
pub(crate) struct Computer {
    folder: tempfile::TempDir,
    pub(crate) roots: Roots,
}

impl Computer {
    /// Returns a computer without disks.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let [sys, proc, dev] = ["sys", "proc", "dev"].map(|name| folder.path().join(name));
        let computer = Self {
            folder,
            roots: Roots { sys, proc, dev },
        };
        computer.put("proc/self/mountinfo", b"");
        computer.put("first.bundle", &FIRST.bundle());
        computer
    }

    /// Adds a blank disk with this serial number.
    pub(crate) fn disk(&self, name: &str, serial: &str) {
        let number = fs::read_dir(self.roots.sys.join("block")).map_or(0, Iterator::count);
        self.show(name, "size", &(DISK_LEN / 512).to_string());
        self.show(name, "dev", &format!("8:{}", 16 * number));
        self.show(name, "queue/logical_block_size", "512");
        if !serial.is_empty() {
            self.show(name, "device/serial", serial);
        }
        fs::create_dir_all(&self.roots.dev).expect("folder");
        let image = File::create(self.device(name)).expect("image");
        image.set_len(DISK_LEN).expect("length");
    }

    /// Sets an attribute of a disk in sysfs.
    pub(crate) fn show(&self, disk: &str, attribute: &str, text: &str) {
        self.put(&format!("sys/block/{disk}/{attribute}"), text.as_bytes());
    }

    /// Writes a file of the computer.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("folders");
        fs::write(path, bytes).expect("file");
    }

    /// Returns the path of a device node.
    pub(crate) fn device(&self, disk: &str) -> PathBuf {
        self.roots.dev.join(disk)
    }

    /// Writes bytes to a disk.
    pub(crate) fn write(&self, disk: &str, offset: u64, bytes: &[u8]) {
        let image = File::options().write(true).open(self.device(disk));
        image
            .and_then(|image| image.write_all_at(bytes, offset))
            .expect("written");
    }

    /// Returns all bytes of a disk.
    pub(crate) fn bytes(&self, disk: &str) -> Vec<u8> {
        fs::read(self.device(disk)).expect("image")
    }

    /// Returns every disk, assessed for an installation with these answers.
    pub(crate) fn assess(&self, more: &str) -> Vec<Candidate> {
        assess_disks(&answers(more), &self.roots, &[]).expect("disks")
    }

    /// Installs with these answers.
    pub(crate) async fn install(&self, more: &str) -> Result<Report, UnattendedError> {
        let (vars, trust) = (MemVars::default(), trust());
        let environment = Environment {
            roots: self.roots.clone(),
            media_disks: Vec::new(),
            bundle: Location::File(self.folder.path().join("first.bundle")),
            trust: &trust,
            compatible: Text64::new("test-machine").expect("name"),
            install_id: Guid([7; 16]),
            vars: Some(&vars),
            now: 0,
            jobs: 2,
            fingerprint: None,
            may_forget_floor: false,
        };
        unattended::run(&answers(more), &environment, &Silent, |_| ()).await
    }
}

fn answers(more: &str) -> Answers {
    Answers::parse(&format!("{ANSWERS}{more}\n{LAYOUT}")).expect("answers")
}
