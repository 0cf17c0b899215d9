//! The images of a release in files: what a delta is made from, and what its chunks build upon.

use crate::format::cbor::Blob;
use crate::format::index::BaseRange;
use crate::format::manifest::{Base, BaseImage, ImageRole};
use crate::open::error::BaseError;
use crate::read::release::Release;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Images that an update writes, and that a machine has of the release it runs: those that a delta
/// consists of and builds upon.
pub const SLOT_ROLES: [ImageRole; 2] = [ImageRole::Boot, ImageRole::Root];

/// A release and the images of its slot in files of their own.
pub struct Extracted {
    /// The release.
    pub release: Arc<Release>,
    pub(crate) images: Vec<(ImageRole, File)>,
}

impl Extracted {
    /// The images' roles and files, in the order of their roles.
    #[must_use]
    pub fn images(&self) -> &[(ImageRole, File)] {
        &self.images
    }

    /// What a manifest says of this release as a base.
    #[must_use]
    pub fn as_base(&self) -> Base {
        let images = self
            .release
            .images()
            .iter()
            .filter(|image| SLOT_ROLES.contains(&image.role));
        let images = images.map(|image| BaseImage {
            role: image.role,
            size: image.size,
            sha256: Blob(image.sha256),
        });
        Base {
            images: images.collect(),
            version: self.release.manifest().version.clone(),
        }
    }

    /// Whether the images are those that `delta` builds upon, by their digests. *Pure.*
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn check_base_of(&self, delta: &Release) -> Result<(), BaseError> {
        let base = delta.manifest().base.as_ref().ok_or(BaseError::NotADelta)?;
        let (version, given) = (|| base.version.clone(), &self.release.manifest().version);
        for image in &base.images {
            let found = self.release.image(image.role);
            let expected = image.sha256.0;
            match found {
                Some(found) if found.sha256 == expected => {}
                _ if *given != base.version => {
                    return Err(BaseError::Version {
                        expected: version(),
                        found: given.clone(),
                    });
                }
                None => {
                    return Err(BaseError::Missing {
                        version: version(),
                        image: image.role,
                    });
                }
                Some(found) => {
                    let (image, found) = (image.role, found.sha256);
                    return Err(BaseError::Image {
                        version: version(),
                        image,
                        found,
                        expected,
                    });
                }
            }
        }
        Ok(())
    }

    /// Fills `into` from a range of an image. *Reads.*
    ///
    /// # Errors
    /// What reading gives; `NotFound` if there is no such image.
    pub fn read(&self, range: BaseRange, into: &mut [u8]) -> io::Result<()> {
        let found = self.images.iter().find(|(role, _)| *role == range.role);
        let (_, file) = found.ok_or(io::ErrorKind::NotFound)?;
        file.read_exact_at(into, range.offset)
    }
}
