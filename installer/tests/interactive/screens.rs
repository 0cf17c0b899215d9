//! Each screen as text, compared with a file. `RAYOS_WRITE_SCREENS=1` writes the files again; look at
//! them before they are committed.

use crate::machine::{BLANK, BUSY, Operator, RAYOS, WINDOWS};
use installer::interactive::keys::Key;
use installer::interactive::model::{Command, Event, Harm, Outcome, Request, Screen, WriteOrder};
use std::path::PathBuf;
use std::time::Duration;
use updater::events::{Event as Applied, Phase};

/// Compares the screen with its file.
#[track_caller]
fn assert_screen(name: &str, operator: &Operator) {
    let screen = operator.screen();
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(lines.len(), 24, "{name}");
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{name}"
    );
    assert!(screen.is_ascii(), "{name}");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interactive/screens");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("RAYOS_WRITE_SCREENS").is_some() {
        std::fs::write(&path, format!("{screen}\n")).expect("file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected.trim_end() == screen.trim_end(),
        "{name} differs from its file:\n{screen}"
    );
}

const BESIDE: usize = 0;
const WHOLE: usize = 1;
const DISKS: usize = 0;
const CONTINUE: usize = 0;

#[test]
fn the_way_from_the_first_screen_to_an_installed_disk() {
    let mut operator = Operator::new();
    assert_screen("welcome", &operator);
    operator.choose(&[DISKS]);
    assert_screen("disks", &operator);
    operator.choose(&[BLANK]);
    assert_screen("use-blank", &operator);
    operator.choose(&[WHOLE]);
    assert_screen("sizes", &operator);
    operator.choose(&[1]);
    assert_screen("edit-size", &operator);
    operator.type_line("99M");
    assert_screen("edit-size-too-small", &operator);
    operator.keys(&[Key::Backspace; 3]).type_line("200M");
    operator.choose(&[CONTINUE]);
    assert_screen("review-blank", &operator);
    operator.choose(&[2]);
    assert_screen("confirm-blank", &operator);
    operator.type_line("yes");
    assert_screen("confirm-wrong", &operator);
    assert_eq!(operator.commands, []);
    operator.type_line("3456");
    let [Command::Write(WriteOrder::Install(answers))] = &operator.commands[..] else {
        panic!("{:?}", operator.commands);
    };
    assert_eq!(answers.erase, None);
    assert_eq!(answers.layout.root.0, 200 << 20);
    let at = Duration::from_secs;
    let progress = |phase, done: u64| Applied::Progress {
        phase,
        done: done << 20,
        total: 100 << 20,
    };
    for (event, time) in [
        (progress(Phase::Scan, 100), at(1)),
        (progress(Phase::Write, 0), at(2)),
        (progress(Phase::Write, 52), at(6)),
    ] {
        operator.event(Event::Write(event, time));
    }
    operator.keys(&[Key::Escape]);
    assert_screen("working", &operator);
    operator.event(Event::Ended(Outcome::Activated {
        version: "1.4.2".to_owned(),
        slot: 'A',
        tries: 3,
    }));
    assert_screen("installed", &operator);
    operator.choose(&[2]);
    assert_screen("answers-file", &operator);
    operator.choose(&[1]);
    assert!(matches!(
        operator.commands.last(),
        Some(Command::Request(Request::Save(_)))
    ));
    operator.event(Event::Note("Saved install.toml.".to_owned()));
    assert_screen("answers-saved", &operator);
}

#[test]
fn a_disk_with_windows_before_and_after() {
    let mut operator = Operator::new();
    operator.choose(&[DISKS]).keys(&[Key::Down]);
    assert_screen("disks-windows", &operator);
    operator.choose(&[WINDOWS]);
    assert_screen("use-windows", &operator);
    operator.choose(&[BESIDE, CONTINUE]);
    assert_screen("review-beside", &operator);
    operator.keys(&[Key::Escape, Key::Escape]);
    operator.choose(&[WHOLE, CONTINUE]);
    assert_screen("review-erase", &operator);
    operator.keys(&[Key::PageDown]);
    assert_screen("review-erase-list", &operator);
    operator.choose(&[2]);
    assert_screen("confirm-erase", &operator);
}

#[test]
fn a_disk_with_rayos_is_started_repaired_renewed_or_erased() {
    let mut operator = Operator::new();
    operator.choose(&[DISKS, RAYOS]);
    assert_screen("existing", &operator);
    operator.choose(&[2]);
    assert_screen("confirm-renew", &operator);
    operator.type_line("0042");
    let renewed = WriteOrder::Renew("/dev/vda".into());
    assert_eq!(operator.commands, [Command::Write(renewed)]);
    let mut operator = Operator::new();
    operator.choose(&[DISKS, RAYOS, 1]).type_line("0042");
    operator.event(Event::Ended(Outcome::Repaired(Vec::new())));
    assert_screen("intact", &operator);
    operator.choose(&[2]);
    operator.event(Event::Disks(crate::machine::disks()));
    assert_eq!(operator.state.screen, Screen::Welcome);
}

#[test]
fn a_disk_that_cannot_be_used_has_all_reasons_at_once() {
    let mut operator = Operator::new();
    operator.choose(&[DISKS, BUSY]);
    assert_eq!(operator.state.screen, Screen::Disks);
    for reason in [
        "read-only",
        "sdb1 is mounted on /mnt/photos",
        "disk has 67108864",
    ] {
        assert!(
            operator.state.note.contains(reason),
            "{}",
            operator.state.note
        );
    }
    assert_screen("disks-busy", &operator);
}

#[test]
fn a_failure_says_whether_the_disk_is_unchanged() {
    let mut operator = Operator::new();
    operator
        .choose(&[DISKS, BLANK, WHOLE, CONTINUE, 2])
        .type_line("3456");
    operator.event(Event::Ended(Outcome::Failed {
        error: "bundle: image root: chunk 17: digest mismatch: expected 9f.., got 1c..".to_owned(),
        harm: Harm::Unchanged,
    }));
    assert_screen("failed", &operator);
}
