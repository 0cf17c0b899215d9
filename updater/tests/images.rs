//! Whole images in memory, for media: they are as they were packed, also if chunks build upon those
//! before them, or repeat such chunks.

use bundle::create::{BundleOutput, CreateOptions};
use bundle::keys::SecretKey;
use bundle::recipe::Recipe;
use bundle::{ChunkEntry, ChunkKind, ImageRole, Release};
use seal::{Role, Trust, TrustedKey};
use std::collections::BTreeMap;
use std::io::Cursor;
use updater::Incoming;
use updater::source::{MemorySource, Retries};

const ROLES: [ImageRole; 4] = [
    ImageRole::Boot,
    ImageRole::Recovery,
    ImageRole::Guard,
    ImageRole::Root,
];

/// Returns similar lines, from number `first` on. They compress better with the lines before them.
fn text(first: usize, lines: usize) -> Vec<u8> {
    let line = |number: usize| {
        format!(
            "{number:08} slot {} of the machine, line {}\n",
            number % 7,
            number * 31 % 1009
        )
    };
    (first..first + lines)
        .flat_map(|number| line(number).into_bytes())
        .collect()
}

/// Returns the images. Boot and recovery image repeat a part from the middle of a run, behind
/// zeroes.
fn images() -> BTreeMap<ImageRole, Vec<u8>> {
    let repeating = |first| {
        let image = text(first, 4000);
        let (beginning, middle) = (&image[..131_072], &image[49_152..81_920]);
        [beginning, &[0; 65_536], middle, b"and then something else"].concat()
    };
    let root = [text(90_000, 2000), vec![0; 40_000]].concat();
    [
        (ImageRole::Boot, repeating(0)),
        (ImageRole::Recovery, repeating(50_000)),
        (ImageRole::Guard, text(70_000, 500)),
        (ImageRole::Root, root),
    ]
    .into()
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn trust() -> Trust {
    let key = TrustedKey::new(&key().public_key(), &[Role::Release, Role::Recovery]).expect("key");
    Trust::new(0, [1, 0, 1], &[key]).expect("trust")
}

fn bundle() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("directory");
    let mut recipe =
        "[release]\nversion = \"1.0.0\"\nrollback_index = 1\ncompatible = [\"x\"]\n".to_owned();
    let images = images();
    for role in ROLES {
        let name = role.as_str();
        std::fs::write(dir.path().join(name), &images[&role]).expect("image");
        recipe += &format!("[[image]]\nrole = \"{name}\"\npath = \"{name}\"\n");
    }
    let recipe = Recipe::parse(&recipe, &dir.path().join("bundle.toml"), None).expect("recipe");
    let mut out = Vec::new();
    bundle::create(
        &recipe,
        CreateOptions {
            keys: &[key()],
            workers: 2,
        },
        BundleOutput {
            spool: &mut Cursor::new(Vec::new()),
            out: &mut out,
        },
        &mut |_| {},
    )
    .expect("bundle");
    out
}

/// Returns whether at least four chunks repeat chunks that build upon those before them. Without
/// them this test would be too easy.
fn repeats_out_of_a_run(release: &Release) -> bool {
    let repeats = |chunk: &&ChunkEntry| match chunk.kind {
        ChunkKind::Repeat { chunk: of } => release.chunks()[of].before > 0,
        _ => false,
    };
    release.chunks().iter().filter(repeats).count() >= 4
}

#[tokio::test]
async fn any_selection_of_images_is_as_it_was_packed() {
    let (bundle, trust, images) = (bundle(), trust(), images());
    for chosen in 0_u32..1 << ROLES.len() {
        let chosen: Vec<ImageRole> = (0..)
            .zip(ROLES)
            .filter(|(bit, _)| chosen & (1 << bit) != 0)
            .map(|(_, role)| role)
            .collect();
        for (piece, seekable) in [(10_000, true), (977, false)] {
            let mut source = MemorySource::new(bundle.clone(), piece);
            source.seekable = seekable;
            let incoming = Incoming::open(source, &trust, Retries::default(), &|_, _| ())
                .await
                .expect("head");
            assert!(repeats_out_of_a_run(incoming.release()));
            let found = incoming.into_images(&chosen).await.expect("images");
            let expected: BTreeMap<_, _> = chosen
                .iter()
                .map(|role| (*role, images[role].clone()))
                .collect();
            assert!(found == expected, "{chosen:?}");
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_is_detected_anywhere() {
    let (bundle, trust) = (bundle(), trust());
    let payload = {
        let source = MemorySource::new(bundle.clone(), 10_000);
        let incoming = Incoming::open(source, &trust, Retries::default(), &|_, _| ())
            .await
            .expect("head");
        incoming.release().payload_range().clone()
    };
    for at in payload.step_by(1009) {
        let mut flipped = bundle.clone();
        flipped[at as usize] ^= 1;
        let source = MemorySource::new(flipped, 10_000);
        let incoming = Incoming::open(source, &trust, Retries::default(), &|_, _| ())
            .await
            .expect("head");
        let error = incoming
            .into_images(&ROLES)
            .await
            .expect_err("damaged")
            .to_string();
        assert!(
            error.contains("stored bytes: digest mismatch"),
            "byte {at}: {error}"
        );
    }
}
