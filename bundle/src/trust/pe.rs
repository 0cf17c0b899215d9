//! Trusted keys in a boot guard: the section `.trust` of the program is filled after it is built.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use seal::pe::{PeError, PeHeaders};
use seal::{
    Link, Purpose, Seal, TRUST_BLOCK_LEN, TRUST_BLOCK_MAGIC, Trust, TrustChain, TrustError,
    VerifyError,
};
use std::ops::Range;

/// Name of the guard's section that holds its trusted keys.
pub const TRUST_SECTION: &str = ".trust";
/// The name in a section header.
const TRUST_SECTION_NAME: &[u8; 8] = b".trust\0\0";

/// Reasons why trusted keys cannot be embedded in a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum EmbedError {
    #[error(transparent)]
    Pe(#[from] PeError),
    #[error("no section {TRUST_SECTION}: not a boot guard")]
    NoSection,
    #[error("section {TRUST_SECTION} of {found} bytes, expected at least {TRUST_BLOCK_LEN}")]
    TooShort { found: u64 },
    #[error("section {TRUST_SECTION} does not begin with a trust block")]
    NotATrustBlock,
    #[error("signed for Secure Boot already: embed keys first, sign for Secure Boot last")]
    Signed,
    #[error("section {TRUST_SECTION}: {0}")]
    Trust(TrustError),
}

/// Why a boot guard must not be placed beside a seal: it would start nothing that the seal covers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The keys of the program cannot be read.
    #[error("boot guard: {0}")]
    Program(EmbedError),
    /// Its keys do not accept the signatures.
    #[error("the boot guard does not accept {what}: {error}")]
    Refuses {
        /// What the seal covers, for people.
        what: String,
        /// The answer of the guard.
        error: VerifyError,
    },
}

impl From<EmbedError> for GuardError {
    fn from(error: EmbedError) -> Self {
        Self::Program(error)
    }
}

impl GuardError {
    /// Returns whether the image is no EFI program at all, such as a placeholder in a trial: there
    /// are no keys to compare, and a warning is enough. *Pure.*
    #[must_use]
    pub const fn is_no_program(&self) -> bool {
        matches!(self, Self::Program(EmbedError::Pe(PeError::Mz)))
    }
}

/// Returns what the guard `program` accepts beside the trust links `links`. *Pure.*
///
/// # Errors
/// [`GuardError::Program`].
pub fn guard_chain(program: &[u8], links: &[Link]) -> Result<TrustChain, GuardError> {
    let mut chain = TrustChain::new(embedded_trust(program)?);
    // A link that the guard refuses ends its chain.
    let _refused = chain.follow(links);
    Ok(chain)
}

/// Checks that a guard with this chain accepts `seal` for each purpose, as it will when the machine
/// starts. *Pure.* `what` is the name of the sealed object for people.
///
/// # Errors
/// [`GuardError::Refuses`].
pub fn check_guard(
    chain: &TrustChain,
    what: &str,
    seal: &Seal,
    purposes: &[Purpose],
) -> Result<(), GuardError> {
    for purpose in purposes {
        chain
            .accept(seal, *purpose)
            .map_err(|error| GuardError::Refuses {
                what: what.to_owned(),
                error,
            })?;
    }
    Ok(())
}

/// Returns the guard's program with `trust` embedded. *Pure.*
///
/// # Errors
/// [`EmbedError`]. A program with a Secure Boot signature is refused, because the change would
/// invalidate it.
pub fn embed_trust(program: &[u8], trust: &Trust) -> Result<Vec<u8>, EmbedError> {
    let headers = PeHeaders::parse(program)?;
    if headers.certificate_table()?.is_some() {
        return Err(EmbedError::Signed);
    }
    let section = trust_section(&headers)?;
    let found = section.len() as u64;
    let mut out = program.to_vec();
    let block = out
        .get_mut(section)
        .and_then(|section| section.get_mut(..TRUST_BLOCK_LEN))
        .ok_or(EmbedError::TooShort { found })?;
    if !block.starts_with(&TRUST_BLOCK_MAGIC) {
        return Err(EmbedError::NotATrustBlock);
    }
    block.copy_from_slice(&trust.to_block());
    Ok(out)
}

/// Returns the trust that is embedded in a guard's program. *Pure.* A Secure Boot signature does not
/// matter here.
///
/// # Errors
/// [`EmbedError`]; [`EmbedError::Trust`] if no keys are embedded, or they are damaged.
pub fn embedded_trust(program: &[u8]) -> Result<Trust, EmbedError> {
    let block = trust_block(program)?;
    Trust::from_block(block).map_err(EmbedError::Trust)
}

fn trust_block(program: &[u8]) -> Result<&[u8; TRUST_BLOCK_LEN], EmbedError> {
    let section = trust_section(&PeHeaders::parse(program)?)?;
    let found = section.len() as u64;
    program
        .get(section)
        .and_then(<[u8]>::first_chunk)
        .ok_or(EmbedError::TooShort { found })
}

fn trust_section(headers: &PeHeaders<'_>) -> Result<Range<usize>, EmbedError> {
    headers
        .section(TRUST_SECTION_NAME)?
        .ok_or(EmbedError::NoSection)
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]
mod tests {
    use super::*;
    use seal::{Role, TrustedKey};

    const COFF: usize = 0x80;
    const OPTIONAL: usize = COFF + 24;
    const HEADERS: usize = OPTIONAL + 240;
    const TRUST: usize = 0x400;

