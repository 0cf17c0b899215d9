//! A screen as a value: both renderers, full screen and `--plain`, take it. *Pure.*

use super::choices::{BAR, choices};
use super::model::{Outcome, Screen, State, Task};
use super::progress::{Pace, Progress};
use super::session::{Draft, installed_version};
use super::sizes::Field;
use crate::disk::disk_facts::DiskFacts;
use crate::disk::drawing::{bar, kept, list, lost};
use crate::disk::file_system::shown;
use cli::quantity::{bytes, duration};

/// Columns of text.
pub(super) const TEXT: usize = 78;

/// A screen.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct View {
    /// Its title.
    pub title: String,
    /// Text above the choices: a line each.
    pub text: Vec<String>,
    /// The choices.
    pub items: Vec<Item>,
    /// Text below the choices.
    pub below: Vec<String>,
    /// The highlighted choice, if there are any.
    pub cursor: Option<usize>,
    /// First line to show; `None` follows the cursor.
    pub scroll: Option<usize>,
    /// An input: its question, and what was typed.
    pub input: Option<(String, String)>,
    /// Whether a write runs: no key or line is an answer then.
    pub is_working: bool,
    /// Percent of the current phase, while a write runs.
    pub percent: Option<u64>,
    /// A line about the last event; empty without one.
    pub note: String,
    /// Number of events so far: a note that is shown again is a new one.
    pub revision: u64,
    /// What the keys do.
    pub keys: &'static str,
}

/// A choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub label: String,
    /// Every reason against it.
    pub reasons: Vec<String>,
    /// More about it: lines that are shown while it is highlighted.
    pub detail: Vec<String>,
}

const LIST_KEYS: &str = "Up/Down move  Enter choose  Esc back  PgUp/PgDn scroll  Ctrl-C leave";
const INPUT_KEYS: &str = "type the answer, then Enter  Backspace correct  Esc back  Ctrl-C leave";
const NO_KEYS: &str = "no key stops this; the machine may be left alone";

/// Returns the view of a state. *Pure.*
#[must_use]
pub fn view(state: &State) -> View {
    let items: Vec<Item> = choices(state)
        .into_iter()
        .map(|choice| Item {
            label: choice.label,
            reasons: choice.reasons,
            detail: choice.detail,
        })
        .collect();
    let (title, text) = content(state);
    let input = input(state);
    let is_working = matches!(state.screen, Screen::Working { .. });
    View {
        title: title.to_owned(),
        text: text.iter().flat_map(|line| wrapped(line, TEXT)).collect(),
        below: below(state),
        cursor: (!items.is_empty()).then_some(state.cursor),
        keys: match (&input, is_working) {
            (_, true) => NO_KEYS,
            (Some(_), false) => INPUT_KEYS,
            (None, false) => LIST_KEYS,
        },
        items,
        scroll: state.scroll,
        is_working,
        input,
        percent: match &state.screen {
            Screen::Working { progress, .. } => progress.phases.last().map(Pace::percent),
            _ => None,
        },
        note: state.note.clone(),
        revision: state.revision,
    }
}

/// Returns `line` in lines of `width` columns, broken at spaces; continued lines are indented as
/// the first one. *Pure.*
pub(super) fn wrapped(line: &str, width: usize) -> Vec<String> {
    let indent = line.len() - line.trim_start().len();
    let mut lines = Vec::new();
    let mut current = " ".repeat(indent);
    let is_drawing = line.starts_with(['|', '+']);
    if line.chars().count() <= width || is_drawing {
        return vec![line.chars().take(width).collect()];
    }
    for word in line.split_whitespace() {
        let (len, word_len) = (current.chars().count(), word.chars().count());
        if len > indent && len + 1 + word_len > width {
            lines.push(std::mem::replace(&mut current, " ".repeat(indent)));
        }
        if current.chars().count() > indent {
            current.push(' ');
        }
        current.push_str(word);
    }
    lines.push(current);
    let cut = |line: String| line.chars().take(width).collect();
    lines.into_iter().map(cut).collect()
}

