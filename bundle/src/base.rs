//! The images of a release in files: what a delta is made from, and what its chunks build upon.

use crate::hex;
use crate::index::BaseRange;
use crate::manifest::{Base, BaseImage, ImageRole};
use crate::open::{Access, OpenError, Opener};
use crate::release::Release;
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Images that an update writes, and that a machine has of the release it runs: those that a delta
/// consists of and builds upon.
pub const SLOT_ROLES: [ImageRole; 2] = [ImageRole::Boot, ImageRole::Root];

/// A release and the images of its slot in files of their own.
pub struct Extracted {
    /// The release.
    pub release: Arc<Release>,
    images: Vec<(ImageRole, File)>,
}

/// Images are not those that a delta bundle builds upon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum BaseError {
    #[error("not a delta bundle: it needs no base")]
    NotADelta,
    #[error("delta to release {expected}: the base given is release {found}")]
    Version { expected: String, found: String },
    #[error("delta to release {version}: the base given has no image {image}")]
    Missing { version: String, image: ImageRole },
    #[error(
        "delta to release {version}: image {image} of the base given has SHA-256 {}, expected {}",
        hex(found),
        hex(expected)
    )]
    Image {
        version: String,
        image: ImageRole,
        found: [u8; 32],
        expected: [u8; 32],
    },
}

impl Extracted {
    /// Verifies `bundle` as `access` says and extracts the images of its slot into files that
    /// `scratch` makes. *Reads* the bundle once for each image, from its beginning, and *writes*
    /// the files. `progress` is told bytes of images.
    ///
    /// # Errors
    /// [`OpenError`]; also for a delta bundle, which has no images of its own.
    pub fn open(
        bundle: &File,
        access: Access<'_>,
        workers: usize,
        scratch: impl Fn() -> io::Result<File>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, OpenError> {
        let open = || {
            let mut file = bundle;
            file.rewind()?;
            Opener::open(file, access, workers)
        };
        let release = Arc::clone(open()?.release());
        let mut images = Vec::new();
        for role in SLOT_ROLES
            .into_iter()
            .filter(|role| release.image(*role).is_some())
        {
            let file = scratch().map_err(OpenError::Output)?;
            open()?.extract(role, &file, progress)?;
            images.push((role, file));
        }
        Ok(Self { release, images })
    }

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
            sha256: crate::cbor::Blob(image.sha256),
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
