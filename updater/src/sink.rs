//! The places that the images of a release go to, and the one way to write there.

use crate::plan::{Destination, MAX_GUARD, Plan};
use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError, Window};
use bundle::Release;
use seal::SEAL_LEN;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// A place for one image.
enum Sink {
    /// Bytes of a partition, from `base` on.
    Partition(Place),
    /// Memory.
    Memory(Mutex<Vec<u8>>),
    /// Not wanted.
    Nowhere,
}

/// Bytes of a partition, from `base` on.
pub(crate) struct Place {
    window: Window,
    base: u64,
    /// Name of the partition, for people.
    pub(crate) name: &'static str,
}

impl Place {
    /// Where byte `offset` of the image lies in the partition.
    pub(crate) const fn offset(&self, offset: u64) -> u64 {
        self.base + offset
    }

    /// Reads what will not be read again soon.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.window.read_once_at(self.base + offset, into)
    }

    /// Reads from the medium.
    pub(crate) fn read_medium(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.window.read_medium_at(self.base + offset, into)
    }
}

/// The places of all images of a release, as a [`Plan`] assigned them. Nothing else can be written through it.
pub(crate) struct Sinks {
    release: Arc<Release>,
    sinks: Vec<Sink>,
    boot: Window,
    recovery: Option<Window>,
}

impl Sinks {
    /// The places that `plan` names on `disk`.
    ///
    /// # Errors
    /// [`DiskError`] if a partition is not there; the plan has checked that it is.
    pub(crate) fn new(disk: &Disk, plan: &Plan, release: Arc<Release>) -> Result<Self, DiskError> {
        let slot = plan.target.slot();
        let seal = SEAL_LEN as u64;
        let [boot, root] = match slot {
            record::Slot::A => ["boot-a", "root-a"],
            record::Slot::B => ["boot-b", "root-b"],
        };
        let mut recovery = None;
        let mut sinks = Vec::new();
        for (image, destination) in release.images().iter().zip(&plan.destinations) {
            sinks.push(match destination {
                Destination::Boot => {
                    Sink::Partition(Place { window: disk.boot(slot)?, base: seal, name: boot })
                }
                Destination::Root => Sink::Partition(Place { window: disk.root(slot)?, base: 0, name: root }),
                Destination::Recovery => {
                    recovery = Some(disk.recovery()?);
                    Sink::Partition(Place { window: disk.recovery()?, base: seal, name: "recovery" })
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
    pub(crate) const fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// Whether frame `number` goes anywhere at all.
    pub(crate) fn wants(&self, number: usize) -> bool {
        !matches!(self.sinks[self.release.frames()[number].image], Sink::Nowhere)
    }

    /// Where an image lies on the disk, if it does.
    pub(crate) fn place(&self, image: usize) -> Option<&Place> {
        match &self.sinks[image] {
            Sink::Partition(place) => Some(place),
            Sink::Memory(_) | Sink::Nowhere => None,
        }
    }

    /// Writes bytes of an image to their place; durable only after [`Sinks::flush`].
    pub(crate) fn write(&self, image: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match &self.sinks[image] {
            Sink::Partition(place) => place.window.write_at(place.base + offset, bytes),
            Sink::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let at = offset as usize;
                let place = memory.get_mut(at..at + bytes.len());
                place.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
                Ok(())
            }
            Sink::Nowhere => Ok(()),
        }
    }

    /// Writes zeroes of an image to their place; durable only after [`Sinks::flush`].
    pub(crate) fn write_zeroes(&self, image: usize, offset: u64, count: u64) -> io::Result<()> {
        match &self.sinks[image] {
            Sink::Partition(place) => place.window.write_zeroes_at(place.base + offset, count),
            // It was made of zeroes.
            Sink::Memory(_) | Sink::Nowhere => Ok(()),
        }
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.boot.flush()
    }

    /// Name of the partition that an image goes to, for people.
    pub(crate) fn name(&self, image: usize) -> &'static str {
        self.place(image).map_or("memory", |place| place.name)
    }

    /// The image that was written to memory.
    pub(crate) fn take_memory(&self) -> Option<Vec<u8>> {
        self.sinks.iter().find_map(|sink| match sink {
            Sink::Memory(memory) => {
                Some(std::mem::take(&mut *memory.lock().unwrap_or_else(PoisonError::into_inner)))
            }
            Sink::Partition(_) | Sink::Nowhere => None,
        })
    }
}
