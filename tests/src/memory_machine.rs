//! A machine with its disk and variables in memory, and releases for it. Tests of the real installer
//! and updater use it.

use bootctl::device::{BlockDevice, MemDevice};
use bootctl::disk::Disk;
use bootctl::efivars::MemVars;
use bootctl::store::RecordStore;
use bootctl::transition;
use bundle::create::{BundleOutput, CreateOptions};
use bundle::keys::SecretKey;
use bundle::recipe::Recipe;
use fixtures::guard_program::guard_program;
use installer::disk::layout::{Layout, Size};
use installer::install::{InstallError, InstallOptions, InstallRequest, install};
use record::{Choice, Guid, Record, Slot, Text64};
use seal::{Role, Trust, TrustChain, TrustedKey};
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;
use updater::events::{Event, Recorded, Silent};
use updater::source::{MemorySource, Retries};
use updater::{ApplyFailure, Incoming, Options, Outcome, Report, TargetMachine};

/// No pauses, because the sources are in memory.
const RETRIES: Retries = Retries {
    max_failures: 8,
    seed: 0,
    first_pause: Duration::ZERO,
    deadline: Duration::from_secs(3600),
};
const MIB: u64 = 1 << 20;
const INSTALL_ID: Guid = Guid([0x5a; 16]);

/// Returns the secret key with this seed. Key 1 is trusted. *Pure.*
#[must_use]
pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// Returns the machine's trust: key 1 signs releases and recovery. *Pure.*
///
/// # Panics
/// Never: the key is valid.
#[must_use]
pub fn trust() -> Trust {
    let key = TrustedKey::new(&key(1).public_key(), &[Role::Release, Role::Recovery]).expect("key");
    Trust::new(0, [1, 0, 1], &[key]).expect("trust")
}

/// Returns the machine's trust as a chain of one block. *Pure.*
#[must_use]
pub fn chain() -> TrustChain {
    TrustChain::new(trust())
}

