//! Speed of compressing, checking and decompressing chunks, and of reading a head.
#![allow(missing_docs, reason = "criterion's macros")]

use bundle::create::{BundleOutput, CreateOptions};
use bundle::keys::SecretKey;
use bundle::open::{Access, Opener};
use bundle::recipe::Recipe;
use bundle::{Encoder, HeadParser};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use seal::{Purpose, Role, Trust, TrustedKey};
use sha2::{Digest as _, Sha256};
use std::hint::black_box;
use std::io::Cursor;

const IMAGE_LEN: usize = 16 << 20;

/// Returns text of words in random order. It compresses to about a third, as programs do.
fn image() -> Vec<u8> {
    let mut image = Vec::new();
    let mut state = [0; 32];
    while image.len() < IMAGE_LEN {
        state = Sha256::digest(state).into();
        for byte in state {
            image.extend_from_slice(
                ["the ", "boot ", "slot ", "guard ", "record "][usize::from(byte % 5)].as_bytes(),
            );
        }
        image.extend_from_slice(&state);
    }
    image.truncate(IMAGE_LEN);
    image
}

fn bundle_of(image: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("root.img"), image).unwrap();
    let text = "[release]\nversion = \"1\"\nrollback_index = 1\ncompatible = [\"x\"]\n[[image]]\nrole = \"root\"\npath = \"root.img\"\n";
    let recipe = Recipe::parse(text, &folder.path().join("bundle.toml"), None).unwrap();
    let mut out = Vec::new();
    let key = SecretKey::from_seed(&[7; 32]);
    bundle::create(
        &recipe,
        CreateOptions {
            keys: &[key],
            workers: 2,
        },
        BundleOutput {
            spool: &mut Cursor::new(Vec::new()),
            out: &mut out,
        },
        &mut |_| (),
    )
    .unwrap();
    out
}

fn benches(criterion: &mut Criterion) {
    let key = TrustedKey::new(
        &SecretKey::from_seed(&[7; 32]).public_key(),
        &[Role::Release],
    )
    .unwrap();
    let trust = Trust::new(0, [1, 0, 0], &[key]).unwrap();
    let image = image();
    let bundle = bundle_of(&image);

    let mut group = criterion.benchmark_group("chunk");
    let chunk = &image[..32 << 10];
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    for level in [3, 9] {
        let mut encoder = Encoder::new(level).unwrap();
        group.bench_function(format!("compress at level {level}"), |bench| {
            bench.iter(|| encoder.compress(black_box(chunk)).unwrap())
        });
    }
    group.bench_function("SHA-256", |bench| {
        bench.iter(|| Sha256::digest(black_box(chunk)))
    });
    group.finish();

    // As `create` compresses images: small chunks that refer to the bytes before them.
    let mut group = criterion.benchmark_group("run");
    let run = &image[..512 << 10];
    group.throughput(Throughput::Bytes(run.len() as u64));
    for level in [3, 9, 10] {
        let mut encoder = Encoder::new(level).unwrap();
        group.bench_function(format!("compress at level {level}"), |bench| {
            bench.iter(|| {
                encoder
                    .compress_run(black_box(run), 16 << 10, 64 << 10)
                    .unwrap()
            })
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("bundle");
    group.bench_function("head", |bench| {
        bench.iter(|| {
            let mut parser = HeadParser::new(&trust, Purpose::Release);
            parser.feed(black_box(&bundle)).unwrap()
        });
    });
    group.throughput(Throughput::Bytes(IMAGE_LEN as u64));
    for workers in [1, 2] {
        group.bench_function(format!("verify, {workers} workers"), |bench| {
            bench.iter(|| {
                let opener = Opener::open(
                    bundle.as_slice(),
                    Access::Verify(&trust, Purpose::Release),
                    workers,
                )
                .unwrap();
                opener.check(&mut |_| ()).unwrap();
            });
        });
    }
    group.finish();
}

criterion_group! { name = all; config = Criterion::default().sample_size(20); targets = benches }
criterion_main!(all);
