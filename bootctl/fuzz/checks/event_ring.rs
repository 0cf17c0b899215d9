//! Any bytes as an event ring: a decoded event encodes to an equal one.
#![allow(clippy::indexing_slicing, reason = "a check")]

use record::event::{EVENT_LEN, Event, events, next_seq};

/// Blocks, each with a valid checksum.
pub(crate) fn check(data: &[u8]) {
    let mut ring = data.to_vec();
    ring.resize(ring.len().next_multiple_of(EVENT_LEN), 0);
    for block in ring.chunks_exact_mut(EVENT_LEN) {
        let crc = crc32fast::hash(&block[..4092]);
        block[4092..].copy_from_slice(&crc.to_le_bytes());
    }
    let next = next_seq(&ring);
    for event in events(&ring) {
        assert!(event.seq < next || event.seq == u64::MAX);
        assert_eq!(Event::decode(&event.encode()), Some(event));
    }
}
