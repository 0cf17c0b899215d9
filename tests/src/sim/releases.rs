//! Signed releases of a few KiB.

use bundle::create::{BundleOutput, CreateOptions, Created};
use bundle::delta::{self, DeltaOptions};
use bundle::keys::SecretKey;
use bundle::open::{Access, SlotImages};
use bundle::recipe::Recipe;
use fixtures::guard_program::guard_program;
use seal::{Link, Purpose, Role, Trust, TrustedKey};
use sha2::{Digest as _, Sha256};
use std::io::{Cursor, Write as _};

/// The compatible string of the simulated hardware.
pub const COMPATIBLE: &str = "simulated";

/// A release and its images.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its version. The part after a dash is its behaviour.
    pub version: &'static str,
    /// Its rollback index.
    pub index: u64,
    /// The key epoch whose keys signed it.
    pub epoch: u64,
    /// The signed bundle; a delta bundle for one of the releases.
    pub bundle: Vec<u8>,
    /// The full bundle of the release whose bundle is a delta.
    pub full_bundle: Option<Vec<u8>>,
    /// Boot image.
    pub boot: Vec<u8>,
    /// Root image.
    pub root: Vec<u8>,
    /// What the root partition must begin with: the image, and its hash tree behind it.
    pub root_and_tree: Vec<u8>,
    /// Recovery image.
    pub recovery: Vec<u8>,
    /// Guard image.
    pub guard: Vec<u8>,
    /// SHA-256 of its manifest.
    pub manifest: [u8; 32],
}

/// Behaviour of a release when it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It starts, and its health checks pass.
    Works,
    /// It hangs, panics or fails its health checks: the machine restarts.
    Restarts,
    /// Its boot image returns to the guard.
    Returns,
    /// The firmware does not load it.
    Refused,
}

/// All releases, and the machine's trust.
pub struct Releases {
    all: Vec<Release>,
    /// The machine's trust.
    pub trust: Trust,
}

/// A row of the table of releases: version, rollback index, revoke, signing key.
type Row = (&'static str, u64, bool, u8);

const TABLE: [Row; 14] = [
    ("1.0.0", 1, false, 1),
    ("1.1.0", 2, false, 1),
    ("1.2.0", 3, false, 1),
    ("1.3.0", 4, true, 1),
    ("1.4.0", 5, false, 2),
    ("1.5.0", 6, false, 1),
    ("1.6.0", 7, false, 1),
    ("1.1.1-restarts", 2, false, 1),
    ("1.1.2-returns", 2, false, 1),
    ("1.1.3-refused", 2, false, 1),
    // Signed by keys that the guard learns by links.
    ("2.0.0", 20, false, SECOND_KEY),
    ("2.0.1-restarts", 21, false, SECOND_KEY),
    ("2.1.0", 22, false, THIRD_KEY),
    ("2.2.0", 23, true, THIRD_KEY),
];

/// The only key of key epoch 2.
const SECOND_KEY: u8 = 11;
/// The only key of key epoch 3.
const THIRD_KEY: u8 = 12;

/// The release with a delta bundle, and its base.
const DELTA: (&str, &str) = ("1.6.0", "1.0.0");

impl Releases {
    /// Makes and signs all releases.
    ///
    /// # Errors
    /// When a bundle cannot be made.
    pub fn make() -> anyhow::Result<Self> {
        let trust = trust()?;
        let mut all: Vec<Release> = Vec::new();
        for (line, seed) in TABLE.into_iter().zip(1..) {
            let base = all.iter().find(|base| (line.0, base.version) == DELTA);
            let made = match base {
                Some(base) => as_delta(base, release(line, later(base))?, &trust)?,
                None => release(line, images(line, seed, &trust))?,
            };
            all.push(made);
        }
        Ok(Self { all, trust })
    }

    /// The release with this version.
    ///
    /// # Panics
    /// When there is none: the callers' versions are constants.
    #[must_use]
    #[expect(clippy::panic, reason = "a mistake in a scenario, found at once")]
    pub fn get(&self, version: &str) -> &Release {
        self.all
            .iter()
            .find(|release| release.version == version)
            .unwrap_or_else(|| panic!("no {version}"))
    }

    /// All releases.
    pub fn iter(&self) -> std::slice::Iter<'_, Release> {
        self.all.iter()
    }
}

