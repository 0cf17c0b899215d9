//! Downloads from a server that misbehaves: the fetcher either returns the right bytes, or an error
//! that names the misbehaviour. It always ends.

use fixtures::hostile::{Asked, HostileServer, Step, cut, head, honest, honestly};
use std::time::Duration;
use updater::source::{Fetcher, HttpOptions, HttpSource, Rate, Retries, Timeouts};

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
fn announced_ranges_are_requested_over_one_connection_and_nothing_else_is_sent() {
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
    assert!(asked.iter().all(|asked| asked.connection == 0), "{asked:?}");
    let asked: Vec<_> = asked
        .iter()
        .skip(1)
        .filter_map(|asked| asked.range)
        .collect();
    assert_eq!(
        asked,
        ranges
            .iter()
            .map(|range| (range.start, Some(range.end)))
            .collect::<Vec<_>>()
    );
    assert_eq!(fetcher.fetched(), 262_144 + 29 * 1_000);
}

#[test]
fn wrong_ranges_are_refused() {
    let ranged = |range: &'static str, len: &'static str| {
        move |_: &Asked| {
            let head = head(
                "206 Partial Content",
                &[("Content-Range", range), ("Content-Length", len)],
            );
            vec![Step::Send(head), Step::Send(file())]
        }
    };
    refused(
        fetch(ranged("bytes 1-299999/300000", "299999")),
        "URL: server answered with range \"bytes 1-299999/300000\", expected one from byte 0",
    );
    refused(
        fetch(ranged("bytes 0-9/300000", "300000")),
        "URL: server answered with range \"bytes 0-9/300000\" and a length of 300000, expected 10",
    );
    let bare = |_: &Asked| {
        vec![
            Step::Send(head("206 Partial Content", &[("Content-Length", "300000")])),
            Step::Send(file()),
        ]
    };
    refused(
        fetch(bare),
        "URL: server answered with range \"\", expected one from byte 0",
    );
}

#[test]
fn a_wrong_length_is_detected() {
    let whole = |len: usize, end: Step| {
        move |_: &Asked| {
            let head = head("200 OK", &[("Content-Length", &len.to_string())]);
            vec![Step::Send(head), Step::Send(file()), end.clone()]
        }
    };
    refused(
        fetch(whole(200_000, Step::Close)),
        "bundle ends after 200000 bytes, expected 250000",
    );
    // Too long: the server announces bytes that it never sends.
    let (server, got) = fetch(whole(400_000, Step::Close));
    assert_eq!(
        got.expect_err("longer than the bundle"),
        "there is data after the 300000 bytes of the bundle"
    );
    assert_eq!(server.asked().len(), 1);
    // Bytes beyond the announced length are not read.
    let more = |asked: &Asked| {
        let (head, body) = honest(&file(), asked);
        vec![
            Step::Send(head),
            Step::Send(body),
            Step::Send(vec![9; 1_000_000]),
            Step::Close,
        ]
    };
    succeeds(fetch(more), &[0, 262_144]);
}

#[test]
fn an_endless_body_is_refused() {
    let endless = |_: &Asked| {
        let head = head("200 OK", &[("Transfer-Encoding", "chunked")]);
        let mut chunk = b"186a0\r\n".to_vec();
        chunk.extend([0x55; 100_000]);
        chunk.extend(b"\r\n");
        vec![Step::Send(head), Step::Endless(chunk)]
    };
    refused(
        fetch(endless),
        "there is data after the 300000 bytes of the bundle",
    );
}

/// Nodes behind one name may give the same bytes different validators: the signed digests decide.
#[test]
fn different_validators_do_not_stop_a_download() {
    let validators: [(&str, &str, &str); 3] = [
        ("ETag", "\"one\"", "\"two\""),
        ("ETag", "W/\"one\"", "\"one\""),
        (
            "Last-Modified",
            "Mon, 23 Nov 2026 10:00:00 GMT",
            "Mon, 23 Nov 2026 11:00:00 GMT",
        ),
    ];
    for (name, one, other) in validators {
        let script = move |asked: &Asked| {
            assert_eq!(
                asked.if_range, None,
                "a node with another validator would send the whole file"
            );
            let validator = if asked.number.is_multiple_of(2) {
                one
            } else {
                other
            };
            let (from, _) = asked.range.expect("range");
            let range = format!("bytes {from}-{}/{LEN}", LEN - 1);
            let headers = [(name, validator), ("Content-Range", range.as_str())];
            let from = from as usize;
            vec![
                Step::Send(head("206 Partial Content", &headers)),
                Step::Send(file()[from..LEN.min(from + 120_000)].to_vec()),
                Step::Close,
            ]
        };
        succeeds(fetch(script), &[0, 120_000, 240_000]);
    }
}

