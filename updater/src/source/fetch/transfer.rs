//! The requests of a download: one after the other, or several in flight.

use super::lanes::{LaneError, Lanes};
use super::line::{Line, MIN_GAP, Requests};
use super::spans::Spans;
use crate::source::byte_source::Source;
use crate::source::error::SourceError;
use bytes::Bytes;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// Minimum length of a request while the needed ranges are not announced. Each further request
/// doubles what was read, so that no more is requested for nothing than was read.
const MIN_REQUEST: u64 = 256 * 1024;

/// The bytes of a source from any offset on, in pieces.
pub(super) struct Transfer<S> {
    source: S,
    line: Line,
    /// What is announced.
    spans: Spans,
    /// Requests in flight; not used if the source cannot be forked.
    lanes: Lanes,
    /// Maximum number of requests in flight, by the plan and by failures.
    max_lanes: usize,
    /// Each failure halves the requests in flight for the rest of the download, because a server
    /// may limit its connections.
    lane_limit: usize,
    /// The announced spans are fetched by [`Self::lanes`].
    is_parallel: bool,
    /// The source has an open request.
    is_open: bool,
    /// The open request is for an announced span, whose gaps are to be read.
    is_announced: bool,
    /// End of the open request, if it has one.
    request_end: Option<u64>,
    /// Requests sent so far.
    requests: u64,
    /// Bytes of the open request, and the time spent waiting for them.
    body: (u64, Duration),
}

