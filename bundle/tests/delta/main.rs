//! Delta bundles: created by the library and by the program, decoded by them and by zstd.

mod command_line;
#[path = "../sample/mod.rs"]
mod sample;

use bundle::create::BundleOutput;
use bundle::delta::{self, DeltaOptions};
use bundle::open::{Access, OpenError, Opener, SlotImages};
use bundle::recipe::Recipe;
use proptest::prelude::*;
use sample::{key, noise, trust};
use seal::Purpose;
use std::fs::{self, File};
use std::io::{Cursor, Seek as _, Write as _};
use std::sync::Arc;

fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn recipe(version: &str, index: u64, images: &[&str]) -> String {
    let images = images
        .iter()
        .map(|role| format!("[[image]]\nrole = \"{role}\"\npath = \"{role}.img\"\n"));
    let images: String = images.collect();
    format!(
        "[release]\nversion = \"{version}\"\nrollback_index = {index}\ncompatible = [\"rayos-x86_64\"]\nnotes = \"News of {version}.\"\n[compression]\nlevel = 1\n{images}"
    )
}

/// Creates a bundle of these images.
fn release(version: &str, index: u64, images: &[(&str, &[u8])]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (role, bytes) in images {
        fs::write(folder.path().join(format!("{role}.img")), bytes).unwrap();
    }
    let roles: Vec<&str> = images.iter().map(|(role, _)| *role).collect();
    let recipe = Recipe::parse(
        &recipe(version, index, &roles),
        &folder.path().join("bundle.toml"),
        None,
    )
    .unwrap();
    sample::create(&recipe, &[key()], 2)
}

fn extracted(bundle: &[u8]) -> Result<SlotImages, OpenError> {
    let trust = trust();
    let access = Access::Verify(&trust, Purpose::Release);
    SlotImages::extract(
        &file_with(bundle),
        access,
        2,
        tempfile::tempfile,
        &mut |_| (),
    )
}

fn delta_with(old: &[u8], new: &[u8], level: i32, workers: usize) -> Vec<u8> {
    let (old, new) = (extracted(old).unwrap(), extracted(new).unwrap());
    let (mut spool, mut out) = (Cursor::new(Vec::new()), Vec::new());
    let keys = [key()];
    let options = DeltaOptions {
        keys: &keys,
        level,
        workers,
    };
    let output = BundleOutput {
        spool: &mut spool,
        out: &mut out,
    };
    delta::create(&old, &new, options, output, &mut |_| ()).unwrap();
    out
}

/// Checks a delta with its base, and extracts an image.
fn apply(delta: &[u8], old: &[u8], role: &str) -> Result<Vec<u8>, OpenError> {
    let trust = trust();
    let open = || {
        Opener::open(
            Cursor::new(delta),
            Access::Verify(&trust, Purpose::Release),
            2,
        )
    };
    let base = Arc::new(extracted(old)?);
    open()?.with_base(Arc::clone(&base))?.check(&mut |_| ())?;
    let out = tempfile::NamedTempFile::new().unwrap();
    open()?
        .with_base(base)?
        .extract(role.parse().unwrap(), out.as_file(), &mut |_| ())?;
    Ok(fs::read(out.path()).unwrap())
}

/// Returns text that compresses, different for each seed.
fn words(seed: u8, len: usize) -> Vec<u8> {
    bundle::hex(&noise(seed, len / 2 + 1)).into_bytes()[..len].to_vec()
}

/// A change of an image between two releases.
#[derive(Clone, Debug)]
enum Edit {
    Insert { at: usize, seed: u8, len: usize },
    Remove { at: usize, len: usize },
    Overwrite { at: usize, seed: u8, len: usize },
    Zero { at: usize, len: usize },
    Move { from: usize, to: usize, len: usize },
}

fn edited(image: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut image = image.to_vec();
    for edit in edits {
        let position = |at: usize| at % (image.len() + 1);
        let range = |at: usize, len: usize| position(at)..(position(at) + len).min(image.len());
        match *edit {
            Edit::Insert { at, seed, len } => {
                image.splice(position(at)..position(at), noise(seed, len));
            }
            Edit::Remove { at, len } => {
                image.drain(range(at, len));
            }
            Edit::Overwrite { at, seed, len } => {
                let range = range(at, len);
                let len = range.len();
                image[range].copy_from_slice(&words(seed, len));
            }
            Edit::Zero { at, len } => {
                let range = range(at, len);
                image[range].fill(0);
            }
            Edit::Move { from, to, len } => {
                let piece: Vec<u8> = image.drain(range(from, len)).collect();
                let to = to % (image.len() + 1);
                image.splice(to..to, piece);
            }
        }
    }
    // An image is never empty.
    image.push(1);
    image
}

