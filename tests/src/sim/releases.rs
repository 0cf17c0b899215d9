//! Releases of a few KiB, signed as real ones are.

use bundle::keys::SecretKey;
use bundle::recipe::Recipe;
use seal::{Role, Trust, TrustedKey};
use sha2::{Digest as _, Sha256};
use std::io::Cursor;

/// The hardware that they are for.
pub const COMPATIBLE: &str = "simulated";

/// A release and what it is made of.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its name; what comes after a dash says how it behaves.
    pub version: &'static str,
    /// Its rollback index.
    pub index: u64,
    /// The signed file.
    pub bundle: Vec<u8>,
    /// Boot image.
    pub boot: Vec<u8>,
    /// Root image.
    pub root: Vec<u8>,
    /// Recovery image.
    pub recovery: Vec<u8>,
    /// The guard that it brings.
    pub guard: Vec<u8>,
    /// SHA-256 of its manifest.
    pub manifest: [u8; 32],
}

/// What a release does once it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It comes up, and its checks pass.
    Works,
    /// It hangs or panics, or its checks fail: the machine restarts.
    Restarts,
    /// Its boot image comes back to the guard.
    Returns,
    /// Firmware does not load it.
    Refused,
}

/// Everything that was ever released, and who is trusted.
pub struct Releases {
    all: Vec<Release>,
    /// The machine's trust.
    pub trust: Trust,
}

/// One line of the table of releases: version, rollback index, revoke, signing key.
const TABLE: [(&str, u64, bool, u8); 9] = [
    ("1.0.0", 1, false, 1),
    ("1.1.0", 2, false, 1),
    ("1.2.0", 3, false, 1),
    ("1.3.0", 4, true, 1),
    ("1.4.0", 5, false, 2),
    ("1.5.0", 6, false, 1),
    ("1.1.1-restarts", 2, false, 1),
    ("1.1.2-returns", 2, false, 1),
    ("1.1.3-refused", 2, false, 1),
];

impl Releases {
    /// Makes and signs them all.
    ///
    /// # Errors
    /// What making a bundle says.
    pub fn make() -> anyhow::Result<Self> {
        let all = TABLE.iter().zip(1..).map(|(line, seed)| release(*line, seed)).collect::<Result<_, _>>()?;
        Ok(Self { all, trust: trust()? })
    }

    /// The release with this version.
    ///
    /// # Panics
    /// If there is none: the names are constants of this module's users.
    #[must_use]
    #[expect(clippy::panic, reason = "a mistake of the scenario, found at once")]
    pub fn get(&self, version: &str) -> &Release {
        self.all.iter().find(|release| release.version == version).unwrap_or_else(|| panic!("no {version}"))
    }

    /// All of them.
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
    /// What it does.
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

fn trust() -> anyhow::Result<Trust> {
    let roles = [Role::Release, Role::Recovery];
    let keys =
        [TrustedKey::new(&key(1).public_key(), &roles)?, TrustedKey::new(&key(2).public_key(), &roles)?];
    Ok(Trust::new(1, [1, 0, 1], &keys)?)
}

fn release(
    (version, index, revoke, signer): (&'static str, u64, bool, u8),
    seed: u64,
) -> anyhow::Result<Release> {
    let dir = tempfile::tempdir()?;
    let mut recipe = format!(
        "[release]\nversion = \"{version}\"\nrollback_index = {index}\nrevoke = {revoke}\n\
         compatible = [\"{COMPATIBLE}\"]\n[compression]\nframe_size = 4096\nlevel = 1\n"
    );
    // None is a multiple of a sector, so that every image has an end inside of one.
    // One is larger than what the updater writes in one piece.
    let root = if version == "1.5.0" { 1_250_003 } else { 30_003 };
    let lengths = [("boot", 13_001), ("root", root), ("recovery", 9_007), ("guard", 5_011)];
    let mut images = Vec::new();
    for ((role, len), salt) in lengths.into_iter().zip(1..) {
        let bytes = noise(seed * 16 + salt, len);
        std::fs::write(dir.path().join(role), &bytes)?;
        recipe += &format!("[[image]]\nrole = \"{role}\"\npath = \"{role}\"\n");
        images.push(bytes);
    }
    let path = dir.path().join("bundle.toml");
    let recipe = Recipe::parse(&recipe, &path, None)?;
    let mut bundle = Vec::new();
    let made =
        bundle::create(&recipe, &[key(signer)], 1, &mut Cursor::new(Vec::new()), &mut bundle, &mut |_| {})?;
    let manifest_len = made.statement.manifest.len as usize;
    let manifest = Sha256::digest(&bundle[seal::SEAL_LEN..seal::SEAL_LEN + manifest_len]).into();
    let [boot, root, recovery, guard] = images.try_into().map_err(|_| anyhow::anyhow!("four images"))?;
    Ok(Release { version, index, bundle, boot, root, recovery, guard, manifest })
}

/// Bytes that do not compress, with zeroes and a repeat in them where there is room for that.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut bytes: Vec<u8> = (0..len).map(|_| next()).collect();
    if len > 24_576 {
        bytes[8192..12_288].fill(0);
        bytes.copy_within(0..4096, 16_384);
    }
    bytes
}
