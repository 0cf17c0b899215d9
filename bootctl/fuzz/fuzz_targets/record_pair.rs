//! Any bytes in both copies: the pair is read, decided by, and never panics; the decision runs out of candidates.
#![no_main]

use libfuzzer_sys::fuzz_target;
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

fuzz_target!(|input: (Vec<u8>, Vec<u8>, bool)| {
    let (first, second) = (block(&input.0), block(&input.1));
    let Pair::Valid { mut record, .. } = Pair::read(Copies([Some(&first), Some(&second)])) else { return };
    assert_eq!(Record::decode(&record.encode(0), 0), Ok(record));
    let request = if input.2 { Request::Recovery } else { Request::Plain };
    let mut tried = Tried::default();
    for _ in 0..4 {
        match decide(&record, request, tried) {
            Decision::Launch { choice, record: after, .. } => {
                assert!(!tried.has(choice), "nothing is started twice");
                (record, tried) = (after, tried.with(choice));
            }
            Decision::GiveUp { .. } => return,
        }
    }
    panic!("three candidates, and a fourth launch");
});
