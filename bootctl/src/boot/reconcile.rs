//! Brings the boot entries in line with the boot record, of which they are a cache.
//!
//! [`next_action`] is pure: it takes the record, the present variables and the EFI system
//! partition, and returns the next change of one variable, or none. [`run`] makes such changes
//! until none is due. No progress is stored, so a run after a power cut simply continues. Nothing
//! here can fail an update or a commit: the guard needs no entry, so a problem with the firmware is
//! a [`Warning`].

use crate::boot::entry::{LoadOption, label_and_file};
use crate::firmware::efivars::{EfiVars, PERSISTENT, VarError, VarName, Variable};
use record::gpt::Partition;
use record::{Choice, Guid, Record, Slot, SlotState, Status};
use std::collections::BTreeMap;

/// Maximum number of changes in one run. More of them mean that the firmware undoes them.
pub const MAX_ACTIONS: usize = 12;

const ALL: [Choice; 3] = [
    Choice::Slot(Slot::A),
    Choice::Slot(Slot::B),
    Choice::Recovery,
];

/// The variables that decide what the firmware starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BootVars {
    /// `Boot####` by number, undecoded.
    pub entries: BTreeMap<u16, Vec<u8>>,
    /// `BootOrder`; empty if it is absent.
    pub order: Vec<u16>,
    /// `BootNext`.
    pub next: Option<u16>,
    /// `BootCurrent`: the entry that the firmware reports as started.
    pub current: Option<u16>,
}

impl BootVars {
    /// Reads the variables of a machine. *Reads.*
    ///
    /// # Errors
    /// [`VarError`]. A variable that cannot be read never counts as absent.
    pub fn read(vars: &dyn EfiVars) -> Result<Self, VarError> {
        let data = |name: &VarName| Ok(vars.get(name)?.map(|found| found.data));
        let mut found = Self::default();
        for name in vars.names()? {
            let Some(number) = entry_number(&name) else {
                continue;
            };
            if let Some(bytes) = data(&name)? {
                found.entries.insert(number, bytes);
            }
        }
        let numbers = |name: &str| -> Result<Vec<u16>, VarError> {
            let bytes = data(&VarName::global(name))?.unwrap_or_default();
            Ok(bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|number| u16::from_le_bytes(*number))
                .collect())
        };
        found.order = numbers("BootOrder")?;
        found.next = numbers("BootNext")?.first().copied();
        found.current = numbers("BootCurrent")?.first().copied();
        Ok(found)
    }

    /// Returns the variables after `action`. *Pure.*
    #[must_use]
    pub fn after(&self, action: &Action) -> Self {
        let mut vars = self.clone();
        match action {
            Action::PutEntry { number, data, .. } => {
                vars.entries.insert(*number, data.clone());
            }
            Action::DeleteEntry { number, .. } => {
                vars.entries.remove(number);
            }
            Action::SetOrder(order) => vars.order.clone_from(order),
            Action::SetNext { number, .. } => vars.next = Some(*number),
            Action::DeleteNext => vars.next = None,
        }
        vars
    }

    /// Returns the numbers of the entries that start our guard for `choice` from one of `esps`, in
    /// the order in which the firmware tries them.
    fn ours(&self, choice: Choice, esps: &[Guid]) -> Vec<u16> {
        let is_ours = |number: &u16| {
            let option = self
                .entries
                .get(number)
                .and_then(|bytes| LoadOption::parse(bytes).ok());
            option.is_some_and(|option| {
                option.starts() == Some(choice)
                    && option
                        .hard_drive()
                        .is_some_and(|drive| esps.contains(&drive.uuid))
            })
        };
        let position = |number: &u16| self.order.iter().position(|listed| listed == number);
        let mut found: Vec<u16> = self.entries.keys().copied().filter(is_ours).collect();
        found.sort_by_key(|number| (position(number).unwrap_or(usize::MAX), *number));
        found
    }

    /// Returns the lowest number that neither an entry nor the order uses.
    fn free_number(&self) -> Option<u16> {
        (0..=u16::MAX)
            .find(|number| !self.entries.contains_key(number) && !self.order.contains(number))
    }
}

/// Returns the number in `Boot####`: exactly four hexadecimal digits in capitals (UEFI 2.10,
/// 3.1.3).
fn entry_number(name: &VarName) -> Option<u16> {
    let digits = name
        .name
        .strip_prefix("Boot")
        .filter(|_| name.vendor == crate::firmware::efivars::EFI_GLOBAL)?;
    let valid = digits.len() == 4
        && digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    if valid {
        u16::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

/// Facts about the disk that boot entries depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The EFI system partition that holds the copies of the guard.
    pub esp: Partition,
    /// PARTUUIDs of EFI system partitions that no longer exist, such as that of the previous
    /// installation. Our entries for them are removed.
    pub retired: Vec<Guid>,
}

/// One change of one variable: atomic in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write `Boot####`.
    PutEntry {
        /// Its number.
        number: u16,
        /// What it starts.
        choice: Choice,
        /// The variable's data.
        data: Vec<u8>,
    },
    /// Remove `Boot####`: a second entry of ours for the same choice, or one of an installation
    /// that no longer exists.
    DeleteEntry {
        /// Its number.
        number: u16,
        /// What it started.
        choice: Choice,
    },
    /// Write `BootOrder`.
    SetOrder(Vec<u16>),
    /// Write `BootNext`, for a release on trial.
    SetNext {
        /// Number of the entry.
        number: u16,
        /// What it starts.
        choice: Choice,
    },
    /// Remove `BootNext`, which names an entry of ours although no trial is pending.
    DeleteNext,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PutEntry { number, choice, .. } => {
                write!(f, "write Boot{number:04X}, {}", label_and_file(*choice).0)
            }
            Self::DeleteEntry { number, choice } => {
                write!(
                    f,
                    "remove Boot{number:04X}, a stale entry for {}",
                    label_and_file(*choice).0
                )
            }
            Self::SetOrder(order) => {
                f.write_str("write BootOrder:")?;
                order
                    .iter()
                    .try_for_each(|number| write!(f, " {number:04X}"))
            }
            Self::SetNext { number, choice } => {
                write!(
                    f,
                    "write BootNext: {number:04X}, {}",
                    label_and_file(*choice).0
                )
            }
            Self::DeleteNext => f.write_str("remove BootNext"),
        }
    }
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
    put_missing(vars, facts)
        .or_else(|| delete_stale(vars, facts))
        .or_else(|| set_order(record, vars, facts))
        .or_else(|| set_next(record, vars, facts, booted?))
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

