//! Time and requests of an update over HTTP from a server with a latency and a rate: whole,
//! adaptive and by delta. The server is in this process, on the loopback device.
//!
//! `cargo bench -p rayos-updater --bench network -- --latency MILLISECONDS --rate BYTES`; use
//! `scripts/bench network`. Prints one line for each way.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a program that prints its results"
)]

#[path = "../tests/installed/mod.rs"]
mod installed;

use bootctl::device::{BlockDevice, MemDevice};
use bootctl::disk::Disk;
use bootctl::store::RecordStore;
use bundle::create::{BundleOutput, CreateOptions};
use bundle::delta::{self, DeltaOptions};
use bundle::keys::SecretKey;
use bundle::open::{Access, SlotImages};
use bundle::recipe::Recipe;
use fixtures::hostile::{Asked, head};
use installed::{Sizes, install};
use record::{Choice, Slot};
use seal::{Purpose, Role, Trust, TrustChain, TrustedKey};
use std::io::{self, BufRead as _, BufReader, Cursor, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use updater::events::Silent;
use updater::source::{HttpOptions, HttpSource, MemorySource, Retries};
use updater::{Incoming, Options, Outcome, Report, TargetMachine};

const MIB: u64 = 1 << 20;
const ROOT_LEN: usize = 128 << 20;
/// One segment of this many bytes changes in each [`DISTANCE`].
const CHANGED: usize = 96 << 10;
const DISTANCE: usize = 512 << 10;
const JOBS: usize = 2;
/// Time that the line can catch up after a thread of the server was late.
const LATE: Duration = Duration::from_millis(100);
/// Bytes that the server sends at a time.
const PIECE: usize = 16 << 10;

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

/// Returns bytes that do not compress.
fn noise(seed: u64, len: usize) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(len)
}

/// Returns a root image; it differs between seeds in scattered segments, as after an update of
/// many packages.
fn root(seed: u64) -> Vec<u8> {
    let mut root: Vec<u8> = noise(1, ROOT_LEN).collect();
    for start in (0..ROOT_LEN - DISTANCE).step_by(DISTANCE) {
        let changed = noise(seed + start as u64, CHANGED).collect::<Vec<_>>();
        root[start..start + CHANGED].copy_from_slice(&changed);
    }
    root
}

fn bundle_of(version: &str, index: u64, root: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut text = format!(
        "[release]\nversion = \"{version}\"\nrollback_index = {index}\ncompatible = [\"x\"]\n\
         [compression]\nlevel = 1\n"
    );
    for role in ["boot", "recovery", "guard", "root"] {
        let is_root = role == "root";
        let image = if is_root { root } else { &root[..200_000] };
        std::fs::write(dir.path().join(role), image).unwrap();
        text += &format!("[[image]]\nrole = \"{role}\"\npath = \"{role}\"\n");
    }
    let recipe = Recipe::parse(&text, &dir.path().join("bundle.toml"), None).unwrap();
    let keys = [key()];
    let options = CreateOptions {
        keys: &keys,
        workers: JOBS,
    };
    let (mut spool, mut out) = (Cursor::new(Vec::new()), Vec::new());
    let output = BundleOutput {
        spool: &mut spool,
        out: &mut out,
    };
    bundle::create(&recipe, options, output, &mut |_| ()).unwrap();
    out
}

fn delta_of(old: &[u8], new: &[u8], trust: &Trust) -> Vec<u8> {
    let [old, new] = [old, new].map(|bytes| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let access = Access::Verify(trust, Purpose::Release);
        SlotImages::extract(&file, access, JOBS, tempfile::tempfile, &mut |_| ()).unwrap()
    });
    let keys = [key()];
    let options = DeltaOptions {
        keys: &keys,
        level: 9,
        workers: JOBS,
    };
    let (mut spool, mut out) = (tempfile::tempfile().unwrap(), Vec::new());
    let output = BundleOutput {
        spool: &mut spool,
        out: &mut out,
    };
    delta::create(&old, &new, options, output, &mut |_| ()).unwrap();
    out
}

/// A server of one file, behind a line with a latency and a rate that all connections share.
struct Server {
    file: Vec<u8>,
    latency: Duration,
    /// Bytes per second.
    rate: f64,
    /// When the line is free again.
    free: Mutex<Instant>,
}

impl Server {
    fn start(self) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                // The client ends connections at any time.
                std::thread::spawn(move || server.converse(stream).ok());
            }
        });
        address
    }

    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(range) = request(&mut reader)? {
            std::thread::sleep(self.latency);
            let asked = Asked {
                number: 0,
                connection: 0,
                line: String::new(),
                range,
                if_range: None,
            };
            let (head, body) = honest(&self.file, &asked);
            let stream = reader.get_mut();
            stream.write_all(&head)?;
            for piece in body.chunks(PIECE) {
                self.carry(piece.len());
                stream.write_all(piece)?;
            }
        }
        Ok(())
    }

    /// Waits until the line has carried `bytes`.
    fn carry(&self, bytes: usize) {
        let end = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            // A thread that sleeps too long must not cost the line its rate.
            let earliest = Instant::now().checked_sub(LATE).unwrap_or(*free);
            *free = (*free).max(earliest) + Duration::from_secs_f64(bytes as f64 / self.rate);
            *free
        };
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
    }
}