fn edit() -> impl Strategy<Value = Edit> {
    let (at, len) = (0..4_000_000_usize, 1..300_000_usize);
    prop_oneof![
        (at.clone(), any::<u8>(), len.clone()).prop_map(|(at, seed, len)| Edit::Insert {
            at,
            seed,
            len
        }),
        (at.clone(), len.clone()).prop_map(|(at, len)| Edit::Remove { at, len }),
        (at.clone(), any::<u8>(), len.clone()).prop_map(|(at, seed, len)| Edit::Overwrite {
            at,
            seed,
            len
        }),
        (at.clone(), len.clone()).prop_map(|(at, len)| Edit::Zero { at, len }),
        (at.clone(), at, len).prop_map(|(from, to, len)| Edit::Move { from, to, len }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn a_delta_with_its_base_decodes_to_the_new_images(
        len in 1..2_500_000_usize, seed in any::<u8>(), edits in prop::collection::vec(edit(), 0..6),
    ) {
        let root = [noise(seed, len / 2), words(seed, len / 2 + 1)].concat();
        let changed = edited(&root, &edits);
        // Bytes of root are in the new boot image, and the other way round.
        let boot = [&noise(9, 70_000), &root[..len / 3]].concat();
        let old = release("1.0.0", 1, &[("boot", &boot), ("root", &root)]);
        let new = release("1.1.0", 1, &[("boot", &changed[..changed.len() / 2 + 1]), ("root", &changed)]);
        let delta = delta_with(&old, &new, 9, 2);
        prop_assert_eq!(&apply(&delta, &old, "root").unwrap(), &changed);
        prop_assert_eq!(apply(&delta, &old, "boot").unwrap(), &changed[..changed.len() / 2 + 1]);
        // The length of the delta depends on the amount of new bytes.
        let new_bytes: usize = edits.iter().map(|edit| match edit {
            Edit::Insert { len, .. } | Edit::Overwrite { len, .. } => *len,
            _ => 0,
        }).sum();
        prop_assert!(delta.len() < 2 * new_bytes + 40_000 + 20_000 * edits.len(), "{} for {new_bytes}", delta.len());
    }
}

#[test]
fn content_is_found_at_any_offset() {
    let root = noise(1, 5 << 20);
    let shifted = [&noise(2, 333), &root[3 << 20..], &root[..2 << 20], b"end"].concat();
    let (old, new) = (
        release("1", 1, &[("root", &root)]),
        release("2", 2, &[("root", &shifted)]),
    );
    for (level, limit) in [(9, 16_000), (19, 16_000)] {
        let delta = delta_with(&old, &new, level, 2);
        assert!(delta.len() < limit, "level {level}: {}", delta.len());
        assert_eq!(apply(&delta, &old, "root").unwrap(), shifted);
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let root = [noise(1, 3 << 20), words(2, 2 << 20)].concat();
    let changed = edited(
        &root,
        &[
            Edit::Insert {
                at: 1 << 20,
                seed: 5,
                len: 100_000,
            },
            Edit::Zero {
                at: 2 << 20,
                len: 3 << 20,
            },
        ],
    );
    let (old, new) = (
        release("1", 1, &[("root", &root)]),
        release("2", 2, &[("root", &changed)]),
    );
    let one = delta_with(&old, &new, 12, 1);
    assert!(one == delta_with(&old, &new, 12, 3));
    assert_eq!(apply(&one, &old, "root").unwrap(), changed);
}

#[test]
fn a_delta_has_the_slot_images_and_the_manifest_of_the_new_release() {
    let (root, boot, recovery) = (noise(1, 1 << 20), noise(2, 50_000), noise(3, 50_000));
    let changed = [&root, b"more".as_slice()].concat();
    let old = release(
        "1.0.0",
        1,
        &[("boot", &boot), ("root", &root), ("recovery", &recovery)],
    );
    let new = release(
        "1.1.0",
        2,
        &[("boot", &boot), ("root", &changed), ("recovery", &recovery)],
    );
    let delta = delta_with(&old, &new, 9, 1);
    let head = |bytes: &[u8]| sample::head(bytes, &trust()).unwrap();
    let (delta_head, new_head) = (head(&delta), head(&new));
    let (manifest, full) = (delta_head.manifest(), new_head.manifest());
    assert_eq!(
        (&manifest.version, &manifest.notes, manifest.rollback_index),
        (&full.version, &full.notes, 2)
    );
    let images = |release: &bundle::Release| {
        release
            .images()
            .iter()
            .map(|image| (image.role, image.size, image.sha256))
            .collect::<Vec<_>>()
    };
    assert_eq!(images(&delta_head), images(&new_head)[..2]);
    assert_eq!(delta_head.statement().boot, new_head.statement().boot);
    assert_eq!(delta_head.statement().recovery, seal::ImageDigest::NONE);
    let base = manifest.base.as_ref().unwrap();
    let based: Vec<_> = base
        .images
        .iter()
        .map(|image| (image.role, image.size, image.sha256.0))
        .collect();
    assert_eq!(
        (base.version.as_str(), based),
        ("1.0.0", images(&head(&old))[..2].to_vec())
    );
    // An unchanged MiB takes almost no space. There are no hints, because a machine that uses the
    // delta has the base.
    assert!(
        delta.len() < 10_000 && delta_head.hints_range().is_empty(),
        "{}",
        delta.len()
    );
}

#[test]
fn damage_at_any_offset_is_refused() {
    let root = [noise(1, 300_000), words(2, 300_000)].concat();
    let changed = edited(
        &root,
        &[Edit::Overwrite {
            at: 100,
            seed: 7,
            len: 9000,
        }],
    );
    let (old, new) = (
        release("1", 1, &[("root", &root)]),
        release("2", 2, &[("root", &changed)]),
    );
    let delta = delta_with(&old, &new, 3, 1);
    apply(&delta, &old, "root").unwrap();
    for at in (0..delta.len())
        .step_by(97)
        .chain(delta.len() - 3..delta.len())
    {
        let mut flipped = delta.clone();
        flipped[at] ^= 0x10;
        assert!(
            apply(&flipped, &old, "root").is_err_and(|error| error.is_refusal()),
            "byte {at}"
        );
        assert!(
            apply(&delta[..at], &old, "root").is_err_and(|error| error.is_refusal()),
            "cut at {at}"
        );
    }
    assert!(apply(&[&delta, b"x".as_slice()].concat(), &old, "root").is_err());
}

#[test]
fn only_the_images_of_the_base_are_accepted_as_base() {
    let (root, changed, other) = (noise(1, 100_000), noise(2, 100_000), noise(3, 100_000));
    let [old, new] = [
        release("1.0.0", 1, &[("root", &root)]),
        release(
            "1.1.0",
            2,
            &[("root", &[root.as_slice(), &changed].concat())],
        ),
    ];
    let delta = delta_with(&old, &new, 3, 1);
    let stderr = |base: &[u8]| apply(&delta, base, "root").unwrap_err().to_string();
    assert_eq!(
        stderr(&release("0.9.0", 1, &[("root", &other)])),
        "delta based on release 1.0.0, the given base is release 0.9.0"
    );
    assert!(
        stderr(&release("1.0.0", 1, &[("root", &other)]))
            .starts_with("delta based on release 1.0.0: image root of the given base has SHA-256 ")
    );
    assert_eq!(
        stderr(&release("1.0.0", 1, &[("boot", &root)])),
        "delta based on release 1.0.0: the given base has no image root"
    );
    // Another version with the same images is accepted.
    apply(&delta, &release("1.0.0-b", 1, &[("root", &root)]), "root").unwrap();
    // A delta cannot be extracted without its base, and is not a base itself.
    let trust = trust();
    let opener = Opener::open(
        Cursor::new(&delta),
        Access::Verify(&trust, Purpose::Release),
        1,
    )
    .unwrap();
    let out = tempfile::tempfile().unwrap();
    let error = opener
        .extract(bundle::ImageRole::Root, &out, &mut |_| ())
        .unwrap_err();
    assert!(matches!(error, OpenError::Delta(version) if version == "1.0.0"));
    assert!(matches!(extracted(&delta), Err(OpenError::Delta(_))));
}

#[test]
fn pairs_of_releases_without_a_delta_are_refused() {
    let stderr = |old: &[u8], new: &[u8]| {
        let trust = trust();
        let [old, new] = [old, new].map(|bytes| sample::head(bytes, &trust).unwrap());
        let error = delta::check(&old, &new).unwrap_err();
        assert!(error.is_refusal());
        error.to_string()
    };
    let (one, other) = (noise(1, 5000), noise(2, 5000));
    let old = release("1.0.0", 5, &[("root", &one)]);
    let new = |version, index, image: &[u8]| release(version, index, &[("root", image)]);
    assert_eq!(
        stderr(&old, &new("1.0.0", 5, &other)),
        "both bundles are release 1.0.0, expected two different releases"
    );
    assert_eq!(
        stderr(&old, &new("1.1.0", 5, &one)),
        "releases 1.0.0 and 1.1.0 have the same boot and root images"
    );
    assert_eq!(
        stderr(&old, &new("0.9.0", 4, &other)),
        "release 0.9.0 has rollback index 4, less than 5 of release 1.0.0: machines would refuse it"
    );
    assert_eq!(
        stderr(&old, &release("1.1.0", 6, &[("recovery", &other)])),
        "release 1.1.0 has neither a boot nor a root image"
    );
    let mut parts = sample::Parts::of(&new("1.1.0", 6, &other));
    parts.manifest.compatible = vec!["toaster".to_owned()];
    assert_eq!(
        stderr(&old, &parts.seal()),
        "release 1.0.0 is compatible with rayos-x86_64, release 1.1.0 with toaster: no machine fits both"
    );
}
