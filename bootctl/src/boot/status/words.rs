//! The words of slots and reasons, the same on the command line and in JSON.

use record::{Choice, Slot, Why};

/// Returns `a`, `b` or `recovery`. *Pure.*
#[must_use]
pub const fn choice_word(choice: Choice) -> &'static str {
    match choice {
        Choice::Slot(Slot::A) => "a",
        Choice::Slot(Slot::B) => "b",
        Choice::Recovery => "recovery",
    }
}

/// Returns the word in JSON for the reason of a start. *Pure.*
#[must_use]
pub const fn why_word(why: Why) -> &'static str {
    match why {
        Why::Default => "default",
        Why::Trial => "trial",
        Why::OneShot => "one-shot",
        Why::Fallback => "fallback",
        Why::Requested => "requested",
        Why::NothingBootable => "nothing-bootable",
    }
}
