//! The partitions of a slot: where images are, what they hold, and how they are written.
//!
//! | module | holds |
//! | --- | --- |
//! | `image_location` | the partition and offset of each image |
//! | `root_tree` | the hash tree of a root image that is written |
//! | `release_locations` | the locations of all images of a release |
//! | `hash` | digests of images and chunks |
//! | `stored_metadata` | the seal, manifest and index that a slot stores about its release |
//! | `equivalence` | whether two bundles hold the same release |
//! | `delta_base` | the slot that a delta builds upon |
//! | `writer` | the only way to write images |

pub(crate) mod delta_base;
pub(crate) mod equivalence;
pub(crate) mod hash;
pub(crate) mod image_location;
pub(crate) mod release_locations;
pub(crate) mod root_tree;
pub(crate) mod stored_metadata;
pub(crate) mod writer;
