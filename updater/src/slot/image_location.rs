//! Where the images of a release lie on a disk, to be looked at.

use super::root_tree::RootTree;
use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError, Window};
use bundle::{ImageRole, Release};
use record::Slot;
use seal::SEAL_LEN;
use std::io;
use std::sync::Arc;

/// The bytes of a partition that an image lies in, from `base` on.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) window: Window,
    pub(crate) base: u64,
    /// Name of the partition, for people.
    pub(crate) name: &'static str,
}

/// From where a device is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// From wherever it is quickest.
    Anywhere,
    /// From the medium, not from a cache of what was written.
    Medium,
}

impl Place {
    /// The boot partition of `slot`, behind the seal.
    pub(crate) fn boot(disk: &Disk, slot: Slot) -> Result<Self, DiskError> {
        let name = match slot {
            Slot::A => "boot-a",
            Slot::B => "boot-b",
        };
        Ok(Self {
            window: disk.boot(slot)?,
            base: SEAL_LEN as u64,
            name,
        })
    }

    /// The root partition of `slot`.
    pub(crate) fn root(disk: &Disk, slot: Slot) -> Result<Self, DiskError> {
        let name = match slot {
            Slot::A => "root-a",
            Slot::B => "root-b",
        };
        Ok(Self {
            window: disk.root(slot)?,
            base: 0,
            name,
        })
    }

    /// The recovery partition, behind the seal.
    pub(crate) fn recovery(disk: &Disk) -> Result<Self, DiskError> {
        Ok(Self {
            window: disk.recovery()?,
            base: SEAL_LEN as u64,
            name: "recovery",
        })
    }

    /// Where byte `offset` of the image lies in the partition.
    pub(crate) const fn offset(&self, offset: u64) -> u64 {
        self.base + offset
    }

    /// Reads bytes of the image that will not be read again soon.
    pub(crate) fn read(&self, reading: Reading, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match reading {
            Reading::Anywhere => self.window.read_once_at(self.base + offset, into),
            Reading::Medium => self.window.read_medium_at(self.base + offset, into),
        }
    }
}

/// A release, and where each of its images lies, if it does.
pub(crate) struct Places {
    release: Arc<Release>,
    places: Vec<Option<Place>>,
    /// The hash tree over the root image, if it is to be written.
    tree: Option<RootTree>,
}

impl Places {
    /// `places` in the order of the release's images, which are to be written: the root image with
    /// its hash tree.
    pub(crate) fn new(release: Arc<Release>, places: Vec<Option<Place>>) -> Self {
        let images = release.images().iter().zip(&places).enumerate();
        let mut roots = images.filter(|(_, (image, _))| image.role == ImageRole::Root);
        let tree = release.statement().root.and_then(|root| {
            let (number, (_, place)) = roots.next()?;
            Some(RootTree::new(number, root, place.clone()?))
        });
        Self {
            release,
            places,
            tree,
        }
    }

    /// Boot and root image of `release` in `slot`, to be looked at.
    ///
    /// # Errors
    /// [`DiskError`] if a partition is not there.
    pub(crate) fn of_slot(
        disk: &Disk,
        slot: Slot,
        release: Arc<Release>,
    ) -> Result<Self, DiskError> {
        let place = |role| match role {
            ImageRole::Boot => Place::boot(disk, slot).map(Some),
            ImageRole::Root => Place::root(disk, slot).map(Some),
            ImageRole::Recovery | ImageRole::Guard => Ok(None),
        };
        let places = release
            .images()
            .iter()
            .map(|image| place(image.role))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            release,
            places,
            tree: None,
        })
    }

    /// The release.
    pub(crate) const fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// The hash tree over the root image, if it is to be written.
    pub(crate) const fn tree(&self) -> Option<&RootTree> {
        self.tree.as_ref()
    }

    /// Where an image lies on the disk, if it does.
    pub(crate) fn of(&self, image: usize) -> Option<&Place> {
        self.places.get(image).and_then(Option::as_ref)
    }
}
