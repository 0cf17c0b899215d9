//! Any bytes in both copies of the record: reading and deciding never panic, and the candidates
//! end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a check")]

use record::{Copies, Decision, Pair, RECORD_LEN, Record, Request, Tried, decide};

/// Returns the bytes as a block with a valid checksum, because other blocks are refused early.
fn block(bytes: &[u8]) -> [u8; RECORD_LEN] {
    let mut block = [0; RECORD_LEN];
    for (to, from) in block.iter_mut().zip(bytes) {
        *to = *from;
    }
    let crc = crc32fast::hash(&block[..4092]);
    block[4092..].copy_from_slice(&crc.to_le_bytes());
    block
}

/// The input is a byte for the request, then the two copies, half of the rest each.
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
    panic!("there are three candidates, but a fourth launch");
}
