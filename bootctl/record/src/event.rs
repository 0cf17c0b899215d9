//! The event ring: what happened, for the slot that survives and for the person who asks why.
//!
//! 224 blocks of 4 KiB. An event fills one block, so that a torn write damages that event alone;
//! the next event goes where the sequence number says, over the oldest. It is a story, never an
//! authority.

use crate::pair::RING_LEN;
use crate::record::{Choice, Reason};
use seal::Text64;
use seal::field::{get, put};

/// Length of one event in bytes.
pub const EVENT_LEN: usize = 4096;
/// Number of events that the ring holds.
pub const EVENTS: u64 = RING_LEN / EVENT_LEN as u64;
/// Most bytes of text in an event.
pub const TEXT_MAX: usize = 3900;

const MAGIC: [u8; 8] = *b"RAYOSEVT";
const TEXT_AT: usize = 128;
const CRC_AT: usize = 4092;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A release was written to the slot and activated.
    Activated = 1,
    /// The slot was made Unbootable, to be written to.
    Disarmed = 2,
    /// The guard started the slot or recovery.
    Launched = 3,
    /// The guard passed over the slot; the reason says why.
    PassedOver = 4,
    /// The started system came up to its first program.
    Initramfs = 5,
    /// It found and mounted its root file system.
    RootMounted = 6,
    /// Its services were started.
    Userspace = 7,
    /// A health check failed; the text names it and carries its last lines.
    HealthFailed = 8,
    /// The slot was committed.
    Committed = 9,
    /// The deadline for committing passed.
    DeadlinePassed = 10,
    /// Someone rolled back from the slot.
    RolledBack = 11,
    /// Someone marked the slot bad.
    MarkedBad = 12,
    /// The record was rebuilt or an entry repaired.
    Repaired = 13,
    /// The last lines of a kernel that panicked.
    Panic = 14,
    /// Anything else, told by the text.
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

    /// The word for it on the command line and in JSON.
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

    /// The kind with this word.
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
    /// Place in the story, from 1.
    pub seq: u64,
    /// What happened.
    pub kind: Kind,
    /// To what.
    pub subject: Option<Choice>,
    /// Why, where that is known.
    pub reason: Reason,
    /// Tries or budget left, where that says something.
    pub left: u8,
    /// Sequence number of the boot record at the time.
    pub record_seq: u64,
    /// Seconds since 1970 by a clock that may be wrong; 0 if unknown.
    pub time: u64,
    /// Release it is about.
    pub version: Text64,
    text: [u8; TEXT_MAX],
    text_len: u16,
}

impl Event {
    /// An event without text, sequence number or time.
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

    /// The same with `text`; what is longer than [`TEXT_MAX`] loses its beginning, since the end of
    /// a log says most. *Pure.*
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

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        core::str::from_utf8(
            self.text
                .get(..usize::from(self.text_len))
                .unwrap_or_default(),
        )
        .unwrap_or_default()
    }

    /// Byte offset in the ring at which the event with this sequence number stands.
    #[must_use]
    pub const fn offset(seq: u64) -> u64 {
        (seq % EVENTS).saturating_mul(EVENT_LEN as u64)
    }

    /// The block. *Pure.*
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

    /// Reads a block; `None` if it is empty, torn, damaged or of an unknown kind. *Pure.*
    #[must_use]
    pub fn decode(bytes: &[u8; EVENT_LEN]) -> Option<Self> {
        // The magic first: most of a young ring is empty, and its checksums would be most of the
        // work.
        let is_whole = || {
            let crc = crc32fast::hash(bytes.get(..CRC_AT).unwrap_or_default());
            u32::from_le_bytes(get(bytes, CRC_AT)) == crc
        };
        if get::<8>(bytes, 0) != MAGIC || !is_whole() {
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

/// The sequence number for the next event of a ring read whole. *Pure*; 1 for an empty ring.
#[must_use]
pub fn next_seq(ring: &[u8]) -> u64 {
    events(ring)
        .map(|event| event.seq)
        .max()
        .unwrap_or(0)
        .saturating_add(1)
}

/// The readable events of a ring read whole, in the order of their places. An event that does not
/// stand where its number belongs is passed over: a misdirected write.
pub fn events(ring: &[u8]) -> impl Iterator<Item = Event> + '_ {
    ring.chunks_exact(EVENT_LEN)
        .zip(0_u64..)
        .filter_map(|(block, place)| {
            let event = Event::decode(block.try_into().ok()?)?;
            (event.seq != 0 && event.seq % EVENTS == place).then_some(event)
        })
}
