//! What a line is like, and which requests are the fastest on it.

use super::spans::Spans;
use std::ops::Range;
use std::time::Duration;

/// Maximum number of requests in flight: as many connections as a browser opens to one server.
pub(super) const MAX_LANES: usize = 6;
/// Requests in flight where more would gain nothing.
const FEW_LANES: usize = 2;
/// Latency below which a request costs next to nothing.
const NEAR: Duration = Duration::from_millis(3);
/// Rate, in bytes per second, below which a request takes long in comparison with its latency. More
/// requests would only share the line, and each could fall below the minimum rate.
const SLOW: u64 = 64 * 1024;
/// Minimum gap between two ranges, in bytes, that is worth a request. Up to it, the gap is fetched
/// and dropped, because a request and its answer take bytes, too. With 12 KiB an adaptive download
/// of a bundle of 300 MB fetches 69.6 MB in 728 requests; with 16 KiB 70.8 MB in 642; with 8 KiB
/// 1 MB less in about 900 (docs/decisions/0201-apply.md).
pub(super) const MIN_GAP: u64 = 12 * 1024;
/// A way that takes at most this share and this many seconds longer than the fastest one is
/// preferred if it fetches fewer bytes: they may cost the owner of the line or the server money.
const TOLERANCE: (f64, f64) = (1.1, 0.5);
/// Bytes of a body that are enough to measure a rate.
const MEASURED: u64 = 64 * 1024;
/// Minimum time of a measurement. Many lines let a first burst pass at once; its rate says nothing.
const MIN_TIME: Duration = Duration::from_millis(200);
/// Maximum bytes of the requests, as a multiple of those of exact ranges, because latency and rate
/// are estimates, and bytes may cost money.
const MAX_GROWTH: f64 = 3.0;

/// Latency and rate of the answers so far. *Pure.*
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Line {
    /// Shortest time from a request to the head of its answer.
    latency: Option<Duration>,
    /// Bytes of the bodies so far, and the time that was spent waiting for them.
    bytes: u64,
    time: Duration,
}

/// The requests for a set of ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requests {
    /// The bytes that are requested; each span by one request.
    pub(super) spans: Spans,
    /// Maximum number of requests in flight.
    pub(super) lanes: usize,
    /// All is fetched by one request, although there are gaps that could be skipped.
    pub(super) is_whole: bool,
}

impl Line {
    /// Notes the head of an answer.
    pub(super) fn add_answer(&mut self, took: Duration) {
        self.latency = Some(self.latency.map_or(took, |latency| latency.min(took)));
    }

    /// Notes a body of `bytes` that was waited for this long.
    pub(super) fn add_body(&mut self, bytes: u64, took: Duration) {
        if bytes >= MEASURED {
            self.bytes += bytes;
            self.time += took;
        }
    }

    /// Returns the rate in bytes per second, at least; `None` if nothing was measured.
    fn rate(&self) -> Option<f64> {
        let seconds = self.time.max(MIN_TIME).as_secs_f64();
        (self.bytes > 0).then(|| self.bytes as f64 / seconds)
    }

