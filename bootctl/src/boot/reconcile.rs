//! Brings the boot entries in line with the boot record, of which they are a cache.
//!
//! [`next_action`] is pure: it takes the record, the present variables and the EFI system
//! partition, and returns the next change of one variable, or none. [`run`] makes such changes
//! until none is due. No progress is stored, so a run after a power cut simply continues. Nothing
//! here can fail an update or a commit: the guard needs no entry, so a problem with the firmware is
//! a [`Warning`].

use crate::boot::entry::LoadOption;
use crate::firmware::efivars::{EfiVars, PERSISTENT, VarError, VarName, Variable};
use record::gpt::Partition;
use record::{Choice, Guid, Record, Slot, SlotState, Status};
use std::collections::BTreeSet;

pub use super::boot_vars::{Action, BootVars};

/// Maximum number of changes in one automatic run, and in a run for a person beyond one for each
/// entry that there is. More of them mean that the firmware undoes them.
pub const MAX_ACTIONS: usize = 12;

const ALL: [Choice; 3] = [
    Choice::Slot(Slot::A),
    Choice::Slot(Slot::B),
    Choice::Recovery,
];

/// Facts about the disk that boot entries depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The EFI system partition that holds the copies of the guard.
    pub esp: Partition,
    /// PARTUUIDs of EFI system partitions that no longer exist, such as that of the previous
    /// installation. Our entries for them are removed.
    pub retired: Vec<Guid>,
}

/// Returns the next change that is due, or none. *Pure.*
///
/// `booted` is what is running; `None` if that is unknown (offline), in which case `BootNext` is
/// not changed.
#[must_use]
pub fn next_action(
    record: &Record,
    vars: &BootVars,
    facts: &Facts,
    booted: Option<Choice>,
) -> Option<Action> {
    // Stale entries last: each of the others matters to the next boot, and the order no longer
    // names what is removed.
    put_missing(vars, facts)
        .or_else(|| set_order(record, vars, facts))
        .or_else(|| set_next(record, vars, facts, booted))
        .or_else(|| delete_stale(vars, facts))
}

fn put_missing(vars: &BootVars, facts: &Facts) -> Option<Action> {
    ALL.into_iter().find_map(|choice| {
        let wanted = LoadOption::ours(choice, &facts.esp);
        let ours = vars.ours(choice, &[facts.esp.uuid]);
        let is_right = |number: &u16| has_same_effect(vars, *number, &wanted);
        if ours.iter().any(is_right) {
            return None;
        }
        // A stale entry is overwritten under its number, so that there is an entry at any time.
        let number = ours.first().copied().or_else(|| vars.free_number())?;
        Some(Action::PutEntry {
            number,
            choice,
            data: wanted.encode(),
        })
    })
}

fn has_same_effect(vars: &BootVars, number: u16, wanted: &LoadOption) -> bool {
    let found = vars
        .entries
        .get(&number)
        .and_then(|bytes| LoadOption::parse(bytes).ok());
    found.is_some_and(|found| found.has_same_effect_as(wanted))
}

/// Returns the number of our entry for `choice`: the first correct one in the order.
fn entry_of(vars: &BootVars, facts: &Facts, choice: Choice) -> Option<u16> {
    let wanted = LoadOption::ours(choice, &facts.esp);
    vars.ours(choice, &[facts.esp.uuid])
        .into_iter()
        .find(|number| has_same_effect(vars, *number, &wanted))
}

/// Returns the numbers of our entries that are not needed: second ones for the same choice, and
/// those of an installation that no longer exists.
fn stale(vars: &BootVars, facts: &Facts) -> impl Iterator<Item = (u16, Choice)> {
    let esps = all_esps(facts);
    ALL.into_iter().flat_map(move |choice| {
        let keep = entry_of(vars, facts, choice);
        let ours = vars.ours(choice, &esps).into_iter();
        ours.filter(move |number| Some(*number) != keep)
            .map(move |number| (number, choice))
    })
}

fn all_esps(facts: &Facts) -> Vec<Guid> {
    [&[facts.esp.uuid], facts.retired.as_slice()].concat()
}

/// An order that cannot be read may name any of them, so none is removed then.
fn delete_stale(vars: &BootVars, facts: &Facts) -> Option<Action> {
    if vars.unreadable.contains_key("BootOrder") {
        return None;
    }
    let stale = stale(vars, facts)
        .next()
        .map(|(number, choice)| Action::DeleteEntry { number, choice });
    stale.or_else(|| {
        let (name, choice) = vars.misspelled_of_ours(&all_esps(facts))?;
        let name = name.clone();
        Some(Action::DeleteMisspelled { name, choice })
    })
}

