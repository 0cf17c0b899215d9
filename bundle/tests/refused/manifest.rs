//! Invalid manifests.

use crate::forged;
use crate::sample::{Parts, check, refusal, trust};
use bundle::cbor::{Blob, Key};
use bundle::limits::{
    MAX_BASE_RANGES, MAX_BUILD_FACTS, MAX_BUILD_VALUE_LEN, MAX_CHUNK_LEN, MAX_CHUNKS,
    MAX_EXTENSIONS, MAX_NOTES_LEN,
};
use bundle::manifest::{Base, BaseImage, ImageRole, Manifest, Sbom};
use sha2::{Digest as _, Sha256};

/// The sample with the bytes of its manifest replaced.
fn with_manifest(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let mut parts = Parts::sample();
    parts.manifest.index.sha256.0 = Sha256::digest(&parts.index).into();
    parts.manifest_bytes = Some(change(bundle::cbor::encode(&parts.manifest).unwrap()));
    refusal(&parts.seal())
}

/// Replaces the only occurrence of `from`.
fn replace(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let found: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(from))
        .collect();
    assert_eq!(found.len(), 1, "{from:?}");
    bytes.splice(found[0]..found[0] + from.len(), to.iter().copied());
    bytes
}

#[test]
fn cbor_that_is_not_deterministic() {
    let refused = with_manifest(|bytes| {
        replace(
            bytes,
            b"\x6erollback_index\x07",
            b"\x6erollback_index\x18\x07",
        )
    });
    assert!(
        refused.ends_with("a number or length is not in its shortest form"),
        "{refused}"
    );
    let refused = with_manifest(|bytes| [b"\xbf", &bytes[1..], b"\xff"].concat());
    assert_eq!(refused, "manifest: byte 0: item of indefinite length");
    let refused = with_manifest(|bytes| [b"\xd9\xd9\xf7", bytes.as_slice()].concat());
    assert_eq!(
        refused,
        "manifest: byte 0: major type 6 is not allowed in a manifest"
    );
    let refused = with_manifest(|bytes| {
        replace(
            bytes,
            b"\x6erollback_index\x07",
            b"\x6erollback_index\xf9\x47\x00",
        )
    });
    assert!(
        refused.ends_with("major type 7 is not allowed in a manifest"),
        "{refused}"
    );
    let refused =
        with_manifest(|bytes| replace(bytes, b"\x6erollback_index\x07", b"\x6erollback_index\x26"));
    assert!(
        refused.ends_with("major type 1 is not allowed in a manifest"),
        "{refused}"
    );
    let refused = with_manifest(|bytes| [bytes.as_slice(), b"\0"].concat());
    assert_eq!(refused, "manifest: 1 bytes after the end");
    let refused = with_manifest(|bytes| bytes[..bytes.len() - 1].to_vec());
    assert!(refused.contains("in the middle of an item"), "{refused}");
}

#[test]
fn an_array_instead_of_a_map() {
    let refused = with_manifest(|bytes| {
        // The fields of the index as an array of their values, which serde_cbor accepts.
        let at = bytes
            .windows(7)
            .position(|window| window == b"\x65index\xa2")
            .unwrap()
            + 6;
        let index = [
            b"\x83".as_slice(),
            &bytes[at + 8..at + 9],
            b"\0",
            &bytes[at + 16..at + 50],
        ]
        .concat();
        [&bytes[..at], &index, &bytes[at + 50..]].concat()
    });
    assert_eq!(
        refused,
        "manifest: decoded value does not encode to the same bytes"
    );
}

#[test]
fn keys_out_of_order_duplicate_or_unknown() {
    let swap = |bytes| {
        replace(
            replace(
                bytes,
                b"\x64role\x64boot\x64size",
                b"\x64size\x64boot\x64size",
            ),
            b"\x64size\x64boot",
            b"\x64size\x64boot",
        )
    };
    assert!(with_manifest(swap).ends_with("duplicate map key"));
    let order = |bytes| {
        replace(
            bytes,
            b"\x64role\x64boot\x64size\x19\x19\x00",
            b"\x64size\x19\x19\x00\x64role\x64boot",
        )
    };
    assert!(with_manifest(order).ends_with("map keys are not in deterministic order"));
    let unknown = |bytes| replace(bytes, b"\x65notes", b"\x65notez");
    assert!(with_manifest(unknown).contains("unknown field `notez`"));
    let number = |bytes| replace(bytes, b"\x65notes", b"\x01");
    assert!(with_manifest(number).ends_with("map key is not text"));
}

#[test]
fn deep_nesting_and_lengths_without_bytes() {
    for depth in [8, 100, 100_000] {
        let refused = with_manifest(|_| vec![0x81; depth]);
        assert_eq!(refused, "manifest: byte 7: nested more than 6 levels deep");
    }
    for head in [0x5b_u8, 0x7b, 0x9b, 0xbb] {
        let refused = with_manifest(|_| [&[head][..], &u64::MAX.to_be_bytes()].concat());
        assert_eq!(refused, "manifest: ends at byte 9 in the middle of an item");
    }
}