impl<'a> IntoIterator for &'a Releases {
    type Item = &'a Release;
    type IntoIter = std::slice::Iter<'a, Release>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Release {
    /// Its behaviour.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        match self.version.split_once('-') {
            None => Behaviour::Works,
            Some((_, "returns")) => Behaviour::Returns,
            Some((_, "refused")) => Behaviour::Refused,
            Some(_) => Behaviour::Restarts,
        }
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn trust_in(epoch: u64, seeds: &[u8]) -> anyhow::Result<Trust> {
    let roles = [Role::Release, Role::Recovery];
    let keys = seeds
        .iter()
        .map(|seed| TrustedKey::new(&key(*seed).public_key(), &roles))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Trust::new(epoch, [1, 0, 1], &keys)?)
}

/// The trust that is built into the guard.
fn trust() -> anyhow::Result<Trust> {
    trust_in(1, &[1, 2])
}

/// The key epoch of a signer, and the links that lead to it from the guard's trust.
fn rotation(signer: u8) -> anyhow::Result<(u64, Vec<Link>)> {
    let (second, third) = (trust_in(2, &[SECOND_KEY])?, trust_in(3, &[THIRD_KEY])?);
    let first_link = link(&trust()?, &second, [1, SECOND_KEY])?;
    let second_link = link(&second, &third, [SECOND_KEY, THIRD_KEY])?;
    Ok(match signer {
        SECOND_KEY => (2, vec![first_link]),
        THIRD_KEY => (3, vec![first_link, second_link]),
        _ => (1, Vec::new()),
    })
}

fn link(from: &Trust, to: &Trust, signers: [u8; 2]) -> anyhow::Result<Link> {
    let mut link = Link::new(from, to);
    for seed in signers {
        key(seed).sign_link(&mut link)?;
    }
    Ok(link)
}

/// The images of a release: boot, root, recovery, guard.
fn images((version, ..): Row, seed: u64, trust: &Trust) -> [Vec<u8>; 4] {
    // No length is a multiple of a sector, so that every image ends within one. One image is larger
    // than a batch of the updater.
    let root = if version == "1.5.0" {
        1_250_003
    } else {
        30_003
    };
    let image = |(len, salt)| noise(seed * 16 + salt, len);
    let [boot, root, recovery, guard] = [(13_001, 1), (root, 2), (9_007, 3), (2_011, 4)].map(image);
    [
        boot,
        root,
        recovery,
        guard_program(&trust.to_block(), &guard),
    ]
}

/// Images like those of `base`, with bytes inserted and overwritten.
fn later(base: &Release) -> [Vec<u8>; 4] {
    let (mut boot, mut root) = (base.boot.clone(), base.root.clone());
    boot[5000..5100].copy_from_slice(&noise(901, 100));
    root.splice(9000..9000, noise(902, 700));
    root[26_000..26_050].copy_from_slice(&noise(903, 50));
    [boot, root, base.recovery.clone(), base.guard.clone()]
}

