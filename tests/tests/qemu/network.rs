//! Misbehaving networks and servers, one after the other, on one running machine: each ends in an
//! error that names the cause, the next try continues with the data fetched so far, and the last one
//! updates the machine.

use crate::scenario::{Steps as _, scenario};
use anyhow::{Context as _, Result, ensure};
use fixtures::hostile::{Asked, HostileServer, Step, cut, head, honest, honestly};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// Unit of the offsets at which a fault happens: within the payload, each later than the last.
const MIB: usize = 1 << 20;

/// Behaviour of a server, and the result of the update from it.
struct Case {
    name: &'static str,
    release: &'static str,
    /// Retries after consecutive failures.
    retries: u32,
    script: fn(&[u8], &Asked) -> Vec<Step>,
    succeeds: bool,
    words: &'static str,
}

const CASES: [Case; 8] = [
    Case {
        name: "a redirect loop",
        release: "1.1.0",
        retries: 1,
        script: |_, _| {
            vec![Step::Send(head(
                "302 Found",
                &[("Location", "/"), ("Content-Length", "0")],
            ))]
        },
        succeeds: false,
        words: "more than 5 redirects",
    },
    Case {
        name: "a stall",
        release: "1.1.0",
        retries: 1,
        script: |file, asked| {
            after(file, asked, MIB, |head, _| {
                vec![Step::Send(head), Step::Stall]
            })
        },
        succeeds: false,
        words: "no data for 2 s",
    },
    Case {
        name: "one byte per 900 ms",
        release: "1.1.0",
        retries: 1,
        script: |file, asked| {
            after(file, asked, 2 * MIB, |head, body| {
                vec![
                    Step::Send(head),
                    Step::Drip(body, Duration::from_millis(900)),
                ]
            })
        },
        succeeds: false,
        words: "expected at least 1024 bytes/s",
    },
    Case {
        name: "a file that changes",
        release: "1.1.0",
        retries: 1,
        script: |file, asked| {
            after(file, asked, 3 * MIB, |_, body| {
                let headers = [("ETag", "\"another\""), ("Content-Length", "1000000")];
                vec![Step::Send(head("200 OK", &headers)), Step::Send(body)]
            })
        },
        succeeds: false,
        words: "the file changed on the server during the download",
    },
    Case {
        name: "no ranges, and an endless body",
        release: "1.3.0-sick",
        retries: 1,
        script: |file, _| {
            let mut chunk = format!("{:x}\r\n", file.len()).into_bytes();
            chunk.extend_from_slice(file);
            chunk.extend_from_slice(b"\r\n");
            let more = [b"1000\r\n".as_slice(), &[0; 4096], b"\r\n"].concat();
            let head = head("200 OK", &[("Transfer-Encoding", "chunked")]);
            vec![Step::Send(head), Step::Send(chunk), Step::Endless(more)]
        },
        succeeds: false,
        words: "there is data after the",
    },
    Case {
        name: "lost connections",
        release: "1.2.0-panic",
        retries: 1,
        script: |file, asked| match asked.number % 2 {
            0 => cut(file, asked, 3 * MIB / 2, Step::Close),
            _ => honestly(file, asked),
        },
        succeeds: true,
        words: "Slot B holds 1.2.0-panic",
    },
    Case {
        name: "connections reset in the middle of a chunk",
        release: "1.1.0",
        // A reset may drop all bytes that are on their way, and hits requests side by side.
        retries: 8,
        script: |file, asked| match asked.number {
            0..6 => cut(file, asked, MIB + 4321, Step::Reset),
            _ => honestly(file, asked),
        },
        succeeds: true,
        words: "Slot B holds 1.1.0",
    },
    Case {
        name: "a server without faults",
        release: "1.1.0",
        retries: 1,
        script: honestly,
        succeeds: true,
        words: "Slot B holds 1.1.0",
    },
];

/// Answers as it should up to byte `limit` of the file. Beyond that, `then` makes the answer from
/// head and body.
fn after(
    file: &[u8],
    asked: &Asked,
    limit: usize,
    then: impl FnOnce(Vec<u8>, Vec<u8>) -> Vec<Step>,
) -> Vec<Step> {
    let limit = limit as u64;
    match asked.range {
        Some((from, _)) if from >= limit => {
            let (head, body) = honest(file, asked);
            then(head, body)
        }
        Some((from, to)) => {
            let to = to.unwrap_or(u64::MAX).min(limit);
            honestly(
                file,
                &Asked {
                    range: Some((from, Some(to))),
                    ..asked.clone()
                },
            )
        }
        None => honestly(file, asked),
    }
}

#[test]
fn misbehaving_servers_end_in_an_error_and_a_good_one_updates() -> Result<()> {
    scenario("network", |scenario| {
        let mut machine = scenario.start_installed()?;
        // No release may be applied before the boot has committed.
        machine.check("until rayos-bootctl status | grep -q 'budget 8'; do usleep 100000; done")?;
        for case in CASES {
            let file = Arc::new(fs::read(scenario.sample.bundle(case.release))?);
            let server = HostileServer::start(move |asked| (case.script)(&file, asked))?;
            let shell = machine.run(&format!(
                "rayos-updater apply --no-adaptive --progress none --time-out 2 --retries {} {}",
                case.retries,
                server.guest_url("x.bundle")
            ))?;
            // 1 before the slot is disarmed, 8 afterwards.
            let codes = if case.succeeds { 0..1 } else { 1..9 };
            ensure!(
                codes.contains(&shell.code),
                "{}: exit code {}: {}",
                case.name,
                shell.code,
                shell.output
            );
            ensure!(
                shell.output.contains(case.words),
                "{}: expected other words: {}",
                case.name,
                shell.output
            );
        }
        let status = machine.check("rayos-updater status")?;
        let last = status.lines().last().context("status")?;
        ensure!(
            last.contains("1.1.0 in slot B, waits for its first boot"),
            "status ends with {last}"
        );
        machine.reboot_into("b", "1.1.0", "trial")
    })
}
