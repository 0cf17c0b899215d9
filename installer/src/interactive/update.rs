//! The state machine: a state and an event give the next state and perhaps a command. *Pure.*
//!
//! The only commands that write to a disk are [`Command::Write`]. They are made in one place,
//! `entered`, on the screen [`Screen::Confirm`], when the end of the disk's name was typed.

use super::choices::{Act, choices};
use super::confirm::is_confirmed;
use super::frame::{PAGE, first_line, height};
use super::keys::Key;
use super::model::{Command, Event, Request, Screen, State, Task, WriteOrder};
use super::progress::Progress;
use super::session::Draft;
use super::sizes::set_size;
use super::view::view;
use std::time::Duration;
use updater::events;

/// Maximum number of characters in an input.
const MAX_INPUT: usize = 64;

impl State {
    /// Handles `event`; returns what the program has to do. *Pure.*
    pub fn update(&mut self, event: Event) -> Option<Command> {
        self.revision += 1;
        match event {
            Event::Key(key) => {
                self.note.clear();
                return self.key(key);
            }
            Event::Select(place) => {
                self.note.clear();
                if place < choices(self).len() {
                    self.cursor = place;
                    return self.choose();
                }
                self.note = "There is no choice with this number.".to_owned();
            }
            Event::Write(event, now) => self.progress(event, now),
            Event::Ended(outcome) => {
                if let Screen::Working { task, .. } = &self.screen {
                    let task = task.clone();
                    self.note.clear();
                    self.show(Screen::Done { task, outcome }, 0);
                    self.history.clear();
                }
            }
            Event::Note(note) => self.note = note,
            Event::Disks(disks) => {
                self.disks = disks;
                self.history.clear();
                self.show(Screen::Welcome, 0);
                self.note = "The disks were read again.".to_owned();
            }
        }
        None
    }

    fn key(&mut self, key: Key) -> Option<Command> {
        if matches!(self.screen, Screen::Working { .. }) {
            self.note = "Please wait: this cannot be stopped here.".to_owned();
            return None;
        }
        if key == Key::Interrupt {
            return Some(Command::Request(Request::Leave));
        }
        match key {
            Key::Escape => self.back(),
            Key::PageUp => self.turn(|first| first.saturating_sub(PAGE)),
            Key::PageDown => self.turn(|first| first + PAGE),
            _ if self.input().is_some() => return self.typed(key),
            Key::Up => self.move_to(self.cursor.saturating_sub(1)),
            Key::Down => self.move_to(self.cursor + 1),
            Key::Enter => return self.choose(),
            Key::Backspace | Key::Character(_) | Key::Interrupt => {}
        }
        None
    }

    fn move_to(&mut self, place: usize) {
        self.scroll = None;
        self.cursor = place.min(choices(self).len().saturating_sub(1));
    }

    fn turn(&mut self, next: impl Fn(usize) -> usize) {
        let last = height(&view(self)).saturating_sub(PAGE);
        let first = self.scroll.unwrap_or_else(|| first_line(&view(self)));
        self.scroll = Some(next(first).min(last));
    }

    fn show(&mut self, screen: Screen, cursor: usize) {
        (self.screen, self.cursor, self.scroll) = (screen, cursor, None);
    }

    fn open(&mut self, screen: Screen) {
        self.history.push((self.screen.clone(), self.cursor));
        self.show(screen, 0);
    }

    fn back(&mut self) {
        if let Some((screen, cursor)) = self.history.pop() {
            self.show(screen, cursor);
        }
    }

    /// Does what the highlighted choice stands for; shows the reasons if it cannot be chosen.
    fn choose(&mut self) -> Option<Command> {
        let choice = choices(self).into_iter().nth(self.cursor)?;
        if !choice.reasons.is_empty() {
            self.note = format!("Not possible: {}", choice.reasons.join("; "));
            return None;
        }
        match choice.act {
            Act::Open(screen) => self.open(*screen),
            Act::Back => self.back(),
            Act::Do(request) => return Some(Command::Request(request)),
        }
        None
    }

    fn input(&mut self) -> Option<&mut String> {
        match &mut self.screen {
            Screen::EditSize { typed, .. } | Screen::Confirm { typed, .. } => Some(typed),
            _ => None,
        }
    }

    /// Handles a key on a screen with an input.
    fn typed(&mut self, key: Key) -> Option<Command> {
        let input = self.input()?;
        match key {
            Key::Backspace => drop(input.pop()),
            Key::Character(c) if input.len() < MAX_INPUT => input.push(c),
            Key::Enter => return self.entered(),
            _ => {}
        }
        None
    }

    fn entered(&mut self) -> Option<Command> {
        match self.screen.clone() {
            Screen::EditSize {
                draft,
                field,
                typed,
            } => match set_size(&draft.layout, field, &typed, &self.limits(draft.disk)) {
                Ok(layout) => {
                    self.back();
                    self.screen = Screen::Sizes(Draft { layout, ..draft });
                }
                Err(error) => self.note = error,
            },
            Screen::Confirm { task, typed } => {
                let word = self.word(&task)?;
                if is_confirmed(&typed, &word) {
                    let order = self.order(&task)?;
                    let progress = Progress::default();
                    self.show(Screen::Working { task, progress }, 0);
                    return Some(Command::Write(order));
                }
                self.input()?.clear();
                self.note = format!("That is not {word}. Nothing was written.");
            }
            _ => {}
        }
        None
    }

    fn order(&self, task: &Task) -> Option<WriteOrder> {
        let path = self.disks.get(task.disk())?.disk.path.clone();
        Some(match task {
            Task::Install(draft) => {
                let answers = draft.answers(&self.session, &self.disks)?;
                WriteOrder::Install(Box::new(answers))
            }
            Task::Renew { .. } => WriteOrder::Renew(path),
            Task::RepairGuard { .. } => WriteOrder::RepairGuard(path),
        })
    }

    fn progress(&mut self, event: events::Event, now: Duration) {
        let Screen::Working { progress, .. } = &mut self.screen else {
            return;
        };
        match event {
            events::Event::Progress { phase, done, total } => {
                progress.add(phase, done, total, now);
            }
            events::Event::Retry { error, .. } => {
                progress.warning = Some(format!("trying again: {error}"));
            }
            events::Event::Warning { message } => progress.warning = Some(message),
            _ => {}
        }
    }
}
