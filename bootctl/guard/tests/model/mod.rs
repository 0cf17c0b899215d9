//! A machine in memory.

use crate::disk::{self, Disk};
use guard::disk::IoError;
use guard::{Ended, Launch, Outcome, Source};
use record::{Choice, Handoff, Request};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

/// A disk that loses unflushed writes in a power cut.
#[derive(Clone)]
pub(crate) struct SimDisk {
    cache: Disk,
    durable: Disk,
    /// Ranges in which the cache is newer.
    dirty: Vec<Range<usize>>,
    /// Number of writes and flushes so far.
    pub(crate) operations: usize,
    /// The operation at which the power fails, and the number of bytes of a write that are done.
    pub(crate) cut: Option<(usize, usize)>,
    pub(crate) fail_writes: bool,
    pub(crate) drop_writes: bool,
    /// Partition that returns read errors.
    pub(crate) unreadable: Option<usize>,
}

impl SimDisk {
    pub(crate) fn new(disk: Disk) -> Self {
        Self {
            cache: disk.clone(),
            durable: disk,
            dirty: Vec::new(),
            operations: 0,
            cut: None,
            fail_writes: false,
            drop_writes: false,
            unreadable: None,
        }
    }

    /// Returns whether the power has failed.
    pub(crate) fn dead(&self) -> bool {
        self.cut.is_some_and(|(at, _)| self.operations > at)
    }

    fn operate(&mut self) -> Result<(), IoError> {
        self.operations += 1;
        if self.fail_writes || self.dead() {
            Err(IoError)
        } else {
            Ok(())
        }
    }

    fn write(&mut self, at: usize, from: &[u8]) -> Result<(), IoError> {
        let before = self.dead();
        let result = self.operate();
        if let Some((_, torn)) = self.cut.filter(|_| self.dead() && !before) {
            let torn = torn.min(from.len());
            self.durable.bytes[at..at + torn].copy_from_slice(&from[..torn]);
        }
        result?;
        if !self.drop_writes {
            self.cache.bytes[at..at + from.len()].copy_from_slice(from);
            self.dirty.push(at..at + from.len());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IoError> {
        self.operate()?;
        for range in self.dirty.drain(..) {
            self.durable.bytes[range.clone()].copy_from_slice(&self.cache.bytes[range]);
        }
        Ok(())
    }
}

/// The guard's handle of one of the disks.
pub(crate) struct Handle(Rc<RefCell<SimDisk>>);

impl guard::disk::Disk for Handle {
    fn sector_len(&self) -> usize {
        self.0.borrow().cache.sector
    }

    fn sectors(&self) -> u64 {
        let disk = self.0.borrow();
        (disk.cache.bytes.len() / disk.cache.sector) as u64
    }

    fn read(&self, lba: u64, into: &mut [u8]) -> Result<(), IoError> {
        let disk = self.0.borrow();
        let at = lba as usize * disk.cache.sector;
        let bad = disk
            .unreadable
            .map(|part| disk.cache.at(part)..disk.cache.at(part) + disk.cache.len(part));
        if disk.dead() || bad.is_some_and(|bad| bad.contains(&at)) {
            return Err(IoError);
        }
        assert_eq!(into.len() % disk.cache.sector, 0, "whole sectors");
        into.copy_from_slice(disk.cache.bytes.get(at..at + into.len()).ok_or(IoError)?);
        Ok(())
    }

    fn write(&mut self, lba: u64, from: &[u8]) -> Result<(), IoError> {
        let mut disk = self.0.borrow_mut();
        let at = lba as usize * disk.cache.sector;
        assert_eq!(from.len() % disk.cache.sector, 0, "whole sectors");
        disk.write(at, from)
    }

    fn flush(&mut self) -> Result<(), IoError> {
        self.0.borrow_mut().flush()
    }
}

/// A file in memory.
pub(crate) struct File(Vec<u8>);

impl Source for File {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), IoError> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        for (place, to) in into.iter_mut().enumerate() {
            *to = rest.get(place).copied().unwrap_or(0);
        }
        Ok(())
    }
}

/// Behaviour of an image when it is started.
pub(crate) type Behaviour = fn(Choice) -> Ended;

/// The image takes over.
pub(crate) fn start_all(_: Choice) -> Ended {
    Ended::TookOver
}

