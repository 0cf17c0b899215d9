//! `rayos-installer interactive`: the loop between terminals, state machine and engine.

use super::files::{compatible, read_answers};
use crate::args::Interactive;
use crate::engine::{Engine, head};
use crate::output::emit;
use crate::terminal::{Console, Input, Style, read};
use anyhow::{Context as _, Result};
use cli::ExitStatus;
use installer::disk::disk_facts::DiskFacts;
use installer::disk::disks::Roots;
use installer::host::restart;
use installer::install::answers::Answers;
use installer::interactive::model::{
    Command, Event, Harm, Outcome, Request, Screen, State, WriteOrder,
};
use installer::interactive::session::{Needs, Session};
use installer::interactive::view::view;
use installer::progress_markers::ProgressMarker;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use updater::events::{self, EventSink};

/// What the loop receives.
enum Message {
    /// From the terminal with this place in the list.
    Input(usize, Input),
    /// From the engine.
    Event(Event),
    /// A write ended.
    Ended(Outcome, ExitStatus),
}

impl Interactive {
    /// Runs until the operator leaves.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        let style = self.style();
        let is_quiet = style == Style::Full && std::io::stderr().is_terminal();
        let mark = |marker: &ProgressMarker<'_>| {
            if !is_quiet {
                emit(marker);
            }
        };
        mark(&ProgressMarker::Started);
        mark(&match self.sample {
            true => ProgressMarker::SampleMode,
            false => ProgressMarker::RealMode,
        });
        let (session, engine) = self.session()?;
        let state = State::new(session, self.disks()?);
        let (sender, receiver) = channel();
        let mut run = Run {
            arguments: self,
            engine: engine.map(Arc::new),
            consoles: self.consoles(style, &sender)?,
            state,
            sender,
            start: Instant::now(),
            status: ExitStatus::Success,
            style,
            is_quiet,
        };
        run.until_the_operator_leaves(&receiver);
        let (status, summary) = (run.status, run.summary());
        for console in &mut run.consoles {
            console.close(&summary);
        }
        if status == ExitStatus::Success {
            mark(&ProgressMarker::Complete);
        } else {
            mark(&ProgressMarker::Failed(status.code()));
        }
        Ok(status)
    }

    /// Full screen on a terminal that can show it; questions and answers elsewhere.
    fn style(&self) -> Style {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if self.plain || !is_terminal || is_dumb {
            Style::Plain
        } else {
            Style::Full
        }
    }

    fn roots(&self) -> Roots {
        self.machine
            .as_ref()
            .map_or_else(Roots::default, |folder| Roots {
                sys: folder.join("sys"),
                proc: folder.join("proc"),
                dev: folder.join("dev"),
            })
    }

    fn disks(&self) -> Result<Vec<DiskFacts>> {
        if self.sample {
            return Ok(DiskFacts::sample());
        }
        Ok(DiskFacts::read_all(&self.roots())?)
    }

    fn session(&self) -> Result<(Session, Option<Engine>)> {
        let answers = match &self.answers {
            Some(path) => read_answers(path)?,
            None => Answers::parse("version = 1")?,
        };
        let mut session = Session {
            release: None,
            needs: Needs::default(),
            is_medium: self.chosen.is_some(),
            media: self.medium_disk.clone(),
            save_path: self.save.display().to_string(),
            is_sample: self.sample,
            answers,
        };
        let Some(bundle) = self.bundle.as_ref().filter(|_| !self.sample) else {
            return Ok((session, None));
        };
        let trust = bundle::trust::load(&self.trust)?;
        let head = head(bundle, &trust)?;
        let named = self
            .compatible
            .as_ref()
            .or(session.answers.compatible.as_ref());
        let named = named.or(head.compatible.as_ref());
        let named = named.context("the bundle names no hardware")?.clone();
        session.release = Some(head.version);
        session.needs = head.needs;
        session.answers.compatible = Some(named.clone());
        session
            .answers
            .bundle
            .get_or_insert_with(|| bundle.to_string());
        let engine = Engine {
            roots: self.roots(),
            media: session.media.clone(),
            bundle: bundle.clone(),
            trust,
            compatible: compatible(&named)?,
            has_variables: self.machine.is_none(),
        };
        Ok((session, Some(engine)))
    }

    /// Opens the terminals, and starts a thread that reads each. A terminal that cannot be opened
    /// is left out, except for the first.
    fn consoles(&self, style: Style, sender: &Sender<Message>) -> Result<Vec<Console>> {
        let mut consoles = vec![Console::standard(style).context("terminal")?];
        for path in &self.console {
            match Console::open(path, Style::Full) {
                Ok(console) => consoles.push(console),
                Err(error) => cli::output::note(&format!("{}: {error}", path.display())),
            }
        }
        for (place, console) in consoles.iter().enumerate() {
            let (input, sender) = (console.reader().context("terminal")?, sender.clone());
            let send = move |input| sender.send(Message::Input(place, input)).is_ok();
            std::thread::spawn(move || read(input, send));
        }
        Ok(consoles)
    }
}

/// A run of the program.
struct Run<'a> {
    arguments: &'a Interactive,
    engine: Option<Arc<Engine>>,
    consoles: Vec<Console>,
    state: State,
    sender: Sender<Message>,
    start: Instant,
    status: ExitStatus,
    style: Style,
    is_quiet: bool,
}

