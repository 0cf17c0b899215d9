//! Descriptions of a release, as text and as JSON (`rayos-bundle.inspect/1`).

use crate::format::index::{ChunkEntry, ChunkKind};
use crate::hex::hex;
use crate::read::release::{Image, Release};
use cli::quantity::bytes;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Returns the release as JSON. *Pure.* Digests and key ids are in hexadecimal, lengths and sizes
/// in bytes.
#[must_use]
pub fn json(release: &Release) -> Value {
    let statement = release.statement();
    let manifest = release.manifest();
    let signatures = release.seal().signatures();
    let signatures: Vec<String> = signatures.map(|entry| entry.key_id.to_string()).collect();
    let build: Map<String, Value> = manifest
        .build
        .iter()
        .map(|(key, value)| (key.0.clone(), Value::from(value.clone())))
        .collect();
    let sbom = manifest
        .sbom
        .as_ref()
        .map(|sbom| json!({"sha256": hex(&sbom.sha256.0), "media_type": sbom.media_type}));
    json!({
        "schema": "rayos-bundle.inspect/1",
        "verified": release.is_verified(),
        "version": manifest.version,
        "rollback_index": manifest.rollback_index,
        "key_epoch": statement.key_epoch,
        "revoke": statement.revoke,
        "watchdog": statement.watchdog,
        "root_hash": statement.root.map(|root| hex(&root.root_hash)),
        "compatible": manifest.compatible,
        "min_updater": manifest.min_updater.map(|version| version.to_string()),
        "created": manifest.created,
        "build": build,
        "notes": manifest.notes,
        "sbom": sbom,
        "base": manifest.base.as_ref().map(|base| base.version.clone()),
        "signatures": signatures,
        "bundle_len": statement.bundle_len,
        "manifest_len": statement.manifest.len,
        "manifest_sha256": hex(&statement.manifest.sha256),
        "payload_len": manifest.payload,
        "hints_len": release.hints_range().end - release.hints_range().start,
        "chunks": chunk_counts(release),
        "images": images_json(release),
    })
}

fn images_json(release: &Release) -> Value {
    let images = release.images().iter().map(|image| {
        let chunks = chunks_of(release, image);
        json!({
            "role": image.role.as_str(),
            "size": image.size,
            "sha256": hex(&image.sha256),
            "stored": stored_len(chunks),
            "chunks": chunks.len(),
            "chunk_size": image.chunk_size,
        })
    });
    images.collect()
}

fn chunks_of<'a>(release: &'a Release, image: &Image) -> &'a [ChunkEntry] {
    let chunks = release.chunks().get(image.chunks.clone());
    chunks.unwrap_or_default()
}

fn stored_len(chunks: &[ChunkEntry]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.stored_len)).sum()
}

fn chunk_counts(release: &Release) -> Value {
    let count = |is_kind: fn(&ChunkKind) -> bool| {
        let chunks = release.chunks().iter();
        chunks.filter(|chunk| is_kind(&chunk.kind)).count()
    };
    json!({
        "all": release.chunks().len(),
        "zero": count(|kind| matches!(kind, ChunkKind::Zero)),
        "raw": count(|kind| matches!(kind, ChunkKind::Raw)),
        "zstd": count(|kind| matches!(kind, ChunkKind::Zstd)),
        "repeat": count(|kind| matches!(kind, ChunkKind::Repeat { .. })),
        "delta": count(|kind| matches!(kind, ChunkKind::Delta { .. })),
    })
}

/// Returns the release as text for people. *Pure.* Programs use [`json()`].
#[must_use]
pub fn text(release: &Release) -> String {
    let statement = release.statement();
    let manifest = release.manifest();
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        writeln!(text, "{name:<16}{value}").unwrap_or_default();
    };
    line("version", &manifest.version);
    line("rollback index", &manifest.rollback_index.to_string());
    line("compatible", &manifest.compatible.join(", "));
    if let Some(version) = manifest.min_updater {
        line("min. updater", &version.to_string());
    }
    if statement.revoke {
        line(
            "revoke",
            "yes: after its commit, no older release is booted",
        );
    }
    if statement.watchdog {
        line("watchdog", "started by the guard, fed by the release");
    }
    let root_hash = match &statement.root {
        Some(root) => hex(&root.root_hash),
        None => "none: its blocks are not verified while they are read".to_owned(),
    };
    line("root hash", &root_hash);
    line("length", &bytes(statement.bundle_len));
    for image in release.images() {
        let size = bytes(image.size);
        let digest = hex(&image.sha256);
        line("image", &format!("{:<9} {size:>12}  {digest}", image.role));
    }
    if let Some(base) = &manifest.base {
        line("delta from", &base.version);
    }
    for (key, value) in &manifest.build {
        line("build", &format!("{}: {}", key.0, value.escape_debug()));
    }
    line("key epoch", &statement.key_epoch.to_string());
    for entry in release.seal().signatures() {
        line("signed by", &entry.key_id.to_string());
    }
    let verified = if release.is_verified() {
        "verified"
    } else {
        "NOT VERIFIED (no --trust)"
    };
    line("signatures", verified);
    text
}

/// Returns the images as JSON, with all their chunks if `all` (`rayos-bundle.list/1`). *Pure.*
#[must_use]
pub fn chunks_json(release: &Release, all: bool) -> Value {
    let mut result = json!({
        "schema": "rayos-bundle.list/1",
        "verified": release.is_verified(),
        "images": images_json(release),
    });
    if all {
        let chunks = release.chunks().iter();
        result["chunks"] = chunks.map(|chunk| chunk_json(release, chunk)).collect();
    }
    result
}

fn chunk_json(release: &Release, chunk: &ChunkEntry) -> Value {
    let image = release.images().get(chunk.image);
    let ranges = release.base_ranges(chunk).iter();
    let base: Value = ranges
        .map(
            |range| json!({"image": range.role.as_str(), "offset": range.offset, "len": range.len}),
        )
        .collect();
    json!({
        "image": image.map_or("", |image| image.role.as_str()),
        "offset": chunk.offset,
        "len": chunk.len,
        "kind": chunk.kind.as_str(),
        "before": chunk.before,
        "base": base,
        "file_offset": release.file_range(chunk).start,
        "stored": chunk.stored_len,
        "sha256": hex(&chunk.sha256),
    })
}

/// Returns the images as lines of text, with all their chunks if `all`. *Pure.*
#[must_use]
pub fn chunks_text(release: &Release, all: bool) -> String {
    let mut lines = Vec::new();
    for image in release.images() {
        let chunks = chunks_of(release, image);
        lines.push(format!(
            "{:<9}{:>12}{:>12} stored {:>8} chunks  {}",
            image.role,
            bytes(image.size),
            bytes(stored_len(chunks)),
            chunks.len(),
            hex(&image.sha256)
        ));
        if all {
            lines.extend(chunks.iter().map(chunk_text));
        }
    }
    lines.join("\n")
}

fn chunk_text(chunk: &ChunkEntry) -> String {
    format!(
        "  {:>14}{:>9} {:<7}{:>9}  {}",
        chunk.offset,
        chunk.len,
        chunk.kind.as_str(),
        chunk.stored_len,
        hex(&chunk.sha256)
    )
}