fn delete_stale(vars: &BootVars, facts: &Facts) -> Option<Action> {
    ALL.into_iter().find_map(|choice| {
        let keep = entry_of(vars, facts, choice);
        let esps = [&[facts.esp.uuid], facts.retired.as_slice()].concat();
        let stale = vars
            .ours(choice, &esps)
            .into_iter()
            .find(|number| Some(*number) != keep)?;
        Some(Action::DeleteEntry {
            number: stale,
            choice,
        })
    })
}

/// The order is: Good slots, the default first; the other slots; recovery; foreign entries in their
/// present order.
fn set_order(record: &Record, vars: &BootVars, facts: &Facts) -> Option<Action> {
    let mut slots = [record.default, record.default.other()];
    slots.sort_by_key(|slot| rank(record.slot(*slot)));
    let choices = slots
        .into_iter()
        .map(Choice::Slot)
        .chain([Choice::Recovery]);
    let ours: Vec<u16> = choices
        .filter_map(|choice| entry_of(vars, facts, choice))
        .collect();
    let foreign = vars
        .order
        .iter()
        .copied()
        .filter(|number| !ours.contains(number));
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

/// Sets `BootNext` for a trial that is not running yet. A value that another program set stays.
fn set_next(record: &Record, vars: &BootVars, facts: &Facts, booted: Choice) -> Option<Action> {
    let on_trial = |slot: &Slot| {
        record.slot(*slot).is_bootable()
            && !record.slot(*slot).is_good()
            && booted != Choice::Slot(*slot)
    };
    let trial = [record.default.other(), record.default]
        .into_iter()
        .find(on_trial);
    let wanted = trial.and_then(|slot| {
        Some((
            entry_of(vars, facts, Choice::Slot(slot))?,
            Choice::Slot(slot),
        ))
    });
    let is_ours = |number| {
        ALL.into_iter()
            .any(|choice| entry_of(vars, facts, choice) == Some(number))
    };
    match (vars.next, wanted) {
        (Some(next), _) if !is_ours(next) && vars.entries.contains_key(&next) => None,
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
    while let Some(action) = next_action(record, &vars, facts, booted) {
        vars = vars.after(&action);
        actions.push(action);
        if actions.len() >= MAX_ACTIONS {
            break;
        }
    }
    actions
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
    /// More than [`MAX_ACTIONS`] changes were due.
    #[error("boot entries not repaired: more changes are due after {MAX_ACTIONS}")]
    NotSettled,
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

/// Brings the boot entries in line with the record. *Writes* one variable at a time; each is
/// durable when it returns.
///
/// # Power loss
/// Leaves the first few of the changes; the next run makes the rest.
pub fn run(record: &Record, vars: &dyn EfiVars, facts: &Facts, booted: Option<Choice>) -> Report {
    let mut report = Report::default();
    report.warning = loop {
        let now = match BootVars::read(vars) {
            Ok(now) => now,
            Err(error) => break Some(Warning::Unreadable(error)),
        };
        let Some(action) = next_action(record, &now, facts, booted) else {
            break None;
        };
        if report.done.contains(&action) {
            break Some(Warning::Ignored(action));
        }
        if report.done.len() >= MAX_ACTIONS {
            break Some(Warning::NotSettled);
        }
        if let Err(error) = perform(vars, &action) {
            break Some(Warning::Refused { action, error });
        }
        report.done.push(action);
    };
    report
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
    if let Some(warning) = run(record, vars, facts, None).warning {
        return Err(warning);
    }
    let read = || BootVars::read(vars).map_err(Warning::Unreadable);
    // A run without a warning leaves an entry for each choice.
    let Some(number) = entry_of(&read()?, facts, choice) else {
        return Err(Warning::NotSettled);
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
    let set = |name: &str, data: Vec<u8>| {
        vars.set(
            &VarName::global(name),
            &Variable {
                attributes: PERSISTENT,
                data,
            },
        )
    };
    match action {
        Action::PutEntry { number, data, .. } => set(&format!("Boot{number:04X}"), data.clone()),
        Action::DeleteEntry { number, .. } => {
            vars.delete(&VarName::global(format!("Boot{number:04X}")))
        }
        Action::SetOrder(order) => set(
            "BootOrder",
            order
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect(),
        ),
        Action::SetNext { number, .. } => set("BootNext", number.to_le_bytes().to_vec()),
        Action::DeleteNext => vars.delete(&VarName::global("BootNext")),
    }
}
