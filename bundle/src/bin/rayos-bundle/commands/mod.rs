//! The verbs: open the files, call the library, print.
//!
//! | module | verbs |
//! | --- | --- |
//! | [`create`] | `create` |
//! | [`delta`] | `delta`; the base of a delta for other verbs |
//! | [`inspect`] | `inspect`, `list`, `diff`, `compare`, `cat-manifest`, `generate` |
//! | [`sign`] | `keygen`, `sign`, `digest`, `attach` |
//! | [`trust`] | `trust-sign`, `trust-update`, `trust-block`, `embed-trust` |
//! | [`verify`] | `verify`, `extract` |

pub(crate) mod create;
pub(crate) mod delta;
pub(crate) mod inspect;
pub(crate) mod sign;
pub(crate) mod trust;
pub(crate) mod verify;
