//! The verbs: each opens the machine, calls the library and prints.
//!
//! | module | verbs |
//! | --- | --- |
//! | `booted` | `booted` |
//! | `change` | `commit`, `rollback`, `boot-once`, `mark-bad`, `rearm` |
//! | `entries` | `entries` |
//! | `health` | `milestone`, `health`, `collect-panics` |
//! | `open` | opens the machine that the command line names |
//! | `repair` | `repair` |
//! | `restart` | restarts the machine, for `health` |
//! | `root` | `root` |
//! | `root_reading` | reads the root of a release on trial, for `health` |
//! | `status` | `status`, `why`, `log` |

mod booted;
mod change;
mod entries;
mod health;
mod open;
mod repair;
mod restart;
mod root;
mod root_reading;
mod status;

use crate::args::{Cli, Verb};
use crate::error::CommandError;
use bootctl::device::Access;
use bootctl::machine::{Change, Machine, MachineError};
use clap::CommandFactory as _;
use cli::ExitStatus;
use cli::clock::now;

/// Runs the verb of the command line.
pub(crate) fn run(cli: &Cli) -> Result<ExitStatus, CommandError> {
    let args = &cli.machine;
    // These write only the boot record, the ring and the entries, so they need not wait for an
    // update that is running.
    let change = |change: &dyn Fn(&Machine) -> Result<Change, MachineError>| {
        let machine = open::machine(args, Access::Record)?;
        change::report(&machine, &change(&machine)?)
    };
    match &cli.verb {
        Verb::Status(options) => status::status(args, options),
        Verb::Why(options) => status::why(args, options),
        Verb::Log(options) => status::log(args, options),
        Verb::Booted(options) => booted::booted(args, options),
        Verb::Root(options) => root::root(args, options),
        Verb::Milestone(options) => health::milestone(args, options),
        Verb::Health(options) => health::health(args, options),
        Verb::CollectPanics(options) => health::collect_panics(args, &options.pstore),
        Verb::Commit(options) => change::commit(args, options, ""),
        Verb::Rollback => change(&|machine| machine.rollback(now())),
        Verb::BootOnce { choice } => change(&|machine| machine.boot_once(*choice, now())),
        Verb::MarkBad { slot } => change(&|machine| machine.mark_bad(*slot, now())),
        Verb::Rearm { slot } => change(&|machine| machine.rearm(*slot, now())),
        Verb::Entries(options) => entries::entries(args, options),
        Verb::Repair(options) => repair::repair(args, options),
        Verb::Generate(options) => options
            .write(&Cli::command())
            .map(|()| ExitStatus::Success)
            .map_err(CommandError::file(&options.output)),
    }
}
