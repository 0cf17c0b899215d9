//! Speed of an apply to a disk in memory, beside that of verifying the bundle without a disk, which
//! decompresses as much and also hashes whole images.
#![allow(missing_docs, reason = "criterion's macros")]

#[path = "../tests/installed/mod.rs"]
mod installed;

use bootctl::device::{BlockDevice, MemDevice};
use bootctl::disk::Disk;
use bootctl::store::RecordStore;
use bundle::create::{BundleOutput, CreateOptions};
use bundle::keys::SecretKey;
use bundle::open::{Access, Opener};
use bundle::recipe::Recipe;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use installed::{Sizes, install};
use record::{Choice, Slot};
use seal::{Purpose, Role, Trust, TrustChain, TrustedKey};
use sha2::{Digest as _, Sha256};
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;
use updater::events::Silent;
use updater::source::Retries;
use updater::source::{AnySource, HttpOptions, Location};
use updater::{Incoming, Options, Outcome, Report, TargetMachine};

const MIB: u64 = 1 << 20;
const ROOT_LEN: usize = 64 << 20;
/// The number of cores of the machine that the figures in docs/decisions were measured on.
const JOBS: usize = 2;

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

/// Returns words in random order, which compress to a third, as programs do. Every eighth MiB is
/// zero, and one in ten differs between seeds.
fn root(seed: u8) -> Vec<u8> {
    let mut root = Vec::with_capacity(ROOT_LEN);
    for piece in 0..ROOT_LEN >> 20 {
        let end = (piece + 1) << 20;
        if piece % 8 == 7 {
            root.resize(end, 0);
            continue;
        }
        let salt = if piece % 10 == 3 { seed } else { 0 };
        let mut state: [u8; 32] = Sha256::digest([piece as u8, salt]).into();
        while root.len() < end {
            state = Sha256::digest(state).into();
            for byte in state {
                root.extend_from_slice(
                    ["the ", "boot ", "slot ", "guard ", "record "][usize::from(byte % 5)]
                        .as_bytes(),
                );
            }
            root.extend_from_slice(&state);
        }
        root.truncate(end);
    }
    root
}

fn bundle_of(version: &str, index: u64, root: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut text = format!(
        "[release]\nversion = \"{version}\"\nrollback_index = {index}\ncompatible = [\"x\"]\n"
    );
    for role in ["boot", "recovery", "guard", "root"] {
        let image = if role == "root" {
            root
        } else {
            &root[..200_000]
        };
        std::fs::write(dir.path().join(role), image).unwrap();
        text += &format!("[[image]]\nrole = \"{role}\"\npath = \"{role}\"\n");
    }
    let recipe = Recipe::parse(&text, &dir.path().join("bundle.toml"), None).unwrap();
    let mut out = Vec::new();
    bundle::create(
        &recipe,
        CreateOptions {
            keys: &[key()],
            workers: JOBS,
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

/// Returns a disk in memory on which slot A holds and runs the release of `bundle`.
async fn installed(bundle: &Path, trust: &Trust) -> Vec<u8> {
    let sizes = Sizes {
        boot: 2 * MIB,
        root: ROOT_LEN as u64,
        recovery: 2 * MIB,
    };
    let device = Arc::new(MemDevice::new(sizes.disk_len() as usize, 512));
    let disk = Arc::clone(&device) as Arc<dyn BlockDevice>;
    install(disk, &sizes, "x", source(bundle), trust).await;
    device.bytes()
}

fn source(bundle: &Path) -> AnySource {
    AnySource::new(&Location::File(bundle.to_owned()), HttpOptions::default()).unwrap()
}

async fn apply(
    device: &Arc<MemDevice>,
    bundle: &Path,
    trust: &Trust,
    adaptive: bool,
    read_back: bool,
) -> Report {
    let disk = Disk::open(Arc::clone(device) as Arc<dyn BlockDevice>).unwrap();
    let store = RecordStore::open(&disk).unwrap();
    let machine = TargetMachine {
        disk,
        store,
        vars: None,
        booted: Choice::Slot(Slot::A),
        now: 0,
    };
    let retries = Retries::default();
    let chain = TrustChain::from(trust);
    let options = Options {
        trust: &chain,
        place_guard: None,
        tries: 3,
        read_back,
        adaptive,
        jobs: JOBS,
        retries,
        if_newer: false,
        plan_only: false,
    };
    let incoming = Incoming::open(source(bundle), trust, retries, &|_, _| ())
        .await
        .unwrap();
    match incoming.apply(&machine, &options, &Silent).await.unwrap() {
        Outcome::Activated(report) => report,
        other => panic!("not activated: {other:?}"),
    }
}

fn benches(criterion: &mut Criterion) {
    let key = TrustedKey::new(&key().public_key(), &[Role::Release, Role::Recovery]).unwrap();
    let trust = Trust::new(0, [1, 0, 1], &[key]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = [("1.0.0", 1), ("1.1.0", 2)].map(|(version, index)| {
        let path = dir.path().join(version);
        std::fs::write(&path, bundle_of(version, index, &root(index as u8))).unwrap();
        path
    });
    let runtime = Runtime::new().unwrap();
    let before = runtime.block_on(installed(&old, &trust));
    let after = {
        let device = Arc::new(MemDevice::from_bytes(before.clone(), 512));
        runtime.block_on(apply(&device, &new, &trust, false, false));
        device.bytes()
    };
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Bytes(ROOT_LEN as u64));
    group.bench_function("no disk: verify the bundle", |bench| {
        bench.iter(|| {
            let file = std::fs::File::open(&new).unwrap();
            let opener =
                Opener::open(file, Access::Verify(&trust, Purpose::Release), JOBS).unwrap();
            opener.check(&mut |_| ()).unwrap();
        });
    });
    for (name, disk, adaptive, read_back) in [
        ("full, not read back", &before, false, false),
        ("full", &before, false, true),
        ("adaptive", &before, true, true),
        ("the same release again", &after, true, true),
    ] {
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || Arc::new(MemDevice::from_bytes(disk.clone(), 512)),
                |device| {
                    runtime.block_on(apply(&device, &new, &trust, adaptive, read_back));
                    device
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group! { name = all; config = Criterion::default().sample_size(10); targets = benches }
criterion_main!(all);
