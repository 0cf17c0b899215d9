//! A whole bundle at once: every chunk checked, images extracted, on all processors.
//!
//! | module | holds |
//! | --- | --- |
//! | [`delta_base`] | the images that a delta builds upon |
//! | [`error`] | [`OpenError`], [`BaseError`] |
//! | [`opener`] | [`Opener`]: checks and extracts |
//! | [`whole_images`] | digests of whole images |

pub(crate) mod delta_base;
pub(crate) mod error;
pub(crate) mod opener;
pub(crate) mod whole_images;

pub use delta_base::{Extracted, SLOT_ROLES};
pub use error::{BaseError, OpenError};
pub use opener::{Access, Opener};
pub use whole_images::MAX_KEPT;
