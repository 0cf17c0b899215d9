//! The event ring: a log of boots and updates that survives a failed release.
//!
//! It has 224 blocks of 4 KiB. Each event fills one block, so that a torn write damages only that
//! event. The sequence number gives the block, so the next event overwrites the oldest one. The
//! ring is for people; no decision depends on it.

use crate::layout::RING_LEN;
use crate::reason::Reason;
use crate::seq::MAX_SEQ;
use crate::slot::Choice;
use seal::Text64;
use seal::field::{get, put};

/// Length of one event in bytes.
pub const EVENT_LEN: usize = 4096;
/// Number of events that the ring holds.
pub const EVENTS: u64 = RING_LEN / EVENT_LEN as u64;
/// Maximum length of the text of an event in bytes.
pub const TEXT_MAX: usize = 3900;

const MAGIC: [u8; 8] = *b"RAYOSEVT";
const TEXT_AT: usize = 128;
const CRC_AT: usize = 4092;

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A release was written to the slot and activated.
    Activated = 1,
    /// The slot was made Unbootable, so that it can be written to.
    Disarmed = 2,
    /// The guard started the slot or recovery.
    Launched = 3,
    /// The guard passed over the slot; the reason says why.
    PassedOver = 4,
    /// The first program of the started system ran.
    Initramfs = 5,
    /// The root file system was mounted.
    RootMounted = 6,
    /// Services were started.
    Userspace = 7,
    /// A health check failed; the text is its name and its last lines.
    HealthFailed = 8,
    /// The slot was committed.
    Committed = 9,
    /// The deadline for committing passed.
    DeadlinePassed = 10,
    /// An operator rolled back from the slot.
    RolledBack = 11,
    /// An operator marked the slot bad.
    MarkedBad = 12,
    /// The record was rebuilt, or an entry was repaired.
    Repaired = 13,
    /// The last lines of a kernel that panicked.
    Panic = 14,
    /// Anything else; the text says what.
    Note = 15,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Activated,
        Self::Disarmed,
        Self::Launched,
        Self::PassedOver,
        Self::Initramfs,
        Self::RootMounted,
        Self::Userspace,
        Self::HealthFailed,
        Self::Committed,
        Self::DeadlinePassed,
        Self::RolledBack,
        Self::MarkedBad,
        Self::Repaired,
        Self::Panic,
        Self::Note,
    ];

    /// Returns the word on the command line and in JSON. *Pure.*
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Activated => "activated",
            Self::Disarmed => "disarmed",
            Self::Launched => "launched",
            Self::PassedOver => "passed-over",
            Self::Initramfs => "initramfs",
            Self::RootMounted => "root-mounted",
            Self::Userspace => "userspace",
            Self::HealthFailed => "health-failed",
            Self::Committed => "committed",
            Self::DeadlinePassed => "deadline-passed",
            Self::RolledBack => "rolled-back",
            Self::MarkedBad => "marked-bad",
            Self::Repaired => "repaired",
            Self::Panic => "panic",
            Self::Note => "note",
        }
    }

    /// Returns the kind with this word. *Pure.*
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// One event.
///
/// ```text
/// offset  bytes  what
///      0      8  "RAYOSEVT"        8  8  sequence number, from 1
///     16      1  kind             17  1  subject: 0 none, 1 A, 2 B, 3 recovery
///     18      1  reason           19  1  tries or budget left
///     20      2  length of text   22  2  zero
///     24      8  sequence number of the boot record at the time
///     32      8  seconds since 1970 by the machine's clock, 0 if unknown      40 24  zero
///     64     64  version of the release it is about
///    128   3900  text, UTF-8, zero-padded     4028 64  zero     4092  4  CRC-32 of the bytes before it
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Sequence number, from 1.
    pub seq: u64,
    /// Kind of the event.
    pub kind: Kind,
    /// What it is about.
    pub subject: Option<Choice>,
    /// The reason, if there is one.
    pub reason: Reason,
    /// Tries or budget left, if that applies.
    pub left: u8,
    /// Sequence number of the boot record at the time.
    pub record_seq: u64,
    /// Seconds since 1970 by a clock that may be wrong; 0 if unknown.
    pub time: u64,
    /// Version of the release that it is about.
    pub version: Text64,
    text: [u8; TEXT_MAX],
    text_len: u16,
}

impl Event {
    /// Returns an event without text, sequence number and time. *Pure.*
    #[must_use]
    pub const fn new(kind: Kind, subject: Option<Choice>) -> Self {
        Self {
            seq: 0,
            kind,
            subject,
            reason: Reason::None,
            left: 0,
            record_seq: 0,
            time: 0,
            version: Text64::EMPTY,
            text: [0; TEXT_MAX],
            text_len: 0,
        }
    }

