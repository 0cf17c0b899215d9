//! Any bytes in both copies of the record: the pair is read and decided by, never panics, and runs
//! out of candidates.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a check")]

use record::{Copies, Decision, Pair, RECORD_LEN, Record, Request, Tried, decide};

/// The bytes as a block, with a checksum that is right: else nothing would ever come past it.
fn block(bytes: &[u8]) -> [u8; RECORD_LEN] {
    let mut block = [0; RECORD_LEN];
    for (to, from) in block.iter_mut().zip(bytes) {
        *to = *from;
    }
    let crc = crc32fast::hash(&block[..4092]);
    block[4092..].copy_from_slice(&crc.to_le_bytes());
    block
}

/// A byte for what is asked for, then the two copies, half of the rest each.
pub(crate) fn check(data: &[u8]) {
    let Some((asked, rest)) = data.split_first() else {
        return;
    };
    let (first, second) = rest.split_at(rest.len() / 2);
    let (first, second) = (block(first), block(second));
    let Pair::Valid { mut record, .. } = Pair::read(Copies([Some(&first), Some(&second)])) else {
        return;
    };
    assert_eq!(Record::decode(&record.encode(0), 0), Ok(record));
    let request = if asked & 1 == 1 {
        Request::Recovery
    } else {
        Request::Plain
    };
    let mut tried = Tried::default();
    for _ in 0..4 {
        match decide(&record, request, tried) {
            Decision::Launch {
                choice,
                record: after,
                ..
            } => {
                assert!(!tried.has(choice), "nothing is started twice");
                (record, tried) = (after, tried.with(choice));
            }
            Decision::GiveUp { .. } => return,
        }
    }
    panic!("three candidates, and a fourth launch");
}
