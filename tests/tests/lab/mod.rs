//! A disk in memory, and releases for it: what the test programs beside this folder share.
#![allow(dead_code, reason = "each test program uses its own part")]

use bootctl::device::{BlockDevice, MemDevice};
use bootctl::disk::Disk;
use bootctl::efivars::MemVars;
use bootctl::store::RecordStore;
use bootctl::transition;
use bundle::create::{BundleOutput, CreateOptions};
use bundle::keys::SecretKey;
use bundle::recipe::Recipe;
use installer::disk::layout::{Layout, Size};
use installer::install::{InstallError, InstallOptions, InstallRequest, install};
use record::{Choice, Guid, Record, Slot, Text64};
use seal::{Role, Trust, TrustedKey};
use std::io::Cursor;
use std::sync::Arc;
use updater::events::{Event, Recorded, Silent};
use updater::source::MemorySource;
use updater::source::Retries;
use updater::{Failure, Incoming, Machine, Options, Outcome, Report};

const MIB: u64 = 1 << 20;
const INSTALL_ID: Guid = Guid([0x5a; 16]);

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(crate) fn trust() -> Trust {
    let key = TrustedKey::new(&key(1).public_key(), &[Role::Release, Role::Recovery]).expect("key");
    Trust::new(0, [1, 0, 1], &[key]).expect("trust")
}

