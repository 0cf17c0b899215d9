//! The interactive installer through pseudo-terminals and pipes, on a disk image.

mod machine;
mod screen;

use machine::Machine;
use screen::Pty;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const DOWN: &[u8] = b"\x1b[B";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn markers(output: &Output) -> Vec<String> {
    let lines = text(&output.stderr);
    let names = lines
        .lines()
        .filter_map(|line| line.strip_prefix("RAYOS_INSTALLER:"));
    names
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_blank_disk_is_installed_from_a_terminal() {
    let (machine, mut pty) = (Machine::new(), Pty::new());
    let child = pty.start(&mut machine.program());
    let welcome = pty.expect("Choose a disk");
    assert!(
        welcome.contains("This program installs RayOS 2.0.1."),
        "{welcome}"
    );
    assert!(
        welcome.contains("Disk of a test, 128.00 MiB, id TEST-7788"),
        "{welcome}"
    );
    pty.send(b"\r");
    pty.expect("RayOS installer: Choose a disk");
    pty.send(b"\r");
    pty.expect("How to use the disk");
    // An arrow may arrive in parts, as over a serial line.
    pty.send(&DOWN[..1]);
    pty.send(&DOWN[1..]);
    pty.send(b"\r");
    pty.expect("With these sizes, data has");
    pty.send(b"\r");
    pty.expect("After the installation");
    pty.send(DOWN);
    pty.send(DOWN);
    pty.send(b"\r");
    pty.expect("Type 7788 to confirm: _");
    pty.send(b"\r");
    pty.expect("That is not 7788. Nothing was written.");
    assert_eq!(machine.installed(), None);
    pty.send(b"7788\r");
    let done = pty.expect("RayOS installer: Installed");
    assert!(done.contains("RayOS 2.0.1 is in slot A."), "{done}");
    pty.send(b"\x03");
    let output = child.wait_with_output().expect("end");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(machine.installed().as_deref(), Some("2.0.1"));
    let expected = [
        "STARTED",
        "REAL_MODE",
        "WRITE_STARTED",
        "ACTIVATED",
        "COMPLETE",
    ];
    assert_eq!(markers(&output), expected);
    pty.drain();
    let log = text(&pty.log);
    let restored = log
        .rfind("\x1b[?25h\x1b[?1049l")
        .expect("the screen before");
    assert!(
        log[restored..].contains("RayOS 2.0.1 is in slot A."),
        "{}",
        &log[restored..]
    );
    // Reverse, bold and dim, and no colours.
    for sequence in log.split("\x1b[").skip(1) {
        let end = sequence
            .find(|c: char| c.is_ascii_alphabetic())
            .unwrap_or(0);
        if sequence[end..].starts_with('m') {
            let known = |code: &str| ["0", "1", "2", "7"].contains(&code);
            assert!(sequence[..end].split(';').all(known), "{sequence:?}");
        }
    }
}

#[test]
fn leaving_early_writes_nothing() {
    let (machine, mut pty) = (Machine::new(), Pty::new());
    let child = pty.start(&mut machine.program());
    pty.expect("Choose a disk");
    pty.send(b"\x1b");
    pty.send(b"\r");
    pty.expect("RayOS installer: Choose a disk");
    pty.send(b"\x03");
    assert!(child.wait_with_output().expect("end").status.success());
    assert_eq!(machine.installed(), None);
}

#[test]
fn two_terminals_show_the_same_and_both_take_keys() {
    let (machine, mut first, mut second) = (Machine::new(), Pty::new(), Pty::new());
    let mut program = machine.program();
    let child = first.start(program.arg("--console").arg(&second.path));
    second.expect("RayOS installer: Welcome");
    first.send(b"\r");
    second.expect("RayOS installer: Choose a disk");
    second.send(b"\r");
    first.expect("How to use the disk");
    second.send(b"\x03");
    assert!(child.wait_with_output().expect("end").status.success());
}

#[test]
fn without_a_verb_a_terminal_gets_questions() {
    let mut pty = Pty::new();
    let child = pty.start(&mut Command::new(env!("CARGO_BIN_EXE_rayos-installer")));
    pty.expect("This program plans an installation of RayOS.");
    pty.send(b"\x03");
    assert!(child.wait_with_output().expect("end").status.success());
}

/// Runs the program with these lines as its input.
fn with_lines(command: &mut Command, lines: &str) -> Output {
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("program");
    let mut input = child.stdin.take().expect("input");
    input.write_all(lines.as_bytes()).expect("lines");
    drop(input);
    child.wait_with_output().expect("end")
}

#[test]
fn a_blank_disk_is_installed_by_lines_and_its_answers_file_is_saved() {
    let machine = Machine::new();
    // The disk, all of it, these sizes, the confirmation; then the answers file.
    let output = with_lines(&mut machine.program(), "1\n1\n2\n1\n3\n7788\n1\n2\nq\n");
    let printed = text(&output.stdout);
    assert!(
        output.status.success(),
        "{printed}\n{}",
        text(&output.stderr)
    );
    assert!(printed.contains("RayOS 2.0.1 is in slot A."), "{printed}");
    assert!(printed.contains("100%"), "{printed}");
    assert!(!printed.contains('\x1b'), "{printed}");
    assert_eq!(machine.installed().as_deref(), Some("2.0.1"));
    let saved = std::fs::read_to_string(machine.path("saved.toml")).expect("saved");
    assert!(saved.contains("disk = \"TEST-7788\""), "{saved}");
    // Now there is a release: it can be renewed, and a wrong word leaves all as it is.
    let again = with_lines(&mut machine.program(), "1\n1\n3\nyes\n");
    let printed = text(&again.stdout);
    assert!(
        printed.contains("RayOS 2.0.1 is installed on it."),
        "{printed}"
    );
    assert!(printed.contains("That is not 7788."), "{printed}");
    assert!(again.status.success());
    let renewed = with_lines(&mut machine.program(), "1\n1\n3\n7788\nq\n");
    let printed = text(&renewed.stdout);
    assert!(renewed.status.success(), "{printed}");
    assert!(printed.contains("RayOS 2.0.1 is in slot B."), "{printed}");
    let repaired = with_lines(&mut machine.program(), "1\n1\n2\n7788\nq\n");
    let printed = text(&repaired.stdout);
    assert!(
        printed.contains("Every copy of the boot guard is intact."),
        "{printed}"
    );
}

#[test]
fn an_installation_that_fails_ends_with_its_exit_code() {
    let machine = Machine::new();
    let bundle = machine.path("new.bundle");
    let mut bytes = std::fs::read(&bundle).expect("bundle");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&bundle, bytes).expect("bundle");
    let output = with_lines(&mut machine.program(), "1\n1\n2\n1\n3\n7788\nq\n");
    let printed = text(&output.stdout);
    assert!(!output.status.success(), "{printed}");
    assert!(printed.contains("== Failed =="), "{printed}");
    let last = markers(&output).pop();
    assert_eq!(last.as_deref(), Some("FAILED"));
}