impl<S: Source> Transfer<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            line: Line::default(),
            spans: Spans::default(),
            lanes: Lanes::default(),
            max_lanes: 1,
            lane_limit: usize::MAX,
            is_parallel: false,
            is_open: false,
            is_announced: false,
            request_end: None,
            requests: 0,
            body: (0, Duration::ZERO),
        }
    }

    pub(super) const fn source(&self) -> &S {
        &self.source
    }

    pub(super) const fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// Returns the number of requests sent so far.
    pub(super) const fn requests(&self) -> u64 {
        self.requests
    }

    /// Returns whether the length of a request matters.
    pub(super) fn requests_have_ends(&self) -> bool {
        self.source.can_seek() && !self.source.is_local()
    }

    /// Returns the requests for `ranges`, in rising order.
    pub(super) fn plan(&self, ranges: &[Range<u64>]) -> Requests {
        if self.requests_have_ends() {
            return self.line().requests(ranges);
        }
        Requests {
            spans: Spans::new(ranges.iter().cloned(), 0),
            lanes: 1,
            is_whole: false,
        }
    }

    /// Returns what is known of the line, the open request included.
    fn line(&self) -> Line {
        let mut line = self.line;
        line.add_body(self.body.0, self.body.1);
        line
    }

    /// Returns the time that `bytes` take, if that can be estimated.
    pub(super) fn time_of(&self, bytes: u64) -> Option<Duration> {
        self.line()
            .time_of(bytes)
            .filter(|_| !self.source.is_local())
    }

    /// Announces the ranges that will be read, in rising order.
    pub(super) fn expect(&mut self, ranges: &[Range<u64>]) {
        let planned = self.plan(ranges);
        self.lanes.clear();
        // A single span needs no second request, and its answer is a measurement.
        self.is_parallel = self.requests_have_ends() && planned.spans.len() > 1;
        self.max_lanes = planned.lanes.min(self.lane_limit);
        self.spans = planned.spans;
        if self.requests_have_ends() {
            // The open request may ask for more than that.
            self.close_source();
        }
    }

    /// Ends all requests.
    pub(super) fn close(&mut self) {
        self.close_source();
        self.lanes.clear();
    }

    fn close_source(&mut self) {
        let (bytes, took) = std::mem::take(&mut self.body);
        self.line.add_body(bytes, took);
        self.is_open = false;
    }

    /// Notes that the request at the current offset failed.
    pub(super) fn fail(&mut self) {
        self.close_source();
        if self.lanes.is_empty() {
            return;
        }
        self.lanes.end_incomplete();
        self.max_lanes = (self.max_lanes / 2).max(1);
        self.lane_limit = self.max_lanes;
    }

    /// Returns whether the open request is a single one that was read to its end at `at`.
    pub(super) fn is_at_end(&self, at: u64) -> bool {
        self.request_end.is_some_and(|end| at >= end)
    }

    /// Returns whether a request without an end is open.
    pub(super) const fn is_open_ended(&self) -> bool {
        self.is_open && self.request_end.is_none()
    }

    /// Returns whether the bytes up to `offset` should be skipped, of which `missing` bytes have
    /// not arrived yet.
    pub(super) fn is_worth_skipping(&self, offset: u64, missing: u64) -> bool {
        if missing == 0 || !self.source.can_seek() {
            return false;
        }
        match self.lanes.front() {
            Some(front) => offset >= front.end,
            // A request that is necessary anyway need not begin with the gap.
            None if self.is_open && self.is_announced => self.is_at_end(offset),
            None => !self.is_open || missing > MIN_GAP,
        }
    }

    /// Skips the bytes up to `offset`. Returns the offset of the next piece, which is lower if a
    /// request in flight begins before `offset` and ends after it.
    pub(super) fn skip_to(&mut self, offset: u64) -> u64 {
        self.close_source();
        self.lanes.end_before(offset);
        self.lanes
            .front()
            .map_or(offset, |front| front.start.min(offset))
    }

    /// Returns the piece at `at`; `None` at the end of the request or of the file.
    pub(super) async fn piece(&mut self, at: u64) -> Result<Option<Bytes>, SourceError> {
        while !self.is_open {
            if self.lanes.front().is_some_and(|front| front.start != at) {
                // The caller reads something that was not announced.
                self.lanes.clear();
            }
            if self.lanes.is_empty() && !self.start_lane(at) {
                self.open(at).await?;
                break;
            }
            self.fill_lanes();
            match self.lanes.piece().await {
                Some(Ok(piece)) => return Ok(Some(piece)),
                Some(Err(LaneError::Source(error))) => return Err(error),
                Some(Err(LaneError::NoRanges)) => {
                    self.lanes.clear();
                    self.is_parallel = false;
                }
                None if self.lanes.front().is_some_and(|front| front.is_empty()) => {
                    self.lanes.end_front();
                }
                None => {
                    self.lanes.clear();
                    self.request_end = None;
                    return Ok(None);
                }
            }
        }
        let start = Instant::now();
        let piece = self.source.piece().await?;
        let (bytes, took) = &mut self.body;
        *bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        *took += start.elapsed();
        Ok(piece)
    }

    /// Opens the source at `at`.
    async fn open(&mut self, at: u64) -> Result<(), SourceError> {
        let announced = self.spans.end_at(at);
        self.is_announced = announced.is_some() && self.requests_have_ends();
        let end = announced.unwrap_or(at.saturating_add(at.max(MIN_REQUEST)));
        self.request_end = self.requests_have_ends().then_some(end);
        self.source.until(self.request_end);
        self.requests += 1;
        let start = Instant::now();
        self.source.open(at).await?;
        self.line.add_answer(start.elapsed());
        self.is_open = true;
        if !self.source.can_seek() {
            // The server turned out not to support ranges: it sends the whole file.
            self.request_end = None;
        }
        Ok(())
    }

    /// Sends a request for the span at `at`, before all others. Returns whether there is such a
    /// span, and requests can be in flight beside each other.
    fn start_lane(&mut self, at: u64) -> bool {
        if !self.is_parallel || !self.requests_have_ends() {
            return false;
        }
        let (Some(end), Some(source)) = (self.spans.end_at(at), self.source.fork()) else {
            return false;
        };
        self.requests += 1;
        self.lanes.start(source, at..end, true);
        true
    }

    /// Sends requests for the next spans.
    fn fill_lanes(&mut self) {
        while let Some(start) = self.lanes.next_start(self.max_lanes) {
            let (Some(span), Some(source)) = (self.spans.next_from(start), self.source.fork())
            else {
                return;
            };
            self.requests += 1;
            self.lanes.start(source, span, false);
        }
    }
}
