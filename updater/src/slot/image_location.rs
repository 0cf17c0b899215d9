//! The locations of images on a disk.

use super::root_tree::RootTree;
use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError, Window};
use bundle::{ImageRole, Release};
use record::{PartitionName, Slot};
use seal::SEAL_LEN;
use std::io;
use std::sync::Arc;

/// The location of one image: a partition, from byte `base` on.
#[derive(Clone, Debug)]
pub(crate) struct ImageLocation {
    pub(crate) partition: PartitionName,
    pub(crate) window: Window,
    pub(crate) base: u64,
}

/// The way of reading a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    /// Through the page cache, which keeps the bytes for the next read.
    Cache,
    /// From the cache or the medium, for bytes that will not be read again soon.
    Anywhere,
    /// From the medium, bypassing the cache of written bytes.
    Medium,
}

impl ImageLocation {
    /// Returns the location of the boot image of `slot`, behind the seal.
    pub(crate) fn boot(disk: &Disk, slot: Slot) -> Result<Self, DiskError> {
        Self::behind_seal(disk, PartitionName::boot(slot))
    }

    /// Returns the location of the recovery image, behind the seal.
    pub(crate) fn recovery(disk: &Disk) -> Result<Self, DiskError> {
        Self::behind_seal(disk, PartitionName::Recovery)
    }

    /// Returns the location of the root image of `slot`.
    pub(crate) fn root(disk: &Disk, slot: Slot) -> Result<Self, DiskError> {
        let partition = PartitionName::root(slot);
        Ok(Self {
            partition,
            window: disk.partition(partition)?,
            base: 0,
        })
    }

    fn behind_seal(disk: &Disk, partition: PartitionName) -> Result<Self, DiskError> {
        Ok(Self {
            partition,
            window: disk.partition(partition)?,
            base: SEAL_LEN as u64,
        })
    }

    /// Returns the offset in the partition of byte `offset` of the image.
    pub(crate) const fn offset(&self, offset: u64) -> u64 {
        self.base + offset
    }

    /// Returns whether the partition has room for an image of `len` bytes.
    pub(crate) fn has_room_for(&self, len: u64) -> bool {
        let end = self.base.checked_add(len);
        end.is_some_and(|end| end <= self.window.len())
    }

    /// Reads bytes of the image.
    pub(crate) fn read(&self, from: ReadFrom, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = self.offset(offset);
        match from {
            ReadFrom::Cache => self.window.read_at(offset, into),
            ReadFrom::Anywhere => self.window.read_once_at(offset, into),
            ReadFrom::Medium => self.window.read_medium_at(offset, into),
        }
    }
}

/// The locations of the images of a release.
pub(crate) struct ImageLocations {
    release: Arc<Release>,
    /// In the order of the images; `None` for an image that is not on the disk.
    locations: Vec<Option<ImageLocation>>,
    /// The hash tree of the root image, if it is to be written.
    tree: Option<RootTree>,
}

impl ImageLocations {
    /// Returns `locations`, which are in the order of the images of `release` and to be written: the
    /// root image with its hash tree.
    pub(crate) fn new(release: Arc<Release>, locations: Vec<Option<ImageLocation>>) -> Self {
        let images = release.images().iter().zip(&locations).enumerate();
        let mut roots = images.filter(|(_, (image, _))| image.role == ImageRole::Root);
        let tree = release.statement().root.and_then(|root| {
            let (number, (_, location)) = roots.next()?;
            Some(RootTree::new(number, root, location.clone()?))
        });
        Self {
            release,
            locations,
            tree,
        }
    }

    /// Returns the locations of the boot and root image of `release` in `slot`.
    ///
    /// # Errors
    /// [`DiskError`] for a missing partition.
    pub(crate) fn in_slot(
        disk: &Disk,
        slot: Slot,
        release: Arc<Release>,
    ) -> Result<Self, DiskError> {
        let location = |role| match role {
            ImageRole::Boot => ImageLocation::boot(disk, slot).map(Some),
            ImageRole::Root => ImageLocation::root(disk, slot).map(Some),
            ImageRole::Recovery | ImageRole::Guard => Ok(None),
        };
        let locations = release
            .images()
            .iter()
            .map(|image| location(image.role))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            release,
            locations,
            tree: None,
        })
    }

    pub(crate) const fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// Returns the hash tree of the root image, if it is to be written.
    pub(crate) const fn tree(&self) -> Option<&RootTree> {
        self.tree.as_ref()
    }

    /// Returns the location of an image; `None` if it is not on the disk.
    pub(crate) fn get(&self, image: usize) -> Option<&ImageLocation> {
        self.locations.get(image).and_then(Option::as_ref)
    }
}