    /// Returns the event with `text`. *Pure.* Of a text longer than [`TEXT_MAX`] the end is kept,
    /// because the end of a log matters most.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        let mut from = text.len().saturating_sub(TEXT_MAX);
        while !text.is_char_boundary(from) {
            from = from.saturating_add(1);
        }
        let text = text.get(from..).unwrap_or_default();
        self.text = [0; TEXT_MAX];
        put(&mut self.text, 0, text.as_bytes());
        self.text_len = text.len() as u16;
        self
    }

    /// Returns the text. *Pure.*
    #[must_use]
    pub fn text(&self) -> &str {
        core::str::from_utf8(
            self.text
                .get(..usize::from(self.text_len))
                .unwrap_or_default(),
        )
        .unwrap_or_default()
    }

    /// Returns the byte offset in the ring of the event with this sequence number. *Pure.*
    #[must_use]
    pub const fn offset(seq: u64) -> u64 {
        (seq % EVENTS).saturating_mul(EVENT_LEN as u64)
    }

    /// Returns the block. *Pure.*
    #[must_use]
    pub fn encode(&self) -> [u8; EVENT_LEN] {
        let mut bytes = [0; EVENT_LEN];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &self.seq.to_le_bytes());
        let subject = self.subject.map_or(0, Choice::code);
        put(
            &mut bytes,
            16,
            &[self.kind as u8, subject, self.reason.code(), self.left],
        );
        put(&mut bytes, 20, &self.text_len.to_le_bytes());
        put(&mut bytes, 24, &self.record_seq.to_le_bytes());
        put(&mut bytes, 32, &self.time.to_le_bytes());
        put(&mut bytes, 64, &self.version.encode());
        put(&mut bytes, TEXT_AT, &self.text);
        let crc = crc32fast::hash(bytes.get(..CRC_AT).unwrap_or_default());
        put(&mut bytes, CRC_AT, &crc.to_le_bytes());
        bytes
    }

    /// Decodes a block; `None` if it is empty, torn, damaged or of an unknown kind. *Pure.*
    #[must_use]
    pub fn decode(bytes: &[u8; EVENT_LEN]) -> Option<Self> {
        // The magic number first: most blocks of a new ring are empty, and their checksums would be
        // most of the work.
        let is_intact = || {
            let crc = crc32fast::hash(bytes.get(..CRC_AT).unwrap_or_default());
            u32::from_le_bytes(get(bytes, CRC_AT)) == crc
        };
        if get::<8>(bytes, 0) != MAGIC || !is_intact() {
            return None;
        }
        let [kind, subject, reason, left] = get(bytes, 16);
        let text_len = u16::from_le_bytes(get(bytes, 20));
        let text = get::<TEXT_MAX>(bytes, TEXT_AT);
        core::str::from_utf8(text.get(..usize::from(text_len))?).ok()?;
        Some(Self {
            seq: u64::from_le_bytes(get(bytes, 8)),
            kind: Kind::ALL.into_iter().find(|known| *known as u8 == kind)?,
            subject: Choice::from_code(subject),
            reason: Reason::from_code(reason),
            left,
            record_seq: u64::from_le_bytes(get(bytes, 24)),
            time: u64::from_le_bytes(get(bytes, 32)),
            version: Text64::decode(get(bytes, 64))?,
            text,
            text_len,
        })
    }
}

impl core::fmt::Debug for Event {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Event {{ {} {} {:?} {} {:?} }}",
            self.seq,
            self.kind.word(),
            self.subject,
            self.version,
            self.text()
        )
    }
}

/// Returns the sequence number for the next event of a ring; 1 for an empty ring. *Pure.*
#[must_use]
pub fn next_seq(ring: &[u8]) -> u64 {
    events(ring)
        .map(|event| event.seq)
        .max()
        .unwrap_or(0)
        .saturating_add(1)
}

/// Returns the valid events of a ring, in the order of their blocks. *Pure.* An event in a block
/// that does not belong to its sequence number is skipped: a misdirected write.
pub fn events(ring: &[u8]) -> impl Iterator<Item = Event> + '_ {
    ring.chunks_exact(EVENT_LEN)
        .zip(0_u64..)
        .filter_map(|(block, position)| {
            let event = Event::decode(block.try_into().ok()?)?;
            let is_counted = (1..=MAX_SEQ).contains(&event.seq);
            (is_counted && event.seq % EVENTS == position).then_some(event)
        })
}