#[test]
fn texts_outside_their_limits() {
    for bad in ["", "with space", "ü", &"x".repeat(65)] {
        assert!(
            forged(|p| p.manifest.compatible = vec![bad.to_owned()])
                .contains("expected 1 to 64 printable"),
            "{bad}"
        );
    }
    check(
        &{
            let mut p = Parts::sample();
            p.manifest.compatible = vec!["x".repeat(64); 64];
            p.seal()
        },
        &trust(),
    )
    .unwrap();
    assert_eq!(
        forged(|p| p.manifest.compatible = vec!["x".to_owned(); 65]),
        "manifest: number of compatible names is 65, maximum 64"
    );
    assert_eq!(
        forged(|p| p.manifest.compatible.clear()),
        "manifest: no compatible name"
    );
    assert_eq!(
        forged(|p| p.manifest.notes = "x".repeat(MAX_NOTES_LEN + 1)),
        "manifest: length of the notes is 65537, maximum 65536"
    );
    check(
        &{
            let mut p = Parts::sample();
            p.manifest.notes = "x".repeat(MAX_NOTES_LEN);
            p.seal()
        },
        &trust(),
    )
    .unwrap();
}

/// Checks that the sample is accepted with `good` in its manifest, and returns the refusal with
/// `bad`.
fn limit(good: impl FnOnce(&mut Manifest), bad: impl FnOnce(&mut Manifest)) -> String {
    let mut parts = Parts::sample();
    good(&mut parts.manifest);
    check(&parts.seal(), &trust()).unwrap();
    forged(|parts| bad(&mut parts.manifest))
}

#[test]
fn build_facts_and_extensions_outside_their_limits() {
    let facts = |number: usize| {
        (0..number)
            .map(|number| (Key(format!("fact-{number}")), String::new()))
            .collect()
    };
    assert_eq!(
        limit(
            |m| m.build = facts(MAX_BUILD_FACTS),
            |m| m.build = facts(MAX_BUILD_FACTS + 1)
        ),
        "manifest: number of build facts is 257, maximum 256"
    );
    let fact = |key: &str, len| [(Key(key.to_owned()), "ü".repeat(len / 2))].into();
    assert_eq!(
        limit(
            |m| m.build = fact("x", MAX_BUILD_VALUE_LEN),
            |m| m.build = fact("x", MAX_BUILD_VALUE_LEN + 2)
        ),
        "manifest: length of a build fact is 4098, maximum 4096"
    );
    let (longest, longer) = ("x".repeat(64), "x".repeat(65));
    for bad in ["", "with space", &longer] {
        let refused = limit(|m| m.build = fact(&longest, 2), |m| m.build = fact(bad, 2));
        assert!(refused.starts_with("manifest: build fact "), "{refused}");
    }
    let extensions = |number: usize| {
        (0..number)
            .map(|number| (Key(format!("x{number}")), Blob(vec![])))
            .collect()
    };
    assert_eq!(
        limit(
            |m| m.ext = extensions(MAX_EXTENSIONS),
            |m| m.ext = extensions(MAX_EXTENSIONS + 1)
        ),
        "manifest: number of extensions is 65, maximum 64"
    );
    let extension = |key: &str| [(Key(key.to_owned()), Blob(vec![0; 1000]))].into();
    for bad in ["", "ü", &longer] {
        let refused = limit(|m| m.ext = extension(&longest), |m| m.ext = extension(bad));
        assert!(refused.starts_with("manifest: extension "), "{refused}");
    }
}

#[test]
fn invalid_names_of_bill_of_materials_and_base() {
    let sbom = |media_type: &str| {
        Some(Sbom {
            sha256: Blob([1; 32]),
            media_type: media_type.to_owned(),
        })
    };
    let (longest, longer) = ("x".repeat(64), "x".repeat(65));
    let base = |version: &str, images: &[(ImageRole, u64)]| {
        let image = |(role, size): &(ImageRole, u64)| BaseImage {
            role: *role,
            size: *size,
            sha256: Blob([1; 32]),
        };
        Some(Base {
            version: version.to_owned(),
            images: images.iter().map(image).collect(),
        })
    };
    let both = [(ImageRole::Boot, 1), (ImageRole::Root, u64::MAX)];
    for bad in ["", "a b", &longer] {
        let refused = limit(|m| m.sbom = sbom(&longest), |m| m.sbom = sbom(bad));
        assert!(
            refused.starts_with("manifest: SBOM media type "),
            "{refused}"
        );
        let refused = limit(
            |m| m.base = base(&longest, &both),
            |m| m.base = base(bad, &both),
        );
        assert!(refused.starts_with("manifest: base version "), "{refused}");
    }
    for (bad, said) in [
        (
            [(ImageRole::Root, 1), (ImageRole::Boot, 1)],
            "image boot after image root",
        ),
        (
            [(ImageRole::Root, 1), (ImageRole::Root, 1)],
            "duplicate image root",
        ),
        (
            [(ImageRole::Boot, 1), (ImageRole::Root, 0)],
            "image root is empty",
        ),
    ] {
        assert_eq!(
            forged(|p| p.manifest.base = base("1", &bad)),
            format!("manifest: {said}")
        );
    }
}

