//! The trust chain: how the keys of a machine are replaced without touching its boot guard.
//!
//! The guard has one trust block built in. A [`Link`] leads from a block to the next one; it is
//! signed by the thresholds of both. Guard, updater and recovery follow the same links from their
//! own block, and accept what any block accepts that is not below the *trust floor*.
//!
//! ```text
//! offset  bytes  content of a link
//!      0   2048  trust block (see `Trust::to_block`)
//!   2048     32  SHA-256 of the trust block before it
//!   2080      4  number of signatures, 0 to 16
//!   2084     12  zero
//!   2096   1536  16 signature entries of 96 bytes, as in a seal; unused ones zero
//!   3632    460  zero
//!   4092      4  CRC-32 (IEEE) of the bytes before it: detects damage, does not stop forgery
//! ```

use crate::error::{SealError, VerifyError};
use crate::field::{get, put};
use crate::key::{KeyId, Purpose};
use crate::seal::Seal;
use crate::signatures::{ENTRIES_LEN, SignatureEntries, SignatureEntry};
use crate::statement::Statement;
use crate::trust::{TRUST_BLOCK_LEN, Trust, TrustError};
use alloc::vec;
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

/// Length of a link in bytes.
pub const LINK_LEN: usize = 4096;
/// Maximum number of links of a chain: as many as the state partition has room for. It also bounds
/// what a bundle can make a reader buffer before its signatures are verified.
pub const MAX_LINKS: usize = 12;
/// Domain separation string of the signatures of a link.
pub const LINK_DOMAIN: [u8; 32] = *b"RayOS Update trust chain link\0\0\0";
/// Length of the message that is signed: domain, SHA-256 of the block before, SHA-256 of the block.
pub const LINK_MESSAGE_LEN: usize = 96;

const PREVIOUS_AT: usize = TRUST_BLOCK_LEN;
const COUNT_AT: usize = 2080;
const ENTRIES_AT: usize = 2096;
const RESERVED_AT: usize = ENTRIES_AT + ENTRIES_LEN;
const CRC_AT: usize = 4092;

/// A link with a valid structure. Its signatures are not verified: see [`TrustChain::follow`].
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    bytes: [u8; LINK_LEN],
}

/// Reasons to refuse a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// All bytes are zero: the end of the links in a state partition.
    Empty,
    /// The CRC does not match, or reserved bytes are not zero.
    Damaged,
    /// Its signatures are malformed.
    Signatures(SealError),
    /// Its trust block is malformed.
    Trust(TrustError),
    /// The keys of the block before, or its own, did not sign it sufficiently.
    Refused(VerifyError),
    /// Its key epoch is not higher than that of the block before.
    Epoch {
        /// Key epoch of the block before.
        current: u64,
        /// Its key epoch.
        new: u64,
    },
    /// More than [`MAX_LINKS`] links.
    TooMany,
}

impl core::fmt::Display for LinkError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("trust link: empty"),
            Self::Damaged => f.write_str("trust link: damaged"),
            Self::Signatures(error) => write!(f, "trust link: {error}"),
            Self::Trust(error) => write!(f, "trust link: {error}"),
            Self::Refused(error) => write!(f, "trust link: {error}"),
            Self::Epoch { current, new } => {
                write!(
                    f,
                    "trust link: key epoch {new}, expected more than {current}"
                )
            }
            Self::TooMany => write!(f, "more than {MAX_LINKS} trust links"),
        }
    }
}
impl core::error::Error for LinkError {}

impl Link {
    /// Returns an unsigned link from `previous` to `next`. *Pure.*
    #[must_use]
    pub fn new(previous: &Trust, next: &Trust) -> Self {
        let mut bytes = [0; LINK_LEN];
        put(&mut bytes, 0, &next.to_block());
        put(&mut bytes, PREVIOUS_AT, &digest(previous));
        let mut link = Self { bytes };
        link.refresh_crc();
        link
    }

