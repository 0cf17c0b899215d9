//! The EFI system partition and the partition table, judged by independent tools.

mod tools;

use bootctl::device::{BlockDevice as _, MemDevice};
use installer::disk::layout::{Layout, Size};
use installer::disk::table::Table;
use installer::esp::guards::missing_copies;
use installer::esp::{self, EspContent, EspFile, GUARD_PATHS};
use proptest::prelude::*;
use record::Guid;
use tools::output_of;

fn made(len: usize, sector_size: u32) -> Vec<u8> {
    let device = MemDevice::new(len, sector_size);
    let guard = vec![0x4d; 120_000];
    let mut files: Vec<EspFile<'_>> = GUARD_PATHS
        .iter()
        .map(|path| EspFile::new(path, &guard))
        .collect();
    esp::create(&device, 0, device.len(), 7, &mut files).expect("file system");
    for path in GUARD_PATHS {
        assert!(
            esp::read(&device, path, guard.len()).expect("file") == guard,
            "{path}"
        );
    }
    device.bytes()
}

#[test]
fn fsck_reports_no_damage() {
    for (len, sector_size) in [
        (40 << 20, 512),
        (260 << 20, 512),
        (260 << 20, 4096),
        (20 << 20, 512),
    ] {
        let bytes = made(len, sector_size);
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), &bytes).expect("image");
        let said = output_of("fsck.vfat", &["-n"], file.path());
        for complaint in ["Expected", "Bad", "share", "Deleting", "differ"] {
            assert!(
                !said.contains(complaint),
                "{len} bytes, sectors of {sector_size}: {said}"
            );
        }
    }
}

#[test]
fn the_same_files_give_the_same_bytes() {
    assert!(made(40 << 20, 512) == made(40 << 20, 512));
}

#[test]
fn sgdisk_reports_no_problem_in_a_new_table() {
    let mib = |mib: u64| Size(mib << 20);
    let layout = Layout {
        esp: mib(34),
        boot: mib(2),
        root: mib(8),
        recovery: mib(2),
        data: None,
    };
    let device = MemDevice::new(96 << 20, 512);
    let disk = layout
        .plan(device.len(), 512, Guid([3; 16]))
        .expect("layout");
    Table::build(&disk)
        .expect("table")
        .commit(&device)
        .expect("commit");
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), device.bytes()).expect("image");
    assert!(output_of("sgdisk", &["-v"], file.path()).contains("No problems found"));
    let dumped = output_of("sfdisk", &["-d"], file.path());
    for partition in &disk.partitions {
        let uuid = partition.uuid.to_string().to_uppercase();
        let kind = partition.purpose.type_guid().to_string().to_uppercase();
        let line = dumped
            .lines()
            .find(|line| line.contains(&uuid))
            .expect("partition");
        assert!(
            line.contains(&kind) && line.contains(partition.purpose.as_str()),
            "{line}"
        );
        assert!(
            line.contains(&format!("start={:>12}", partition.offset / 512)),
            "{line}"
        );
    }
}

/// A device that records its writes.
struct Recorder {
    device: MemDevice,
    writes: std::sync::Mutex<Vec<(u64, Vec<u8>)>>,
}

impl bootctl::device::BlockDevice for Recorder {
    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }
    fn len(&self) -> u64 {
        self.device.len()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.device.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.writes
            .lock()
            .expect("writes")
            .push((offset, data.to_vec()));
        self.device.write_at(offset, data)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.device.flush()
    }
    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.device.read_medium_at(offset, into)
    }
}

#[test]
fn firmware_finds_no_file_system_until_it_is_complete() {
    for (len, sector_size) in [(40 << 20, 512), (40 << 20, 4096), (2 << 20, 4096)] {
        // Bytes of an earlier file system.
        let device = MemDevice::from_bytes(vec![0xeb; len], sector_size);
        let recorder = Recorder {
            device,
            writes: std::sync::Mutex::default(),
        };
        let mut files = [EspFile::new(esp::REMOVABLE_PATH, &[0x4d; 9000])];
        esp::create(&recorder, 0, len as u64, 7, &mut files).expect("file system");
        let writes = recorder.writes.into_inner().expect("writes");
        let boot_sector = |write: &&(u64, Vec<u8>)| write.0 == 0;
        let (last, before) = writes.split_last().expect("writes");
        assert!(
            boot_sector(&last)
                && last.1.len() == sector_size as usize
                && last.1[510..512] == [0x55, 0xaa]
        );
        assert!(
            boot_sector(&before.first().expect("first")),
            "the boot sector is erased first"
        );
        for write in before.iter().filter(boot_sector) {
            assert!(
                write.1[..sector_size as usize]
                    .iter()
                    .all(|byte| *byte == 0)
            );
        }
    }
}

#[test]
fn a_circular_directory_ends() {
    let device = MemDevice::new(34 << 20, 512);
    let mut files = vec![EspFile::new("EFI/RAYOS/GUARDA.EFI", b"guard")];
    esp::create(&device, 0, device.len(), 9, &mut files).expect("made");
    let whole = EspContent::Files(vec!["EFI/RAYOS/GUARDA.EFI".to_owned()]);
    assert_eq!(esp::inspect(&device).expect("look"), whole);
    // Both tables: each cluster of the root directory and of EFI is followed by itself.
    let mut bytes = device.bytes();
    let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]) as usize;
    let (reserved, table_len) = (word(14), word(36));
    for table in 0..2 {
        for cluster in 2_u32..6 {
            let at = (reserved + table * table_len) * 512 + cluster as usize * 4;
            bytes[at..at + 4].copy_from_slice(&cluster.to_le_bytes());
        }
    }
    device.write_at(0, &bytes).expect("write");
    assert!(matches!(
        esp::inspect(&device),
        Ok(EspContent::Files(files)) if files.len() <= esp::MAX_LISTED_FILES
    ));
}

/// Bytes at random offsets that replace those of a file system.
type Damage = Vec<(usize, Vec<u8>)>;

/// Generates damage anywhere in the first 4 MiB, and single bytes in the first 4 KiB.
fn damage() -> impl Strategy<Value = Damage> {
    let bytes = prop::collection::vec(any::<u8>(), 1..600);
    let anywhere = prop::collection::vec((0_usize..4 << 20, bytes), 1..40);
    let near = prop::collection::vec((0_usize..4096, any::<u8>()), 0..20);
    (anywhere, near).prop_map(|(mut damage, near)| {
        damage.extend(near.into_iter().map(|(at, byte)| (at, vec![byte])));
        damage
    })
}

/// Creates a file system with all copies of the guard.
fn create(device: &MemDevice, program: &[u8]) {
    let mut files = GUARD_PATHS.map(|path| EspFile::new(path, program));
    esp::create(device, 0, device.len(), 9, &mut files).expect("file system");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any damaged file system is inspected without a panic, and a new one replaces it.
    #[test]
    fn any_damage_is_inspected_and_repaired(damage in damage()) {
        let device = MemDevice::new(34 << 20, 512);
        let program = vec![0x4d; 120_000];
        create(&device, &program);
        for (at, bytes) in damage {
            device.write_at(at as u64, &bytes).expect("write");
        }
        prop_assert!(missing_copies(&device, &program).len() <= GUARD_PATHS.len());
        if let EspContent::Files(files) = esp::inspect(&device).expect("readable") {
            prop_assert!(files.len() <= esp::MAX_LISTED_FILES);
        }
        create(&device, &program);
        prop_assert!(missing_copies(&device, &program).is_empty());
    }
}