#[test]
fn an_invalid_updater_version() {
    let with = |text: &str| {
        let mut parts = Parts::sample();
        parts.manifest.min_updater = Some("1.2.3".parse().unwrap());
        let bytes = bundle::cbor::encode(&parts.manifest).unwrap();
        let length = 0x60 + u8::try_from(text.len()).unwrap();
        assert!(text.len() < 24, "one byte of length");
        let text = [&[length], text.as_bytes()].concat();
        parts.manifest_bytes = Some(replace(
            bytes,
            b"\x6bmin_updater\x651.2.3",
            &[b"\x6bmin_updater", text.as_slice()].concat(),
        ));
        parts.seal()
    };
    for good in ["0.0.0", "1.2.3", "4294967295.0.1"] {
        check(&with(good), &trust()).unwrap();
    }
    for bad in [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "+1.2.3",
        "-1.2.3",
        "1.2.x",
        "1..3",
        " 1.2.3",
        "4294967296.0.0",
    ] {
        let refused = refusal(&with(bad));
        assert!(
            refused.contains("expected MAJOR.MINOR.PATCH"),
            "{bad}: {refused}"
        );
    }
}

#[test]
fn an_unknown_mandatory_extension() {
    let extend = |name: &str| {
        let mut parts = Parts::sample();
        parts
            .manifest
            .ext
            .insert(bundle::cbor::Key(name.to_owned()), Blob(vec![1]));
        parts.seal()
    };
    check(&extend("colour"), &trust()).unwrap();
    assert_eq!(
        refusal(&extend("!encryption")),
        "manifest: unknown mandatory extension \"!encryption\""
    );
}

#[test]
fn images_missing_duplicate_out_of_order_or_unknown() {
    assert_eq!(forged(|p| p.manifest.images.clear()), "manifest: no image");
    assert_eq!(
        forged(|p| p.manifest.images[1].role = ImageRole::Boot),
        "manifest: duplicate image boot"
    );
    assert_eq!(
        forged(|p| p.manifest.images.reverse()),
        "manifest: image boot after image root"
    );
    let unknown = |bytes| replace(bytes, b"\x64role\x64boot", b"\x64role\x64boat");
    assert!(with_manifest(unknown).contains("unknown variant `boat`"));
    assert_eq!(
        forged(|p| p.manifest.images[1].size = 0),
        "manifest: image root is empty"
    );
}

#[test]
fn chunk_sizes_outside_their_limits() {
    for bad in [0, 4095, 4097, MAX_CHUNK_LEN + 4096, u32::MAX] {
        let refused = forged(|p| p.manifest.images[1].chunk_size = bad);
        assert!(
            refused.starts_with(&format!(
                "manifest: image root: chunk size {bad}, expected "
            )),
            "{refused}"
        );
    }
    // The maximum is accepted; the lengths of chunks are checked with the index.
    let mut parts = Parts::sample();
    parts.manifest.images[1].chunk_size = MAX_CHUNK_LEN;
    check(&parts.seal(), &trust()).unwrap();
}

#[test]
fn more_chunks_than_the_maximum() {
    let refused = forged(|p| {
        p.manifest.images[1].chunks = MAX_CHUNKS;
        p.manifest.index.chunks = MAX_CHUNKS + p.manifest.images[0].chunks;
    });
    assert_eq!(
        refused,
        "manifest: number of chunks is 262145, maximum 262144"
    );
    assert_eq!(
        forged(|p| p.manifest.images[1].chunks = u64::MAX),
        "manifest: lengths do not fit in 64 bits"
    );
    assert!(
        forged(|p| p.manifest.images[1].chunks += 1)
            .starts_with("manifest: images have 8 chunks, the index has 7")
    );
}

#[test]
fn an_index_longer_than_the_bundle() {
    let refused = forged(|p| {
        p.manifest.images[1].chunks += 1000;
        p.manifest.index.chunks += 1000;
    });
    assert!(
        refused.starts_with("bundle is signed with a length of "),
        "{refused}"
    );
}

#[test]
fn more_base_ranges_than_the_maximum() {
    let refused = |ranges| forged(|p| p.manifest.index.ranges = ranges);
    assert_eq!(
        refused(MAX_BASE_RANGES + 1),
        "manifest: number of base ranges is 1048577, maximum 1048576"
    );
    // The maximum number, but no base.
    assert_eq!(
        refused(MAX_BASE_RANGES),
        "manifest: base ranges without a base release"
    );
}

#[test]
fn base_ranges_without_a_base() {
    assert_eq!(
        forged(|p| p.manifest.index.ranges = 1),
        "manifest: base ranges without a base release"
    );
}