fn release(line: Row, images: [Vec<u8>; 4]) -> anyhow::Result<Release> {
    let (version, index, revoke, signer) = line;
    let dir = tempfile::tempdir()?;
    let (epoch, links) = rotation(signer)?;
    let bytes: Vec<u8> = links.iter().flat_map(Link::as_bytes).copied().collect();
    std::fs::write(dir.path().join("trust.links"), bytes)?;
    let mut recipe = format!(
        "[release]\nversion = \"{version}\"\nrollback_index = {index}\nrevoke = {revoke}\n\
         key_epoch = {epoch}\ntrust_links = \"trust.links\"\n\
         compatible = [\"{COMPATIBLE}\"]\n[compression]\nchunk_size = 4096\nlevel = 1\n"
    );
    for (role, bytes) in ["boot", "root", "recovery", "guard"]
        .into_iter()
        .zip(&images)
    {
        std::fs::write(dir.path().join(role), bytes)?;
        recipe += &format!("[[image]]\nrole = \"{role}\"\npath = \"{role}\"\n");
    }
    let path = dir.path().join("bundle.toml");
    let recipe = Recipe::parse(&recipe, &path, None)?;
    let mut bundle = Vec::new();
    let made = bundle::create(
        &recipe,
        CreateOptions {
            keys: &[key(signer)],
            workers: 1,
        },
        BundleOutput {
            spool: &mut Cursor::new(Vec::new()),
            out: &mut bundle,
        },
        &mut |_| {},
    )?;
    let manifest = manifest(&bundle, &made);
    let [boot, root, recovery, guard] = images;
    Ok(Release {
        version,
        index,
        epoch,
        bundle,
        full_bundle: None,
        boot,
        root_and_tree: with_tree(&root),
        root,
        recovery,
        guard,
        manifest,
    })
}

fn manifest(bundle: &[u8], made: &Created) -> [u8; 32] {
    let start = seal::SEAL_LEN + made.statement.links.len as usize;
    let len = made.statement.manifest.len as usize;
    Sha256::digest(&bundle[start..start + len]).into()
}

/// `release` with a delta bundle for `base`.
fn as_delta(base: &Release, release: Release, trust: &Trust) -> anyhow::Result<Release> {
    let extracted = |bundle: &[u8]| -> anyhow::Result<SlotImages> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bundle)?;
        let access = Access::Verify(trust, Purpose::Release);
        Ok(SlotImages::extract(
            &file,
            access,
            1,
            tempfile::tempfile,
            &mut |_| (),
        )?)
    };
    let (old, new) = (extracted(&base.bundle)?, extracted(&release.bundle)?);
    let (mut spool, mut delta) = (Cursor::new(Vec::new()), Vec::new());
    let options = DeltaOptions {
        keys: &[key(1)],
        level: 9,
        workers: 1,
    };
    let output = BundleOutput {
        spool: &mut spool,
        out: &mut delta,
    };
    let made = delta::create(&old, &new, options, output, &mut |_| ())?;
    let manifest = manifest(&delta, &made);
    Ok(Release {
        bundle: delta,
        full_bundle: Some(release.bundle),
        manifest,
        ..release
    })
}

/// Returns a root image with its hash tree behind it, as docs/format.md describes it, without the
/// code under test.
fn with_tree(root: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 4096;
    let hashes = |blocks: &[u8]| -> Vec<u8> {
        let hashes = blocks.chunks(BLOCK).flat_map(Sha256::digest);
        hashes.collect()
    };
    let mut bytes = root.to_vec();
    bytes.resize(root.len().next_multiple_of(BLOCK), 0);
    let blocks = bytes.len() / BLOCK;
    let mut levels = Vec::new();
    let mut below = hashes(&bytes);
    while below.len() > 32 {
        below.resize(below.len().next_multiple_of(BLOCK), 0);
        let above = hashes(&below);
        levels.push(std::mem::replace(&mut below, above));
    }
    let mut superblock = vec![0; BLOCK];
    superblock[..6].copy_from_slice(b"verity");
    (superblock[8], superblock[12]) = (1, 1);
    superblock[32..38].copy_from_slice(b"sha256");
    for at in [64, 68] {
        superblock[at..at + 4].copy_from_slice(&(BLOCK as u32).to_le_bytes());
    }
    superblock[72..80].copy_from_slice(&(blocks as u64).to_le_bytes());
    bytes.extend(superblock);
    levels.iter().rev().for_each(|level| bytes.extend(level));
    bytes
}

/// Incompressible bytes; long images also have zeroes and a repeated range.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut bytes: Vec<u8> = (0..len).map(|_| next()).collect();
    if len > 24_576 {
        bytes[8192..12_288].fill(0);
        bytes.copy_within(0..4096, 16_384);
    }
    bytes
}
