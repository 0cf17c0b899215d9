//! Descriptions of a release, as text and as JSON (`rayos-bundle.inspect/1`).

use crate::format::index::ChunkKind;
use crate::hex::hex;
use crate::read::release::Release;
use cli::quantity::bytes;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Returns the release as JSON. *Pure.* Digests and key ids are in hexadecimal, lengths and sizes in
/// bytes.
#[must_use]
pub fn json(release: &Release) -> Value {
    let (statement, manifest) = (release.statement(), release.manifest());
    let images = release.images().iter().map(|image| {
        let chunks = release.chunks().get(image.chunks.clone()).unwrap_or_default();
        let stored: u64 = chunks.iter().map(|chunk| u64::from(chunk.stored_len)).sum();
        json!({
            "role": image.role.as_str(), "size": image.size, "sha256": hex(&image.sha256), "stored": stored,
            "chunks": chunks.len(), "chunk_size": image.chunk_size,
        })
    });
    let images = images.collect();
    let signatures: Vec<String> = release
        .seal()
        .signatures()
        .map(|entry| entry.key_id.to_string())
        .collect();
    let build: serde_json::Map<String, Value> = manifest
        .build
        .iter()
        .map(|(key, value)| (key.0.clone(), Value::from(value.clone())))
        .collect();
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
        "sbom": manifest.sbom.as_ref().map(|sbom| json!({"sha256": hex(&sbom.sha256.0), "media_type": sbom.media_type})),
        "base": manifest.base.as_ref().map(|base| base.version.clone()),
        "signatures": signatures,
        "bundle_len": statement.bundle_len,
        "manifest_len": statement.manifest.len,
        "manifest_sha256": hex(&statement.manifest.sha256),
        "payload_len": manifest.payload,
        "hints_len": release.hints_range().end - release.hints_range().start,
        "chunks": chunk_counts(release),
        "images": Value::Array(images),
    })
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

/// Returns the release as text for people. *Pure.* Programs use [`json`].
#[must_use]
pub fn text(release: &Release) -> String {
    let (statement, manifest) = (release.statement(), release.manifest());
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String does not fail.
        writeln!(text, "{name:<16}{value}").unwrap_or_default();
    };
    line("version", manifest.version.clone());
    line("rollback index", manifest.rollback_index.to_string());
    line("compatible", manifest.compatible.join(", "));
    if let Some(version) = manifest.min_updater {
        line("min. updater", version.to_string());
    }
    if statement.revoke {
        line(
            "revoke",
            "yes: after its commit, no older release is booted".to_owned(),
        );
    }
    if statement.watchdog {
        line(
            "watchdog",
            "started by the guard, fed by the release".to_owned(),
        );
    }
    line(
        "root hash",
        match &statement.root {
            Some(root) => hex(&root.root_hash),
            None => "none: its blocks are not verified while they are read".to_owned(),
        },
    );
    line("length", bytes(statement.bundle_len));
    for image in release.images() {
        line(
            "image",
            format!(
                "{:<9} {:>12}  {}",
                image.role,
                bytes(image.size),
                hex(&image.sha256)
            ),
        );
    }
    if let Some(base) = &manifest.base {
        line("delta from", base.version.clone());
    }
    for (key, value) in &manifest.build {
        line("build", format!("{}: {}", key.0, value.escape_debug()));
    }
    line("key epoch", statement.key_epoch.to_string());
    for entry in release.seal().signatures() {
        line("signed by", entry.key_id.to_string());
    }
    line(
        "signatures",
        if release.is_verified() {
            "verified"
        } else {
            "NOT VERIFIED (no --trust)"
        }
        .to_owned(),
    );
    text
}

/// Returns the images as JSON, with all their chunks if `all` (`rayos-bundle.list/1`). *Pure.*
#[must_use]
pub fn chunks_json(release: &Release, all: bool) -> Value {
    let mut listing = json(release);
    let images = listing["images"].take();
    let mut result = json!({"schema": "rayos-bundle.list/1", "verified": release.is_verified(), "images": images});
    if all {
        let chunks = release.chunks().iter().map(|chunk| {
            let role = release.images().get(chunk.image).map_or("", |image| image.role.as_str());
            let base = release.base_ranges(chunk).iter().map(|range| {
                json!({"image": range.role.as_str(), "offset": range.offset, "len": range.len})
            });
            let base: Vec<Value> = base.collect();
            json!({
                "image": role, "offset": chunk.offset, "len": chunk.len, "kind": chunk.kind.as_str(), "before": chunk.before, "base": base,
                "file_offset": release.file_range(chunk).start, "stored": chunk.stored_len, "sha256": hex(&chunk.sha256),
            })
        });
        result["chunks"] = Value::Array(chunks.collect());
    }
    result
}

/// Returns the images as lines of text, with all their chunks if `all`. *Pure.*
#[must_use]
pub fn chunks_text(release: &Release, all: bool) -> String {
    let mut lines = Vec::new();
    for image in release.images() {
        let chunks = release
            .chunks()
            .get(image.chunks.clone())
            .unwrap_or_default();
        let stored = chunks.iter().map(|chunk| u64::from(chunk.stored_len)).sum();
        let (full, stored, count) = (bytes(image.size), bytes(stored), chunks.len());
        lines.push(format!(
            "{:<9}{full:>12}{stored:>12} stored {count:>8} chunks  {}",
            image.role,
            hex(&image.sha256)
        ));
        for chunk in chunks.iter().take_while(|_| all) {
            let (offset, len, kind, stored) = (
                chunk.offset,
                chunk.len,
                chunk.kind.as_str(),
                chunk.stored_len,
            );
            lines.push(format!(
                "  {offset:>14}{len:>9} {kind:<7}{stored:>9}  {}",
                hex(&chunk.sha256)
            ));
        }
    }
    lines.join("\n")
}
