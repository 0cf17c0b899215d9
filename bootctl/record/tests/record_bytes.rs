//! The record, its pair of copies, the event ring and the handoff, as bytes.

use proptest::prelude::*;
use record::event::{self, EVENT_LEN, EVENTS, Event, Kind, TEXT_MAX};
use record::{
    Choice, Copies, Guid, Handoff, Pair, RECORD_LEN, RING_LEN, Reason, Record, RecordError,
    Release, Slot, SlotState, Status, Text64, Why,
};

fn any_guid() -> impl Strategy<Value = Guid> {
    any::<[u8; 16]>().prop_map(Guid)
}

fn any_text() -> impl Strategy<Value = Text64> {
    "[!-~]{0,64}".prop_map(|text| Text64::new(&text).unwrap())
}

fn any_slot() -> impl Strategy<Value = Slot> {
    prop_oneof![Just(Slot::A), Just(Slot::B)]
}

fn any_choice() -> impl Strategy<Value = Choice> {
    prop_oneof![any_slot().prop_map(Choice::Slot), Just(Choice::Recovery)]
}

prop_compose! {
    fn any_state()(
        kind in 0_u8..3, left in any::<u8>(), reason in 0_u8..21, tries_granted in any::<u8>(), revoke in any::<bool>(),
        version in any_text(), rollback_index in any::<u64>(), manifest_sha256 in any::<[u8; 32]>(),
        trust_epoch in any::<u64>(), boot_uuid in any_guid(), root_uuid in any_guid(),
    ) -> SlotState {
        let status = match kind {
            0 => Status::Unbootable,
            1 => Status::Pending { tries_left: left },
            _ => Status::Good { budget_left: left },
        };
        let release = Release { version, rollback_index, manifest_sha256 };
        SlotState { status, reason: Reason::from_code(reason), tries_granted, revoke, release, trust_epoch, boot_uuid, root_uuid }
    }
}

prop_compose! {
    fn any_record()(
        seq in 0..=record::MAX_SEQ, trust_floor in any::<u64>(), recovery_epoch in any::<u64>(), disk_guid in any_guid(), install_id in any_guid(), default in any_slot(),
        one_shot in proptest::option::of(any_choice()), floor in any::<u64>(), recovery_uuid in any_guid(),
        compatible in any_text(), a in any_state(), b in any_state(),
    ) -> Record {
        Record { seq, disk_guid, install_id, default, one_shot, floor, trust_floor, recovery_epoch, recovery_uuid, compatible, slots: [a, b] }
    }
}

fn sample() -> Record {
    let state = SlotState {
        status: Status::Good { budget_left: 8 },
        reason: Reason::None,
        tries_granted: 3,
        revoke: true,
        release: Release {
            version: Text64::new("1.0.0").unwrap(),
            rollback_index: 7,
            manifest_sha256: [0xab; 32],
        },
        trust_epoch: 0,
        boot_uuid: Guid([0xb0; 16]),
        root_uuid: Guid([0xc0; 16]),
    };
    Record {
        seq: 0x0102_0304_0506_0708,
        disk_guid: Guid([0xd1; 16]),
        install_id: Guid([0x1d; 16]),
        default: Slot::B,
        one_shot: Some(Choice::Recovery),
        floor: 5,
        trust_floor: 0,
        recovery_epoch: 0,
        recovery_uuid: Guid([0xee; 16]),
        compatible: Text64::new("rayos-x86_64").unwrap(),
        slots: [state, state.unbootable(Reason::Updating)],
    }
}

