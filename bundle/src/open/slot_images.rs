//! The slot images of a release, in files: a delta is made from them, and is based on them.

use crate::format::cbor::Blob;
use crate::format::index::BaseRange;
use crate::format::manifest::{Base, BaseImage, ImageRole};
use crate::open::error::BaseError;
use crate::read::release::Release;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Roles of the images that an update writes and that a machine has of the release it runs. A delta
/// consists of them and is based on them.
pub const SLOT_ROLES: [ImageRole; 2] = [ImageRole::Boot, ImageRole::Root];

/// A release, with the images of its slot in files.
pub struct SlotImages {
    pub(crate) release: Arc<Release>,
    pub(crate) images: Vec<SlotImage>,
}

/// An image in a file.
pub struct SlotImage {
    /// Purpose of the image.
    pub role: ImageRole,
    /// A file that holds the image and nothing else.
    pub file: File,
}

impl SlotImages {
    /// Returns the release.
    #[must_use]
    pub const fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// Returns the images, in the order of their roles.
    #[must_use]
    pub fn images(&self) -> &[SlotImage] {
        &self.images
    }

    /// Returns the description of this release as a base, for the manifest of a delta. *Pure.*
    #[must_use]
    pub fn as_base(&self) -> Base {
        let images = self
            .release
            .images()
            .iter()
            .filter(|image| SLOT_ROLES.contains(&image.role))
            .map(|image| BaseImage {
                role: image.role,
                size: image.size,
                sha256: Blob(image.sha256),
            })
            .collect();
        Base {
            images,
            version: self.release.manifest().version.clone(),
        }
    }

    /// Checks that `delta` is based on these images, by their digests. *Pure.*
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn check_base_of(&self, delta: &Release) -> Result<(), BaseError> {
        let base = delta.manifest().base.as_ref().ok_or(BaseError::NotADelta)?;
        base.images
            .iter()
            .try_for_each(|image| self.check_image(base, image))
    }

    fn check_image(&self, base: &Base, expected: &BaseImage) -> Result<(), BaseError> {
        let found = self.release.image(expected.role).map(|image| image.sha256);
        if found == Some(expected.sha256.0) {
            return Ok(());
        }
        let given = &self.release.manifest().version;
        let version = base.version.clone();
        if *given != version {
            return Err(BaseError::Version {
                expected: version,
                found: given.clone(),
            });
        }
        let image = expected.role;
        Err(match found {
            None => BaseError::Missing { version, image },
            Some(found) => BaseError::Image {
                version,
                image,
                found,
                expected: expected.sha256.0,
            },
        })
    }

    /// Fills `into` from a range of an image. *Reads.*
    ///
    /// # Errors
    /// Errors of reading the file; `NotFound` if there is no such image.
    pub fn read(&self, range: BaseRange, into: &mut [u8]) -> io::Result<()> {
        let image = self.images.iter().find(|image| image.role == range.role);
        image
            .ok_or(io::ErrorKind::NotFound)?
            .file
            .read_exact_at(into, range.offset)
    }
}
