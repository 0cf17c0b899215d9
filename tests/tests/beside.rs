//! Installation beside another system, whose partition table sgdisk has made: only our ranges of the
//! disk are written.

use bootctl::device::{BlockDevice, MemDevice};
use bootctl::efivars::MemVars;
use installer::disk::disks::Roots;
use installer::disk::safety::{DiskContent, inspect};
use installer::disk::table::ExistingTable;
use installer::esp::GUARD_PATHS;
use installer::esp::guards::Guard;
use installer::install::answers::Answers;
use installer::install::unattended::{self, Environment};
use installer::install::{InstallError, InstallOptions};
use record::{Guid, Slot, Text64};
use std::io;
use std::ops::Range;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tests::memory_machine::{FIRST, MemoryMachine, SECOND, guard, image};
use updater::Outcome;
use updater::events::Silent;
use updater::source::{Fault, Location, MemorySource};

const MIB: u64 = 1 << 20;
const LEN: u64 = 128 * MIB;
/// The other system's partitions. The free range for ours is between the last two.
const THEIRS: [Range<u64>; 3] = [MIB..20 * MIB, 20 * MIB..30 * MIB, 120 * MIB..124 * MIB];
const BESIDE: InstallOptions = InstallOptions {
    beside: true,
    forget_floor: false,
    fingerprint: None,
};

const ANSWERS: &str = "version = 1\nunattended = true\nbeside = true\n[layout]\nesp = \"34M\"\nboot = \"2M\"\nroot = \"8M\"\n\
                       recovery = \"2M\"\n";

/// Returns a machine with another system whose partitions are full.
fn another_system() -> MemoryMachine {
    let file = tempfile::NamedTempFile::new().expect("file");
    file.as_file().set_len(LEN).expect("length");
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let mut sgdisk = Command::new("sgdisk");
    sgdisk.arg("--disk-guid=11111111-2222-3333-4444-555555555555");
    for (range, number) in THEIRS.iter().zip([1, 3, 4]) {
        sgdisk.arg(format!(
            "--new={number}:{}:{}",
            range.start / 512,
            range.end / 512 - 1
        ));
    }
    sgdisk.args(["--typecode=1:ef00", "--attributes=3:set:2"]);
    let output = sgdisk
        .arg(file.path())
        .env("PATH", path)
        .output()
        .expect("sgdisk");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let mut bytes = std::fs::read(file.path()).expect("image");
    for (range, seed) in THEIRS.iter().zip(70..) {
        let place = &mut bytes[range.start as usize..range.end as usize];
        place.copy_from_slice(&image(seed, (range.end - range.start) as usize));
    }
    MemoryMachine::of(MemDevice::from_bytes(bytes, 512), 8)
}

/// Returns what must not change: the other partitions, the MBR, and their entries in both copies of
/// the table.
fn theirs(machine: &MemoryMachine) -> Vec<Vec<u8>> {
    let bytes = machine.device.bytes();
    let arrays = [1024, LEN - 512 - 128 * 128].map(|array| {
        let entry = |number: u64| array + (number - 1) * 128..array + number * 128;
        [entry(1), entry(3), entry(4)]
    });
    let ranges = THEIRS
        .into_iter()
        .chain([0..512, 512 + 56..512 + 72])
        .chain(arrays.into_iter().flatten());
    ranges
        .map(|range| bytes[range.start as usize..range.end as usize].to_vec())
        .collect()
}

/// A device that records the ranges of writes.
struct Recorder {
    device: Arc<MemDevice>,
    writes: Mutex<Vec<Range<u64>>>,
}

impl BlockDevice for Recorder {
    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }
    fn len(&self) -> u64 {
        self.device.len()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writes
            .lock()
            .expect("writes")
            .push(offset..offset + data.len() as u64);
        self.device.write_at(offset, data)
    }
    fn flush(&self) -> io::Result<()> {
        self.device.flush()
    }
    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.device.read_medium_at(offset, into)
    }
}

