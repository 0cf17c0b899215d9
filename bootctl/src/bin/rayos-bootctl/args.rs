//! The command line of `rayos-bootctl`: one struct for each verb, and no behaviour.

use crate::output::PROGRAM;
use clap::{Args, Parser, Subcommand, ValueEnum};
use cli::ExitStatus;
use cli::generate::Generate;
use record::{Choice, Slot, Text64};
use std::path::PathBuf;

/// Show and control how this machine boots: which slot, why, and what comes next
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = exit_codes())]
pub(crate) struct Cli {
    /// The machine to work on.
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

fn exit_codes() -> String {
    ExitStatus::help(&[
        ExitStatus::Success,
        ExitStatus::Failed,
        ExitStatus::Usage,
        ExitStatus::Refused,
        ExitStatus::Unavailable,
        ExitStatus::NothingToDo,
        ExitStatus::NotGuarded,
    ])
}

/// The machine to work on: the running one, or any disk.
#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Work on this disk or disk image instead of the running machine's disk
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) disk: Option<PathBuf>,
    /// Folder of EFI variables in the format of efivarfs [default: /sys/firmware/efi/efivars; none
    /// with --disk]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) efivars: Option<PathBuf>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show what is running and why, in one sentence, and the state of the slots
    Status(StatusArgs),
    /// Explain the last fallback: which release failed, how far it came, and its last output
    Why(EventArgs),
    /// Print which slot was started: a, b or recovery
    Booted(BootedArgs),
    /// Make the verified device over the booted slot's root partition, and print its device node
    Root(RootArgs),
    /// Record in the event ring how far this boot has come
    Milestone(MilestoneArgs),
    /// Run the health checks, and commit the running release if all pass
    Health(HealthArgs),
    /// Move kernel panics from pstore into the event ring, for `why`; `health` does it, too
    CollectPanics(PstoreArgs),
    /// Declare the running release good
    Commit(CommitArgs),
    /// Return to the other slot at the next boot
    Rollback,
    /// Start a slot or recovery at the next boot only
    BootOnce {
        /// a, b or recovery
        choice: Choice,
    },
    /// Do not start a slot until an update is written to it
    MarkBad {
        /// a or b
        slot: Slot,
    },
    /// Start a committed slot again that was given up because it did not reach its commit too often
    Rearm {
        /// a or b
        slot: Slot,
    },
    /// List the boot entries of the firmware
    Entries(EntriesArgs),
    /// Repair the partition table, the boot record and the boot entries
    Repair(RepairArgs),
    /// Print the event ring, oldest event first
    Log(EventArgs),
    /// Write man pages or shell completions
    #[command(hide = true)]
    Generate(Generate),
}

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `why` and `log`.
#[derive(Debug, Args)]
pub(crate) struct EventArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the whole text of each event, not an excerpt
    #[arg(long)]
    pub(crate) full: bool,
}

/// Options of `booted`.
#[derive(Debug, Args)]
pub(crate) struct BootedArgs {
    /// Print the device node of the booted slot's root partition instead; exit code 5 if it is not
    /// there yet, 3 if two disks have it
    #[arg(long, conflicts_with = "json")]
    pub(crate) root_device: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `root`.
#[derive(Debug, Args)]
pub(crate) struct RootArgs {
    /// Reaction to a block that is not as it was signed
    #[arg(long, value_enum, default_value_t = Corruption::Restart, value_name = "REACTION")]
    pub(crate) on_corruption: Corruption,
}

/// Reactions to a wrong block.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Corruption {
    /// Restart the machine, by a panic if the kernel restarts after one (panic= on its command
    /// line), so that `why` can name the block; the start has cost a try
    Restart,
    /// Log it, and return the wrong bytes; for finding faults
    Report,
}

/// Options of `milestone`.
#[derive(Debug, Args)]
pub(crate) struct MilestoneArgs {
    /// How far the boot has come
    pub(crate) milestone: Milestone,
    /// Text to record with it
    #[arg(long, default_value = "")]
    pub(crate) text: String,
}

/// Milestones that a system records itself.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Milestone {
    /// The first program of the initramfs runs
    Initramfs,
    /// The root file system is mounted
    RootMounted,
    /// Services are started
    Userspace,
    /// The release cannot be committed; --text says why. Exit code 7: a restart would not help
    Failed,
}

/// Options of `health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Folder of the health checks
    #[arg(long, default_value = "/etc/rayos/health.d", value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
    /// Time limit for all checks together
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub(crate) deadline: u64,
    /// Time limit for a single run of a check
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) time_out: u64,
    /// Commit without having read each block of the verified root once
    #[arg(long)]
    pub(crate) skip_root: bool,
    /// Reboot if the release cannot be committed; a committed one reboots only after a check failed,
    /// if there is another slot to return to, and otherwise runs the checks again until they pass
    #[arg(long)]
    pub(crate) reboot: bool,
    /// What a commit needs.
    #[command(flatten)]
    pub(crate) commit: CommitArgs,
    /// Where the kernel shows panics.
    #[command(flatten)]
    pub(crate) pstore: PstoreArgs,
}

/// Options of `commit`.
#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    /// File that names this system's compatible, which is missing from a rebuilt boot record
    #[arg(long, default_value = bootctl::system::SYSTEM_FILE, value_name = "FILE")]
    pub(crate) system: PathBuf,
}

/// Options of `collect-panics`.
#[derive(Debug, Args)]
pub(crate) struct PstoreArgs {
    /// Folder of pstore, where the kernel shows the logs of panics
    #[arg(long, default_value = bootctl::pstore::PSTORE_DIR, value_name = "FOLDER")]
    pub(crate) pstore: PathBuf,
}

/// Options of `entries`.
#[derive(Debug, Args)]
pub(crate) struct EntriesArgs {
    /// Show the file and the partition of each entry, too
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// Only print what would be done
    #[arg(long)]
    pub(crate) plan: bool,
    /// Leave the partition table and the boot record as they are
    #[arg(long)]
    pub(crate) entries_only: bool,
    /// The compatible of this machine, for a rebuilt boot record, from which it is missing
    #[arg(long, value_name = "NAME", value_parser = compatible, conflicts_with = "entries_only")]
    pub(crate) compatible: Option<Text64>,
    /// Guard program or trust block whose keys verify the slots from which a lost boot record is
    /// rebuilt
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
}

fn compatible(text: &str) -> Result<Text64, String> {
    Text64::new(text)
        .filter(|name| *name != Text64::EMPTY)
        .ok_or_else(|| format!("{text:?} is not a name of 1 to 64 printable characters"))
}