/// Returns incompressible bytes with a run of zeroes and a repeated range in them. *Pure.*
#[must_use]
pub fn image(seed: u64, len: usize) -> Vec<u8> {
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

/// Returns a guard of about `len` bytes that trusts the same keys as the machine. *Pure.*
#[must_use]
pub fn guard(seed: u64, len: usize) -> Vec<u8> {
    guard_program(&trust().to_block(), &image(seed, len))
}

/// A release.
pub struct Sample {
    /// Its version.
    pub version: &'static str,
    /// Its rollback index.
    pub index: u64,
    /// Seed of its images.
    pub seed: u64,
}

/// Release 1.0.0.
pub const FIRST: Sample = Sample {
    version: "1.0.0",
    index: 1,
    seed: 1,
};
/// Release 1.1.0.
pub const SECOND: Sample = Sample {
    version: "1.1.0",
    index: 2,
    seed: 2,
};
/// Release 0.9.0, below the floor.
pub const OLD: Sample = Sample {
    version: "0.9.0",
    index: 0,
    seed: 3,
};

impl Sample {
    /// Returns its bundle for `compatible` hardware, signed with the key `signer`. *Pure.*
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn bundle_for(&self, compatible: &str, signer: u8) -> Vec<u8> {
        let images = [
            ("boot", 700_000),
            ("root", 3_000_000),
            ("recovery", 500_000),
            ("guard", 100_000),
        ];
        let images = images.into_iter().zip(0..);
        let images = images.map(|((role, len), salt)| {
            let make = if role == "guard" { guard } else { image };
            (role, make(self.seed * 10 + salt, len))
        });
        self.bundle_of(&images.collect::<Vec<_>>(), compatible, signer)
    }

    /// Returns a bundle of these images. *Pure.*
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn bundle_of(&self, images: &[(&str, Vec<u8>)], compatible: &str, signer: u8) -> Vec<u8> {
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

    /// Returns its bundle for the machine, signed with the trusted key. *Pure.*
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn bundle(&self) -> Vec<u8> {
        self.bundle_for("test-machine", 1)
    }
}

/// A machine with one disk.
pub struct MemoryMachine {
    /// Its disk.
    pub device: Arc<MemDevice>,
    /// Its variables.
    pub vars: MemVars,
    /// MiB of a root partition.
    root: u64,
}

impl MemoryMachine {
    /// Returns a machine with a blank disk.
    #[must_use]
    pub fn new(sector_size: u32) -> Self {
        Self::with_root(sector_size, 8)
    }

    /// Returns a machine with a blank disk for root partitions of `root` MiB.
    #[must_use]
    pub fn with_root(sector_size: u32, root: u64) -> Self {
        let len = (80 + 2 * root) << 20;
        Self::of(MemDevice::new(len as usize, sector_size), root)
    }

    /// Returns a machine with this disk.
    #[must_use]
    pub fn of(device: MemDevice, root: u64) -> Self {
        Self {
            device: Arc::new(device),
            vars: MemVars::default(),
            root,
        }
    }

    /// Installs `bundle`.
    ///
    /// # Errors
    /// As [`install`].
    pub async fn install(&self, bundle: Vec<u8>) -> Result<Report, InstallError> {
        self.install_with(bundle, "test-machine", InstallOptions::default())
            .await
    }

    /// Installs `bundle` with `options` for `compatible` hardware.
    ///
    /// # Errors
    /// As [`install`].
    pub async fn install_with(
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

    /// Installs from `source` through `device`, a view of this disk.
    ///
    /// # Errors
    /// As [`install`].
    pub async fn install_on(
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
        let request = InstallRequest {
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
        install(source, &request, &Silent).await
    }

    /// Returns the disk with its partition table.
    ///
    /// # Panics
    /// When the disk has none.
    #[must_use]
    pub fn disk(&self) -> Disk {
        Disk::open(Arc::clone(&self.device) as Arc<dyn BlockDevice>).expect("disk")
    }

    /// Returns the boot record.
    ///
    /// # Panics
    /// When the disk has none.
    #[must_use]
    pub fn record(&self) -> Record {
        RecordStore::open(&self.disk())
            .expect("store")
            .read()
            .expect("record")
    }

    /// Commits the release in `slot`.
    ///
    /// # Panics
    /// When the disk has none.
    pub fn commit(&self, slot: Slot) {
        let store = RecordStore::open(&self.disk()).expect("store");
        let committed =
            transition::commit(&store.read().expect("record"), Choice::Slot(slot)).expect("commit");
        store.write(&committed).expect("record");
    }

    /// Applies the bundle from `source` on a machine that runs `booted`.
    ///
    /// # Errors
    /// As [`Incoming::apply`].
    pub async fn update_from(
        &self,
        source: MemorySource,
        booted: Choice,
    ) -> Result<Outcome, ApplyFailure> {
        self.update_on(
            Arc::clone(&self.device) as Arc<dyn BlockDevice>,
            source,
            booted,
            &options(&chain()),
        )
        .await
    }

    /// Applies the bundle from `source` through `device`, a view of this disk.
    ///
    /// # Errors
    /// As [`Incoming::apply`].
    ///
    /// # Panics
    /// When the disk has no partition table.
    pub async fn update_on(
        &self,
        device: Arc<dyn BlockDevice>,
        source: MemorySource,
        booted: Choice,
        options: &Options<'_>,
    ) -> Result<Outcome, ApplyFailure> {
        let disk = Disk::open(device).expect("disk");
        let store = RecordStore::open(&disk).expect("store");
        let machine = TargetMachine {
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
        let incoming = Incoming::open(source, options.trust, RETRIES, &on_retry).await?;
        incoming.apply(&machine, options, &events).await
    }

    /// Applies `bundle` on a machine that runs `booted`.
    ///
    /// # Errors
    /// As [`Incoming::apply`].
    pub async fn update(&self, bundle: Vec<u8>, booted: Slot) -> Result<Outcome, ApplyFailure> {
        self.update_from(MemorySource::new(bundle, 10_000), Choice::Slot(booted))
            .await
    }

    /// Returns the bytes of boot and root partition of `slot`.
    ///
    /// # Panics
    /// When the disk has none.
    #[must_use]
    pub fn bytes(&self, slot: Slot) -> [Vec<u8>; 2] {
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

/// Returns the usual options of an update. *Pure.*
#[must_use]
pub fn options(trust: &TrustChain) -> Options<'_> {
    Options {
        trust,
        place_guard: None,
        tries: 3,
        read_back: true,
        adaptive: true,
        jobs: 2,
        retries: RETRIES,
        if_newer: false,
        plan_only: false,
    }
}

/// Returns a machine on which 1.0.0 was installed and committed.
///
/// # Panics
/// When the installation fails.
pub async fn installed(sector_size: u32) -> MemoryMachine {
    installed_on(MemoryMachine::new(sector_size)).await
}

/// Installs and commits 1.0.0 on `machine`.
///
/// # Panics
/// When the installation fails.
pub async fn installed_on(machine: MemoryMachine) -> MemoryMachine {
    machine.install(FIRST.bundle()).await.expect("installed");
    machine.commit(Slot::A);
    machine
}