/// The documented offsets, written here a second time; the CRC is the one of zip and
/// `cksum -o 3`.
#[test]
fn each_field_is_at_its_documented_offset() {
    let mut expected = vec![0_u8; RECORD_LEN];
    let mut put = |at: usize, bytes: &[u8]| expected[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"RAYOSREC");
    put(8, &[1, 0, 0, 0]);
    put(12, &[1, 0, 0, 0]);
    put(16, &[8, 7, 6, 5, 4, 3, 2, 1]);
    put(24, &[0xd1; 16]);
    put(40, &[0x1d; 16]);
    put(56, &[2, 3]);
    put(64, &[5]);
    put(72, &[0xee; 16]);
    put(88, b"rayos-x86_64");
    for (slot, head) in [(192, [2, 8, 0, 3]), (384, [0, 0, 2, 3])] {
        put(slot, &head);
        put(slot + 4, &[1]);
        put(slot + 8, &[7]);
        put(slot + 16, &[0xab; 32]);
        put(slot + 48, b"1.0.0");
        put(slot + 112, &[0xb0; 16]);
        put(slot + 128, &[0xc0; 16]);
    }
    let found = sample().encode(1);
    assert_eq!(found[..4092], expected[..4092]);
    let mut crc = !0_u32;
    for byte in &found[..4092] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    assert_eq!(found[4092..], (!crc).to_le_bytes());
}

#[test]
fn each_single_bit_flip_is_refused() {
    let good = sample().encode(0);
    for bit in 0..RECORD_LEN * 8 {
        let mut bytes = good;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::decode(&bytes, 0).is_err(), "bit {bit}");
    }
}

#[test]
fn a_torn_write_leaves_the_other_copy() {
    let old = Record { seq: 4, ..sample() };
    let new = Record {
        seq: 5,
        floor: 6,
        ..old
    };
    let (kept, before, after) = (
        old.encode(1),
        Record { seq: 3, ..old }.encode(0),
        new.encode(0),
    );
    for cut in (0..=RECORD_LEN).step_by(512).chain([1, 23, 4091, 4095]) {
        let mut torn = before;
        torn[..cut].copy_from_slice(&after[..cut]);
        let Pair::Valid { record, .. } = Pair::read(Copies([Some(&torn), Some(&kept)])) else {
            panic!("cut at {cut}")
        };
        assert!(record == old || record == new, "cut at {cut}");
    }
}

