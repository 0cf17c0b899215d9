//! The two copies of the boot record: which one counts, and which one is written next.

use crate::record::{RECORD_LEN, Record, RecordError};

/// Least length of the state partition in bytes.
pub const STATE_LEN: u64 = 1024 * 1024;
/// Byte offsets of the two copies in the state partition, far apart.
pub const COPY_OFFSETS: [u64; 2] = [0, STATE_LEN - RECORD_LEN as u64];
/// Byte offset of the event ring in the state partition.
pub const RING_OFFSET: u64 = 64 * 1024;
/// Length of the event ring in bytes.
pub const RING_LEN: u64 = 896 * 1024;

/// The two blocks as they were read; `None` where the medium gave an error.
#[derive(Clone, Copy, Debug)]
pub struct Copies<'a>(pub [Option<&'a [u8; RECORD_LEN]>; 2]);

/// What the two copies say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nothing here allocates")]
pub enum Pair {
    /// The record that counts, and the copy that the next write goes to.
    Valid {
        /// The record with the highest sequence number.
        record: Record,
        /// Copy not in use: 0 or 1.
        next_copy: u32,
        /// Whether the other copy is readable too.
        both: bool,
    },
    /// A copy was written by a later major version: neither decide by it nor overwrite it.
    Newer(u16),
    /// No copy is readable: it must be rebuilt from evidence. The errors by copy, `None` for a read
    /// error.
    Lost([Option<RecordError>; 2]),
}

impl Pair {
    /// Chooses between the copies. *Pure.* The highest valid sequence number wins; of two equal
    /// ones, copy 0.
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