    /// Returns the time that `bytes` take at the rate so far; `None` if it is unknown.
    pub(super) fn time_of(&self, bytes: u64) -> Option<Duration> {
        let seconds = bytes as f64 / self.rate()?;
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    /// Returns the number of requests in flight that this line is worth.
    fn lanes(&self) -> usize {
        let is_near = self.latency.is_none_or(|latency| latency < NEAR);
        let is_slow = self.rate().is_some_and(|rate| rate < SLOW as f64);
        if is_near || is_slow {
            FEW_LANES
        } else {
            MAX_LANES
        }
    }

    /// Returns the requests that fetch `ranges`, in rising order, in the shortest time.
    ///
    /// A wider gap means fewer requests and more bytes. The time of each choice is the larger of
    /// two: the bytes at the rate of the line, and the requests with their latency, shared by the
    /// lanes. If the line is unknown, only small gaps are fetched.
    pub(super) fn requests(&self, ranges: &[Range<u64>]) -> Requests {
        let lanes = self.lanes();
        let smallest = Spans::new(ranges.iter().cloned(), MIN_GAP);
        let (Some(latency), Some(rate)) = (self.latency, self.rate()) else {
            return Requests {
                spans: smallest,
                lanes,
                is_whole: false,
            };
        };
        let time = |spans: &Spans| {
            let body = spans.total() as f64 / rate;
            let waiting = spans.len() as f64 * latency.as_secs_f64();
            body.max((waiting + body) / lanes as f64)
        };
        let choices: Vec<(f64, Spans)> = gaps(ranges)
            .map(|gap| Spans::new(ranges.iter().cloned(), gap))
            .take_while(|spans| spans.total() as f64 <= smallest.total() as f64 * MAX_GROWTH)
            .map(|spans| (time(&spans), spans))
            .collect();
        let fastest = choices
            .iter()
            .map(|(time, _)| *time)
            .fold(f64::MAX, f64::min);
        let chosen = choices
            .into_iter()
            .find(|(time, _)| *time <= fastest * TOLERANCE.0 + TOLERANCE.1);
        let spans = chosen.map_or_else(|| smallest.clone(), |(_, spans)| spans);
        Requests {
            is_whole: spans.len() == 1 && smallest.len() > 1,
            lanes,
            spans,
        }
    }
}

/// Returns the gaps to choose from, the smallest first; with the last one all ranges become one.
fn gaps(ranges: &[Range<u64>]) -> impl Iterator<Item = u64> {
    let end = ranges.last().map_or(0, |range| range.end);
    std::iter::successors(Some(MIN_GAP), move |gap| {
        (*gap < end).then(|| gap.saturating_mul(2))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    fn line(milliseconds: u64, rate: u64) -> Line {
        let mut line = Line::default();
        line.add_answer(Duration::from_millis(milliseconds));
        line.add_body(rate * 10, Duration::from_secs(10));
        line
    }

    /// Returns 400 ranges of 190 KiB, with gaps of 20 KiB and 600 KiB in turn.
    fn ranges() -> Vec<Range<u64>> {
        let mut at = 0;
        let range = |number| {
            at += if number % 2 == 0 { 600 << 10 } else { 20 << 10 };
            let start = at;
            at += 190 << 10;
            start..at
        };
        (0..400).map(range).collect()
    }

    #[test]
    fn a_near_line_gets_exact_ranges_and_few_requests_in_flight() {
        let requests = line(0, 500_000_000).requests(&ranges());
        assert_eq!((requests.spans.len(), requests.lanes), (400, FEW_LANES));
        assert!(!requests.is_whole);
    }

    #[test]
    fn a_far_line_gets_requests_in_flight_and_small_gaps_if_they_pay() {
        let exact = line(100, 6_250_000).requests(&ranges());
        assert_eq!(exact.lanes, MAX_LANES);
        // The requests share the line: their latency is hidden.
        assert_eq!(exact.spans.len(), 400);
        let merged = line(400, 6_250_000).requests(&ranges());
        assert_eq!(merged.spans.len(), 200);
        assert!(!merged.is_whole);
    }

    #[test]
    fn a_line_with_a_very_long_latency_gets_the_whole() {
        let whole = line(4_000, 20_000_000).requests(&ranges());
        assert!(whole.is_whole, "{} requests", whole.spans.len());
    }

    #[test]
    fn a_slow_line_is_not_shared_by_many_requests() {
        assert_eq!(line(300, 20_000).requests(&ranges()).lanes, FEW_LANES);
    }

    #[test]
    fn an_unknown_line_gets_the_smallest_gap() {
        let requests = Line::default().requests(&ranges());
        assert_eq!(requests.spans, Spans::new(ranges(), MIN_GAP));
    }

    #[test]
    fn a_burst_and_a_short_body_are_no_measure_of_the_rate() {
        let mut line = Line::default();
        line.add_answer(Duration::from_millis(300));
        line.add_answer(Duration::from_millis(100));
        line.add_body(1_000, Duration::ZERO);
        assert_eq!(
            (line.rate(), line.latency),
            (None, Some(Duration::from_millis(100)))
        );
        line.add_body(256 << 10, Duration::ZERO);
        assert_eq!(line.rate(), Some(5.0 * f64::from(256 << 10)));
        assert_eq!(line.requests(&ranges()).spans.len(), 400);
    }

    proptest! {
        #[test]
        fn any_line_gets_all_bytes_and_no_more_than_the_whole(
            parts in prop::collection::vec((0_u64..500_000, 1_u64..500_000), 1..50),
            milliseconds in 0_u64..5_000,
            rate in 1_u64..1_000_000_000,
        ) {
            let mut at = 0;
            let ranges: Vec<Range<u64>> = parts.into_iter().map(|(gap, len)| {
                let start = at + gap;
                at = start + len;
                start..at
            }).collect();
            let mut requests = line(milliseconds, rate.max(MEASURED)).requests(&ranges);
            let exact = Spans::new(ranges.clone(), MIN_GAP);
            prop_assert!(requests.spans.total() >= exact.total());
            prop_assert!(requests.spans.len() <= exact.len());
            prop_assert!((1..=MAX_LANES).contains(&requests.lanes));
            for range in &ranges {
                let span = requests.spans.next_from(range.start).expect("span");
                prop_assert!(span.start <= range.start && span.end >= range.end);
            }
            prop_assert_eq!(requests.spans.next_from(at), None);
            requests.spans.end_at(at);
            prop_assert_eq!(requests.spans.len(), 0);
        }
    }
}