/// Bytes that do not compress, with a run of zeroes and a repeat in them.
pub(crate) fn image(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes: Vec<u8> = (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let quarter = len / 4 / 65536 * 65536;
    bytes[quarter..2 * quarter].fill(0);
    bytes.copy_within(0..65536, 3 * quarter);
    bytes
}

/// A release: `version`, with images that depend on `seed`.
pub(crate) struct Sample {
    pub(crate) version: &'static str,
    pub(crate) index: u64,
    pub(crate) seed: u64,
}

pub(crate) const FIRST: Sample = Sample {
    version: "1.0.0",
    index: 1,
    seed: 1,
};
pub(crate) const SECOND: Sample = Sample {
    version: "1.1.0",
    index: 2,
    seed: 2,
};
pub(crate) const OLD: Sample = Sample {
    version: "0.9.0",
    index: 0,
    seed: 3,
};

impl Sample {
    pub(crate) fn bundle_for(&self, compatible: &str, signer: u8) -> Vec<u8> {
        let images = [
            ("boot", 700_000),
            ("root", 3_000_000),
            ("recovery", 500_000),
            ("guard", 100_000),
        ];
        let images = images.into_iter().zip(0..);
        let images = images.map(|((role, len), salt)| (role, image(self.seed * 10 + salt, len)));
        self.bundle_of(&images.collect::<Vec<_>>(), compatible, signer)
    }

    /// A bundle of these images.
    pub(crate) fn bundle_of(
        &self,
        images: &[(&str, Vec<u8>)],
        compatible: &str,
        signer: u8,
    ) -> Vec<u8> {
        let dir = tempfile::tempdir().expect("directory");
        let mut recipe = format!(
            "[release]\nversion = \"{}\"\nrollback_index = {}\ncompatible = [\"{compatible}\"]\n",
            self.version, self.index
        );
        for (role, bytes) in images {
            std::fs::write(dir.path().join(role), bytes).expect("image");
            recipe += &format!("[[image]]\nrole = \"{role}\"\npath = \"{role}\"\n");
        }
        let path = dir.path().join("bundle.toml");
        let recipe = Recipe::parse(&recipe, &path, None).expect("recipe");
        let mut out = Vec::new();
        bundle::create(
            &recipe,
            CreateOptions {
                keys: &[key(signer)],
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

    pub(crate) fn bundle(&self) -> Vec<u8> {
        self.bundle_for("test-machine", 1)
    }
}

/// A disk in memory, and the variables of its machine.
pub(crate) struct Lab {
    pub(crate) device: Arc<MemDevice>,
    pub(crate) vars: MemVars,
    /// MiB that a root partition has.
    root: u64,
}

impl Lab {
    pub(crate) fn new(sector_size: u32) -> Self {
        Self::with_root(sector_size, 8)
    }

    pub(crate) fn with_root(sector_size: u32, root: u64) -> Self {
        let len = (80 + 2 * root) << 20;
        Self::of(MemDevice::new(len as usize, sector_size), root)
    }

    /// A disk with something on it.
    pub(crate) fn of(device: MemDevice, root: u64) -> Self {
        Self {
            device: Arc::new(device),
            vars: MemVars::default(),
            root,
        }
    }

    pub(crate) async fn install(&self, bundle: Vec<u8>) -> Result<Report, InstallError> {
        self.install_after(bundle, "test-machine", InstallOptions::default())
            .await
    }

    /// An installation over whatever is there, for a machine that is `compatible`.
    pub(crate) async fn install_after(
        &self,
        bundle: Vec<u8>,
        compatible: &str,
        options: InstallOptions,
    ) -> Result<Report, InstallError> {
        let source = MemorySource::new(bundle, 10_000);
        self.install_on(
            Arc::clone(&self.device) as Arc<dyn BlockDevice>,
            source,
            compatible,
            options,
        )
        .await
    }

    /// An installation through `device`, which is this disk in some way.
    pub(crate) async fn install_on(
        &self,
        device: Arc<dyn BlockDevice>,
        source: MemorySource,
        compatible: &str,
        options: InstallOptions,
    ) -> Result<Report, InstallError> {
        let mib = |mib| Size(mib * MIB);
        let layout = Layout {
            esp: mib(34),
            boot: mib(2),
            root: mib(self.root),
            recovery: mib(2),
            data: None,
        };
        let job = InstallRequest {
            device,
            layout: &layout,
            install_id: INSTALL_ID,
            compatible: Text64::new(compatible),
            trust: &trust(),
            vars: Some(&self.vars),
            jobs: 2,
            now: 0,
            options,
        };
        install(source, &job, &Silent).await
    }

    pub(crate) fn disk(&self) -> Disk {
        Disk::open(Arc::clone(&self.device) as Arc<dyn BlockDevice>).expect("disk")
    }

    pub(crate) fn record(&self) -> Record {
        RecordStore::open(&self.disk())
            .expect("store")
            .read()
            .expect("record")
    }

    pub(crate) fn commit(&self, slot: Slot) {
        let store = RecordStore::open(&self.disk()).expect("store");
        let committed =
            transition::commit(&store.read().expect("record"), Choice::Slot(slot)).expect("commit");
        store.write(&committed).expect("record");
    }

    pub(crate) async fn update_from(
        &self,
        source: MemorySource,
        booted: Choice,
    ) -> Result<Outcome, Failure> {
        self.update_on(
            Arc::clone(&self.device) as Arc<dyn BlockDevice>,
            source,
            booted,
            &options(&trust()),
        )
        .await
    }

    /// An update through `device`, which is this disk in some way.
    pub(crate) async fn update_on(
        &self,
        device: Arc<dyn BlockDevice>,
        source: MemorySource,
        booted: Choice,
        options: &Options<'_>,
    ) -> Result<Outcome, Failure> {
        let disk = Disk::open(device).expect("disk");
        let store = RecordStore::open(&disk).expect("store");
        let machine = Machine {
            disk,
            store,
            vars: Some(&self.vars),
            booted,
            now: 0,
        };
        let events = Recorded::default();
        let on_retry = |error: &updater::source::SourceError, pause| {
            updater::events::EventSink::event(&events, Event::retry(error, pause));
        };
        let incoming = Incoming::open(source, &trust(), Retries::default(), &on_retry).await?;
        incoming.apply(&machine, options, &events).await
    }

    pub(crate) async fn update(&self, bundle: Vec<u8>, booted: Slot) -> Result<Outcome, Failure> {
        self.update_from(MemorySource::new(bundle, 10_000), Choice::Slot(booted))
            .await
    }

    pub(crate) fn bytes(&self, slot: Slot) -> [Vec<u8>; 2] {
        let disk = self.disk();
        [
            disk.boot(slot).expect("boot"),
            disk.root(slot).expect("root"),
        ]
        .map(|window| {
            let mut bytes = vec![0; window.len() as usize];
            window.read_at(0, &mut bytes).expect("bytes");
            bytes
        })
    }
}

pub(crate) fn options(trust: &Trust) -> Options<'_> {
    Options {
        trust,
        place_guard: None,
        tries: 3,
        read_back: true,
        adaptive: true,
        jobs: 2,
        retries: Retries::default(),
        plan_only: false,
    }
}

pub(crate) async fn installed(sector_size: u32) -> Lab {
    installed_on(Lab::new(sector_size)).await
}

/// The same on a disk of another size.
pub(crate) async fn installed_on(lab: Lab) -> Lab {
    lab.install(FIRST.bundle()).await.expect("installed");
    lab.commit(Slot::A);
    lab
}
