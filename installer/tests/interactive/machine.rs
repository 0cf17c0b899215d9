//! A machine with a disk of each kind, all in memory.

use bootctl::device::{BlockDevice, MemDevice};
use fixtures::partition_table::{Partition, table};
use installer::disk::disk_facts::DiskFacts;
use installer::disk::disks::{Disk, DiskPart, Use, sample};
use installer::disk::layout::{Layout, Size};
use installer::disk::safety::DiskContent;
use installer::disk::table::Table;
use installer::install::answers::Answers;
use installer::interactive::frame::{draw, text};
use installer::interactive::keys::Key;
use installer::interactive::model::{Command, Event, State};
use installer::interactive::session::{Needs, Session};
use installer::interactive::view::view;
use record::Guid;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

const MIB: u64 = 1 << 20;

/// Places of the disks.
pub(crate) const BLANK: usize = 0;
pub(crate) const WINDOWS: usize = 1;
pub(crate) const RAYOS: usize = 2;
pub(crate) const BUSY: usize = 3;

fn disk(name: &str, size: u64, model: &str, serial: &str) -> Disk {
    Disk {
        name: name.to_owned(),
        path: PathBuf::from(format!("/dev/{name}")),
        size,
        model: Some(model.to_owned()),
        serial: Some(serial.to_owned()),
        ..sample()[0].clone()
    }
}

pub(crate) fn layout() -> Layout {
    let mib = |mib: u64| Size(mib * MIB);
    Layout {
        esp: mib(40),
        boot: mib(16),
        root: mib(128),
        recovery: mib(16),
        data: None,
    }
}

fn entry(kind: &str, mib: u64, byte: u8) -> Partition {
    Partition {
        type_guid: Guid::parse(kind).expect("guid").0,
        guid: [byte; 16],
        len: mib * MIB,
    }
}

fn windows() -> DiskFacts {
    let len = 1024 * MIB;
    let device = MemDevice::new(len as usize, 512);
    let entries = [
        entry("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", 100, 1),
        entry("e3c9e316-0b5c-4db8-817d-f92df00215ae", 16, 2),
        entry("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", 400, 3),
    ];
    for (at, bytes) in table(len, 512, [9; 16], &entries) {
        device.write_at(at, &bytes).expect("write");
    }
    for (at, bytes) in [(82, b"FAT32   ".as_slice()), (71, b"SYSTEM     ")] {
        device.write_at(MIB + at, bytes).expect("write");
    }
    device.write_at(117 * MIB + 3, b"NTFS    ").expect("write");
    let disk = disk("sda", len, "Disk of an office", "WD-WX11A1234567");
    DiskFacts::of(disk, &(Arc::new(device) as _))
}

fn rayos() -> DiskFacts {
    let len = 512 * MIB;
    let device = MemDevice::new(len as usize, 512);
    let planned = layout().plan(len, 512, Guid([3; 16])).expect("plan");
    let table = Table::build(&planned).expect("table");
    table.commit(&device).expect("commit");
    let disk = disk("vda", len, "Virtual disk", "RAYOS-0042");
    let mut facts = DiskFacts::of(disk, &(Arc::new(device) as _));
    if let Ok(findings) = &mut facts.findings {
        let version = "1.0.0".to_owned();
        findings.content = DiskContent::Installed { version };
    }
    facts
}

/// Returns the disks of the machine.
pub(crate) fn disks() -> Vec<DiskFacts> {
    static DISKS: OnceLock<Vec<DiskFacts>> = OnceLock::new();
    DISKS.get_or_init(make_disks).clone()
}

fn make_disks() -> Vec<DiskFacts> {
    let blank = MemDevice::new(1024 * MIB as usize, 512);
    let blank = Arc::new(blank) as Arc<dyn BlockDevice>;
    let fast = disk("nvme0n1", 1024 * MIB, "Sample NVMe", "S5GXNX0T123456");
    let mut busy = disk("sdb", 64 * MIB, "Small card", "CARD-77");
    busy.ro = true;
    busy.children = vec![DiskPart {
        name: "sdb1".to_owned(),
        size: 32 * MIB,
        partlabel: None,
        uses: vec![Use::Mounted("/mnt/photos".to_owned())],
    }];
    let small = MemDevice::new(64 * MIB as usize, 512);
    vec![
        DiskFacts::of(fast, &blank),
        windows(),
        rayos(),
        DiskFacts::of(busy, &(Arc::new(small) as _)),
    ]
}

/// Returns a session on the installation medium with a release.
pub(crate) fn session() -> Session {
    let answers = Answers::parse("version = 1").expect("answers");
    Session {
        release: Some("1.4.2".to_owned()),
        needs: Needs {
            boot: 12 * MIB,
            root: 100 * MIB,
            recovery: 12 * MIB,
        },
        is_medium: true,
        media: Vec::new(),
        save_path: "install.toml".to_owned(),
        is_sample: false,
        answers: Answers {
            layout: layout(),
            ..answers
        },
    }
}

/// A state that receives keys.
pub(crate) struct Operator {
    pub(crate) state: State,
    pub(crate) commands: Vec<Command>,
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self {
            state: State::new(session(), disks()),
            commands: Vec::new(),
        }
    }

    pub(crate) fn event(&mut self, event: Event) -> &mut Self {
        self.commands.extend(self.state.update(event));
        self
    }

    pub(crate) fn keys(&mut self, keys: &[Key]) -> &mut Self {
        for key in keys {
            self.event(Event::Key(*key));
        }
        self
    }

    /// Chooses items by their places, one screen after the other.
    pub(crate) fn choose(&mut self, places: &[usize]) -> &mut Self {
        for place in places {
            self.event(Event::Select(*place));
        }
        self
    }

    pub(crate) fn type_line(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            self.event(Event::Key(Key::Character(character)));
        }
        self.event(Event::Key(Key::Enter))
    }

    /// Returns the screen as text.
    pub(crate) fn screen(&self) -> String {
        text(&draw(&view(&self.state)))
    }
}
