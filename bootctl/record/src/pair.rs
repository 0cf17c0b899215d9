//! The two copies of the boot record: which one is current, and which one is written next.

use crate::record::{RECORD_LEN, Record};
use crate::record_error::RecordError;

/// The two blocks; `None` if the medium returned an error.
#[derive(Clone, Copy, Debug)]
pub struct Copies<'a>(pub [Option<&'a [u8; RECORD_LEN]>; 2]);

/// What the two copies hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nothing here allocates")]
pub enum Pair {
    /// There is a current record.
    Valid {
        /// The current record: the one with the higher sequence number.
        record: Record,
        /// Number of the copy that the next write goes to: 0 or 1.
        next_copy: u32,
        /// Whether the other copy is valid, too.
        both: bool,
    },
    /// A later major version wrote a copy. It must be neither used nor overwritten.
    Newer(u16),
    /// No copy is valid: the record must be rebuilt from evidence. The errors are in the order of
    /// the copies, `None` for a read error.
    Lost([Option<RecordError>; 2]),
}

impl Pair {
    /// Returns the current record of two copies. *Pure.* The valid copy with the higher sequence
    /// number wins; of two equal ones, copy 0.
    #[must_use]
    pub fn read(copies: Copies<'_>) -> Self {
        let Copies([first, second]) = copies;
        let first = first.map(|bytes| Record::decode(bytes, 0));
        let second = second.map(|bytes| Record::decode(bytes, 1));
        for copy in [first, second] {
            if let Some(Err(RecordError::UnknownMajor(major))) = copy {
                return Self::Newer(major);
            }
        }
        match (first, second) {
            (Some(Ok(first)), Some(Ok(second))) if second.seq > first.seq => Self::Valid {
                record: second,
                next_copy: 0,
                both: true,
            },
            (Some(Ok(record)), Some(Ok(_))) => Self::Valid {
                record,
                next_copy: 1,
                both: true,
            },
            (Some(Ok(record)), _) => Self::Valid {
                record,
                next_copy: 1,
                both: false,
            },
            (_, Some(Ok(record))) => Self::Valid {
                record,
                next_copy: 0,
                both: false,
            },
            (first, second) => Self::Lost([first, second].map(|copy| copy.and_then(Result::err))),
        }
    }
}
