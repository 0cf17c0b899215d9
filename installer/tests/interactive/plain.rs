//! Questions and answers.

use crate::machine::{Operator, WINDOWS};
use installer::interactive::model::{Command, Event, Outcome, Request, Screen, WriteOrder};
use installer::interactive::plain::{PlainPrinter, reply};
use installer::interactive::view::view;
use std::time::Duration;
use updater::events::{Event as Applied, Phase};

/// An operator that types lines.
struct Talk {
    operator: Operator,
    printer: PlainPrinter,
}

impl Talk {
    fn new() -> Self {
        Self {
            operator: Operator::new(),
            printer: PlainPrinter::default(),
        }
    }

    /// Types a line; returns what is printed.
    fn say(&mut self, line: &str) -> String {
        for event in reply(&view(&self.operator.state), line) {
            self.operator.event(event);
        }
        self.shown()
    }

    fn shown(&mut self) -> String {
        self.printer.print(&view(&self.operator.state))
    }
}

#[test]
fn an_installation_by_questions_and_answers() {
    let mut talk = Talk::new();
    let first = talk.shown();
    assert!(first.contains("== Welcome =="), "{first}");
    assert!(
        first.ends_with("Number 1 to 5 (b back, q leave): "),
        "{first}"
    );
    let disks = talk.say("1");
    assert!(disks.contains("2) /dev/sda  1.00 GiB"), "{disks}");
    assert!(disks.contains("4) not possible: /dev/sdb"), "{disks}");
    assert!(disks.contains("     it is read-only\n"), "{disks}");
    assert!(
        disks.contains("Windows (NTFS)"),
        "every disk is drawn: {disks}"
    );
    let refused = talk.say("4");
    assert!(
        refused.starts_with("! Not possible: it is read-only"),
        "{refused}"
    );
    assert!(
        !refused.contains("== Choose a disk =="),
        "only the note is new: {refused}"
    );
    assert!(
        talk.say("9")
            .contains("There is no choice with this number.")
    );
    assert_eq!(talk.say(""), "");
    talk.say(&(WINDOWS + 1).to_string());
    talk.say("1");
    let edit = talk.say("2");
    assert!(
        edit.ends_with("New size of root, each of two (b back, q leave): "),
        "{edit}"
    );
    assert!(talk.say("64M").contains("needs 100MiB or more"));
    assert!(
        talk.say("110M")
            .contains("Change root, each of two: 110MiB")
    );
    assert!(talk.say("1").contains("Kept unchanged:"));
    let confirm = talk.say("3");
    assert!(confirm.contains("Type 4567 to confirm"), "{confirm}");
    assert!(
        talk.say("y")
            .contains("That is not 4567. Nothing was written.")
    );
    assert!(talk.operator.commands.is_empty());
    talk.say("4567");
    assert!(matches!(
        talk.operator.commands[..],
        [Command::Write(WriteOrder::Install(_))]
    ));
}

#[test]
fn progress_is_a_line_for_each_tenth_and_the_result_is_a_question() {
    let mut talk = Talk::new();
    for line in ["1", "1", "2", "1", "3", "3456"] {
        talk.say(line);
    }
    assert!(matches!(talk.operator.state.screen, Screen::Working { .. }));
    let mut printed = String::new();
    for done in 0..=100 {
        let event = Applied::Progress {
            phase: Phase::Write,
            done,
            total: 100,
        };
        talk.operator
            .event(Event::Write(event, Duration::from_secs(done)));
        printed.push_str(&talk.shown());
    }
    assert_eq!(printed.lines().count(), 11, "{printed}");
    talk.operator.event(Event::Ended(Outcome::UpToDate));
    assert!(talk.shown().contains("== Nothing to do =="));
    talk.say("q");
    let last = talk.operator.commands.last();
    assert_eq!(last, Some(&Command::Request(Request::Leave)));
}
