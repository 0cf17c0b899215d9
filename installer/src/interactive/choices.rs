//! The choices of each screen, with the reasons against each. *Pure.*
//!
//! A choice opens a screen or makes a request. It cannot make a [`super::model::WriteOrder`].

use super::model::{Outcome, Request, Screen, State, Task};
use super::session::{Draft, installed_version, reasons_against_writing};
use super::sizes::Field;
use crate::disk::disk_facts::DiskFacts;
use crate::disk::drawing::{bar, list};
use crate::disk::file_system::shown;
use crate::disk::plan_text::content;
use cli::quantity::bytes;

/// Columns of a bar.
pub(super) const BAR: usize = 76;

/// Something that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its name.
    pub label: String,
    /// Every reason against it; it can be chosen if there is none.
    pub reasons: Vec<String>,
    /// More about it.
    pub detail: Vec<String>,
    /// What it does.
    pub act: Act,
}

/// What a choice does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Opens a screen.
    Open(Box<Screen>),
    /// Returns to the screen before.
    Back,
    /// Makes a request, none of which writes to a disk.
    Do(Request),
}

fn choice(label: impl Into<String>, act: Act) -> Choice {
    Choice {
        label: label.into(),
        reasons: Vec::new(),
        detail: Vec::new(),
        act,
    }
}

fn open(label: impl Into<String>, screen: Screen) -> Choice {
    choice(label, Act::Open(Box::new(screen)))
}

/// Returns the choices of the screen; none on a screen with an input. *Pure.*
#[must_use]
pub fn choices(state: &State) -> Vec<Choice> {
    match &state.screen {
        Screen::Welcome => welcome(state),
        Screen::Disks => (0..).zip(&state.disks).map(|it| disk(state, it)).collect(),
        Screen::Existing { disk } => existing(state, *disk),
        Screen::Use { disk } => uses(state, *disk),
        Screen::RecoveryKey(draft) => recovery_key(draft),
        Screen::Sizes(draft) => sizes(state, draft),
        Screen::Review(draft) => review(state, draft),
        Screen::AnswersFile(draft) => answers_file(state, draft),
        Screen::Done { task, outcome } => done(state, task, outcome),
        Screen::EditSize { .. } | Screen::Confirm { .. } | Screen::Working { .. } => Vec::new(),
    }
}

fn welcome(state: &State) -> Vec<Choice> {
    let mut all = vec![
        open("Choose a disk", Screen::Disks),
        choice("Read the disks again", Act::Do(Request::ReadDisks)),
    ];
    if state.session.is_medium {
        all.push(choice("Restart the machine", Act::Do(Request::Restart)));
        all.push(choice("Switch the machine off", Act::Do(Request::PowerOff)));
    }
    all.push(choice("Leave: nothing is written", Act::Do(Request::Leave)));
    all
}

fn disk(state: &State, (place, facts): (usize, &DiskFacts)) -> Choice {
    let disk = &facts.disk;
    let candidate = Draft::new(state, place, false).assess(&state.session, &state.disks);
    let holds = candidate.map(|it| content(&it, facts.map.as_ref()));
    let label = format!(
        "{}  {}  {}  id {}  {}",
        disk.path.display(),
        bytes(disk.size),
        shown(disk.model.as_deref().unwrap_or("unknown model")),
        shown(disk.id()),
        holds.unwrap_or_default(),
    );
    let is_installed = installed_version(facts).is_some();
    let screen = match is_installed {
        true => Screen::Existing { disk: place },
        false => Screen::Use { disk: place },
    };
    let reasons = match is_installed {
        // The installed system can be started from a disk that cannot be written.
        true => Vec::new(),
        false => reasons_against_every_use(state, place),
    };
    let mut detail = Vec::new();
    if let Some(map) = &facts.map {
        detail.extend(bar(map, BAR));
        detail.extend(list(map));
    }
    Choice {
        reasons,
        detail,
        ..open(label, screen)
    }
}

/// Returns every reason against erasing a disk and against using its free space, each once; none if
/// one of the two is possible.
fn reasons_against_every_use(state: &State, disk: usize) -> Vec<String> {
    let reasons = |beside| reasons_against(state, &Draft::smallest(state, disk, beside));
    let (mut whole, beside) = (reasons(false), reasons(true));
    if whole.is_empty() || beside.is_empty() {
        return Vec::new();
    }
    whole.extend(beside.into_iter().filter(|it| !it.contains("BitLocker")));
    let mut seen = Vec::new();
    whole.retain(|reason| {
        let is_new = !seen.contains(reason);
        seen.push(reason.clone());
        is_new
    });
    whole
}

fn reasons_against(state: &State, draft: &Draft) -> Vec<String> {
    let found = draft.assess(&state.session, &state.disks);
    found.map_or_else(Vec::new, |candidate| candidate.problems)
}

impl Draft {
    /// Returns a draft with the sizes of the session.
    fn new(state: &State, disk: usize, beside: bool) -> Self {
        Self {
            disk,
            beside,
            recovery_key_at_hand: false,
            layout: state.session.answers.layout,
        }
    }

