//! The variables of the firmware that decide what it starts, and changes of them.

use crate::boot::entry::{LoadOption, label_and_file};
use crate::firmware::efivars::{EFI_GLOBAL, EfiVars, VarError, VarName};
use record::{Choice, Guid};
use std::collections::{BTreeMap, BTreeSet};

/// The variables that decide what the firmware starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BootVars {
    /// `Boot####` by number, undecoded.
    pub entries: BTreeMap<u16, Vec<u8>>,
    /// Variables such as `Boot00ab`, by name, undecoded. Firmware that follows the specification
    /// starts none of them, because the digits are not in capitals.
    pub misspelled: BTreeMap<String, Vec<u8>>,
    /// `BootOrder`; empty if it is absent.
    pub order: Vec<u16>,
    /// `BootNext`.
    pub next: Option<u16>,
    /// `BootCurrent`: the entry that the firmware reports as started.
    pub current: Option<u16>,
    /// The variables of these that cannot be read. None of them is written.
    pub unreadable: BTreeMap<String, VarError>,
}

impl BootVars {
    /// Reads the variables of a machine. *Reads.* One that cannot be read is in
    /// [`BootVars::unreadable`] and does not stop the rest; it never counts as absent.
    ///
    /// # Errors
    /// [`VarError`] if the names cannot be read, or the machine has no EFI variables.
    pub fn read(vars: &dyn EfiVars) -> Result<Self, VarError> {
        let mut found = Self::default();
        for name in vars.names()? {
            if name.vendor == EFI_GLOBAL && entry_number(&name.name).is_some() {
                found.refresh(vars, &name.name)?;
            }
        }
        for name in ["BootOrder", "BootNext", "BootCurrent"] {
            found.refresh(vars, name)?;
        }
        Ok(found)
    }

    /// Reads one of the variables again. *Reads.*
    ///
    /// # Errors
    /// [`VarError::Unsupported`]; other errors are noted in [`BootVars::unreadable`].
    pub(super) fn refresh(&mut self, vars: &dyn EfiVars, name: &str) -> Result<(), VarError> {
        let data = match vars.get(&VarName::global(name)) {
            Err(VarError::Unsupported) => return Err(VarError::Unsupported),
            Err(error) => {
                self.unreadable.insert(name.to_owned(), error);
                None
            }
            Ok(found) => {
                self.unreadable.remove(name);
                found.map(|found| found.data)
            }
        };
        let numbers = |data: Option<Vec<u8>>| -> Vec<u16> {
            let data = data.unwrap_or_default();
            let (pairs, _) = data.as_chunks::<2>();
            pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
        };
        match name {
            "BootOrder" => self.order = numbers(data),
            "BootNext" => self.next = numbers(data).first().copied(),
            "BootCurrent" => self.current = numbers(data).first().copied(),
            _ => self.put(name, data),
        }
        Ok(())
    }

    fn put(&mut self, name: &str, data: Option<Vec<u8>>) {
        match (entry_number(name), data) {
            (Some((number, true)), Some(data)) => drop(self.entries.insert(number, data)),
            (Some((number, true)), None) => drop(self.entries.remove(&number)),
            (_, Some(data)) => drop(self.misspelled.insert(name.to_owned(), data)),
            (_, None) => drop(self.misspelled.remove(name)),
        }
    }

    /// Returns the variables after `action`. *Pure.*
    #[must_use]
    pub fn after(&self, action: &Action) -> Self {
        let mut vars = self.clone();
        vars.apply(action);
        vars
    }

    /// Makes the change of `action`.
    pub(super) fn apply(&mut self, action: &Action) {
        match action {
            Action::PutEntry { data, .. } => self.put(&action.variable(), Some(data.clone())),
            Action::DeleteEntry { .. } | Action::DeleteMisspelled { .. } => {
                self.put(&action.variable(), None);
            }
            Action::SetOrder(order) => self.order.clone_from(order),
            Action::SetNext { number, .. } => self.next = Some(*number),
            Action::DeleteNext => self.next = None,
        }
    }

