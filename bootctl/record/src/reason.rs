//! Why a slot is not started.

/// Why a slot is Unbootable, or why the guard passed over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// None: the slot is Pending or Good.
    None = 0,
    /// No release was ever written to it.
    Empty = 1,
    /// A release is being written to it, or writing was interrupted.
    Updating = 2,
    /// A new release used up its tries without committing.
    TriesExhausted = 3,
    /// A committed release failed to reach commit in too many boots in a row.
    BudgetExhausted = 4,
    /// The header of its boot partition is damaged or missing.
    HeaderDamaged = 5,
    /// The signatures of its boot image are not accepted.
    SignatureRefused = 6,
    /// Its boot image does not have the signed SHA-256.
    ImageDamaged = 7,
    /// The firmware refused to load the image.
    LoadFailed = 8,
    /// The started image returned to the guard.
    Returned = 9,
    /// The partition could not be read.
    ReadFailed = 10,
    /// An operator marked it bad.
    MarkedBad = 11,
    /// An operator rolled back from it.
    RolledBack = 12,
    /// A later release revoked it.
    Revoked = 13,
    /// Its release is older than the floor.
    BelowFloor = 14,
    /// The release in the boot partition is not the one in the record.
    OtherRelease = 15,
    /// The partition is missing.
    Missing = 16,
    /// Damaged chunks of a committed release are being written again, or that was interrupted.
    /// After the repair the slot is Good again.
    Repairing = 17,
    /// Secure Boot is on, and the firmware does not accept the image's Authenticode signature, or
    /// there is none.
    SecureBoot = 18,
    /// Only keys below the trust floor signed it sufficiently.
    Withdrawn = 19,
    /// It was signed under a key epoch that the trust links on this disk do not lead to.
    KeysUnknown = 20,
    /// A later minor version wrote a reason that is unknown here.
    Other = 255,
}

impl Reason {
    const ALL: [Self; 21] = [
        Self::None,
        Self::Empty,
        Self::Updating,
        Self::TriesExhausted,
        Self::BudgetExhausted,
        Self::HeaderDamaged,
        Self::SignatureRefused,
        Self::ImageDamaged,
        Self::LoadFailed,
        Self::Returned,
        Self::ReadFailed,
        Self::MarkedBad,
        Self::RolledBack,
        Self::Revoked,
        Self::BelowFloor,
        Self::OtherRelease,
        Self::Missing,
        Self::Repairing,
        Self::SecureBoot,
        Self::Withdrawn,
        Self::KeysUnknown,
    ];

    /// Returns the number on disk. *Pure.*
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Returns the reason with this number; [`Reason::Other`] for an unknown one. *Pure.*
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|reason| reason.code() == code)
            .unwrap_or(Self::Other)
    }

    /// Returns the words that complete "slot A is not started: ...". *Pure.*
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::None => "no reason",
            Self::Empty => "it is empty",
            Self::Updating => "an update of it was not finished",
            Self::TriesExhausted => "its release used up its tries without committing",
            Self::BudgetExhausted => "its release repeatedly failed to reach commit",
            Self::HeaderDamaged => "the header of its boot image is damaged",
            Self::SignatureRefused => "the signature of its boot image is not accepted",
            Self::ImageDamaged => "its boot image is not the one that was signed",
            Self::LoadFailed => "the firmware refused to load its boot image",
            Self::Returned => "its boot image returned to the guard",
            Self::ReadFailed => "its boot partition cannot be read",
            Self::MarkedBad => "it was marked bad",
            Self::RolledBack => "it was rolled back",
            Self::Revoked => "a later release revoked it",
            Self::BelowFloor => "its release is older than this machine accepts",
            Self::OtherRelease => "it holds a different release than the boot record names",
            Self::Missing => "its partition is missing",
            Self::Repairing => "a repair of it was not finished",
            Self::SecureBoot => "the firmware's Secure Boot does not accept its boot image",
            Self::Withdrawn => "the keys that signed it are withdrawn",
            Self::KeysUnknown => "the keys that signed it are not known to this machine",
            Self::Other => "for a reason that is unknown to this version",
        }
    }
}
