//! One release in two bundles: the whole one and a delta that leads to it have the same images, and
//! manifests of their own.

use crate::plan::identity;
use crate::slot::hash::digest;
use crate::slot::image_location::Place;
use crate::slot::stored_metadata as kept;
use bootctl::device::BlockDevice as _;
use bootctl::disk::Disk;
use bundle::{ImageRole, Release};
use record::{Record, Slot, SlotState};
use seal::{Statement, Trust};
use std::io;

/// The record as it looks to `release`: if `slot` was signed to hold the very images of it, under
/// the same version and rollback index but another manifest, then the slot holds `release`. *Reads*
/// the slot's seal and what it keeps of its bundle; its root image only where it keeps nothing.
/// Nothing of that is a reason to fail: what cannot be told leaves the record as it is.
pub async fn as_seen_by(
    record: &Record,
    slot: Slot,
    disk: &Disk,
    trust: &Trust,
    release: &Release,
) -> Record {
    let (state, offered) = (*record.slot(slot), identity(release));
    let same = (state.release.version, state.release.rollback_index)
        == (offered.version, offered.rollback_index);
    if !same || state.release.manifest_sha256 == offered.manifest_sha256 {
        return *record;
    }
    match holds(disk, slot, trust, &state, release).await {
        Ok(true) => record.with_slot(
            slot,
            SlotState {
                release: offered,
                ..state
            },
        ),
        Ok(false) | Err(_) => *record,
    }
}

/// Whether the seal of `slot` is the one that the record names, and what it signs are the images of
/// `release`.
async fn holds(
    disk: &Disk,
    slot: Slot,
    trust: &Trust,
    state: &SlotState,
    release: &Release,
) -> io::Result<bool> {
    let boot = Place::boot(disk, slot).map_err(io::Error::other)?;
    let (statement, kept) = kept::read(&boot.window, trust).map_err(io::Error::other)?;
    if statement.manifest.sha256 != state.release.manifest_sha256 {
        return Ok(false);
    }
    if kept.is_some() {
        return Ok(signs_the_same(&statement, kept.as_deref(), release));
    }
    let Some(image) = release.image(ImageRole::Root) else {
        return Ok(false);
    };
    let (root, size) = (
        Place::root(disk, slot).map_err(io::Error::other)?,
        image.size,
    );
    let offered = release.statement();
    if (statement.boot.sha256, statement.root) != (offered.boot.sha256, offered.root)
        || size > root.window.len()
    {
        return Ok(false);
    }
    let hashed = tokio::task::spawn_blocking(move || digest(&root, size));
    Ok(hashed.await.map_err(io::Error::other)?? == image.sha256)
}

/// Whether a slot's own seal, and the manifest that it keeps, sign the version, the rollback index
/// and the images of `release`. *Pure.*
pub(crate) fn signs_the_same(
    statement: &Statement,
    kept: Option<&Release>,
    release: &Release,
) -> bool {
    let offered = release.statement();
    let root = |release: &Release| {
        release
            .image(ImageRole::Root)
            .map(|image| (image.size, image.sha256))
    };
    (statement.version, statement.rollback_index) == (offered.version, offered.rollback_index)
        && statement.root == offered.root
        && (statement.boot.len, statement.boot.sha256) == (offered.boot.len, offered.boot.sha256)
        && kept.is_some_and(|kept| root(kept).is_some() && root(kept) == root(release))
}