    /// Checks the structure of a link. *Pure.* A link has exactly one encoding.
    ///
    /// # Errors
    /// [`LinkError::Empty`], [`LinkError::Damaged`], [`LinkError::Signatures`].
    pub fn from_bytes(bytes: &[u8; LINK_LEN]) -> Result<Self, LinkError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(LinkError::Empty);
        }
        let link = Self { bytes: *bytes };
        if u32::from_le_bytes(get(bytes, CRC_AT)) != link.crc() {
            return Err(LinkError::Damaged);
        }
        link.entries().check().map_err(LinkError::Signatures)?;
        let reserved = [COUNT_AT.saturating_add(4)..ENTRIES_AT, RESERVED_AT..CRC_AT];
        let is_zero = |range: core::ops::Range<usize>| {
            bytes
                .get(range)
                .unwrap_or_default()
                .iter()
                .all(|byte| *byte == 0)
        };
        if reserved.into_iter().all(is_zero) {
            Ok(link)
        } else {
            Err(LinkError::Damaged)
        }
    }

    /// Returns the bytes of the link, as in a bundle or a state partition.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; LINK_LEN] {
        &self.bytes
    }

    /// Returns the 96 bytes to sign. *Pure.*
    #[must_use]
    pub fn to_be_signed(&self) -> [u8; LINK_MESSAGE_LEN] {
        let mut message = [0; LINK_MESSAGE_LEN];
        put(&mut message, 0, &LINK_DOMAIN);
        put(&mut message, 32, &self.previous());
        put(&mut message, 64, &Sha256::digest(self.block()));
        message
    }

    /// Adds a signature. *Pure.* It is not verified here, but by [`TrustChain::follow`].
    ///
    /// # Errors
    /// [`SealError::Full`], [`SealError::AlreadySigned`].
    pub fn add_signature(&mut self, key_id: KeyId, signature: &[u8; 64]) -> Result<(), SealError> {
        self.entries().check_new(key_id)?;
        let count = self.entries().count;
        SignatureEntry {
            key_id,
            signature: *signature,
        }
        .put(&mut self.bytes, ENTRIES_AT, count);
        let count = count.saturating_add(1) as u32;
        put(&mut self.bytes, COUNT_AT, &count.to_le_bytes());
        self.refresh_crc();
        Ok(())
    }

    /// Returns the trust block that the link leads to. Nothing is verified.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn unverified_trust(&self) -> Result<Trust, TrustError> {
        Trust::from_block(&self.block())
    }

    /// Returns the trust that the link leads to, if `previous` and that trust itself signed it.
    /// *Pure.*
    fn verify(&self, previous: &Trust) -> Result<Trust, LinkError> {
        let message = self.to_be_signed();
        previous
            .check_signatures(Purpose::Release, &message, self.entries().iter())
            .map_err(LinkError::Refused)?;
        // Parsed after it is authenticated.
        let next = self.unverified_trust().map_err(LinkError::Trust)?;
        next.check_signatures(Purpose::Release, &message, self.entries().iter())
            .map_err(LinkError::Refused)?;
        let (current, new) = (previous.epoch(), next.epoch());
        if new > current {
            Ok(next)
        } else {
            Err(LinkError::Epoch { current, new })
        }
    }

    fn block(&self) -> [u8; TRUST_BLOCK_LEN] {
        get(&self.bytes, 0)
    }

    fn previous(&self) -> [u8; 32] {
        get(&self.bytes, PREVIOUS_AT)
    }

    fn entries(&self) -> SignatureEntries<'_> {
        SignatureEntries::of(&self.bytes, COUNT_AT, ENTRIES_AT)
    }

    fn crc(&self) -> u32 {
        crc32fast::hash(self.bytes.get(..CRC_AT).unwrap_or_default())
    }

    fn refresh_crc(&mut self) {
        let crc = self.crc();
        put(&mut self.bytes, CRC_AT, &crc.to_le_bytes());
    }
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Link")
            .field("epoch", &u64::from_le_bytes(get(&self.bytes, 16)))
            .finish_non_exhaustive()
    }
}

/// Parses the links in a copy of a state partition. *Pure.* At most [`MAX_LINKS`]; those that are
/// empty or damaged are left out.
#[must_use]
pub fn stored_links(bytes: &[u8]) -> Vec<Link> {
    let (blocks, _) = bytes.as_chunks::<LINK_LEN>();
    blocks
        .iter()
        .take(MAX_LINKS)
        .filter_map(|block| Link::from_bytes(block).ok())
        .collect()
}