/// Other behaviours.
pub(crate) mod does {
    use super::{Choice, Ended};

    /// The image returns.
    pub(crate) fn return_(_: Choice) -> Ended {
        Ended::Returned("ABORTED".into())
    }
}

/// Returns the disk with an entry of this type before all others of the first table.
#[allow(dead_code, reason = "shared")]
pub(crate) fn with_entry(mut disk: Disk, kind: record::Guid) -> Disk {
    let array = &mut disk.bytes[1024..1024 + 128 * 128];
    array.rotate_right(128);
    array[..16].copy_from_slice(&kind.0);
    array[16..32].fill(0x55);
    array[32..40].copy_from_slice(&40_u64.to_le_bytes());
    array[40..48].copy_from_slice(&50_u64.to_le_bytes());
    let array_crc = crc32fast::hash(array);
    let header = &mut disk.bytes[512..512 + 92];
    header[88..].copy_from_slice(&array_crc.to_le_bytes());
    header[16..20].fill(0);
    let crc = crc32fast::hash(header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    disk
}

/// The machine, and what the guard did.
pub(crate) struct Machine {
    pub(crate) disks: Vec<SimDisk>,
    live: Vec<Rc<RefCell<SimDisk>>>,
    /// Index of the disk that the guard was loaded from.
    pub(crate) own: Option<usize>,
    pub(crate) file: Option<Vec<u8>>,
    behaviour: Behaviour,
    pub(crate) lines: Vec<String>,
    /// The images that were started, each with the durable content of the first disk at that
    /// moment.
    pub(crate) started: Vec<(Choice, Disk)>,
    pub(crate) handoffs: Vec<Handoff>,
    pub(crate) images: Vec<Vec<u8>>,
}

impl Machine {
    /// Returns a machine with one disk, from which the guard is loaded.
    pub(crate) fn with(disk: Disk) -> Self {
        Self {
            disks: vec![SimDisk::new(disk)],
            live: Vec::new(),
            own: Some(0),
            file: None,
            behaviour: start_all,
            lines: Vec::new(),
            started: Vec::new(),
            handoffs: Vec::new(),
            images: Vec::new(),
        }
    }

    pub(crate) fn behaving(self, behaviour: Behaviour) -> Self {
        Self { behaviour, ..self }
    }

    /// Starts the guard.
    pub(crate) fn run(&mut self, request: Request) -> Outcome {
        self.live = self
            .disks
            .drain(..)
            .map(|disk| Rc::new(RefCell::new(disk)))
            .collect();
        self.lines.clear();
        let block = disk::trust().unwrap().to_block();
        let outcome = guard::run(self, &block, request);
        self.disks = self
            .live
            .drain(..)
            .map(|disk| Rc::try_unwrap(disk).ok().unwrap().into_inner())
            .collect();
        outcome
    }

    /// Returns the first disk as a running system would read it.
    pub(crate) fn own(&self) -> Disk {
        self.disks[0].cache.clone()
    }

    /// Returns the first disk as it is after a power cut.
    pub(crate) fn durable(&self) -> Disk {
        self.disks[0].durable.clone()
    }
}

impl guard::Machine for Machine {
    type Disk = Handle;
    type File = File;

    fn print(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }

    fn seconds(&mut self) -> u64 {
        0
    }

    fn own_disk(&mut self) -> Option<Handle> {
        self.own
            .and_then(|own| self.live.get(own))
            .map(|disk| Handle(Rc::clone(disk)))
    }

    fn other_disks(&mut self) -> Vec<Handle> {
        let others = self
            .live
            .iter()
            .enumerate()
            .filter(|(number, _)| Some(*number) != self.own);
        others.map(|(_, disk)| Handle(Rc::clone(disk))).collect()
    }

    fn recovery_file(&mut self) -> Option<File> {
        self.file.clone().map(File)
    }

    fn start(&mut self, launch: &Launch) -> Ended {
        if self.live.iter().any(|disk| disk.borrow().dead()) {
            return Ended::TookOver;
        }
        let durable = self.live.first().map(|disk| disk.borrow().durable.clone());
        self.started
            .extend(durable.map(|durable| (launch.handoff.choice, durable)));
        self.handoffs.push(launch.handoff);
        self.images.push(launch.image.bytes.clone());
        (self.behaviour)(launch.handoff.choice)
    }
}