    /// Returns a draft with the smallest sizes, for the question whether any size fits. The question
    /// about recovery keys is asked later.
    fn smallest(state: &State, disk: usize, beside: bool) -> Self {
        Self {
            layout: state.limits(disk),
            recovery_key_at_hand: true,
            ..Self::new(state, disk, beside)
        }
    }
}

fn existing(state: &State, disk: usize) -> Vec<Choice> {
    let Some(facts) = state.disks.get(disk) else {
        return Vec::new();
    };
    let session = &state.session;
    let mut reasons = reasons_against_writing(&facts.disk, session);
    reasons.extend(no_bundle(state));
    let write = |label: String, task: Task| Choice {
        reasons: reasons.clone(),
        ..open(label, confirm(task))
    };
    let path = facts.disk.path.clone();
    let mut start = choice("Start it: restart into it", Act::Do(Request::Start(path)));
    if !session.is_medium {
        start.reasons = vec!["only the installation medium can start it".to_owned()];
    }
    let release = session.release.as_deref();
    let release = release.map_or_else(|| "a release".to_owned(), |it| format!("RayOS {it}"));
    let mut again = open(
        "Erase: install again, and lose the data",
        Screen::Use { disk },
    );
    again.reasons = reasons_against_every_use(state, disk);
    vec![
        start,
        write(
            "Repair its start: rewrite damaged copies of the boot guard".to_owned(),
            Task::RepairGuard { disk },
        ),
        write(
            format!("Install {release} to its other slot, and keep the data"),
            Task::Renew { disk },
        ),
        again,
    ]
}

const fn confirm(task: Task) -> Screen {
    let typed = String::new();
    Screen::Confirm { task, typed }
}

fn no_bundle(state: &State) -> Option<String> {
    let reason = if state.session.is_sample {
        "this is a sample machine"
    } else {
        "there is no bundle: start this program with --bundle"
    };
    state.session.release.is_none().then(|| reason.to_owned())
}

fn uses(state: &State, disk: usize) -> Vec<Choice> {
    let is_encrypted = state.disks.get(disk).is_some_and(|facts| {
        let findings = facts.findings.as_ref();
        findings.is_ok_and(|findings| !findings.bitlocker.is_empty())
    });
    let make = |label: &str, beside| {
        let draft = Draft::new(state, disk, beside);
        let screen = if beside && is_encrypted {
            Screen::RecoveryKey(draft)
        } else {
            Screen::Sizes(draft)
        };
        Choice {
            reasons: reasons_against(state, &Draft::smallest(state, disk, beside)),
            ..open(label, screen)
        }
    };
    vec![
        make("Use free space: other systems stay unchanged", true),
        make("Use the whole disk: everything on it is erased", false),
    ]
}

fn recovery_key(draft: &Draft) -> Vec<Choice> {
    let draft = Draft {
        recovery_key_at_hand: true,
        ..draft.clone()
    };
    vec![
        choice("No: choose another way", Act::Back),
        open(
            "Yes: I have the recovery keys at hand",
            Screen::Sizes(draft),
        ),
    ]
}

fn sizes(state: &State, draft: &Draft) -> Vec<Choice> {
    let mut next = open("Continue with these sizes", Screen::Review(draft.clone()));
    next.reasons = reasons_against(state, draft);
    let field = |field: Field| {
        let size = field.of(&draft.layout);
        let size = size.map_or_else(|| "the rest".to_owned(), |size| size.to_string());
        let label = format!("Change {}: {size}", field.name());
        let (draft, typed) = (draft.clone(), String::new());
        open(
            label,
            Screen::EditSize {
                draft,
                field,
                typed,
            },
        )
    };
    [next].into_iter().chain(Field::ALL.map(field)).collect()
}

fn review(state: &State, draft: &Draft) -> Vec<Choice> {
    let mut next = open(
        "Continue to the confirmation",
        confirm(Task::Install(draft.clone())),
    );
    next.reasons = reasons_against(state, draft);
    next.reasons.extend(no_bundle(state));
    let answers = Screen::AnswersFile(draft.clone());
    vec![
        choice("Back to the sizes", Act::Back),
        open("Show the answers file of this installation", answers),
        next,
    ]
}

fn answers_file(state: &State, draft: &Draft) -> Vec<Choice> {
    let mut all = vec![choice("Back", Act::Back)];
    if let Some(answers) = draft.answers(&state.session, &state.disks) {
        let label = format!("Save it as {}", state.session.save_path);
        all.push(choice(label, Act::Do(Request::Save(Box::new(answers)))));
    }
    all
}

fn done(state: &State, task: &Task, outcome: &Outcome) -> Vec<Choice> {
    let mut all = Vec::new();
    if state.session.is_medium {
        all.push(choice("Restart the machine", Act::Do(Request::Restart)));
        all.push(choice("Switch the machine off", Act::Do(Request::PowerOff)));
    }
    if let (Task::Install(draft), Outcome::Activated { .. }) = (task, outcome) {
        let answers = Screen::AnswersFile(draft.clone());
        all.push(open("Show the answers file of this installation", answers));
    }
    all.push(choice("Read the disks again", Act::Do(Request::ReadDisks)));
    all.push(choice("Leave", Act::Do(Request::Leave)));
    all
}