fn content(state: &State) -> (&'static str, Vec<String>) {
    let draft_of = |draft: &Draft| state.disks.get(draft.disk).map(name).unwrap_or_default();
    match &state.screen {
        Screen::Welcome => ("Welcome", welcome(state)),
        Screen::Disks => (
            "Choose a disk",
            vec![
                "The highlighted disk is drawn below. # is RayOS, . is free.".to_owned(),
                String::new(),
            ],
        ),
        Screen::Existing { disk } => ("RayOS is on this disk", existing(state, *disk)),
        Screen::Use { disk } => ("How to use the disk", drawn(state, *disk)),
        Screen::RecoveryKey(draft) => (
            "BitLocker",
            vec![
            draft_of(draft),
            String::new(),
            "A partition of this disk is encrypted by BitLocker. New boot entries may make Windows \
             ask for its recovery key at the next start. Have the key at hand before you continue."
                .to_owned(),
            String::new(),
        ],
        ),
        Screen::Sizes(draft) => ("Sizes", sizes(state, draft)),
        Screen::EditSize { draft, field, .. } => ("Change a size", edit(state, draft, *field)),
        Screen::Review(draft) => ("Before and after", review(state, draft)),
        Screen::Confirm { task, .. } => ("Confirm", confirm(state, task)),
        Screen::Working { task, progress } => ("Writing", working(state, task, progress)),
        Screen::Done { task, outcome } => result(state, task, outcome),
        Screen::AnswersFile(_) => (
            "Answers file",
            vec![
            "As install.toml beside the bundle on the medium, or for rayos-installer apply, this \
             file installs the same without questions:"
                .to_owned(),
            String::new(),
        ],
        ),
    }
}

fn input(state: &State) -> Option<(String, String)> {
    match &state.screen {
        Screen::EditSize { field, typed, .. } => {
            let question = format!("New size of {}", field.name());
            Some((question, typed.clone()))
        }
        Screen::Confirm { task, typed } => {
            let word = state.word(task)?;
            Some((format!("Type {word} to confirm"), typed.clone()))
        }
        _ => None,
    }
}

/// Returns path, model, size and id of a disk.
fn name(facts: &DiskFacts) -> String {
    let disk = &facts.disk;
    let model = shown(disk.model.as_deref().unwrap_or("unknown model"));
    let (path, size) = (disk.path.display(), bytes(disk.size));
    format!("Disk {path}, {model}, {size}, id {}", shown(disk.id()))
}

fn welcome(state: &State) -> Vec<String> {
    let session = &state.session;
    let mut text = Vec::new();
    match &session.release {
        Some(release) => text.push(format!("This program installs RayOS {release}.")),
        None => text.push(
            "This program plans an installation of RayOS. To install, start it with --bundle."
                .to_owned(),
        ),
    }
    if session.is_sample {
        text.push("The disks are those of a sample machine.".to_owned());
    }
    let promise = "Nothing is written before you type the end of the disk's own name.";
    text.extend([promise.to_owned(), String::new()]);
    text.push(match state.disks.len() {
        0 => "This machine has no disk that could be installed to.".to_owned(),
        1 => "This machine has one disk:".to_owned(),
        count => format!("This machine has {count} disks:"),
    });
    for facts in &state.disks {
        text.push(format!("  {}", name(facts)));
        if let Some(version) = installed_version(facts) {
            text.push(format!("    RayOS {version} is installed on it."));
        }
        let systems = facts.map.as_ref().map(|map| map.systems().join(", "));
        let systems = systems.filter(|systems| !systems.is_empty());
        text.extend(systems.map(|systems| format!("    Other systems: {systems}")));
    }
    text.push(String::new());
    text
}

fn drawn(state: &State, disk: usize) -> Vec<String> {
    let Some(facts) = state.disks.get(disk) else {
        return Vec::new();
    };
    let mut text = vec![name(facts)];
    match &facts.map {
        Some(map) => text.extend(bar(map, BAR).into_iter().chain(list(map))),
        None => text.push("It cannot be read.".to_owned()),
    }
    text.push(String::new());
    text
}

