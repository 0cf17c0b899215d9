//! The verbs: each opens files, calls the library and prints.
//!
//! | module | verbs |
//! | --- | --- |
//! | [`create`] | `create` |
//! | [`delta`] | `delta` |
//! | [`inspect`] | `inspect`, `list`, `diff`, `compare`, `cat-manifest` |
//! | [`sign`] | `keygen`, `sign`, `digest`, `attach` |
//! | [`trust`] | `trust-sign`, `trust-update`, `trust-block`, `embed-trust` |
//! | [`verify`] | `verify`, `extract` |
//! | [`bundles`] | bundles as several verbs open and report them |

pub(crate) mod bundles;
pub(crate) mod create;
pub(crate) mod delta;
pub(crate) mod inspect;
pub(crate) mod sign;
pub(crate) mod trust;
pub(crate) mod verify;
