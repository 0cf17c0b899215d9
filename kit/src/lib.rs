//! Builds a release of a product from its root file system, its kernel and one `rayos.toml`: boot
//! image, recovery image with the product's trust, guard, bundle, delta, stick and factory image.
//!
//! A build is a list of steps ([`plan`]), most of which are commands of `rayos-bundle`,
//! `rayos-installer` and external tools. They are printed, and can be repeated by hand. The same
//! inputs give the same bytes, except for Secure Boot signatures, which are those of `sbsign`.
//!
//! | module | holds |
//! | --- | --- |
//! | [`archive`] | a cpio archive, as the kernel unpacks it |
//! | [`config`] | `rayos.toml` |
//! | [`init`] | the files of a new product |
//! | [`locate`] | the kernel and the initramfs in a root tree |
//! | [`plan`] | the steps of a build |
//! | [`run`] | runs the steps |
//! | [`uki`] | unified kernel images |
//!
//! Imports go one way: `run` uses `plan`, `uki` and `archive`; `plan` and `locate` use `config`.

pub mod archive;
pub mod config;
pub mod init;
pub mod locate;
pub mod plan;
pub mod run;
pub mod uki;