fn existing(state: &State, disk: usize) -> Vec<String> {
    let mut text = drawn(state, disk);
    let version = state.disks.get(disk).and_then(installed_version);
    if let Some(version) = version {
        let at = text.len().saturating_sub(1);
        text.insert(at, format!("RayOS {version} is installed on it."));
    }
    text
}

fn sizes(state: &State, draft: &Draft) -> Vec<String> {
    let mut text: Vec<String> = state.disks.get(draft.disk).map(name).into_iter().collect();
    let candidate = draft.assess(&state.session, &state.disks);
    let plan = candidate.as_ref().and_then(|it| it.plan.as_ref());
    let data = plan.and_then(|plan| plan.partition(record::PartitionName::Data));
    match data {
        Some(data) => text.push(format!("With these sizes, data has {}.", bytes(data.size))),
        None => text.push("These sizes do not fit:".to_owned()),
    }
    if data.is_none() {
        let problems = candidate.map(|it| it.problems).unwrap_or_default();
        text.extend(problems.into_iter().map(|problem| format!("  {problem}")));
    }
    text.push(String::new());
    text
}

fn edit(state: &State, draft: &Draft, field: Field) -> Vec<String> {
    let now = field.of(&draft.layout);
    let now = now.map_or_else(
        || "the rest of the space".to_owned(),
        |size| size.to_string(),
    );
    let least = field.of(&state.limits(draft.disk));
    let mut text = vec![format!("Now: {now}")];
    text.extend(least.map(|least| format!("At least: {least}")));
    text.push("Units are K, M, G and T, as in 2G. Sizes are multiples of 1 MiB.".to_owned());
    text.push(match field {
        Field::Data => "Nothing, or the word rest, takes all space that is left.".to_owned(),
        _ => "Nothing keeps the size.".to_owned(),
    });
    text.push(String::new());
    text
}

fn review(state: &State, draft: &Draft) -> Vec<String> {
    let mut text: Vec<String> = state.disks.get(draft.disk).map(name).into_iter().collect();
    let Some((before, after)) = draft.maps(&state.session, &state.disks) else {
        text.push("It cannot be drawn.".to_owned());
        return text;
    };
    text.push("Now:".to_owned());
    text.extend(bar(&before, BAR));
    text.push("After the installation (# is RayOS, . is free):".to_owned());
    text.extend(bar(&after, BAR));
    let (lost, kept) = (lost(&before, &after), kept(&before, &after));
    if lost.is_empty() {
        text.push("Nothing on the disk is erased.".to_owned());
    } else {
        text.push("ERASED, with everything on it:".to_owned());
        text.extend(lost.into_iter().map(|line| format!("  {line}")));
    }
    if !kept.is_empty() {
        text.push("Kept unchanged:".to_owned());
        text.extend(kept.into_iter().map(|line| format!("  {line}")));
    }
    text.push(String::new());
    text
}

/// Returns the text below the choices.
fn below(state: &State) -> Vec<String> {
    match &state.screen {
        Screen::Review(draft) => {
            let Some((_, after)) = draft.maps(&state.session, &state.disks) else {
                return Vec::new();
            };
            let title = [String::new(), "The disk after the installation:".to_owned()];
            title.into_iter().chain(list(&after)).collect()
        }
        Screen::AnswersFile(draft) => {
            let answers = draft.answers(&state.session, &state.disks);
            let file = answers.map(|answers| answers.encode()).unwrap_or_default();
            let lines = file.lines().map(|line| format!("  {line}"));
            [String::new()].into_iter().chain(lines).collect()
        }
        _ => Vec::new(),
    }
}

