//! A whole bundle: every chunk checked, images extracted, on all processors.
//!
//! | module | holds |
//! | --- | --- |
//! | `error` | [`OpenError`], [`BaseError`] |
//! | `image_digests` | digests of whole images |
//! | `opener` | [`Opener`]: checks and extracts |
//! | `slot_images` | [`SlotImages`]: a delta is made from them and based on them |

pub(crate) mod error;
pub(crate) mod image_digests;
pub(crate) mod opener;
pub(crate) mod slot_images;

pub use error::{BaseError, OpenError};
pub use image_digests::MAX_KEPT;
pub use opener::{Access, Opener};
pub use slot_images::{SLOT_ROLES, SlotImage, SlotImages};
