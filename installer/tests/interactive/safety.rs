//! No sequence of single keys writes to a disk: the confirmation is typed, character by character.

use crate::machine::{BLANK, Operator, RAYOS, WINDOWS};
use installer::disk::choose::choose;
use installer::disk::disk_facts::DiskFacts;
use installer::install::answers::Answers;
use installer::interactive::keys::Key;
use installer::interactive::model::{Command, Event, Screen, WriteOrder};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;

/// Keys, without the digits that end the ids of all disks.
fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        Just(Key::Up),
        Just(Key::Down),
        Just(Key::Down),
        Just(Key::PageUp),
        Just(Key::PageDown),
        Just(Key::Enter),
        Just(Key::Enter),
        Just(Key::Enter),
        Just(Key::Escape),
        Just(Key::Backspace),
        Just(Key::Interrupt),
        proptest::char::range(' ', '/').prop_map(Key::Character),
        proptest::char::range('A', 'z').prop_map(Key::Character),
    ]
}

/// Any event, with choices by number, and the digits of the confirmations.
fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any_key().prop_map(Event::Key),
        2 => (0_usize..7).prop_map(Event::Select),
        1 => proptest::char::range('0', '9').prop_map(|c| Event::Key(Key::Character(c))),
    ]
}

fn check_write(before: &Screen, word: Option<String>) -> Result<(), TestCaseError> {
    let Screen::Confirm { typed, .. } = before else {
        return Err(TestCaseError::fail(format!("a write from {before:?}")));
    };
    prop_assert_eq!(Some(typed.trim().to_ascii_uppercase()), word);
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_of_single_keys_writes(
        keys in proptest::collection::vec(any_key(), 0..80),
        start in proptest::collection::vec(0_usize..5, 0..6),
    ) {
        let mut operator = Operator::new();
        operator.choose(&start).keys(&keys);
        let is_write = |command: &Command| matches!(command, Command::Write(_));
        prop_assert!(!operator.commands.iter().any(is_write), "{:?}", operator.commands);
    }

    #[test]
    fn a_write_comes_only_after_the_word_of_its_disk(
        events in proptest::collection::vec(any_event(), 0..80),
        disk in 0_usize..4,
        typed in any::<bool>(),
    ) {
        let mut operator = Operator::new();
        operator.choose(&[0, disk, 1]);
        for event in events {
            // Half of the runs type the right word whenever it is asked for.
            let confirm = match &operator.state.screen {
                Screen::Confirm { task, typed: so_far } if typed && so_far.is_empty() => {
                    operator.state.word(task)
                }
                _ => None,
            };
            for character in confirm.unwrap_or_default().chars() {
                operator.event(Event::Key(Key::Character(character)));
            }
            let before = operator.state.screen.clone();
            let word = match &before {
                Screen::Confirm { task, .. } => operator.state.word(task),
                _ => None,
            };
            let count = operator.commands.len();
            operator.event(event);
            if let Some(Command::Write(_)) = operator.commands.get(count) {
                check_write(&before, word)?;
            }
            prop_assert!(operator.screen().lines().count() == 24);
        }
    }
}

/// Returns the answers that the operator confirms for a disk, used whole or beside.
fn confirmed(disk: usize, places: &[usize], word: &str) -> Answers {
    let mut operator = Operator::new();
    operator.choose(&[0, disk]).choose(places).type_line(word);
    match operator.commands.pop() {
        Some(Command::Write(WriteOrder::Install(answers))) => *answers,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_answers_file_makes_an_unattended_installation_choose_the_same() {
    for (disk, places, word, erase, beside) in [
        (BLANK, &[1, 0, 2][..], "3456", None, false),
        (WINDOWS, &[0, 0, 2], "4567", None, true),
        (WINDOWS, &[1, 0, 2], "4567", Some("WD-WX11A1234567"), false),
        (RAYOS, &[3, 1, 0, 2], "0042", Some("RAYOS-0042"), false),
    ] {
        let answers = confirmed(disk, places, word);
        assert_eq!((answers.erase.as_deref(), answers.beside), (erase, beside));
        let again = Answers::parse(&answers.encode()).expect("the file that is saved");
        assert_eq!(again, answers);
        let disks = crate::machine::disks();
        let candidates = DiskFacts::assess(&disks, &again.disk_request(&[]));
        let chosen = choose(&candidates, &again.target).expect("a disk");
        assert_eq!(chosen.disk.path, disks[disk].disk.path);
    }
}
