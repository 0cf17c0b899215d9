//! The locations of all images of a release in a slot, and the hash tree of its root image.

use super::image_location::ImageLocation;
use super::root_tree::RootTree;
use bootctl::disk::{Disk, DiskError};
use bundle::{ImageRole, Release};
use record::Slot;
use std::sync::Arc;

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