/// The order is: Good slots, the default first; the other slots; recovery; foreign entries in their
/// present order, also those that are missing or listed twice. An order that cannot be read stays.
fn set_order(record: &Record, vars: &BootVars, facts: &Facts) -> Option<Action> {
    if vars.unreadable.contains_key("BootOrder") {
        return None;
    }
    let mut slots = [record.default, record.default.other()];
    slots.sort_by_key(|slot| rank(record.slot(*slot)));
    let choices = slots
        .into_iter()
        .map(Choice::Slot)
        .chain([Choice::Recovery]);
    let ours: Vec<u16> = choices
        .filter_map(|choice| entry_of(vars, facts, choice))
        .collect();
    let stale: BTreeSet<u16> = stale(vars, facts).map(|(number, _)| number).collect();
    let foreign = vars
        .order
        .iter()
        .copied()
        .filter(|number| !ours.contains(number) && !stale.contains(number));
    let order: Vec<u16> = ours.iter().copied().chain(foreign).collect();
    (order != vars.order).then_some(Action::SetOrder(order))
}

const fn rank(state: &SlotState) -> u8 {
    match state.status {
        Status::Good { .. } => 0,
        Status::Pending { .. } => 1,
        Status::Unbootable => 2,
    }
}

/// Sets `BootNext` for a trial that is not running yet. A value that another program set stays, and
/// so does one that cannot be read.
fn set_next(
    record: &Record,
    vars: &BootVars,
    facts: &Facts,
    booted: Option<Choice>,
) -> Option<Action> {
    let booted = booted.filter(|_| !vars.unreadable.contains_key("BootNext"))?;
    let on_trial = |slot: &Slot| {
        record.slot(*slot).is_bootable()
            && !record.slot(*slot).is_good()
            && booted != Choice::Slot(*slot)
    };
    let trial = [record.default.other(), record.default]
        .into_iter()
        .find(on_trial);
    let wanted = trial.and_then(|slot| {
        let choice = Choice::Slot(slot);
        Some((entry_of(vars, facts, choice)?, choice))
    });
    let esps = all_esps(facts);
    let is_ours = |number| {
        ALL.into_iter()
            .any(|choice| vars.ours(choice, &esps).contains(&number))
    };
    // One that cannot be read may be another program's.
    let is_there = |number: u16| {
        let name = format!("Boot{number:04X}");
        vars.entries.contains_key(&number) || vars.unreadable.contains_key(&name)
    };
    match (vars.next, wanted) {
        (Some(next), _) if !is_ours(next) && is_there(next) => None,
        (Some(next), Some((number, _))) if next == number => None,
        (_, Some((number, choice))) => Some(Action::SetNext { number, choice }),
        (Some(next), None) if is_ours(next) => Some(Action::DeleteNext),
        (_, None) => None,
    }
}

/// Returns all changes that are due, in order, if the firmware accepts each. *Pure.*
#[must_use]
pub fn plan(
    record: &Record,
    vars: &BootVars,
    facts: &Facts,
    booted: Option<Choice>,
) -> Vec<Action> {
    let mut vars = vars.clone();
    let mut actions = Vec::new();
    let limit = Limit::Settled.actions(&vars);
    while let Some(action) = next_action(record, &vars, facts, booted) {
        vars.apply(&action);
        actions.push(action);
        if actions.len() >= limit {
            break;
        }
    }
    actions
}

/// How many changes a run may make.
#[derive(Clone, Copy)]
enum Limit {
    /// [`MAX_ACTIONS`]: a boot must not wait for hundreds of writes, nor wear the store down.
    Boot,
    /// As many as a person's repair may need: one for each entry, and [`MAX_ACTIONS`] more.
    Settled,
}

impl Limit {
    fn actions(self, vars: &BootVars) -> usize {
        match self {
            Self::Boot => MAX_ACTIONS,
            Self::Settled => MAX_ACTIONS + vars.entries.len() + vars.misspelled.len(),
        }
    }
}

/// A problem with the firmware's variables. The machine still boots, because the guard needs no
/// entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// The variables cannot be read, so none is written.
    #[error("boot entries not checked: {0}")]
    Unreadable(VarError),
    /// The firmware refused a change.
    #[error("boot entries not repaired: cannot {action}: {error}")]
    Refused {
        /// The change.
        action: Action,
        /// The error.
        error: VarError,
    },
    /// The firmware accepted a change but did not make it.
    #[error("boot entries not repaired: the firmware accepted but did not make the change: {0}")]
    Ignored(Action),
    /// Some of the variables cannot be read. The rest is in line.
    #[error("boot entries not all checked: {0}")]
    PartlyUnreadable(String),
    /// More changes were due than the run may make.
    #[error("boot entries not repaired: more changes are due after {0}")]
    NotSettled(usize),
    /// All numbers of entries are in use.
    #[error("boot entries not repaired: no number is free")]
    NoNumber,
    /// The disk has no EFI system partition.
    #[error("boot entries not checked: the disk has no EFI system partition")]
    NoEsp,
}

