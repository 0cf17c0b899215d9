//! Sequence numbers of records and events.

/// Maximum sequence number. Counting never reaches it, so a higher one was not counted. It is
/// refused, because nothing could follow it.
pub const MAX_SEQ: u64 = 1 << 62;