fn confirm(state: &State, task: &Task) -> Vec<String> {
    let mut text: Vec<String> = state.disks.get(task.disk()).map(name).into_iter().collect();
    let release = state.session.release.as_deref().unwrap_or_default();
    text.push(String::new());
    match task {
        Task::Install(draft) => {
            let maps = draft.maps(&state.session, &state.disks);
            let lost = maps
                .map(|(before, after)| lost(&before, &after))
                .unwrap_or_default();
            if lost.is_empty() {
                text.push(format!("RayOS {release} is installed. Nothing is erased."));
            } else {
                text.push(format!("RayOS {release} is installed. These are ERASED:"));
                text.extend(lost.into_iter().map(|line| format!("  {line}")));
            }
        }
        Task::Renew { .. } => text.push(format!(
            "RayOS {release} is written to the slot that does not start by default. The data and \
             the other slot stay. The next boot tries the new release."
        )),
        Task::RepairGuard { .. } => text.push(
            "Missing and damaged copies of the boot guard on the EFI system partition are written \
             again. Slots and data stay."
                .to_owned(),
        ),
    }
    text.push(String::new());
    let word = state.word(task).unwrap_or_default();
    text.push(format!(
        "This writes to the disk. To confirm, type {word}: the last letters and digits of the \
         disk's id."
    ));
    text.push(String::new());
    text
}

fn working(state: &State, task: &Task, progress: &Progress) -> Vec<String> {
    let mut text: Vec<String> = state.disks.get(task.disk()).map(name).into_iter().collect();
    text.push(String::new());
    if progress.phases.is_empty() {
        text.push("Preparing".to_owned());
    }
    text.extend(progress.phases.iter().map(phase));
    if let Some(warning) = &progress.warning {
        text.extend([String::new(), format!("Warning: {}", shown_line(warning))]);
    }
    text.push(String::new());
    text
}

/// Returns a line like `writing      [#####.....]  52%  10.00 MiB/s, 6 seconds left`.
fn phase(pace: &Pace) -> String {
    let percent = pace.percent();
    let done = (percent / 5) as usize;
    let gauge = format!("{}{}", "#".repeat(done), ".".repeat(20 - done));
    let rate = pace.rate().map(|rate| format!("  {}/s", bytes(rate)));
    let left = pace.left().filter(|_| percent < 100);
    let left = left.map(|left| format!(", {} left", duration(left)));
    format!(
        "{:<13} [{gauge}] {percent:>3}%{}{}",
        pace.phase.word(),
        rate.unwrap_or_default(),
        left.unwrap_or_default()
    )
}

fn result(state: &State, task: &Task, outcome: &Outcome) -> (&'static str, Vec<String>) {
    let mut text: Vec<String> = state.disks.get(task.disk()).map(name).into_iter().collect();
    text.push(String::new());
    let title = match outcome {
        Outcome::Activated {
            version,
            slot,
            tries,
        } => {
            text.push(format!(
                "RayOS {version} is in slot {slot}. The next boot tries it, up to {tries} times."
            ));
            text.push("It commits itself when it is healthy.".to_owned());
            text.push(String::new());
            text.push("Next: remove the installation medium, then restart.".to_owned());
            "Installed"
        }
        Outcome::UpToDate => {
            text.push("The disk has this release already. Nothing was written.".to_owned());
            "Nothing to do"
        }
        Outcome::Repaired(copies) if copies.is_empty() => {
            text.push("Every copy of the boot guard is intact. Nothing was written.".to_owned());
            "Nothing to do"
        }
        Outcome::Repaired(copies) => {
            text.push("These copies of the boot guard were written:".to_owned());
            text.extend(copies.iter().map(|copy| format!("  {copy}")));
            text.extend([String::new(), "Next: restart.".to_owned()]);
            "Repaired"
        }
        Outcome::Failed { error, harm } => {
            text.extend(error.lines().map(|line| format!("  {}", shown_line(line))));
            text.push(String::new());
            text.push(harm.sentence().to_owned());
            "Failed"
        }
    };
    text.push(String::new());
    (title, text)
}

/// Returns an error or warning on one line, with control characters escaped.
fn shown_line(text: &str) -> String {
    cli::output::printable(text).replace(['\n', '\t'], " ")
}
