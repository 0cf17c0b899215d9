//! Where the frames of a release go, and what already lies there.

use crate::plan::{Destination, MAX_GUARD, Plan};
use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError, Window};
use bundle::{FrameEntry, FrameKind, Release};
use seal::SEAL_LEN;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// A place for one image.
enum Sink {
    /// Bytes of a partition, from `base` on.
    Partition { window: Window, base: u64, name: &'static str },
    /// Memory.
    Memory(Mutex<Vec<u8>>),
    /// Not wanted.
    Nowhere,
}

/// The places of all images of a release, as a [`Plan`] assigned them. Nothing else can be written through it.
pub(crate) struct Sinks {
    release: Arc<Release>,
    sinks: Vec<Sink>,
    boot: Window,
    recovery: Option<Window>,
}

/// A frame on the disk is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// It could not be read.
    #[error("{partition}: offset {offset}: {error}")]
    Io {
        /// Partition.
        partition: &'static str,
        /// Byte offset in it.
        offset: u64,
        /// What the device said.
        error: io::Error,
    },
    /// It reads back as something else: the device is faulty.
    #[error("{partition}: offset {offset}: read back other bytes than were written")]
    Differs {
        /// Partition.
        partition: &'static str,
        /// Byte offset in it.
        offset: u64,
    },
}

impl Sinks {
    /// The places that `plan` names on `disk`.
    ///
    /// # Errors
    /// [`DiskError`] if a partition is not there; the plan has checked that it is.
    pub(crate) fn new(disk: &Disk, plan: &Plan, release: Arc<Release>) -> Result<Self, DiskError> {
        let slot = plan.target.slot();
        let seal = SEAL_LEN as u64;
        let mut recovery = None;
        let mut sinks = Vec::new();
        for (image, destination) in release.images().iter().zip(&plan.destinations) {
            sinks.push(match destination {
                Destination::Boot => Sink::Partition { window: disk.boot(slot)?, base: seal, name: "boot" },
                Destination::Root => Sink::Partition { window: disk.root(slot)?, base: 0, name: "root" },
                Destination::Recovery => {
                    recovery = Some(disk.recovery()?);
                    Sink::Partition { window: disk.recovery()?, base: seal, name: "recovery" }
                }
                Destination::Memory => Sink::Memory(Mutex::new(vec![0; image.size.min(MAX_GUARD) as usize])),
                Destination::Nowhere => Sink::Nowhere,
            });
        }
        Ok(Self { boot: disk.boot(slot)?, recovery, sinks, release })
    }

    /// The partitions that begin with a seal and are written.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &Window> {
        std::iter::once(&self.boot).chain(&self.recovery)
    }

    /// The release.
    pub(crate) fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// Numbers of the frames that go anywhere at all.
    pub(crate) fn wanted(&self) -> Vec<usize> {
        let wanted = |frame: &&FrameEntry| !matches!(self.sink(frame), Sink::Nowhere);
        let frames = self.release.frames().iter().enumerate();
        frames.filter(|(_, frame)| wanted(frame)).map(|(number, _)| number).collect()
    }

    /// What `missing` frames are made of, in the order of the payload: for each frame with stored bytes (or of
    /// zeroes) those that it is written to, itself and its repeats.
    pub(crate) fn sources(&self, missing: &[usize]) -> BTreeMap<usize, Vec<usize>> {
        let mut sources: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for number in missing {
            let source = match self.frame(*number).kind {
                FrameKind::Repeat { frame } => frame,
                _ => *number,
            };
            sources.entry(source).or_default().push(*number);
        }
        sources
    }

    /// Whether frame `source` lies on the disk already, since it is not among those that are about to be written.
    pub(crate) fn has(&self, source: usize, places: &[usize]) -> bool {
        !places.contains(&source) && matches!(self.sink(self.frame(source)), Sink::Partition { .. })
    }

    /// Whether the frame lies in its place already. A place that cannot be read is one that does not hold it.
    pub(crate) fn holds(&self, number: usize, buffer: &mut Vec<u8>) -> bool {
        let frame = self.frame(number);
        let Sink::Partition { window, base, .. } = self.sink(frame) else { return false };
        buffer.resize(frame.len as usize, 0);
        window.read_at(base + frame.offset, buffer).is_ok() && matches(frame, buffer)
    }

    /// Writes a frame to its place; durable only after [`Sinks::flush`].
    pub(crate) fn write(&self, number: usize, bytes: &[u8]) -> io::Result<()> {
        let frame = self.frame(number);
        match self.sink(frame) {
            Sink::Partition { window, base, .. } => window.write_at(base + frame.offset, bytes),
            Sink::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let at = frame.offset as usize;
                let place = memory.get_mut(at..at + bytes.len());
                place.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
                Ok(())
            }
            Sink::Nowhere => Ok(()),
        }
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.boot.flush()
    }

    /// Compares a frame on the medium with what was signed.
    pub(crate) fn read_back(&self, number: usize, buffer: &mut Vec<u8>) -> Result<(), ReadBackError> {
        let frame = self.frame(number);
        let Sink::Partition { window, base, name: partition } = self.sink(frame) else { return Ok(()) };
        let offset = base + frame.offset;
        buffer.resize(frame.len as usize, 0);
        window.read_medium_at(offset, buffer).map_err(|error| ReadBackError::Io {
            partition,
            offset,
            error,
        })?;
        if matches(frame, buffer) { Ok(()) } else { Err(ReadBackError::Differs { partition, offset }) }
    }

    /// The image that was written to memory.
    pub(crate) fn take_memory(&self) -> Option<Vec<u8>> {
        self.sinks.iter().find_map(|sink| match sink {
            Sink::Memory(memory) => {
                Some(std::mem::take(&mut *memory.lock().unwrap_or_else(PoisonError::into_inner)))
            }
            Sink::Partition { .. } | Sink::Nowhere => None,
        })
    }

    fn frame(&self, number: usize) -> &FrameEntry {
        &self.release.frames()[number]
    }

    fn sink(&self, frame: &FrameEntry) -> &Sink {
        &self.sinks[frame.image]
    }
}

/// Whether `bytes` are the frame's. A frame of zeroes is told without hashing.
fn matches(frame: &FrameEntry, bytes: &[u8]) -> bool {
    if frame.kind == FrameKind::Zero {
        return bytes.iter().all(|byte| *byte == 0);
    }
    Sha256::digest(bytes)[..] == frame.sha256
}
