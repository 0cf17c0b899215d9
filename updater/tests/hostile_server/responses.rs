//! Responses that are wrong, incomplete or endless.

use super::{LEN, fetch, fetch_with, file, first, refused, succeeds};
use fixtures::hostile::{Asked, Step, head, honest, honestly};
use updater::source::{HttpOptions, Rate};

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
