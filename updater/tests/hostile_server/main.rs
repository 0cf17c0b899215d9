//! Downloads from a server that misbehaves: the fetcher either returns the right bytes, or an error
//! that names the misbehaviour. It always ends.

mod responses;

use fixtures::hostile::{Asked, HostileServer, Step, cut, honest, honestly};
use std::sync::Arc;
use std::time::Duration;
use updater::source::{Fetcher, HttpOptions, HttpSource, Retries, Timeouts};

const LEN: usize = 300_000;

fn file() -> Vec<u8> {
    (0..LEN).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Returns timeouts that are short enough for a test, and far longer than a sound server needs.
fn short_timeouts() -> HttpOptions {
    let timeouts = Timeouts {
        response: Duration::from_millis(200),
        stall: Duration::from_millis(200),
        window: Duration::from_millis(300),
        min_rate: 2_000,
        ..Timeouts::default()
    };
    HttpOptions {
        timeouts,
        ..HttpOptions::default()
    }
}

const RETRIES: Retries = Retries {
    max_failures: 4,
    seed: 0,
    first_pause: Duration::from_millis(1),
    deadline: Duration::from_secs(3600),
};

/// Fetches the whole file from a server that follows `script`.
fn fetch_with(
    options: HttpOptions,
    script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
) -> (HostileServer, Result<Vec<u8>, String>) {
    let server = HostileServer::start(script).expect("server");
    let source = HttpSource::new(&server.url("x.bundle"), options).expect("source");
    let mut fetcher = Fetcher::new(source, RETRIES, &|_, _| {});
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let got = runtime.block_on(async {
        let mut got = Vec::new();
        for at in (0..LEN).step_by(50_000) {
            got.extend_from_slice(&fetcher.range(at as u64, 50_000).await?);
        }
        fetcher.finish(LEN as u64).await?;
        Ok::<_, updater::source::FetchError>(got)
    });
    let url = server.url("x.bundle");
    // The port in the URL changes with each run.
    let got = got.map_err(|error| error.to_string().replace(&url, "URL"));
    (server, got)
}

fn fetch(
    script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
) -> (HostileServer, Result<Vec<u8>, String>) {
    fetch_with(HttpOptions::default(), script)
}

/// Asserts that the file was fetched by requests from these offsets on.
#[track_caller]
fn succeeds(outcome: (HostileServer, Result<Vec<u8>, String>), began: &[u64]) -> HostileServer {
    let (server, got) = outcome;
    assert!(got.expect("success") == file(), "other bytes");
    let asked: Vec<u64> = server
        .asked()
        .iter()
        .map(|asked| asked.range.expect("range").0)
        .collect();
    assert_eq!(asked, began);
    server
}

#[track_caller]
fn refused(outcome: (HostileServer, Result<Vec<u8>, String>), words: &str) -> HostileServer {
    assert_eq!(outcome.1.expect_err("refused"), words);
    outcome.0
}

/// Returns a script that answers the first request wrongly and the others correctly.
fn first(
    wrong: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static {
    move |asked| {
        if asked.number == 0 {
            wrong(asked)
        } else {
            honestly(&file(), asked)
        }
    }
}

#[test]
fn a_sound_server_gets_growing_requests_over_one_connection() {
    let server = succeeds(fetch(|asked| honestly(&file(), asked)), &[0, 262_144]);
    assert!(
        server.asked().iter().all(|asked| asked.connection == 0),
        "{:?}",
        server.asked()
    );
}

#[test]
fn a_connection_lost_within_a_range_continues_at_the_missing_byte() {
    for end in [Step::Close, Step::Reset] {
        let script = first(move |asked| cut(&file(), asked, 123_456, end.clone()));
        let (server, got) = fetch(script);
        assert!(got.expect("success") == file(), "other bytes");
        let asked = server.asked();
        // A reset may lose bytes that were sent.
        let resumed = asked[1].range.expect("range").0;
        assert!(resumed <= 123_456, "{asked:?}");
    }
    let script = first(|asked| cut(&file(), asked, 123_456, Step::Close));
    succeeds(fetch(script), &[0, 123_456]);
}

#[test]
fn a_stall_is_retried() {
    succeeds(
        fetch_with(
            short_timeouts(),
            first(|asked| cut(&file(), asked, 100_000, Step::Stall)),
        ),
        &[0, 100_000],
    );
}

#[test]
fn a_server_that_always_stalls_fails_the_download() {
    let server = refused(
        fetch_with(short_timeouts(), |asked| {
            cut(&file(), asked, 0, Step::Stall)
        }),
        "URL: no data for 0.2 s",
    );
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn a_response_whose_head_never_ends_fails_the_download() {
    let slow = |_: &Asked| {
        vec![
            Step::Send(b"HTTP/1.1 200 OK\r\nX-A: b".to_vec()),
            Step::Stall,
        ]
    };
    refused(fetch_with(short_timeouts(), slow), "URL: no data for 0.2 s");
    let (_, got) = fetch(|_| {
        vec![
            Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec()),
            Step::Endless(b"A: b\r\n".to_vec()),
        ]
    });
    got.expect_err("a head without end");
}

#[test]
fn a_body_sent_byte_by_byte_fails_the_download() {
    let drip = |asked: &Asked| {
        let (head, body) = honest(&file(), asked);
        vec![
            Step::Send(head),
            Step::Drip(body, Duration::from_millis(20)),
        ]
    };
    let (server, got) = fetch_with(short_timeouts(), drip);
    let words = got.expect_err("too slow");
    assert!(words.ends_with("expected at least 2000 bytes/s"), "{words}");
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn one_byte_per_request_fails_the_download() {
    let little = |asked: &Asked| {
        let (from, _) = asked.range.expect("range");
        let one = Asked {
            range: Some((from, Some(from + 1))),
            ..asked.clone()
        };
        let (head, body) = honest(&file(), &one);
        vec![
            Step::Drip(head[..1].to_vec(), Duration::from_millis(20)),
            Step::Send(head[1..].to_vec()),
            Step::Send(body),
        ]
    };
    let (_, got) = fetch_with(short_timeouts(), little);
    let words = got.expect_err("too slow");
    assert!(words.ends_with("expected at least 2000 bytes/s"), "{words}");
}

#[test]
fn a_server_that_sends_less_than_requested_gets_another_request() {
    let parts = |asked: &Asked| {
        let (from, to) = asked.range.expect("range");
        let to = to.unwrap_or(u64::MAX).min(from + 100_000);
        honestly(
            &file(),
            &Asked {
                range: Some((from, Some(to))),
                ..asked.clone()
            },
        )
    };
    let server = succeeds(fetch(parts), &[0, 100_000, 200_000, 262_144]);
    assert!(server.asked().iter().all(|asked| asked.connection == 0));
}

fn without_range(asked: &Asked) -> Asked {
    Asked {
        range: None,
        ..asked.clone()
    }
}

#[test]
fn a_server_without_ranges_is_read_from_the_front() {
    succeeds(
        fetch(|asked| honestly(&file(), &without_range(asked))),
        &[0],
    );
    // After a lost connection it sends the whole file again; bytes received before are dropped.
    let script = |asked: &Asked| match asked.number {
        0 => cut(&file(), &without_range(asked), 123_456, Step::Close),
        _ => honestly(&file(), &without_range(asked)),
    };
    succeeds(fetch(script), &[0, 123_456]);
}

#[test]
fn a_server_without_ranges_gets_one_request() {
    let server =
        HostileServer::start(|asked| honestly(&file(), &without_range(asked))).expect("server");
    let source = HttpSource::new(&server.url("x"), HttpOptions::default()).expect("source");
    let mut fetcher = Fetcher::new(source, RETRIES, &|_, _| {});
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        fetcher.range(0, 10).await.expect("head");
        fetcher.expect([200_000..200_010, 299_000..299_010]);
        for at in [200_000, 299_000] {
            let got = fetcher.range(at, 10).await.expect("range");
            assert_eq!(got, file()[at as usize..at as usize + 10]);
        }
        assert!(!fetcher.can_skip());
    });
    // One for the head, and one because the first was open for more than the announced ranges.
    assert!(server.asked().len() <= 2, "{:?}", server.asked());
}

#[test]
fn announced_ranges_are_requested_over_few_connections_and_nothing_else_is_sent() {
    let server =
        HostileServer::start(|asked| honestly(&vec![7; 9_000_000], asked)).expect("server");
    let source = HttpSource::new(&server.url("x"), HttpOptions::default()).expect("source");
    let mut fetcher = Fetcher::new(source, RETRIES, &|_, _| {});
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let ranges: Vec<_> = (1..30)
        .map(|at| at * 300_000..at * 300_000 + 1_000)
        .collect();
    runtime.block_on(async {
        fetcher.range(0, 262_144).await.expect("head");
        fetcher.expect(ranges.clone());
        for range in &ranges {
            fetcher.range(range.start, 1_000).await.expect("range");
        }
    });
    let asked = server.asked();
    // Requests are in flight beside each other, on a connection each, and connections are reused.
    assert!(asked.iter().all(|asked| asked.connection < 7), "{asked:?}");
    let mut asked: Vec<_> = asked
        .iter()
        .skip(1)
        .filter_map(|asked| asked.range)
        .collect();
    asked.sort_unstable();
    assert_eq!(
        asked,
        ranges
            .iter()
            .map(|range| (range.start, Some(range.end)))
            .collect::<Vec<_>>()
    );
    assert_eq!(fetcher.fetched(), 262_144 + 29 * 1_000);
}

/// Fetches ranges of 100 KiB that are far apart, several at a time, from a server that follows
/// `script`. Returns its requests.
fn fetch_parallel(
    script: impl Fn(&[u8], &Asked) -> Vec<Step> + Send + Sync + 'static,
) -> Vec<Asked> {
    const RANGE: usize = 100 << 10;
    let file: Arc<Vec<u8>> = Arc::new((0..8_000_000_u32).map(|at| (at % 251) as u8).collect());
    let served = Arc::clone(&file);
    let server = HostileServer::start(move |asked| script(&served, asked)).expect("server");
    let source = HttpSource::new(&server.url("x"), HttpOptions::default()).expect("source");
    let mut fetcher = Fetcher::new(source, RETRIES, &|_, _| {});
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        fetcher.range(0, 262_144).await.expect("head");
        let ranges = || (2..26).map(|at| at * 300_000..at * 300_000 + RANGE as u64);
        fetcher.expect(ranges());
        for range in ranges() {
            let got = fetcher.range(range.start, RANGE).await.expect("range");
            let start = range.start as usize;
            assert!(got == file[start..start + RANGE], "{range:?}");
        }
    });
    server.asked()
}

#[test]
fn connections_that_are_lost_in_the_middle_of_parallel_ranges_are_continued() {
    for end in [Step::Close, Step::Reset] {
        let asked = fetch_parallel(move |file, asked| match asked.number {
            5..8 => cut(file, asked, 40_000, end.clone()),
            _ => honestly(file, asked),
        });
        // One failure may end several requests, and cuts at most three more.
        assert!((25..45).contains(&asked.len()), "{} requests", asked.len());
    }
}

#[test]
fn a_server_without_ranges_after_the_head_is_read_from_the_front() {
    let asked = fetch_parallel(|file, asked| match asked.number {
        0 => honestly(file, asked),
        _ => honestly(file, &without_range(asked)),
    });
    assert!(asked.len() < 10, "{} requests", asked.len());
}