    /// Returns the numbers of the entries that start our guard for `choice` from one of `esps`, in
    /// the order in which the firmware tries them.
    pub(super) fn ours(&self, choice: Choice, esps: &[Guid]) -> Vec<u16> {
        let is_ours = |(number, bytes): (&u16, &Vec<u8>)| {
            (started_by(bytes, esps) == Some(choice)).then_some(*number)
        };
        let position = |number: &u16| self.order.iter().position(|listed| listed == number);
        let mut found: Vec<u16> = self.entries.iter().filter_map(is_ours).collect();
        found.sort_by_cached_key(|number| (position(number).unwrap_or(usize::MAX), *number));
        found
    }

    /// Returns the first misspelled variable that is an entry of ours, and what it starts.
    pub(super) fn misspelled_of_ours(&self, esps: &[Guid]) -> Option<(&String, Choice)> {
        self.misspelled
            .iter()
            .find_map(|(name, bytes)| Some((name, started_by(bytes, esps)?)))
    }

    /// Returns the lowest number that neither an entry, nor a variable that is misspelled or
    /// cannot be read, nor the order uses.
    pub(super) fn free_number(&self) -> Option<u16> {
        let odd = self.misspelled.keys().chain(self.unreadable.keys());
        let odd = odd.filter_map(|name| Some(entry_number(name)?.0));
        let taken: BTreeSet<u16> = odd.chain(self.order.iter().copied()).collect();
        (0..=u16::MAX).find(|number| !self.entries.contains_key(number) && !taken.contains(number))
    }

    /// Returns the names of the variables that cannot be read, each with its error; `None` if all
    /// were read. *Pure.*
    #[must_use]
    pub fn unreadable_words(&self) -> Option<String> {
        let words = |(name, error): (&String, &VarError)| format!("{name}: {error}");
        let all: Vec<String> = self.unreadable.iter().map(words).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
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
    /// Remove an entry of ours whose number is not written in capitals: firmware may not start it.
    DeleteMisspelled {
        /// Name of the variable.
        name: String,
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

impl Action {
    /// Returns the name of the variable that changes. *Pure.*
    #[must_use]
    pub fn variable(&self) -> String {
        match self {
            Self::PutEntry { number, .. } | Self::DeleteEntry { number, .. } => {
                format!("Boot{number:04X}")
            }
            Self::DeleteMisspelled { name, .. } => name.clone(),
            Self::SetOrder(_) => "BootOrder".to_owned(),
            Self::SetNext { .. } | Self::DeleteNext => "BootNext".to_owned(),
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PutEntry { number, choice, .. } => {
                write!(f, "write Boot{number:04X}, {}", label_and_file(*choice).0)
            }
            Self::DeleteEntry { choice, .. } | Self::DeleteMisspelled { choice, .. } => {
                let (name, label) = (self.variable(), label_and_file(*choice).0);
                write!(f, "remove {name}, a stale entry for {label}")
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

/// Returns what an entry starts, if it starts a copy of our guard from one of `esps`.
fn started_by(bytes: &[u8], esps: &[Guid]) -> Option<Choice> {
    let option = LoadOption::parse(bytes).ok()?;
    let drive = option.hard_drive()?;
    option.starts().filter(|_| esps.contains(&drive.uuid))
}

/// Returns the number in `Boot####`, four hexadecimal digits, and whether it is spelled in capitals
/// (UEFI 2.10, 3.1.3).
fn entry_number(name: &str) -> Option<(u16, bool)> {
    let digits = name.strip_prefix("Boot")?;
    let is_number = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_number.then(|| u16::from_str_radix(digits, 16).ok())??;
    Some((
        number,
        !digits.bytes().any(|byte| byte.is_ascii_lowercase()),
    ))
}