#[test]
fn a_copy_in_the_place_of_the_other_is_refused() {
    let record = sample();
    assert_eq!(
        Record::decode(&record.encode(0), 1),
        Err(RecordError::WrongCopy)
    );
    assert_eq!(
        Record::decode(&[0; RECORD_LEN], 0),
        Err(RecordError::NotARecord)
    );
    let newer = Record {
        seq: record.seq + 1,
        ..record
    };
    let (old, new) = (record.encode(0), newer.encode(1));
    let pair = Pair::read(Copies([Some(&old), Some(&new)]));
    assert_eq!(
        pair,
        Pair::Valid {
            record: newer,
            next_copy: 0,
            both: true
        }
    );
    let pair = Pair::read(Copies([Some(&old), None]));
    assert_eq!(
        pair,
        Pair::Valid {
            record,
            next_copy: 1,
            both: false
        }
    );
    assert_eq!(Pair::read(Copies([None, None])), Pair::Lost([None, None]));
    // A later version takes precedence, so that it is never overwritten.
    let mut later = old;
    later[8] = 9;
    let crc = crc32fast::hash(&later[..4092]);
    later[4092..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(
        Pair::read(Copies([Some(&later), Some(&new)])),
        Pair::Newer(9)
    );
}

#[test]
fn a_later_minor_version_is_read() {
    let mut later = sample().encode(0);
    (later[10], later[600], later[192 + 160]) = (7, 0xff, 0xff);
    let crc = crc32fast::hash(&later[..4092]);
    later[4092..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(Record::decode(&later, 0), Ok(sample()));
}

#[test]
fn an_event_keeps_the_end_of_a_long_text_and_its_number_gives_its_block() {
    let long = format!("{}é{}", "x".repeat(2000), "y".repeat(TEXT_MAX - 1));
    let mut event = Event::new(Kind::HealthFailed, Some(Choice::Slot(Slot::B))).with_text(&long);
    assert_eq!(
        event.text(),
        "y".repeat(TEXT_MAX - 1),
        "half a character is none"
    );
    event.seq = EVENTS + 3;
    let mut ring = vec![0; RING_LEN as usize];
    assert_eq!(event::next_seq(&ring), 1);
    let at = Event::offset(event.seq) as usize;
    assert_eq!(at, 3 * EVENT_LEN);
    ring[at..at + EVENT_LEN].copy_from_slice(&event.encode());
    assert!(event::events(&ring).eq([event]));
    assert_eq!(event::next_seq(&ring), EVENTS + 4);
    // The same block in another place is a misdirected write.
    ring.rotate_right(EVENT_LEN);
    assert_eq!(event::events(&ring).count(), 0);
}

proptest! {
    #[test]
    fn a_written_record_is_read_back(record in any_record(), copy in 0_u32..2) {
        let bytes = record.encode(copy);
        let read = Record::decode(&bytes, copy).unwrap();
        // An Unbootable slot has no tries left.
        prop_assert_eq!(read, record);
        prop_assert_eq!(read.encode(copy), bytes);
    }

    #[test]
    fn any_bytes_with_a_valid_checksum_are_decoded_or_refused(
        mut bytes in proptest::collection::vec(any::<u8>(), RECORD_LEN..=RECORD_LEN),
        magic in any::<bool>(),
    ) {
        if magic {
            bytes[..14].copy_from_slice(b"RAYOSREC\x01\0\0\0\0\0");
            bytes[14..16].fill(0);
        }
        let crc = crc32fast::hash(&bytes[..4092]);
        bytes[4092..].copy_from_slice(&crc.to_le_bytes());
        let block: &[u8; RECORD_LEN] = bytes.as_slice().try_into().unwrap();
        if let Pair::Valid { record, .. } = Pair::read(Copies([Some(block), None])) {
            prop_assert_eq!(Record::decode(&record.encode(0), 0), Ok(record));
        }
    }

    #[test]
    fn written_events_are_read_back(
        seq in 1_u64.., text in "\\PC{0,1200}", time in any::<u64>(), left in any::<u8>(), reason in 0_u8..21,
        subject in proptest::option::of(any_choice()), version in any_text(),
    ) {
        let mut event = Event::new(Kind::PassedOver, subject).with_text(&text);
        (event.seq, event.time, event.left, event.version) = (seq, time, left, version);
        event.reason = Reason::from_code(reason);
        prop_assert_eq!(Event::decode(&event.encode()), Some(event));
    }

    #[test]
    fn any_bytes_as_a_ring_are_read(blocks in proptest::collection::vec(any::<u8>(), 0..3 * EVENT_LEN)) {
        prop_assert_eq!(event::events(&blocks).count(), 0);
    }

    #[test]
    fn a_handoff_is_read_back_and_other_bytes_are_refused(
        choice in any_choice(), why in 1_u8..7, left in any::<u8>(), seq in any::<u64>(), guids in any::<[[u8; 16]; 4]>(),
        root_len in 0_u64..3, root_hash in 1_u8..,
        junk in proptest::collection::vec(any::<u8>(), 0..130),
    ) {
        let [disk_guid, boot_uuid, root_uuid, state_uuid] = guids.map(Guid);
        let why = Why::from_code(why).unwrap();
        let root_hash = [root_hash; 32];
        let verified_root = (root_len > 0).then_some(seal::VerifiedRoot { len: root_len, root_hash });
        let handoff = Handoff { choice, why, left, seq, disk_guid, boot_uuid, root_uuid, state_uuid, verified_root };
        prop_assert_eq!(Handoff::decode(&handoff.encode()), Some(handoff));
        prop_assert!([80, record::HANDOFF_LEN].contains(&junk.len()) || Handoff::decode(&junk).is_none());
        let short = Handoff { verified_root: None, ..handoff };
        prop_assert_eq!(Handoff::decode(&handoff.encode()[..80]), Some(short));
    }
}
