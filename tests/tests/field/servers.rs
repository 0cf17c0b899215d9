//! Web servers as they are: a machine takes its update from each of them.

use bootctl::store::RecordStore;
use fixtures::hostile::{Asked, HostileServer, Step, head, honestly};
use record::{Choice, Slot};
use std::sync::Mutex;
use std::time::Duration;
use tests::memory_machine::{SECOND, chain, installed, options};
use updater::events::Silent;
use updater::source::{HttpOptions, HttpSource, Retries, SourceError};
use updater::{ApplyFailure, Incoming, Outcome, TargetMachine};

/// Applies 1.1.0 from `server` to a machine that runs 1.0.0 in slot A. Returns the messages of the
/// retries, too.
async fn update(server: &HostileServer, path: &str) -> (Result<Outcome, ApplyFailure>, String) {
    let machine = installed(512).await;
    let disk = machine.disk();
    let target = TargetMachine {
        store: RecordStore::open(&disk).expect("store"),
        disk,
        vars: Some(&machine.vars),
        booted: Choice::Slot(Slot::A),
        now: 0,
    };
    let retries = Retries {
        first_pause: Duration::from_millis(1),
        max_failures: 4,
        ..Retries::default()
    };
    let messages = Mutex::new(String::new());
    let on_retry = |error: &SourceError, _| {
        *messages.lock().expect("messages") += &format!("{error}\n");
    };
    let chain = chain();
    let options = options(&chain);
    let source = HttpSource::new(&server.url(path), HttpOptions::default()).expect("address");
    let applied = async {
        let incoming = Incoming::open(source, &chain, retries, &on_retry).await?;
        incoming.apply(&target, &options, &Silent).await
    };
    let applied = applied.await;
    (applied, messages.into_inner().expect("messages"))
}

async fn is_updated_from(script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) {
    let server = HostileServer::start(script).expect("server");
    let (applied, retries) = update(&server, "1.1.0.bundle").await;
    let applied = applied.unwrap_or_else(|error| panic!("{error:?}\n{retries}"));
    assert!(matches!(applied, Outcome::Activated(_)), "{applied:?}");
}

/// Returns an honest answer with another header in place of its `ETag`.
fn with_header(file: &[u8], asked: &Asked, name: &str, value: &str) -> Vec<Step> {
    let honest = honestly(file, asked);
    honest
        .into_iter()
        .map(|step| match step {
            Step::Send(bytes) if bytes.starts_with(b"HTTP/") => {
                let text = String::from_utf8(bytes).expect("head");
                let text = text.replace("ETag: \"sound\"", &format!("{name}: {value}"));
                Step::Send(text.into_bytes())
            }
            other => other,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_name_the_same_bytes_differently_are_one_server() {
    for (name, one, other) in [
        ("ETag", "\"n0\"", "\"n1\""),
        ("ETag", "W/\"x\"", "\"x\""),
        (
            "Last-Modified",
            "Mon, 01 Jan 2024 00:00:00 GMT",
            "Tue, 02 Jan 2024 00:00:00 GMT",
        ),
    ] {
        let file = SECOND.bundle();
        is_updated_from(move |asked| {
            let value = if asked.number.is_multiple_of(2) {
                one
            } else {
                other
            };
            with_header(&file, asked, name, value)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_coding_that_changed_nothing_does_not_matter() {
    for coding in ["aws-chunked", "none", ""] {
        let file = SECOND.bundle();
        is_updated_from(move |asked| with_header(&file, asked, "Content-Encoding", coding)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_ranges_beyond_its_file_is_asked_for_less() {
    let file = SECOND.bundle();
    is_updated_from(move |asked| {
        let is_beyond = |(_, to): (u64, Option<u64>)| to.is_some_and(|to| to > file.len() as u64);
        if asked.range.is_some_and(is_beyond) {
            let range = format!("bytes */{}", file.len());
            let headers = [("Content-Range", range.as_str()), ("Content-Length", "0")];
            return vec![Step::Send(head("416 Range Not Satisfiable", &headers))];
        }
        honestly(&file, asked)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_length_that_is_cut_is_fetched_again() {
    let file = SECOND.bundle();
    is_updated_from(move |asked| {
        let len = if asked.number < 3 {
            file.len() / 2
        } else {
            file.len()
        };
        let body = file.get(..len).unwrap_or_default().to_vec();
        vec![
            Step::Send(head("200 OK", &[])),
            Step::Send(body),
            Step::Close,
        ]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_shows_a_secret_of_the_address() {
    let server = HostileServer::start(|asked| match asked.number {
        0 => vec![Step::Send(head(
            "503 Unavailable",
            &[("Content-Length", "0")],
        ))],
        _ => vec![Step::Send(head(
            "404 Not Found",
            &[("Content-Length", "0")],
        ))],
    });
    let server = server.expect("server");
    let (applied, retries) = update(&server, "x.bundle?X-Amz-Signature=SECRET").await;
    let error = applied.expect_err("there is no such file");
    let messages = format!("{error:#?} {error} {retries}");
    assert!(retries.contains("503"), "{messages}");
    assert!(!messages.contains("SECRET"), "{messages}");
}
