//! The only way to write the images of a release.

use super::delta_base::DeltaBase;
use super::image_location::ImageLocation;
use super::release_locations::ImageLocations;
use super::root_tree::RootTree;
use crate::plan::{Destination, MAX_GUARD, Plan};
use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError};
use bundle::Release;
use seal::ImageDigest;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Writes images to the destinations that a [`Plan`] assigned, and nothing else.
pub(crate) struct SlotWriter {
    locations: Arc<ImageLocations>,
    memory: Option<MemoryImage>,
    boot: ImageLocation,
    recovery: Option<ImageLocation>,
    delta_base: Option<DeltaBase>,
}

/// An image in memory.
struct MemoryImage {
    image: usize,
    bytes: Mutex<Vec<u8>>,
}

impl SlotWriter {
    /// Returns a writer to the destinations of `plan` on `disk`. Delta chunks are decoded from
    /// `delta_base`.
    ///
    /// # Errors
    /// [`DiskError`] for a missing partition; the plan has checked that there is none.
    pub(crate) fn new(
        disk: &Disk,
        plan: &Plan,
        release: Arc<Release>,
        delta_base: Option<DeltaBase>,
    ) -> Result<Self, DiskError> {
        let slot = plan.target.slot();
        let (mut recovery, mut memory) = (None, None);
        let mut locations = Vec::new();
        let images = release.images().iter().enumerate();
        for ((number, image), destination) in images.zip(&plan.destinations) {
            locations.push(match destination {
                Destination::Boot => Some(ImageLocation::boot(disk, slot)?),
                Destination::Root => Some(ImageLocation::root(disk, slot)?),
                Destination::Recovery => {
                    recovery = Some(ImageLocation::recovery(disk)?);
                    recovery.clone()
                }
                Destination::Memory => {
                    memory = Some(MemoryImage {
                        image: number,
                        bytes: Mutex::new(vec![0; image.size.min(MAX_GUARD) as usize]),
                    });
                    None
                }
                Destination::Nowhere => None,
            });
        }
        Ok(Self {
            locations: Arc::new(ImageLocations::new(release, locations)),
            memory,
            boot: ImageLocation::boot(disk, slot)?,
            recovery,
            delta_base,
        })
    }

    pub(crate) const fn delta_base(&self) -> Option<&DeltaBase> {
        self.delta_base.as_ref()
    }

    /// Returns the hash tree of the root image, if the release has a root hash.
    pub(crate) fn tree(&self) -> Option<&RootTree> {
        self.locations.tree()
    }

    pub(crate) const fn locations(&self) -> &Arc<ImageLocations> {
        &self.locations
    }

    /// Returns the locations of the images that have a seal before them: boot, and recovery if it
    /// is written.
    pub(crate) fn sealed_images(&self) -> impl Iterator<Item = &ImageLocation> {
        std::iter::once(&self.boot).chain(&self.recovery)
    }

    /// Returns the same locations, each with the digest that the guard will check.
    pub(crate) fn guarded_images(&self) -> Vec<(ImageLocation, ImageDigest)> {
        let statement = self.release().statement();
        let digests = [statement.boot, statement.recovery];
        self.sealed_images().cloned().zip(digests).collect()
    }

    /// Returns the location of the boot image of the target slot.
    pub(crate) const fn boot(&self) -> &ImageLocation {
        &self.boot
    }

    pub(crate) fn release(&self) -> &Arc<Release> {
        self.locations.release()
    }

    /// Returns whether a chunk has a destination.
    pub(crate) fn wants(&self, chunk: usize) -> bool {
        let image = self.release().chunks()[chunk].image;
        self.location(image).is_some() || self.memory_image(image).is_some()
    }

    /// Returns the location of an image; `None` if it is not on the disk.
    pub(crate) fn location(&self, image: usize) -> Option<&ImageLocation> {
        self.locations.get(image)
    }

    fn memory_image(&self, image: usize) -> Option<&MemoryImage> {
        self.memory.as_ref().filter(|memory| memory.image == image)
    }

    /// Writes bytes of an image. *Writes*; durable after [`SlotWriter::flush`].
    ///
    /// # Errors
    /// The error of the device.
    ///
    /// # Power loss
    /// Any of the bytes since the last flush may be missing.
    pub(crate) fn write(&self, image: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(location) = self.location(image) {
            return location.window.write_at(location.offset(offset), bytes);
        }
        if let Some(memory) = self.memory_image(image) {
            let mut held = memory.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            let at = offset as usize;
            held.get_mut(at..at + bytes.len())
                .ok_or(io::ErrorKind::InvalidInput)?
                .copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Writes zeroes of an image. *Writes*; durable after [`SlotWriter::flush`].
    ///
    /// # Errors
    /// The error of the device.
    ///
    /// # Power loss
    /// As [`SlotWriter::write`].
    pub(crate) fn write_zeroes(&self, image: usize, offset: u64, count: u64) -> io::Result<()> {
        match self.location(image) {
            Some(location) => {
                let offset = location.offset(offset);
                location.window.write_zeroes_at(offset, count)
            }
            // An image in memory is zero from the beginning.
            None => Ok(()),
        }
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The error of the device.
    ///
    /// # Power loss
    /// Before it returns, any of the bytes since the last flush may be missing.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.boot.window.flush()
    }

    /// Returns whether the disk is slow at alternating between reads and writes.
    pub(crate) fn is_rotating(&self) -> bool {
        self.boot.window.is_rotating()
    }

    /// Returns the destination of an image, for messages.
    pub(crate) fn name(&self, image: usize) -> &'static str {
        self.location(image)
            .map_or("memory", |location| location.partition.as_str())
    }

    /// Takes the image that was written to memory.
    pub(crate) fn take_memory(&self) -> Option<Vec<u8>> {
        let memory = self.memory.as_ref()?;
        let mut bytes = memory.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut *bytes))
    }
}
