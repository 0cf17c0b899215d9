//! The partitions of a slot: reading, writing and recognising what lies in them.

pub(crate) mod delta_base;
pub(crate) mod equivalence;
pub(crate) mod hash;
pub(crate) mod image_location;
pub(crate) mod root_tree;
pub(crate) mod stored_metadata;
pub(crate) mod writer;
