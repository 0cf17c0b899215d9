//! The command line of `rayos-bootctl`: one struct per verb, and nothing done here.

use clap::{Args, Parser, Subcommand, ValueEnum};
use record::{Choice, Slot, Text64};
use std::path::PathBuf;

/// Show and mend how this machine boots: which slot, why, and what comes next.
#[derive(Debug, Parser)]
#[command(name = "rayos-bootctl", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Where the machine is.
    #[command(flatten)]
    pub(crate) place: Place,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 usage; 3 signature or compatibility refused; 5 busy or not suitable; \
7 nothing to do; 77 not started by the boot guard";

/// Where the machine is: the running one, or any disk.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Work on this disk or image instead of the one that is running
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) disk: Option<PathBuf>,
    /// Directory of EFI variables: efivarfs, or files in its format [default:
    /// /sys/firmware/efi/efivars; none with --disk]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) efivars: Option<PathBuf>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Say in one sentence what runs and why, then show the slots
    Status(Json),
    /// Tell the story of the last fallback: which release failed, how far it got, its last words
    Why(Telling),
    /// Print which slot was started: a, b or recovery
    Booted(Booted),
    /// Make the verified device over the booted slot's root partition, and print its device node
    Root(Root),
    /// Note in the event ring how far this boot has come
    Milestone(Milestone),
    /// Run the health checks; commit when all pass
    Health(Health),
    /// Move kernel panics from pstore into the event ring, for `why` (`health` does it too)
    CollectPanics(CollectPanics),
    /// Declare the running system good
    Commit(Commit),
    /// Go back to the other slot at the next boot
    Rollback,
    /// Start a slot or recovery at the next boot, and at that alone
    BootOnce {
        /// a, b or recovery
        choice: Choice,
    },
    /// Never start a slot again until it is written anew
    MarkBad {
        /// a or b
        slot: Slot,
    },
    /// List the boot entries of the firmware
    Entries(Entries),
    /// Mend the boot record and the boot entries
    Repair(Repair),
    /// Print the event ring, oldest first
    Log(Telling),
    /// Write completions or man pages
    #[command(hide = true)]
    Generate(Generate),
}

/// How a story is told.
#[derive(Debug, Args)]
pub(crate) struct Telling {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show every line of what releases said, not the few that tell most
    #[arg(long)]
    pub(crate) full: bool,
}

/// Output for programs.
#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `booted`.
#[derive(Debug, Args)]
pub(crate) struct Booted {
    /// Print the device node of the booted slot's root partition instead; exit code 5 if it is not
    /// there yet
    #[arg(long, conflicts_with = "json")]
    pub(crate) root_device: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `root`.
#[derive(Debug, Args)]
pub(crate) struct Root {
    /// What a block leads to that is not as it was signed
    #[arg(long, value_enum, default_value_t = Corruption::Restart, value_name = "WHAT")]
    pub(crate) on_corruption: Corruption,
}

/// What a wrong block leads to.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Corruption {
    /// The machine restarts, and the start has cost a try: by a panic where the kernel restarts
    /// after one (panic= on its command line), so that `why` can tell the block
    Restart,
    /// The kernel's log tells of it, and the reader gets the wrong bytes: for finding faults
    Report,
}

/// `milestone`.
#[derive(Debug, Args)]
pub(crate) struct Milestone {
    /// How far
    pub(crate) stage: Stage,
    /// Words to keep with it
    #[arg(long, default_value = "")]
    pub(crate) text: String,
}

/// Milestones of a boot that a system notes itself.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Stage {
    /// The first program of the initramfs runs
    Initramfs,
    /// The root file system is mounted
    RootMounted,
    /// Services are started
    Userspace,
    /// It is not well: what the release is not committed for, told by --text
    Failed,
}

/// `health`.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Directory of the checks
    #[arg(long, default_value = "/etc/rayos/health.d")]
    pub(crate) dir: PathBuf,
    /// Within how many seconds all must pass
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub(crate) deadline: u64,
    /// How many seconds a single run of a check gets
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) time_out: u64,
    /// Commit without having read every block of the verified root once
    #[arg(long)]
    pub(crate) skip_root: bool,
    /// Reboot when they do not pass
    #[arg(long)]
    pub(crate) reboot: bool,
    /// What a commit needs
    #[command(flatten)]
    pub(crate) commit: Commit,
    /// Where the kernel shows what the firmware kept of a panic
    #[command(flatten)]
    pub(crate) panics: CollectPanics,
}

/// `commit`.
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// What this system says of itself: its compatible goes into a record that was rebuilt, and has
    /// lost it
    #[arg(long, default_value = bootctl::system::SYSTEM_FILE, value_name = "FILE")]
    pub(crate) system: PathBuf,
}

/// `collect-panics`.
#[derive(Debug, Args)]
pub(crate) struct CollectPanics {
    /// Directory of pstore, where the kernel shows what was kept of a panic
    #[arg(long, default_value = bootctl::pstore::PSTORE_DIR, value_name = "DIR")]
    pub(crate) pstore: PathBuf,
}

/// `entries`.
#[derive(Debug, Args)]
pub(crate) struct Entries {
    /// Show device paths too
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `repair`.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// Only say what would be done
    #[arg(long)]
    pub(crate) plan: bool,
    /// Leave the boot record alone
    #[arg(long)]
    pub(crate) entries_only: bool,
    /// What this machine is, if its record has lost that: a rebuilt one has
    #[arg(long, value_name = "NAME", value_parser = compatible, conflicts_with = "entries_only")]
    pub(crate) compatible: Option<Text64>,
    /// Whom to trust when a lost record is rebuilt from sealed slots: a guard program or its trust
    /// block
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
}

fn compatible(text: &str) -> Result<Text64, String> {
    let name = Text64::new(text).filter(|name| *name != Text64::EMPTY);
    name.ok_or_else(|| format!("{text:?} is not a name of 1 to 64 printable characters"))
}

/// `generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// What to write
    pub(crate) what: Generated,
    /// Into which directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// What `generate` writes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Generated {
    /// For bash, zsh and fish
    Completions,
    /// Section 8
    Man,
}