/// Returns head and body of the response; the body is not copied.
fn honest<'f>(file: &'f [u8], asked: &Asked) -> (Vec<u8>, &'f [u8]) {
    let (from, to) = asked.range.unwrap_or_default();
    let to = to.map_or(file.len(), |to| (to as usize).min(file.len()));
    let body = &file[(from as usize).min(to)..to];
    let range = format!("bytes {from}-{}/{}", to.saturating_sub(1), file.len());
    let headers = [
        ("Content-Range", range.as_str()),
        ("Content-Length", &body.len().to_string()),
    ];
    (head("206 Partial Content", &headers), body)
}

type RequestedRange = Option<(u64, Option<u64>)>;

/// Reads the head of a request, and returns its range; `None` at the end of the connection.
fn request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<RequestedRange>> {
    let (mut range, mut has_begun) = (None, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim().is_empty() {
            if has_begun {
                return Ok(Some(range));
            }
            continue;
        }
        has_begun = true;
        let lower = line.trim().to_ascii_lowercase();
        if let Some((from, to)) = lower
            .strip_prefix("range: bytes=")
            .and_then(|text| text.split_once('-'))
        {
            let to = to.parse::<u64>().ok().map(|last| last + 1);
            range = from.parse().ok().map(|from| (from, to));
        }
    }
}

/// Applies the bundle at `url` to a copy of `disk`.
async fn apply(disk: &[u8], url: &str, trust: &Trust, adaptive: bool) -> Report {
    let device = Arc::new(MemDevice::from_bytes(disk.to_vec(), 512)) as Arc<dyn BlockDevice>;
    let disk = Disk::open(device).unwrap();
    let machine = TargetMachine {
        store: RecordStore::open(&disk).unwrap(),
        disk,
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
        read_back: true,
        adaptive,
        jobs: JOBS,
        retries,
        if_newer: false,
        plan_only: false,
    };
    let source = HttpSource::new(url, HttpOptions::default()).unwrap();
    let incoming = Incoming::open(source, trust, retries, &|_, _| ())
        .await
        .unwrap();
    match incoming.apply(&machine, &options, &Silent).await.unwrap() {
        Outcome::Activated(report) => report,
        other => panic!("not activated: {other:?}"),
    }
}

/// Returns the value of a command-line option.
fn option(name: &str, default: f64) -> f64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    let value = arguments.nth(1);
    value.map_or(default, |value| value.parse().expect("number"))
}

fn main() {
    let latency = Duration::from_secs_f64(option("--latency", 100.0) / 1000.0);
    let rate = option("--rate", 6_250_000.0);
    let key = TrustedKey::new(&key().public_key(), &[Role::Release, Role::Recovery]).unwrap();
    let trust = Trust::new(0, [1, 0, 1], &[key]).unwrap();
    let [old, new] = [("1.0.0", 1), ("1.1.0", 2)]
        .map(|(version, index)| bundle_of(version, index, &root(index)));
    let delta = delta_of(&old, &new, &trust);
    let runtime = Runtime::new().unwrap();
    let sizes = Sizes {
        boot: 2 * MIB,
        root: ROOT_LEN as u64 + 8 * MIB,
        recovery: 2 * MIB,
    };
    let device = Arc::new(MemDevice::new(sizes.disk_len() as usize, 512));
    let disk = Arc::clone(&device) as Arc<dyn BlockDevice>;
    runtime.block_on(install(
        disk,
        &sizes,
        "x",
        MemorySource::new(old, 1 << 20),
        &trust,
    ));
    let disk = device.bytes();
    println!(
        "latency {} ms, {rate} bytes/s; \"ratio\" is to the time of the bytes alone",
        latency.as_millis()
    );
    for (name, bundle, adaptive) in [
        ("whole", &new, false),
        ("adaptive", &new, true),
        ("delta", &delta, true),
    ] {
        let server = Server {
            file: bundle.clone(),
            latency,
            rate,
            free: Mutex::new(Instant::now()),
        };
        let url = format!("http://{}/x", server.start());
        let start = Instant::now();
        let report = runtime.block_on(apply(&disk, &url, &trust, adaptive));
        let took = start.elapsed().as_secs_f64();
        println!(
            "{name:10} {:>10} bytes {:>5} requests {took:>8.2} s  ratio {:.2}",
            report.fetched_bytes,
            report.requests,
            took / (report.fetched_bytes as f64 / rate),
        );
        println!(
            "{:10} scan {} ms, write {} ms, read back {} ms",
            "", report.phase_ms.scan, report.phase_ms.write, report.phase_ms.read_back,
        );
    }
}
