//! Arguments of an installation.

use super::media_fingerprint::MediaFingerprint;
use crate::disk::layout::Layout;
use bootctl::device::BlockDevice;
use bootctl::efivars::EfiVars;
use record::{Guid, Text64};
use seal::Trust;
use std::sync::Arc;

/// Arguments of [`super::install`].
pub struct InstallRequest<'a> {
    /// The disk. Everything on it is lost, unless [`InstallOptions::beside`] is set.
    pub device: Arc<dyn BlockDevice>,
    /// The layout of the partitions.
    pub layout: &'a Layout,
    /// Identity of this installation; a random number.
    pub install_id: Guid,
    /// Hardware name of the machine; `None` takes the first one that the release lists.
    pub compatible: Option<Text64>,
    /// Keys that may sign the release.
    pub trust: &'a Trust,
    /// EFI variables of the machine; `None` for an image that another machine will use.
    pub vars: Option<&'a dyn EfiVars>,
    /// Number of threads.
    pub jobs: usize,
    /// Time of day, in seconds since 1970.
    pub now: u64,
    /// Relation to other installations.
    pub options: InstallOptions,
}

/// How an installation treats other systems and the previous installation on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstallOptions {
    /// Install into free space and keep other systems. Existing RayOS partitions are replaced: the
    /// caller has checked that they may be.
    pub beside: bool,
    /// Ignore the rollback floor of the previous installation. It is kept otherwise, if the
    /// hardware name is the same.
    pub forget_floor: bool,
    /// Fingerprint of the medium, by which the medium recognises this installation.
    pub fingerprint: Option<MediaFingerprint>,
}
