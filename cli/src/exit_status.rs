//! The exit codes of all programs.

use std::process::ExitCode;

/// How a program ended. The numbers are stable: scripts compare them (docs/exit-codes.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// Everything was done as asked.
    Success,
    /// An error that has no code of its own. The target of the operation is unchanged.
    Failed,
    /// The command line is wrong.
    Usage,
    /// A signature, digest, length, rollback index or compatible was refused.
    Refused,
    /// A person has to confirm, and no one did.
    ConfirmationRequired,
    /// The disk or machine is busy or not suitable.
    Unavailable,
    /// The slot differs from what was signed, or it cannot be read to decide.
    Damaged,
    /// The requested state already holds.
    NothingToDo,
    /// Failed after the target slot was disarmed, or after the writing of a disk had begun: it holds
    /// no release now.
    SlotEmptied,
    /// The boot guard did not start this system.
    NotGuarded,
    /// Stopped by the signal with this number.
    Signal(u8),
}

impl ExitStatus {
    /// Every status, with the two signals that the programs handle.
    pub const ALL: [Self; 12] = [
        Self::Success,
        Self::Failed,
        Self::Usage,
        Self::Refused,
        Self::ConfirmationRequired,
        Self::Unavailable,
        Self::Damaged,
        Self::NothingToDo,
        Self::SlotEmptied,
        Self::NotGuarded,
        Self::Signal(2),
        Self::Signal(15),
    ];

    /// Returns the number that the process ends with. *Pure.*
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::ConfirmationRequired => 4,
            Self::Unavailable => 5,
            Self::Damaged => 6,
            Self::NothingToDo => 7,
            Self::SlotEmptied => 8,
            // The code by which automake's test harness, and ours, knows a skipped test.
            Self::NotGuarded => 77,
            // The convention of POSIX shells.
            Self::Signal(number) => 128_u8.saturating_add(number),
        }
    }

    /// Returns the meaning in a few words, for help texts and docs/exit-codes.md. *Pure.*
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done",
            Self::Failed => "failed, nothing was changed",
            Self::Usage => "wrong usage",
            Self::Refused => "signature, digest, length, version or compatible refused",
            Self::ConfirmationRequired => "confirmation required",
            Self::Unavailable => "busy or not suitable",
            Self::Damaged => "the slot differs from what was signed, or cannot be read",
            Self::NothingToDo => "nothing to do",
            Self::SlotEmptied => "failed, and the target slot or disk holds no release now",
            Self::NotGuarded => "not started by the boot guard",
            Self::Signal(2) => "interrupted (SIGINT); the same command continues",
            Self::Signal(_) => "terminated (SIGTERM); the same command continues",
        }
    }

    /// Returns the exit codes among `statuses` as one paragraph for the end of a help text. *Pure.*
    #[must_use]
    pub fn help(statuses: &[Self]) -> String {
        let codes: Vec<String> = statuses
            .iter()
            .map(|status| format!("{} {}", status.code(), status.meaning()))
            .collect();
        format!("Exit codes: {}", codes.join("; "))
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_status_has_its_own_code_and_its_own_words() {
        let codes: HashSet<u8> = ExitStatus::ALL.map(ExitStatus::code).into();
        let words: HashSet<&str> = ExitStatus::ALL.map(ExitStatus::meaning).into();
        assert_eq!(codes.len(), ExitStatus::ALL.len());
        assert_eq!(words.len(), ExitStatus::ALL.len());
    }

    #[test]
    fn the_table_in_the_documentation_is_this_table() {
        let page = include_str!("../../docs/exit-codes.md");
        for status in ExitStatus::ALL {
            let row = format!("| {} | {} |", status.code(), status.meaning());
            assert!(
                page.contains(&row),
                "docs/exit-codes.md lacks the row {row:?}"
            );
        }
    }

    #[test]
    fn the_help_names_codes_with_their_meaning() {
        let help = ExitStatus::help(&[ExitStatus::Success, ExitStatus::Refused]);
        assert!(
            help.starts_with("Exit codes: 0 done; 3 signature, "),
            "{help}"
        );
    }
}