/// Parses the links of a bundle: all of `bytes`. *Pure.*
///
/// # Errors
/// [`LinkError::TooMany`]; [`LinkError::Damaged`] for bytes that are not whole links; the error of
/// the first link that is refused.
pub fn parse_links(bytes: &[u8]) -> Result<Vec<Link>, LinkError> {
    let (blocks, rest) = bytes.as_chunks::<LINK_LEN>();
    if blocks.len() > MAX_LINKS {
        return Err(LinkError::TooMany);
    }
    if !rest.is_empty() {
        return Err(LinkError::Damaged);
    }
    blocks.iter().map(Link::from_bytes).collect()
}

/// A seal that a chain accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The signed statement.
    pub statement: Statement,
    /// The highest key epoch of the chain that accepts the seal. A higher trust floor rules it out.
    pub epoch: u64,
}

/// Trust blocks that follow from one another, and the trust floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustChain {
    /// Never empty; in rising order of their key epochs.
    blocks: Vec<Trust>,
    floor: u64,
}

impl From<&Trust> for TrustChain {
    fn from(trust: &Trust) -> Self {
        Self::new(trust.clone())
    }
}

impl From<&Self> for TrustChain {
    fn from(chain: &Self) -> Self {
        chain.clone()
    }
}

impl TrustChain {
    /// Returns the chain of one block, with the trust floor 0. *Pure.*
    #[must_use]
    pub fn new(first: Trust) -> Self {
        Self {
            blocks: vec![first],
            floor: 0,
        }
    }

    /// Returns the chain with a trust floor of at least `floor`. *Pure.*
    #[must_use]
    pub fn with_floor(self, floor: u64) -> Self {
        let floor = self.floor.max(floor);
        Self { floor, ..self }
    }

    /// Returns the trust floor: blocks of a lower key epoch accept nothing.
    #[must_use]
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// Returns the highest key epoch of the chain. *Pure.*
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.blocks.last().map_or(0, Trust::epoch)
    }

    /// Follows `links` from the last block, and returns how many led further. *Pure.* Links that
    /// begin at other blocks, such as those before the first block, are passed over.
    ///
    /// # Errors
    /// The [`LinkError`] of the first link that begins at the last block and is refused. The chain
    /// ends before it.
    pub fn follow<'a>(
        &mut self,
        links: impl IntoIterator<Item = &'a Link>,
    ) -> Result<usize, LinkError> {
        let mut followed = 0_usize;
        for link in links {
            let Some(last) = self.blocks.last() else {
                continue;
            };
            if link.previous() != digest(last) {
                continue;
            }
            if self.blocks.len() > MAX_LINKS {
                return Err(LinkError::TooMany);
            }
            let next = link.verify(last)?;
            self.blocks.push(next);
            followed = followed.saturating_add(1);
        }
        Ok(followed)
    }

    /// Returns the statement of `seal`, and the highest key epoch that accepts it, if a block at or
    /// above the trust floor accepts its signatures for `purpose`. *Pure.*
    ///
    /// # Errors
    /// [`VerifyError::Withdrawn`] if only blocks below the floor accept it;
    /// [`VerifyError::TrustTooOld`] if it claims a key epoch behind the end of the chain; otherwise
    /// the error of the newest block.
    pub fn accept(&self, seal: &Seal, purpose: Purpose) -> Result<Accepted, VerifyError> {
        let trust = self.epoch();
        let release = seal
            .unverified_statement()
            .map_or(0, |found| found.key_epoch);
        if release > trust {
            return Err(VerifyError::TrustTooOld { release, trust });
        }
        let mut newest_error = None;
        for trust in self.blocks.iter().rev() {
            let epoch = trust.epoch();
            match seal.verify(trust, purpose) {
                Ok(statement) if epoch >= self.floor => return Ok(Accepted { statement, epoch }),
                Ok(_) => {
                    let floor = self.floor;
                    return Err(VerifyError::Withdrawn { epoch, floor });
                }
                Err(error) => newest_error = newest_error.or(Some(error)),
            }
        }
        Err(newest_error.unwrap_or(VerifyError::Unsigned))
    }

    /// Returns the statement of `seal` as [`TrustChain::accept`] does. *Pure.*
    ///
    /// # Errors
    /// As [`TrustChain::accept`].
    pub fn verify(&self, seal: &Seal, purpose: Purpose) -> Result<Statement, VerifyError> {
        self.accept(seal, purpose).map(|found| found.statement)
    }
}

fn digest(trust: &Trust) -> [u8; 32] {
    Sha256::digest(trust.to_block()).into()
}