#[test]
fn a_file_that_changes_its_length_is_refused() {
    let grows = |asked: &Asked| {
        let range = format!(
            "bytes {}-299999/{}",
            asked.range.expect("range").0,
            300_000 + asked.number
        );
        vec![
            Step::Send(head("206 Partial Content", &[("Content-Range", &range)])),
            Step::Send(file()[..100_000].to_vec()),
            Step::Close,
        ]
    };
    refused(
        fetch(grows),
        "URL: the file changed on the server during the download",
    );
}

/// Object stores keep codings that changed nothing.
#[test]
fn a_content_coding_alone_does_not_stop_a_download() {
    for coding in ["aws-chunked", "none", "", "gzip"] {
        let coded = move |_: &Asked| {
            let headers = [("Content-Encoding", coding), ("Content-Length", "300000")];
            vec![Step::Send(head("200 OK", &headers)), Step::Send(file())]
        };
        succeeds(fetch(coded), &[0]);
    }
}

#[test]
fn a_cut_response_without_length_is_retried() {
    let cut_three_times = |asked: &Asked| {
        let len = if asked.number < 3 { LEN / 2 } else { LEN };
        let body = file()[..len].to_vec();
        vec![
            Step::Send(head("200 OK", &[])),
            Step::Send(body),
            Step::Close,
        ]
    };
    succeeds(fetch(cut_three_times), &[0, 150_000, 150_000, 150_000]);
    let always_cut = |_: &Asked| {
        let body = file()[..LEN / 2].to_vec();
        vec![
            Step::Send(head("200 OK", &[])),
            Step::Send(body),
            Step::Close,
        ]
    };
    refused(
        fetch(always_cut),
        "bundle ends after 150000 bytes, expected 200000",
    );
}

/// Some servers refuse a range that ends beyond the file, instead of shortening it.
#[test]
fn a_refused_range_beyond_the_file_is_requested_up_to_its_end() {
    let strict = |asked: &Asked| {
        let (_, to) = asked.range.expect("range");
        if to.is_some_and(|to| to > LEN as u64) {
            let headers = [("Content-Range", "bytes */300000"), ("Content-Length", "0")];
            return vec![Step::Send(head("416 Range Not Satisfiable", &headers))];
        }
        honestly(&file(), asked)
    };
    succeeds(fetch(strict), &[0, 262_144, 262_144]);
}

#[test]
fn a_file_that_ends_before_the_requested_byte_is_refused() {
    let empty = |asked: &Asked| honestly(&[], asked);
    refused(fetch(empty), "URL: the file has 0 bytes, requested byte 0");
}

#[test]
fn only_transient_statuses_are_retried() {
    let status = |status: &'static str| {
        move |_: &Asked| {
            vec![Step::Send(head(
                status,
                &[("Content-Length", "0"), ("Retry-After", "0")],
            ))]
        }
    };
    let server = refused(fetch(status("404 Not Found")), "URL: server answered 404");
    assert_eq!(server.asked().len(), 1);
    let server = refused(
        fetch(status("503 Service Unavailable")),
        "URL: server answered 503",
    );
    assert_eq!(server.asked().len(), 4);
    succeeds(
        fetch(first(status("429 Too Many Requests"))),
        &[0, 0, 262_144],
    );
}

#[test]
fn redirects_are_followed_up_to_a_maximum() {
    let to = |path: &str| {
        vec![Step::Send(head(
            "302 Found",
            &[("Location", path), ("Content-Length", "0")],
        ))]
    };
    let circle = fetch(move |asked| {
        to(if asked.path() == "/x.bundle" {
            "/y"
        } else {
            "/x.bundle"
        })
    });
    let words = circle.1.expect_err("a circle");
    assert!(words.contains("more than 5 redirects"), "{words}");
    let server = fetch(move |asked| {
        if asked.path() == "/x.bundle" {
            to("/y")
        } else {
            honestly(&file(), asked)
        }
    });
    assert!(server.1.expect("success") == file());
}

#[test]
fn a_response_that_is_not_http_fails_the_download() {
    let (server, got) =
        fetch(|_| vec![Step::Send(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), Step::Close]);
    got.expect_err("no HTTP");
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn a_rate_limit_does_not_change_the_bytes() {
    let options = HttpOptions {
        limit: Rate::new(200_000_000),
        ..HttpOptions::default()
    };
    succeeds(
        fetch_with(options, |asked| honestly(&file(), asked)),
        &[0, 262_144],
    );
}