/// Result of a [`run`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The changes in order. Each was one write to NVRAM.
    pub done: Vec<Action>,
    /// Why it stopped before all changes were made.
    pub warning: Option<Warning>,
}

/// Brings the boot entries in line with the record, by at most [`MAX_ACTIONS`] changes. *Writes* one
/// variable at a time; each is durable when it returns.
///
/// # Power loss
/// Leaves the first few of the changes; the next run makes the rest.
pub fn run(record: &Record, vars: &dyn EfiVars, facts: &Facts, booted: Option<Choice>) -> Report {
    let mut done = Vec::new();
    let warning = make_changes(record, vars, facts, booted, Limit::Boot, &mut done).err();
    Report { done, warning }
}

/// As [`run`], for a person who waits for it: by as many changes as there are entries, and
/// [`MAX_ACTIONS`] more. *Writes* one variable at a time; each is durable when it returns.
///
/// # Power loss
/// As [`run`].
pub fn settle(
    record: &Record,
    vars: &dyn EfiVars,
    facts: &Facts,
    booted: Option<Choice>,
) -> Report {
    let mut done = Vec::new();
    let warning = make_changes(record, vars, facts, booted, Limit::Settled, &mut done).err();
    Report { done, warning }
}

fn make_changes(
    record: &Record,
    vars: &dyn EfiVars,
    facts: &Facts,
    booted: Option<Choice>,
    limit: Limit,
    done: &mut Vec<Action>,
) -> Result<(), Warning> {
    let read = || BootVars::read(vars).map_err(Warning::Unreadable);
    let mut now = read()?;
    let limit = limit.actions(&now);
    loop {
        let action = match next_action(record, &now, facts, booted) {
            Some(action) => action,
            None if done.is_empty() => break,
            // Firmware may have changed other variables as well.
            None => {
                now = read()?;
                match next_action(record, &now, facts, booted) {
                    Some(action) => action,
                    None => break,
                }
            }
        };
        if done.contains(&action) {
            return Err(Warning::Ignored(action));
        }
        if done.len() >= limit {
            return Err(Warning::NotSettled(limit));
        }
        if let Err(error) = perform(vars, &action) {
            return Err(Warning::Refused { action, error });
        }
        // Read back: what the firmware has now, not what it was given.
        now.refresh(vars, &action.variable())
            .map_err(Warning::Unreadable)?;
        done.push(action);
    }
    now.unreadable_words()
        .map_or(Ok(()), |words| Err(Warning::PartlyUnreadable(words)))
}

/// Requests `choice` for the next boot only, through the firmware: brings the entries in line as
/// [`run`] does, then sets `BootNext`. *Writes* one variable at a time; each is durable when it
/// returns.
///
/// It is for a system that the guard did not start from this disk, such as an installation medium.
/// A running installation uses the one-shot request of its record instead.
///
/// # Errors
/// [`Warning`]: the firmware may then start any entry.
///
/// # Power loss
/// As [`run`].
pub fn ask_next(
    record: &Record,
    vars: &dyn EfiVars,
    facts: &Facts,
    choice: Choice,
) -> Result<(), Warning> {
    let warning = run(record, vars, facts, None).warning;
    let read = || BootVars::read(vars).map_err(Warning::Unreadable);
    let number = match (entry_of(&read()?, facts, choice), warning) {
        // Neither stale copies nor an odd variable prevents this boot.
        (Some(number), None | Some(Warning::NotSettled(_) | Warning::PartlyUnreadable(_))) => {
            number
        }
        (_, Some(warning)) => return Err(warning),
        (None, None) => return Err(Warning::NoNumber),
    };
    let action = Action::SetNext { number, choice };
    if let Err(error) = perform(vars, &action) {
        return Err(Warning::Refused { action, error });
    }
    if read()?.next == Some(number) {
        Ok(())
    } else {
        Err(Warning::Ignored(action))
    }
}

/// Makes one change. *Writes* one variable; it is durable when this returns.
///
/// # Errors
/// [`VarError`].
///
/// # Power loss
/// Leaves the old value or the new one.
pub fn perform(vars: &dyn EfiVars, action: &Action) -> Result<(), VarError> {
    let set = |data: Vec<u8>| {
        vars.set(
            &VarName::global(action.variable()),
            &Variable {
                attributes: PERSISTENT,
                data,
            },
        )
    };
    match action {
        Action::PutEntry { data, .. } => set(data.clone()),
        Action::DeleteEntry { .. } | Action::DeleteMisspelled { .. } | Action::DeleteNext => {
            vars.delete(&VarName::global(action.variable()))
        }
        Action::SetOrder(order) => set(order
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()),
        Action::SetNext { number, .. } => set(number.to_le_bytes().to_vec()),
    }
}
