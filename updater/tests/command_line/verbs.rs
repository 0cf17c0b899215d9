//! The verbs of `rayos-updater`, on a machine in an image file.

use crate::fixture::{Bench, Finished, bundle, bundle_for, server_that};
use fixtures::hostile::{Asked, HostileServer, Step, cut, honestly};
use record::{Reason, Slot, Status};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("path")
}

#[test]
fn check_compares_a_bundle_with_the_running_release_and_changes_nothing() {
    let bench = Bench::new();
    let before = bench.bytes();
    let ask = |name: &str, bytes: Vec<u8>| {
        let path = bench.file(name);
        std::fs::write(&path, bytes).expect("bundle");
        bench.run("check", &[text(&path)])
    };
    let expect = |finished: Finished, code: i32, words: &str| {
        assert_eq!(
            (finished.code, finished.out.as_str()),
            (Some(code), format!("{words}\n").as_str()),
            "{finished:?}"
        );
    };
    expect(
        ask("newer", bundle("1.1.0", 2, 1)),
        0,
        "1.1.0 is newer than 1.0.0",
    );
    expect(
        ask("other", bundle("1.0.1", 1, 1)),
        7,
        "1.0.1 is another release than 1.0.0, with the same rollback index, so it is not newer",
    );
    expect(ask("same", bundle("1.0.0", 1, 1)), 7, "1.0.0 runs already");
    expect(
        ask("refused", bundle_for("toaster", "1.1.0", 2, 1)),
        3,
        "1.1.0 cannot be applied: release 1.1.0 is compatible with toaster: \
         this machine is test-machine",
    );
    let stranger = ask("stranger", bundle("1.1.0", 2, 9));
    assert_eq!(stranger.code, Some(3));
    assert_eq!(
        stranger.err,
        "rayos-updater: signed by 0 trusted release key(s), expected 1\n"
    );
    assert!(bench.bytes() == before, "the disk changed");
}

#[test]
fn check_does_not_offer_a_release_that_waits_or_failed() {
    let bench = Bench::new();
    let newer = bench.file("1.1.0.bundle");
    assert_eq!(bench.run("apply", &[text(&newer)]).code, Some(0));
    let waits = bench.run("check", &[text(&newer)]);
    assert_eq!(
        (waits.code, waits.out.as_str()),
        (Some(7), "1.1.0 waits in slot B for its first boot\n")
    );
    bench.change(|record| {
        let mut record = *record;
        record.slots[1].status = Status::Unbootable;
        record.slots[1].reason = Reason::TriesExhausted;
        record
    });
    let failed = bench.run("check", &[text(&newer), "--json"]);
    assert_eq!(failed.code, Some(7), "{failed:?}");
    let json = failed.json();
    assert_eq!(
        (json["verdict"].as_str(), json["slot"].as_str()),
        (Some("failed"), Some("b"))
    );
    // An operator may apply it again.
    assert_eq!(bench.run("apply", &[text(&newer)]).code, Some(0));
}