impl Run<'_> {
    fn until_the_operator_leaves(&mut self, messages: &Receiver<Message>) {
        self.show();
        while let Ok(message) = messages.recv() {
            let mut leaves = self.handle(message);
            while let (false, Ok(message)) = (leaves, messages.try_recv()) {
                leaves = self.handle(message);
            }
            if leaves {
                return;
            }
            self.show();
        }
    }

    fn show(&mut self) {
        let view = view(&self.state);
        for console in &mut self.consoles {
            console.show(&view);
        }
    }

    /// Handles a message; returns whether the operator leaves.
    fn handle(&mut self, message: Message) -> bool {
        match message {
            Message::Input(place, input) => {
                if let Some(console) = self.consoles.get_mut(place) {
                    console.receive(&input);
                }
            }
            Message::Event(event) => drop(self.state.update(event)),
            Message::Ended(outcome, status) => {
                self.status = status;
                drop(self.state.update(Event::Ended(outcome)));
                // Before lines that were typed meanwhile are taken as replies to it.
                self.show();
            }
        }
        self.take_replies()
    }

    /// Handles what the terminals sent, each reply after the screen that it answers.
    fn take_replies(&mut self) -> bool {
        for place in 0..self.consoles.len() {
            loop {
                let view = view(&self.state);
                let events = self.consoles.get_mut(place).and_then(|it| it.next(&view));
                let Some(events) = events else { break };
                for event in events {
                    let command = self.state.update(event);
                    if command.is_some_and(|command| self.perform(command)) {
                        return true;
                    }
                }
                self.show();
            }
        }
        false
    }

    /// Does what the state machine asks for; returns whether the operator leaves.
    fn perform(&mut self, command: Command) -> bool {
        let request = match command {
            Command::Write(order) => {
                self.write(order);
                return false;
            }
            Command::Request(request) => request,
        };
        let note = match request {
            Request::Leave => return true,
            Request::Start(disk) => match self.choose(&disk) {
                Ok(()) => return true,
                Err(error) => format!("{error:#}"),
            },
            Request::Save(answers) => match save(&self.arguments.save, &answers) {
                Ok(()) => format!("Saved {}.", self.arguments.save.display()),
                Err(error) => format!("Not saved: {error:#}"),
            },
            Request::ReadDisks => match self.arguments.disks() {
                Ok(disks) => {
                    drop(self.state.update(Event::Disks(disks)));
                    return false;
                }
                Err(error) => format!("{error:#}"),
            },
            Request::Restart => failure(restart(false)),
            Request::PowerOff => failure(restart(true)),
        };
        drop(self.state.update(Event::Note(note)));
        false
    }

    /// Leaves the path of the disk to start for the program that started this one.
    fn choose(&self, disk: &Path) -> Result<()> {
        let file = self.arguments.chosen.as_ref();
        let file = file.context("only the installation medium can start it")?;
        let name = || file.display().to_string();
        std::fs::write(file, disk.display().to_string()).with_context(name)
    }

    fn write(&self, order: WriteOrder) {
        let Some(engine) = self.engine.clone() else {
            let outcome = Outcome::Failed {
                error: "there is no bundle".to_owned(),
                harm: Harm::Unchanged,
            };
            let _closed = self.sender.send(Message::Ended(outcome, ExitStatus::Usage));
            return;
        };
        let (sender, start, is_quiet) = (self.sender.clone(), self.start, self.is_quiet);
        std::thread::spawn(move || {
            let sink = Sink {
                sender: Mutex::new(sender.clone()),
                start,
            };
            let announce = |disk: &Path| {
                if !is_quiet {
                    emit(&ProgressMarker::WriteStarted(disk));
                }
            };
            let (outcome, status) = engine.write(&order, &sink, &announce);
            if let (Outcome::Activated { version, .. }, false) = (&outcome, is_quiet) {
                emit(&ProgressMarker::Activated(version));
            }
            let _closed = sender.send(Message::Ended(outcome, status));
        });
    }

    /// Returns the last lines, for the terminal after the full screen: the result of a write.
    fn summary(&self) -> String {
        let view = view(&self.state);
        let is_result = matches!(self.state.screen, Screen::Done { .. });
        if !is_result || self.style == Style::Plain {
            return "\n".to_owned();
        }
        format!("{}\n", view.text.join("\n").trim_end())
    }
}

fn failure(result: std::io::Result<()>) -> String {
    result.map_or_else(|error| format!("Not possible: {error}"), |()| String::new())
}

/// Writes the answers file. A file that exists is not replaced.
fn save(path: &Path, answers: &Answers) -> Result<()> {
    let name = || path.display().to_string();
    let mut file = std::fs::File::create_new(path).with_context(name)?;
    file.write_all(answers.encode().as_bytes())
        .with_context(name)?;
    file.sync_all().with_context(name)
}

/// Sends the events of a write to the loop.
struct Sink {
    sender: Mutex<Sender<Message>>,
    start: Instant,
}

impl EventSink for Sink {
    fn event(&self, event: events::Event) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let message = Message::Event(Event::Write(event, self.start.elapsed()));
        let _closed = sender.send(message);
    }
}