/// Installs and returns the result and the written ranges.
async fn install(
    machine: &MemoryMachine,
    source: MemorySource,
) -> (Result<(), InstallError>, Vec<Range<u64>>) {
    let recorder = Arc::new(Recorder {
        device: Arc::clone(&machine.device),
        writes: Mutex::default(),
    });
    let device = Arc::clone(&recorder) as Arc<dyn BlockDevice>;
    let done = machine
        .install_on(device, source, "test-machine", BESIDE)
        .await;
    let writes = std::mem::take(&mut *recorder.writes.lock().expect("writes"));
    (done.map(drop), writes)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_our_ranges_are_written() {
    let machine = another_system();
    let before = theirs(&machine);
    let (done, writes) = install(&machine, MemorySource::new(FIRST.bundle(), 10_000)).await;
    done.expect("installed");
    let ours = 30 * MIB..120 * MIB;
    let array = 128 * 128;
    let tables = [
        1024..1024 + array,
        512..1024,
        LEN - 512 - array..LEN - 512,
        LEN - 512..LEN,
    ];
    let inside = |range: &Range<u64>, write: &Range<u64>| {
        range.start <= write.start && write.end <= range.end
    };
    for write in &writes {
        let table = tables.iter().any(|table| table == write);
        assert!(table || inside(&ours, write), "{write:?} was written");
    }
    for table in tables {
        assert_eq!(
            writes.iter().filter(|write| **write == table).count(),
            1,
            "{table:?}"
        );
    }
    assert!(theirs(&machine) == before);

    let disk = machine.disk();
    let (esp, state) = (disk.esp().expect("esp"), disk.state().expect("state"));
    assert_eq!(
        (esp.start(), state.start()),
        (30 * MIB, 64 * MIB),
        "ours, not the first one"
    );
    let placed = installer::esp::read(&esp, "EFI/BOOT/BOOTX64.EFI", 200_000).expect("guard");
    assert!(placed == guard(13, 100_000));
    assert_eq!(
        disk.guid().to_string(),
        "11111111-2222-3333-4444-555555555555"
    );
    assert_eq!(machine.record().disk_guid, disk.guid());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_beside_another_system_equals_any_other() {
    let machine = another_system();
    let before = theirs(&machine);
    install(&machine, MemorySource::new(FIRST.bundle(), 10_000))
        .await
        .0
        .expect("installed");
    machine.commit(Slot::A);
    let outcome = machine
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect("updated");
    assert!(matches!(outcome, Outcome::Activated(_)));
    assert!(theirs(&machine) == before);
    let alone = MemoryMachine::new(512);
    alone.install(FIRST.bundle()).await.expect("installed");
    alone.commit(Slot::A);
    alone
        .update(SECOND.bundle(), Slot::A)
        .await
        .expect("updated");
    assert!(machine.bytes(Slot::B) == alone.bytes(Slot::B));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_installation_is_repeated_without_a_question() {
    let machine = another_system();
    let before = theirs(&machine);
    let mut pipe =
        MemorySource::new(FIRST.bundle(), 10_000).with_faults([Fault::DropAfter(2_000_000)]);
    pipe.seekable = false;
    install(&machine, pipe).await.0.expect_err("cut off");
    let found = inspect(&(Arc::clone(&machine.device) as Arc<dyn BlockDevice>)).expect("read");
    assert_eq!(found.content, DiskContent::UnfinishedBeside);
    assert_eq!(found.table.expect("table").others().len(), 3);
    install(&machine, MemorySource::new(FIRST.bundle(), 10_000))
        .await
        .0
        .expect("installed");
    let table = ExistingTable::read(machine.device.as_ref())
        .expect("read")
        .expect("table");
    assert_eq!((table.ours().len(), table.entries().count()), (8, 11));
    assert!(theirs(&machine) == before);
    let found = inspect(&(Arc::clone(&machine.device) as Arc<dyn BlockDevice>)).expect("read");
    assert_eq!(
        found.content,
        DiskContent::Installed {
            version: "1.0.0".to_owned()
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reinstallation_keeps_the_floor_and_the_other_system() {
    let machine = another_system();
    let before = theirs(&machine);
    install(&machine, MemorySource::new(SECOND.bundle(), 10_000))
        .await
        .0
        .expect("installed");
    machine.commit(Slot::A);
    assert_eq!(machine.record().floor, 2);
    let error = install(&machine, MemorySource::new(FIRST.bundle(), 10_000))
        .await
        .0
        .expect_err("below the floor");
    assert!(error.disk_is_unchanged(), "{error}");
    install(&machine, MemorySource::new(SECOND.bundle(), 10_000))
        .await
        .0
        .expect("installed");
    assert_eq!(machine.record().floor, 2);
    assert!(theirs(&machine) == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_installation_writes_nothing() {
    let machine = another_system();
    let before = machine.device.bytes();
    for bundle in [
        SECOND.bundle_for("test-machine", 9),
        SECOND.bundle_for("other-machine", 1),
        b"x".to_vec(),
    ] {
        let (done, writes) = install(&machine, MemorySource::new(bundle, 10_000)).await;
        assert!(done.expect_err("refused").disk_is_unchanged());
        assert_eq!(writes, []);
    }
    let small = MemoryMachine::of(MemDevice::from_bytes(machine.device.bytes(), 512), 24);
    let (done, writes) = install(&small, MemorySource::new(FIRST.bundle(), 10_000)).await;
    let words = "disk: its largest free range has 94371840 bytes, the layout needs 110100480";
    assert_eq!(done.expect_err("no room").to_string(), words);
    assert_eq!(writes, []);
    let (done, writes) = install(
        &MemoryMachine::new(512),
        MemorySource::new(FIRST.bundle(), 10_000),
    )
    .await;
    assert!(
        done.expect_err("blank")
            .to_string()
            .starts_with("disk: it has no GPT to install beside")
    );
    assert_eq!(writes, []);
    assert!(machine.device.bytes() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_lost_esp_is_made_again_and_theirs_is_never_changed() {
    let (machine, program) = (another_system(), guard(13, 100_000));
    let before = theirs(&machine);
    install(&machine, MemorySource::new(FIRST.bundle(), 10_000))
        .await
        .0
        .expect("installed");
    let esp = machine.disk().esp().expect("esp");
    esp.write_at(0, &vec![0; esp.len() as usize])
        .expect("zeroed");
    let guard = Guard {
        program: &program,
        rollback_index: 1,
        compatible: &["test-machine".to_owned()],
    };
    assert_eq!(
        guard
            .repair(&machine.disk(), false, false)
            .expect("repaired"),
        GUARD_PATHS
    );
    assert!(theirs(&machine) == before);
    // Ours is not in the table: the first ESP is found, and it is not ours.
    let table = ExistingTable::read(machine.device.as_ref())
        .expect("read")
        .expect("table");
    let ours: Vec<_> = table
        .ours()
        .into_iter()
        .filter(|entry| entry.kind == record::ESP_TYPE)
        .collect();
    table
        .patched(&ours, &[])
        .commit(machine.device.as_ref())
        .expect("commit");
    let refused = guard
        .repair(&machine.disk(), false, true)
        .expect_err("refused");
    assert!(
        refused
            .to_string()
            .ends_with("none on this disk ends where rayos-state starts"),
        "{refused}"
    );
    assert!(theirs(&machine) == before);
}

/// Returns a folder with the disk of `machine` and the kernel's views of it.
fn files_of(machine: &MemoryMachine) -> (tempfile::TempDir, Roots) {
    let dir = tempfile::tempdir().expect("directory");
    let put = |path: &str, bytes: &[u8]| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        std::fs::write(path, bytes).expect("file");
    };
    for (file, text) in [
        ("size", (LEN / 512).to_string().as_str()),
        ("dev", "8:0"),
        ("queue/logical_block_size", "512"),
        ("device/serial", "S-1"),
        ("sda3/partition", "3"),
        ("sda3/size", "20480"),
        ("sda3/dev", "8:3"),
    ] {
        put(&format!("sys/block/sda/{file}"), text.as_bytes());
    }
    put("dev/sda", &machine.device.bytes());
    put("first.bundle", &FIRST.bundle());
    put("proc/self/mountinfo", b"");
    let [sys, proc, dev] = ["sys", "proc", "dev"].map(|name| dir.path().join(name));
    (dir, Roots { sys, proc, dev })
}

/// Installs with these answers, as `rayos-installer apply` and a medium do.
async fn unattended(dir: &tempfile::TempDir, roots: &Roots, answers: &str) -> Result<(), String> {
    let (vars, trust) = (MemVars::default(), tests::memory_machine::trust());
    let environment = Environment {
        roots: roots.clone(),
        media_disks: Vec::new(),
        bundle: Location::File(dir.path().join("first.bundle")),
        trust: &trust,
        compatible: Text64::new("test-machine").expect("name"),
        install_id: Guid([answers.len() as u8; 16]),
        vars: Some(&vars),
        now: 0,
        jobs: 2,
        fingerprint: None,
        may_forget_floor: false,
    };
    let answers = Answers::parse(answers).expect("answers");
    let done = unattended::run(&answers, &environment, &Silent, |_| ()).await;
    done.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_take_the_only_disk_with_free_space_unless_it_is_in_use() {
    let machine = another_system();
    let (dir, roots) = files_of(&machine);
    let mounts = roots.proc.join("self/mountinfo");
    let read = || {
        MemoryMachine::of(
            MemDevice::from_bytes(std::fs::read(roots.dev.join("sda")).expect("disk"), 512),
            8,
        )
    };
    std::fs::write(&mounts, "36 35 8:3 / /home rw - ext3 /dev/root rw\n").expect("mounts");
    let busy = unattended(&dir, &roots, ANSWERS).await.expect_err("in use");
    assert!(busy.contains("/sda: sda3 is mounted on /home"), "{busy}");
    std::fs::write(&mounts, "").expect("mounts");
    let whole = unattended(&dir, &roots, &ANSWERS.replace("beside = true", ""))
        .await
        .expect_err("not blank");
    assert!(whole.contains("it is not empty (it has a GPT)"), "{whole}");
    assert!(read().device.bytes() == machine.device.bytes());

    unattended(&dir, &roots, ANSWERS).await.expect("installed");
    assert!(theirs(&read()) == theirs(&machine));
    let first = read().disk().esp().expect("esp").start();
    assert_eq!(first, 30 * MIB);
    let again = unattended(&dir, &roots, ANSWERS)
        .await
        .expect_err("installed");
    assert!(again.contains("RayOS 1.0.0 is installed on it"), "{again}");
    let before = read().record();
    let erase = ANSWERS.replace("beside = true", "beside = true\nerase = \"S-1\"");
    unattended(&dir, &roots, &erase)
        .await
        .expect("installed again");
    assert_ne!(read().record().install_id, before.install_id);
    assert!(theirs(&read()) == theirs(&machine));
}