#[test]
fn check_reads_only_the_head() {
    let bench = Bench::new();
    let bytes = bundle("1.1.0", 2, 1);
    let server = HostileServer::start(move |asked| honestly(&bytes, asked)).expect("server");
    let finished = bench.run("check", &[&server.url("x")]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let asked = server.asked();
    assert_eq!(
        asked.iter().map(|asked| asked.range).collect::<Vec<_>>(),
        [Some((0, Some(262_144)))]
    );
}

#[test]
fn status_follows_an_update_from_start_to_end() {
    let bench = Bench::new();
    let last = |finished: &Finished| finished.out.lines().last().unwrap_or_default().to_owned();
    assert_eq!(
        last(&bench.run("status", &[])),
        "last update: 1.0.0 in slot A, committed"
    );
    let waiting = || bench.run("status", &["--waiting"]).code;
    assert_eq!(waiting(), Some(7));

    let file = bundle("1.1.0", 2, 1);
    let server =
        HostileServer::start(move |asked| cut(&file, asked, 600_000, Step::Close)).expect("server");
    let finished = bench.run("apply", &[&server.url("x"), "--retries", "0"]);
    assert_eq!(finished.code, Some(8), "{finished:?}");
    assert!(
        finished
            .err
            .ends_with("The same command continues where it stopped.\n"),
        "{finished:?}"
    );
    assert_eq!(
        last(&bench.run("status", &[])),
        "last update: 1.1.0 in slot B, running or interrupted: apply it again to continue where \
         it stopped"
    );

    let finished = bench.run("apply", &[text(&bench.file("1.1.0.bundle")), "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.json()["result"], "activated");
    assert_eq!(
        last(&bench.run("status", &[])),
        "last update: 1.1.0 in slot B, waits for its first boot: restart to try it"
    );
    assert_eq!(waiting(), Some(0));
    let started = |tries_left| {
        bench.change(|record| {
            let mut record = *record;
            record.slots[1].status = Status::Pending { tries_left };
            record
        });
    };
    started(2);
    assert_eq!(
        last(&bench.run("status", &[])),
        "last update: 1.1.0 in slot B, on trial, started once: commits when its health checks pass"
    );
    assert_eq!(waiting(), Some(7));
    bench.commit(Slot::B);
    assert_eq!(
        last(&bench.run("status", &[])),
        "last update: 1.1.0 in slot B, committed"
    );
    let json = bench.run("status", &["--json"]).json();
    assert_eq!(json["schema"], "rayos-updater.status/1");
    assert_eq!(json["machine"]["schema"], "rayos-bootctl.status/1");
    assert_eq!(json["last_update"]["result"], "committed");
    assert_eq!(json["machine"]["booted"]["choice"], "a");
}

#[test]
fn a_bundle_of_another_length_is_refused_before_anything_is_changed() {
    let bench = Bench::new();
    let before = bench.bytes();
    let mut bytes = bundle("1.1.0", 2, 1);
    let len = bytes.len();
    bytes.truncate(len - 1);
    let short = bytes.clone();
    let server = HostileServer::start(move |asked| honestly(&short, asked)).expect("server");
    let finished = bench.run("apply", &[&server.url("x")]);
    assert_eq!(finished.code, Some(3), "{finished:?}");
    let words = format!(
        "rayos-updater: bundle ends after {} bytes, expected {len}\nNothing was changed.\n",
        len - 1
    );
    assert_eq!(finished.err, words);
    bytes.extend([0, 0]);
    let path = bench.file("long.bundle");
    std::fs::write(&path, bytes).expect("bundle");
    let finished = bench.run("apply", &[text(&path), "--json"]);
    assert_eq!(
        (finished.code, finished.json()["reason"].as_str()),
        (Some(3), Some("length"))
    );
    assert!(bench.bytes() == before, "the disk changed");
}

#[test]
fn a_second_apply_names_the_program_that_uses_the_disk() {
    let bench = Bench::new();
    let image = std::fs::File::open(bench.file("disk.img")).expect("image");
    image.lock().expect("lock");
    let finished = bench.run("apply", &[text(&bench.file("1.1.0.bundle"))]);
    assert_eq!(finished.code, Some(5), "{finished:?}");
    let own = std::process::id();
    assert!(
        finished.err.contains("busy: in use by another program: "),
        "{finished:?}"
    );
    assert!(
        finished.err.contains(&format!("(process {own})")),
        "{finished:?}"
    );
}

/// Starts an apply from a server that stalls, at once or at the payload; sends `signal` when it
/// stalls. Returns the result, the signal that killed the process, and the time from signal to end.
fn stop_by(bench: &Bench, signal: &str, stall_in_head: bool) -> (Finished, Option<i32>, Duration) {
    let (sent, is_sent) = channel();
    let server = if stall_in_head {
        HostileServer::start(move |_: &Asked| {
            sent.send(()).ok();
            vec![Step::Stall]
        })
        .expect("server")
    } else {
        server_that(Step::Stall, bundle("1.1.0", 2, 1), sent)
    };
    let mut child = bench
        .command("apply")
        .args([&server.url("x"), "--progress", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rayos-updater");
    is_sent.recv().expect("request");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
    let mut err = String::new();
    while !stall_in_head && !err.contains("\"disarmed\"") {
        err += &(lines.next().expect("line").expect("text") + "\n");
    }
    let began = Instant::now();
    let killed = Command::new("kill")
        .args([&format!("-{signal}"), &child.id().to_string()])
        .status();
    assert!(killed.expect("kill").success());
    let status = child.wait().expect("end");
    let took = began.elapsed();
    let mut out = String::new();
    let stdout = child.stdout.as_mut().expect("stdout");
    stdout.read_to_string(&mut out).expect("text");
    for line in lines {
        err += &(line.expect("text") + "\n");
    }
    (
        Finished {
            code: status.code(),
            out,
            err,
        },
        status.signal(),
        took,
    )
}

#[test]
fn a_signal_ends_the_run_with_a_message_and_the_same_command_continues() {
    let bench = Bench::new();
    let (finished, killed_by, took) = stop_by(&bench, "INT", true);
    assert_eq!(
        (finished.code, killed_by),
        (Some(130), None),
        "{finished:?}"
    );
    assert!(
        finished.err.ends_with(
            "stopped by a signal\nNothing was changed. The same command starts again.\n"
        )
    );
    // Waiting for the server would take much longer.
    assert!(took < Duration::from_secs(20), "{took:?}");

    let (finished, killed_by, took) = stop_by(&bench, "TERM", false);
    assert_eq!(
        (finished.code, killed_by),
        (Some(143), None),
        "{finished:?}"
    );
    let words = "stopped by a signal\n\
                 Slot B holds no release now; the running system is unchanged. \
                 The same command continues where it stopped.\n";
    assert!(finished.err.ends_with(words), "{finished:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");

    let finished = bench.run("apply", &[text(&bench.file("1.1.0.bundle"))]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn progress_is_written_to_a_descriptor_as_json_lines() {
    let bench = Bench::new();
    let lines = bench.file("lines");
    let line = format!(
        "exec \"$@\" --progress none --progress-fd 9 9>>{}",
        lines.to_str().expect("path")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &line, "sh"]);
    let command = bench.command("apply");
    shell
        .arg(command.get_program())
        .args(command.get_args())
        .arg(bench.file("1.1.0.bundle"));
    let finished = Finished::new(&shell.output().expect("sh"));
    assert_eq!(
        (finished.code, finished.err.as_str()),
        (Some(0), ""),
        "{finished:?}"
    );
    let lines = std::fs::read_to_string(&lines).expect("lines");
    let events: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(events.first().expect("event")["event"], "release");
    assert_eq!(events.last().expect("event")["event"], "activated");
    let finished = bench.run(
        "apply",
        &[text(&bench.file("1.1.0.bundle")), "--progress-fd", "77"],
    );
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished
            .err
            .starts_with("rayos-updater: progress file descriptor 77: "),
        "{finished:?}"
    );
}

#[test]
fn every_thread_has_the_niceness() {
    let bench = Bench::new();
    let (sent, is_sent) = channel();
    let server = server_that(Step::Stall, bundle("1.1.0", 2, 1), sent);
    let mut child = bench
        .command("apply")
        .args([&server.url("x"), "--nice", "7"])
        .stderr(Stdio::null())
        .spawn()
        .expect("rayos-updater");
    is_sent.recv().expect("request");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("threads");
    let nice: Vec<String> = tasks
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("stat")).expect("stat"))
        // The name in brackets may contain spaces (proc(5)); the niceness is the 17th field after
        // it.
        .map(|stat| {
            stat.rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(16))
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    child.kill().expect("kill");
    child.wait().expect("end");
    assert!(
        nice.len() > 2 && nice.iter().all(|nice| nice == "7"),
        "{nice:?}"
    );
}

#[test]
fn proxies_of_the_environment_and_their_exceptions_are_used() {
    let bench = Bench::new();
    let bytes = bundle("1.1.0", 2, 1);
    let proxied = bytes.clone();
    let proxy = HostileServer::start(move |asked| honestly(&proxied, asked)).expect("proxy");
    let server = HostileServer::start(move |asked| honestly(&bytes, asked)).expect("server");
    let check = |url: &str, environment: &[(&str, &str)]| {
        let output = bench
            .command("check")
            .arg(url)
            .envs(environment.iter().copied())
            .output();
        Finished::new(&output.expect("rayos-updater"))
    };
    let at = format!("http://{}", proxy.address());
    let finished = check("http://updates.invalid/x", &[("http_proxy", &at)]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(
        proxy.asked()[0].line,
        "GET http://updates.invalid/x HTTP/1.1"
    );
    let finished = check(
        &server.url("x"),
        &[("http_proxy", &at), ("no_proxy", "127.0.0.1")],
    );
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!((proxy.asked().len(), server.asked().len()), (1, 1));
}

#[test]
fn wrong_usage_has_its_own_code() {
    let bench = Bench::new();
    for wrong in [
        &["ftp://x/y"][..],
        &["x", "--limit-rate", "0"],
        &["x", "--nice", "20"],
        &["x", "--booted", "c"],
    ] {
        assert_eq!(bench.run("apply", wrong).code, Some(2), "{wrong:?}");
    }
    let finished = bench.run("apply", &[text(&bench.file("missing.bundle"))]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.err.contains("missing.bundle: No such file"),
        "{finished:?}"
    );
}

#[test]
fn man_pages_and_completions_are_generated() {
    let dir = tempfile::tempdir().expect("directory");
    for what in ["man", "completions"] {
        let done = Command::new(env!("CARGO_BIN_EXE_rayos-updater"))
            .args(["generate", what, "--output"])
            .arg(dir.path())
            .status();
        assert!(done.expect("rayos-updater").success());
    }
    let page = std::fs::read_to_string(dir.path().join("rayos-updater-apply.1")).expect("man page");
    assert!(page.contains("limit\\-rate"), "{page}");
    for name in [
        "rayos-updater.1",
        "rayos-updater-check.1",
        "rayos-updater-status.1",
        "rayos-updater.bash",
    ] {
        assert!(dir.path().join(name).exists(), "{name}");
    }
}
