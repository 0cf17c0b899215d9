//! The simulated source: bytes in memory behind a network with planned faults.

use super::byte_source::Source;
use super::error::SourceError;
use bytes::Bytes;
use std::collections::VecDeque;

/// A fault of a [`MemorySource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is lost after this many more bytes.
    DropAfter(u64),
    /// The request is answered with this HTTP status.
    Status(u16),
}

/// Bytes in memory, delivered in pieces of a fixed length, with faults in a given order.
pub struct MemorySource {
    bytes: Bytes,
    piece: usize,
    at: u64,
    until_drop: Option<u64>,
    faults: VecDeque<Fault>,
    /// It can be opened at any offset, as a web server can and a pipe cannot.
    pub seekable: bool,
    /// It counts as a file of this machine.
    pub local: bool,
    /// It reports its length.
    pub reports_length: bool,
    /// The offset of each request so far.
    pub opened: Vec<u64>,
    /// The offset of each request so far, with the end that was announced for it.
    pub asked: Vec<(u64, Option<u64>)>,
    until: Option<u64>,
    /// Bytes delivered so far.
    pub delivered: u64,
}

impl MemorySource {
    /// Returns a source that delivers `bytes`, `piece` at a time.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>, piece: usize) -> Self {
        Self {
            bytes: bytes.into(),
            piece: piece.max(1),
            at: 0,
            until_drop: None,
            faults: VecDeque::new(),
            seekable: true,
            local: false,
            reports_length: false,
            opened: Vec::new(),
            asked: Vec::new(),
            until: None,
            delivered: 0,
        }
    }

    /// Plans faults, one for each time that the source is opened.
    #[must_use]
    pub fn with_faults(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.faults = faults.into_iter().collect();
        self
    }
}

impl Source for MemorySource {
    fn can_seek(&self) -> bool {
        self.seekable
    }

    fn is_local(&self) -> bool {
        self.local
    }

    fn total(&self) -> Option<u64> {
        self.reports_length.then_some(self.bytes.len() as u64)
    }

    fn until(&mut self, end: Option<u64>) {
        self.until = end;
    }

    async fn open(&mut self, offset: u64) -> Result<(), SourceError> {
        self.opened.push(offset);
        self.asked.push((offset, self.until));
        self.at = offset;
        self.until_drop = None;
        match self.faults.pop_front() {
            Some(Fault::Status(status)) => Err(SourceError::Status {
                what: "memory".to_owned(),
                status,
                retry_after: None,
            }),
            Some(Fault::DropAfter(bytes)) => {
                self.until_drop = Some(bytes);
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        let end = self.until.unwrap_or(u64::MAX).min(self.bytes.len() as u64);
        let left = end.saturating_sub(self.at).min(self.piece as u64);
        let len = left.min(self.until_drop.unwrap_or(u64::MAX));
        if len == 0 && left > 0 {
            return Err(SourceError::Network {
                what: "memory".to_owned(),
                message: "connection lost".to_owned(),
            });
        }
        if len == 0 {
            return Ok(None);
        }
        let piece = self.bytes.slice(self.at as usize..(self.at + len) as usize);
        self.at += len;
        self.delivered += len;
        self.until_drop = self.until_drop.map(|bytes| bytes - len);
        Ok(Some(piece))
    }
}