    /// Returns a minimal program: headers, and the sections .text and .trust.
    fn program(trust_len: u32) -> Vec<u8> {
        let mut bytes = vec![0xcc; TRUST + 4096];
        bytes[..TRUST].fill(0);
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        put(0, b"MZ");
        put(0x3c, &(COFF as u32).to_le_bytes());
        put(COFF, b"PE\0\0");
        put(COFF + 6, &2_u16.to_le_bytes());
        put(COFF + 20, &240_u16.to_le_bytes());
        put(OPTIONAL, &0x20b_u16.to_le_bytes());
        put(OPTIONAL + 108, &16_u32.to_le_bytes());
        for (section, name, at, len) in [
            (0, b".text\0\0\0", 0x200_u32, 0x200),
            (1, b".trust\0\0", TRUST as u32, trust_len),
        ] {
            put(HEADERS + 40 * section, name);
            put(HEADERS + 40 * section + 16, &len.to_le_bytes());
            put(HEADERS + 40 * section + 20, &at.to_le_bytes());
        }
        put(TRUST, &TRUST_BLOCK_MAGIC);
        bytes
    }

    fn trust() -> Trust {
        let key = crate::trust::keys::SecretKey::from_seed(&[3; 32]).public_key();
        Trust::new(
            4,
            [1, 0, 0],
            &[TrustedKey::new(&key, &[Role::Release]).unwrap()],
        )
        .unwrap()
    }

    #[test]
    fn only_the_trust_block_changes() {
        let (before, trust) = (program(4096), trust());
        let after = embed_trust(&before, &trust).unwrap();
        assert_eq!(after[..TRUST], before[..TRUST]);
        assert_eq!(
            after[TRUST + TRUST_BLOCK_LEN..],
            before[TRUST + TRUST_BLOCK_LEN..]
        );
        assert_eq!(trust_block(&after).unwrap(), &trust.to_block());
        assert_eq!(embedded_trust(&after).unwrap(), trust);
        // Keys that are embedded already are replaced.
        assert_eq!(embed_trust(&after, &trust).unwrap(), after);
    }

    #[test]
    fn the_keys_of_a_guard_that_is_signed_for_the_firmware_are_read() {
        let guard = fixtures::guard_program::guard_program(&trust().to_block(), b"code");
        let signed = fixtures::guard_program::with_signature(guard);
        assert_eq!(embed_trust(&signed, &trust()), Err(EmbedError::Signed));
        assert_eq!(embedded_trust(&signed).unwrap(), trust());
    }

    #[test]
    fn only_an_image_that_is_no_program_has_no_keys_to_compare() {
        let error = |program: &[u8]| guard_chain(program, &[]).unwrap_err();
        assert!(error(&[7; 4096]).is_no_program());
        assert!(!error(b"MZ").is_no_program());
        assert!(!error(&program(4096)).is_no_program());
    }

    #[test]
    fn a_guard_without_keys_has_no_trust() {
        assert_eq!(
            embedded_trust(&program(4096)).unwrap_err().to_string(),
            "section .trust: no trusted keys are built into this program"
        );
    }

    #[test]
    fn a_program_that_is_not_an_unsigned_guard_is_refused() {
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = program(4096);
            change(&mut bytes);
            embed_trust(&bytes, &trust()).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&|bytes| bytes.clear()),
            "not an EFI program: MZ header not found"
        );
        assert_eq!(
            refused(&|bytes| bytes[COFF] = 0),
            "not an EFI program: PE header not found"
        );
        assert_eq!(
            refused(&|bytes| bytes[0x3c..0x40].fill(0xff)),
            "not an EFI program: PE header not found"
        );
        assert_eq!(
            refused(&|bytes| bytes[OPTIONAL] = 0x0a),
            "not an EFI program: neither PE32 nor PE32+"
        );
        assert_eq!(
            refused(&|bytes| bytes[OPTIONAL + 144..OPTIONAL + 152].fill(1)),
            "signed for Secure Boot already: embed keys first, sign for Secure Boot last"
        );
        assert_eq!(
            refused(&|bytes| bytes[HEADERS + 41] = b'T'),
            "no section .trust: not a boot guard"
        );
        assert_eq!(
            refused(&|bytes| bytes.truncate(HEADERS)),
            "not an EFI program: truncated"
        );
        assert_eq!(
            refused(&|bytes| bytes.truncate(TRUST + 4095)),
            "not an EFI program: truncated"
        );
        assert_eq!(
            refused(&|bytes| bytes[TRUST] ^= 1),
            "section .trust does not begin with a trust block"
        );
        let short = embed_trust(&program(TRUST_BLOCK_LEN as u32 - 1), &trust()).unwrap_err();
        assert_eq!(short, EmbedError::TooShort { found: 2047 });
    }

    proptest::proptest! {
        #[test]
        fn any_program_is_read_or_refused(
            at in 0_usize..TRUST,
            with in proptest::collection::vec(proptest::num::u8::ANY, 1..9),
        ) {
            let mut bytes = program(4096);
            let end = (at + with.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&with[..end - at]);
            if let Ok(after) = embed_trust(&bytes, &trust()) {
                proptest::prop_assert_eq!(after.len(), bytes.len());
                proptest::prop_assert_eq!(embedded_trust(&after), Ok(trust()));
            }
        }
    }
}
