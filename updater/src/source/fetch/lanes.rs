//! Requests in flight beside each other, whose bytes are taken in order.

use crate::source::byte_source::Source;
use crate::source::error::SourceError;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// Maximum bytes that a request keeps in memory until they are taken. It then stops reading.
pub(super) const LANE_ROOM: usize = 1 << 20;
/// Bytes that are requested and not yet taken, up to which further requests are sent. It bounds the
/// memory, and no request waits so long for its turn that the server sees a stalled client.
pub(super) const AHEAD: u64 = 4 << 20;

/// Why a request gave no more bytes.
pub(super) enum LaneError {
    /// The source failed.
    Source(SourceError),
    /// The server answered with the whole file: it does not support ranges any more.
    NoRanges,
}

/// The requests in flight, in the order of their bytes.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: VecDeque<Lane>,
}

/// A request in flight. Dropping it ends it.
struct Lane {
    /// The bytes that were not taken yet.
    range: Range<u64>,
    pieces: UnboundedReceiver<Result<Bytes, LaneError>>,
    room: Arc<Semaphore>,
    /// All bytes have arrived.
    is_complete: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        // A complete one only reads the end of its response.
        if !self.is_complete() {
            self.task.abort();
        }
    }
}

impl Lanes {
    /// Returns whether no request is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Returns the bytes that the first request still has to give.
    pub(super) fn front(&self) -> Option<Range<u64>> {
        self.lanes.front().map(|lane| lane.range.clone())
    }

    /// Returns the offset at which a further request may begin: the end of the last one, unless
    /// `max` are in flight, or many bytes ahead are requested.
    pub(super) fn next_start(&self, max: usize) -> Option<u64> {
        let ahead: u64 = self
            .lanes
            .iter()
            .map(|lane| lane.range.end - lane.range.start)
            .sum();
        let in_flight = self.lanes.iter().filter(|lane| !lane.is_done());
        let has_room = in_flight.count() < max && ahead < AHEAD;
        self.lanes
            .back()
            .filter(|_| has_room)
            .map(|lane| lane.range.end)
    }

    /// Sends a request for `range`, before all others if `first`, else after them.
    pub(super) fn start(&mut self, source: impl Source, range: Range<u64>, first: bool) {
        let lane = Lane::start(source, range);
        if first {
            self.lanes.push_front(lane);
        } else {
            self.lanes.push_back(lane);
        }
    }

    /// Returns the next piece of the first request; `None` at its end, which may come early.
    pub(super) async fn piece(&mut self) -> Option<Result<Bytes, LaneError>> {
        self.lanes.front_mut()?.piece().await
    }

    /// Ends the first request.
    pub(super) fn end_front(&mut self) {
        self.lanes.pop_front();
    }

    /// Ends the requests whose bytes are all before `offset`.
    pub(super) fn end_before(&mut self, offset: u64) {
        while self.front().is_some_and(|range| range.end <= offset) {
            self.end_front();
        }
    }

    /// Ends the first request, which failed, and all that could fail, too: those whose bytes have
    /// not all arrived. One lost connection to a server is seldom alone, and is one failure.
    pub(super) fn end_incomplete(&mut self) {
        self.end_front();
        self.lanes.retain(Lane::is_complete);
    }

    /// Ends all requests.
    pub(super) fn clear(&mut self) {
        self.lanes.clear();
    }
}

impl Lane {
    fn start(source: impl Source, range: Range<u64>) -> Self {
        let (sender, pieces) = unbounded_channel();
        let room = Arc::new(Semaphore::new(LANE_ROOM));
        let is_complete = Arc::new(AtomicBool::new(false));
        let request = Request {
            pieces: sender,
            room: Arc::clone(&room),
            is_complete: Arc::clone(&is_complete),
        };
        let task = tokio::spawn(request.run(source, range.clone()));
        Self {
            range,
            pieces,
            room,
            is_complete,
            task,
        }
    }

    /// Returns whether the request ended well. One that failed counts as in flight until its turn,
    /// so that a server that refuses requests is not sent more of them.
    fn is_done(&self) -> bool {
        self.is_complete() && self.task.is_finished()
    }

    fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    async fn piece(&mut self) -> Option<Result<Bytes, LaneError>> {
        let received = self.pieces.recv().await?;
        if let Ok(piece) = &received {
            self.range.start += piece.len() as u64;
            self.room.add_permits(piece.len().min(LANE_ROOM));
        }
        Some(received)
    }
}

/// The sending end of a [`Lane`].
struct Request {
    pieces: UnboundedSender<Result<Bytes, LaneError>>,
    room: Arc<Semaphore>,
    is_complete: Arc<AtomicBool>,
}

impl Request {
    async fn run(self, mut source: impl Source, range: Range<u64>) {
        if let Err(error) = self.fetch(&mut source, range).await {
            // A closed channel means that nothing waits for the bytes any more.
            drop(self.pieces.send(Err(error)));
            return;
        }
        drop(self.pieces);
        // Reads the end of the response, so that its connection can be used again.
        drop(source.piece().await);
    }

    async fn fetch(&self, source: &mut impl Source, range: Range<u64>) -> Result<(), LaneError> {
        source.until(Some(range.end));
        source.open(range.start).await.map_err(LaneError::Source)?;
        if !source.can_seek() {
            return Err(LaneError::NoRanges);
        }
        let mut at = range.start;
        while at < range.end {
            let Some(mut piece) = source.piece().await.map_err(LaneError::Source)? else {
                return Ok(());
            };
            piece.truncate(usize::try_from(range.end - at).unwrap_or(usize::MAX));
            at += piece.len() as u64;
            let needed = piece.len().min(LANE_ROOM) as u32;
            if let Ok(permit) = self.room.acquire_many(needed).await {
                permit.forget();
            }
            if at == range.end {
                self.is_complete.store(true, Ordering::Release);
            }
            drop(self.pieces.send(Ok(piece)));
        }
        Ok(())
    }
}
