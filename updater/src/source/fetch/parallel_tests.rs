//! Several requests in flight, from a simulated server behind a line with a latency and a rate.

use super::lanes::{AHEAD, LANE_ROOM};
use super::line::MAX_LANES;
use super::*;
use proptest::prelude::{
    Just, Strategy as _, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::sleep_until;

/// Bytes of a piece.
const PIECE: u64 = 16 * 1024;
const HEAD: usize = 256 * 1024;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The connection is lost after this many bytes.
    Cut(u64),
    /// The server answers 503.
    Busy,
}

/// A server behind a line.
#[derive(Default)]
struct Server {
    len: u64,
    latency: Duration,
    /// Bytes per second.
    rate: u64,
    /// Faults by the number of the request.
    faults: Vec<(usize, Fault)>,
    /// Maximum number of requests at a time; others are answered by 503.
    max_requests: Option<usize>,
    /// Number of the first request that is answered with the whole file.
    without_ranges: Option<usize>,
    /// When the line is free again.
    free: Mutex<Option<Instant>>,
    asked: AtomicUsize,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
    sent: AtomicU64,
    taken: AtomicU64,
    max_ahead: AtomicU64,
    ranges_are_gone: Mutex<bool>,
}

/// A request to a [`Server`].
struct Connection {
    server: Arc<Server>,
    range: Range<u64>,
    until: Option<u64>,
    cut: Option<u64>,
    is_open: bool,
}

fn byte(at: u64) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

impl Server {
    fn connect(self: &Arc<Self>) -> Connection {
        Connection {
            server: Arc::clone(self),
            range: 0..0,
            until: None,
            cut: None,
            is_open: false,
        }
    }

    fn error(status: u16) -> SourceError {
        SourceError::Status {
            what: "server".to_owned(),
            status,
            retry_after: None,
        }
    }

    /// Waits until the line has carried `bytes`.
    async fn carry(&self, bytes: u64) {
        let took = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let end = {
            let mut free = self.free.lock().expect("lock");
            let now = Instant::now();
            let end = free.map_or(now, |free| free.max(now)) + took;
            *free = Some(end);
            end
        };
        // The timer rounds up to milliseconds, which is long in comparison with a piece.
        sleep_until(end.checked_sub(Duration::from_micros(999)).unwrap_or(end)).await;
        let sent = self.sent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let ahead = sent - self.taken.load(Ordering::Relaxed);
        self.max_ahead.fetch_max(ahead, Ordering::Relaxed);
    }
}

