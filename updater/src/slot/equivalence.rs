//! One release in two bundles: a full bundle and a delta that leads to it have the same images, but
//! different manifests.

use super::hash::image_digest;
use super::image_location::{ImageLocation, ReadFrom};
use super::stored_metadata::{SealedSlot, StoredMetadata};
use crate::plan::identity;
use bundle::{ImageRole, Release};
use record::{Record, Release as RecordRelease, SlotState};
use seal::Statement;
use std::io;

/// Returns `record` as it would be if the slot had been written from the bundle of `release`.
///
/// The slot must be signed for the images, version and rollback index of `release`, but by another
/// manifest. In any other case, and if that cannot be determined, `record` is returned unchanged.
/// *Reads* the slot's metadata, and its root image only if the slot stores no manifest.
pub(crate) async fn rebased_on(
    release: &Release,
    record: &Record,
    sealed: SealedSlot<'_>,
) -> Record {
    let state = *record.slot(sealed.slot);
    let offered = identity(release);
    let has_same_name = state.release.version == offered.version
        && state.release.rollback_index == offered.rollback_index;
    if !has_same_name || state.release.manifest_sha256 == offered.manifest_sha256 {
        return *record;
    }
    match holds_images_of(release, &state.release, sealed).await {
        Ok(true) => record.with_slot(
            sealed.slot,
            SlotState {
                release: offered,
                ..state
            },
        ),
        Ok(false) | Err(_) => *record,
    }
}

/// Returns whether the seal is that of `recorded`, and signs the images of `release`.
async fn holds_images_of(
    release: &Release,
    recorded: &RecordRelease,
    sealed: SealedSlot<'_>,
) -> io::Result<bool> {
    let metadata = sealed.metadata().map_err(io::Error::other)?;
    if metadata.statement.manifest.sha256 != recorded.manifest_sha256 {
        return Ok(false);
    }
    if metadata.release.is_some() {
        return Ok(signs_images_of(&metadata, release));
    }
    let signed = |statement: &Statement| (statement.boot.sha256, statement.root);
    if signed(&metadata.statement) != signed(release.statement()) {
        return Ok(false);
    }
    holds_root_of(release, sealed).await
}

async fn holds_root_of(release: &Release, sealed: SealedSlot<'_>) -> io::Result<bool> {
    let Some(image) = release.image(ImageRole::Root) else {
        return Ok(false);
    };
    let root = ImageLocation::root(sealed.disk, sealed.slot).map_err(io::Error::other)?;
    let size = image.size;
    if !root.has_room_for(size) {
        return Ok(false);
    }
    let hashed = tokio::task::spawn_blocking(move || image_digest(&root, size, ReadFrom::Cache));
    let digest = hashed.await.map_err(io::Error::other)?;
    Ok(digest.map_err(|error| error.source)? == image.sha256)
}

/// Returns whether the seal and the stored manifest of a slot sign the version, the rollback index
/// and the images of `release`. *Pure.*
pub(crate) fn signs_images_of(metadata: &StoredMetadata, release: &Release) -> bool {
    let name = |statement: &Statement| {
        let root_hash = statement.root;
        (statement.version, statement.rollback_index, root_hash)
    };
    let boot = |statement: &Statement| (statement.boot.len, statement.boot.sha256);
    let root = |release: &Release| {
        release
            .image(ImageRole::Root)
            .map(|image| (image.size, image.sha256))
    };
    let (signed, offered) = (&metadata.statement, release.statement());
    name(signed) == name(offered)
        && boot(signed) == boot(offered)
        && metadata
            .release
            .as_ref()
            .is_some_and(|stored| root(stored).is_some() && root(stored) == root(release))
}
