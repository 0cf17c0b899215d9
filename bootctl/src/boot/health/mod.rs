//! Health: the checks that a release must pass before it is committed, and what follows if it does
//! not pass them.
//!
//! | module | holds |
//! | --- | --- |
//! | `cgroup` | a control group, which ends all processes of a check |
//! | `checks` | [`CheckFiles`]: the folder of the checks |
//! | `process` | one run of a check |
//! | `restart` | [`after_failure`]: restart, wait, or stay |
//! | `run` | [`run()`]: all checks, until they pass, one fails or the deadline passes |

mod cgroup;
mod checks;
mod process;
mod restart;
mod run;

pub use checks::CheckFiles;
pub use process::{NOT_YET, OUTPUT_MAX};
pub use restart::{AfterFailure, Gate, after_failure};
pub use run::{FailedCheck, Outcome, Plan, run};