impl Connection {
    fn close(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.server.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Source for Connection {
    fn can_seek(&self) -> bool {
        !*self.server.ranges_are_gone.lock().expect("lock")
    }

    fn can_reopen(&self) -> bool {
        true
    }

    fn fork(&self) -> Option<Self> {
        Some(self.server.connect())
    }

    fn total(&self) -> Option<u64> {
        Some(self.server.len)
    }

    fn until(&mut self, end: Option<u64>) {
        self.until = end;
    }

    async fn open(&mut self, offset: u64) -> Result<(), SourceError> {
        self.close();
        let server = Arc::clone(&self.server);
        let number = server.asked.fetch_add(1, Ordering::Relaxed);
        let in_flight = server.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.is_open = true;
        server.max_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        tokio::time::sleep(server.latency).await;
        if server.max_requests.is_some_and(|max| in_flight > max) {
            return Err(Server::error(503));
        }
        let fault = server.faults.iter().find(|(at, _)| *at == number);
        self.cut = match fault {
            Some((_, Fault::Busy)) => return Err(Server::error(503)),
            Some((_, Fault::Cut(after))) => Some(*after),
            None => None,
        };
        let end = self.until.unwrap_or(server.len).min(server.len);
        self.range = offset..end;
        if server.without_ranges.is_some_and(|first| number >= first) {
            *server.ranges_are_gone.lock().expect("lock") = true;
            // The bytes before the offset are sent, too.
            server.carry(offset).await;
            server.taken.fetch_add(offset, Ordering::Relaxed);
            self.range.end = server.len;
        }
        Ok(())
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        let len = (self.range.end - self.range.start).min(PIECE);
        let len = len.min(self.cut.unwrap_or(u64::MAX));
        if len == 0 {
            self.close();
            return if self.range.is_empty() {
                Ok(None)
            } else {
                Err(SourceError::Network {
                    what: "server".to_owned(),
                    message: "connection lost".to_owned(),
                })
            };
        }
        self.server.carry(len).await;
        self.cut = self.cut.map(|cut| cut - len);
        let start = self.range.start;
        self.range.start += len;
        if self.range.is_empty() {
            self.close();
        }
        Ok(Some((start..start + len).map(byte).collect()))
    }
}

/// A download that was carried out.
struct Fetched {
    server: Arc<Server>,
    took: Duration,
    download: Download,
}

impl Fetched {
    fn requests(&self) -> usize {
        self.server.asked.load(Ordering::Relaxed)
    }

    fn max_in_flight(&self) -> usize {
        self.server.max_in_flight.load(Ordering::Relaxed)
    }
}

/// Fetches the head and `ranges`, and compares each byte. The reader pauses after each range.
fn fetch(server: Server, ranges: &[Range<u64>], pause: Duration) -> Result<Fetched, FetchError> {
    let server = Arc::new(server);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let fetched = runtime.expect("runtime").block_on(async {
        let start = Instant::now();
        let retries = Retries {
            max_failures: 30,
            ..Retries::default()
        };
        let mut fetcher = Fetcher::new(server.connect(), retries, &|_, _| {});
        fetcher.range(0, HEAD).await?;
        server.taken.fetch_add(HEAD as u64, Ordering::Relaxed);
        let planned = fetcher.will_fetch(ranges, server.len);
        fetcher.expect(ranges.iter().cloned());
        for range in ranges {
            let got = fetcher
                .range(range.start, (range.end - range.start) as usize)
                .await?;
            assert!(got.iter().copied().eq(range.clone().map(byte)), "{range:?}");
            server.taken.fetch_add(got.len() as u64, Ordering::Relaxed);
            tokio::time::sleep(pause).await;
        }
        let took = start.elapsed();
        if server.faults.is_empty() && server.max_requests.is_none() && fetcher.can_skip() {
            assert_eq!(fetcher.so_far().requests, planned.requests);
            assert_eq!(fetcher.so_far().bytes, planned.bytes);
        }
        Ok::<_, FetchError>((took, fetcher.so_far()))
    });
    let (took, download) = fetched?;
    Ok(Fetched {
        server,
        took,
        download,
    })
}

/// Returns 416 ranges of 79.9 MB in total in a file of 300 MB, as an adaptive update has them.
fn adaptive() -> Vec<Range<u64>> {
    let mut at = HEAD as u64;
    let range = |number: u64| {
        at += 300_000 + (number * 7_919) % 400_000;
        let start = at;
        at += 20_000 + (number * 104_729) % 344_000;
        start..at
    };
    (0..416).map(range).collect()
}

fn far(milliseconds: u64, rate: u64) -> Server {
    Server {
        len: 400_000_000,
        latency: Duration::from_millis(milliseconds),
        rate,
        ..Server::default()
    }
}

fn total(ranges: &[Range<u64>]) -> u64 {
    HEAD as u64
        + ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum::<u64>()
}

#[test]
fn a_far_server_costs_little_more_than_the_bytes() {
    let ranges = adaptive();
    let fetched = fetch(far(100, 6_250_000), &ranges, Duration::ZERO).expect("fetched");
    let own_time = total(&ranges) as f64 / 6_250_000.0;
    let ratio = fetched.took.as_secs_f64() / own_time;
    assert!(ratio <= 1.1, "{ratio} times the time of the bytes");
    assert!(fetched.requests() <= 417, "{} requests", fetched.requests());
    assert_eq!(fetched.max_in_flight(), MAX_LANES);
}

#[test]
fn a_near_server_sees_two_requests_at_a_time_and_is_no_slower() {
    let ranges = adaptive();
    let fetched = fetch(far(0, 100_000_000), &ranges, Duration::ZERO).expect("fetched");
    let own_time = total(&ranges) as f64 / 100_000_000.0;
    assert!(fetched.took.as_secs_f64() <= own_time * 1.001);
    assert_eq!(fetched.max_in_flight(), 2);
    assert_eq!(fetched.download.bytes, total(&ranges));
}

#[test]
fn a_server_that_is_very_far_sends_the_whole_by_one_request() {
    let ranges: Vec<_> = (1..200_u64)
        .map(|number| number * 400_000..number * 400_000 + 190_000)
        .collect();
    let fetched = fetch(far(60_000, 1_000_000), &ranges, Duration::ZERO).expect("fetched");
    assert_eq!(fetched.requests(), 2);
    assert!(fetched.download.bytes > 2 * total(&ranges));
}

#[test]
fn memory_is_bounded_while_the_reader_is_slow() {
    let mut ranges = adaptive();
    // A long range, whose request must not fill the memory, either.
    let end = ranges.last().map_or(0, |range| range.end);
    ranges.push(end + 500_000..end + 20_000_000);
    let fetched = fetch(far(100, 6_250_000), &ranges, Duration::from_millis(100));
    let fetched = fetched.expect("fetched");
    let ahead = fetched.server.max_ahead.load(Ordering::Relaxed);
    // What is in memory, what is on the line, and the range that is read: the last one is long.
    let max = AHEAD + LANE_ROOM as u64 + MAX_LANES as u64 * PIECE;
    assert!(ahead <= max + 19_500_000, "{ahead} bytes");
    ranges.pop();
    let fetched = fetch(far(100, 6_250_000), &ranges, Duration::from_millis(100));
    let ahead = fetched
        .expect("fetched")
        .server
        .max_ahead
        .load(Ordering::Relaxed);
    assert!(ahead <= max + 364_000, "{ahead} bytes");
}

#[test]
fn connections_cut_in_the_middle_of_parallel_ranges_cost_only_what_was_in_flight() {
    let ranges = adaptive();
    let faults = (10..16).map(|number| (number, Fault::Cut(PIECE / 2)));
    let server = Server {
        faults: faults
            .chain([(40, Fault::Cut(0)), (60, Fault::Busy)])
            .collect(),
        ..far(100, 6_250_000)
    };
    let fetched = fetch(server, &ranges, Duration::ZERO).expect("fetched");
    let sent = fetched.server.sent.load(Ordering::Relaxed);
    let lost = 3 * MAX_LANES as u64 * LANE_ROOM as u64;
    assert!(sent <= total(&ranges) + lost, "{sent} bytes");
}

#[test]
fn a_server_that_limits_its_connections_gets_fewer_requests_at_a_time() {
    let server = Server {
        max_requests: Some(2),
        ..far(100, 6_250_000)
    };
    let fetched = fetch(server, &adaptive(), Duration::ZERO).expect("fetched");
    // 6, 3, then 1 at a time.
    assert!(fetched.took < Duration::from_secs(70), "{:?}", fetched.took);
}

#[test]
fn a_server_that_supports_ranges_no_more_is_read_from_the_front() {
    let ranges = &adaptive()[..20];
    let server = Server {
        without_ranges: Some(7),
        ..far(100, 6_250_000)
    };
    let fetched = fetch(server, ranges, Duration::ZERO).expect("fetched");
    assert!(fetched.requests() <= 7 + MAX_LANES + 1);
}

#[test]
fn a_server_that_always_fails_ends_the_download() {
    let faults = (3..1_000).map(|number| (number, Fault::Busy)).collect();
    let server = Server {
        faults,
        ..far(100, 6_250_000)
    };
    let error = fetch(server, &adaptive(), Duration::ZERO).err();
    assert_eq!(
        error.expect("gives up").to_string(),
        "server: server answered 503"
    );
}

#[test]
fn a_download_that_cannot_end_before_the_deadline_is_not_begun() {
    let server = Arc::new(far(100, 1_000));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.expect("runtime").block_on(async {
        let retries = Retries {
            deadline: Duration::from_secs(3_600),
            ..Retries::default()
        };
        let mut fetcher = Fetcher::new(server.connect(), retries, &|_, _| {});
        fetcher.range(0, HEAD).await.expect("head");
        fetcher.expect([300_000..4_000_000, 5_000_000..5_100_000]);
        fetcher.check_time(3_000_000).expect("within the hour");
        let error = fetcher.check_time(3_800_000).expect_err("too slow");
        let words = error.to_string();
        assert!(
            words.starts_with("download: 3800000 bytes would take 38"),
            "{words}"
        );
    });
}

proptest! {
    #[test]
    fn any_ranges_from_any_server_are_correct_and_in_order(
        gaps in prop::collection::vec((0_u64..400_000, 1_u64..300_000), 1..40),
        milliseconds in prop_oneof![Just(0_u64), 0_u64..2_000],
        rate in prop_oneof![10_000_u64..100_000, 1_000_000_u64..100_000_000],
        faults in prop::collection::vec(
            (2_usize..40, prop_oneof![Just(Fault::Busy), (0_u64..200_000).prop_map(Fault::Cut)]),
            0..6
        ),
        max_requests in prop_oneof![Just(None), (1_usize..5).prop_map(Some)],
        without_ranges in prop_oneof![4 => Just(None), 1 => (2_usize..20).prop_map(Some)],
        slow_reader in any::<bool>(),
    ) {
        let mut at = HEAD as u64;
        let ranges: Vec<Range<u64>> = gaps.into_iter().map(|(gap, len)| {
            let start = at + gap;
            at = start + len;
            start..at
        }).collect();
        let server = Server { faults, max_requests, without_ranges, ..far(milliseconds, rate) };
        let pause = Duration::from_millis(if slow_reader { 100 } else { 0 });
        let fetched = fetch(server, &ranges, pause);
        prop_assert!(fetched.is_ok(), "{:?}", fetched.err());
        let fetched = fetched.expect("fetched");
        prop_assert!(fetched.max_in_flight() <= MAX_LANES + 1);
        prop_assert_eq!(fetched.server.in_flight.load(Ordering::Relaxed), 0);
    }
}
