//! The command line: one structure for each verb.

use clap::{Args, Parser, Subcommand};
use cli::ExitStatus;
use cli::generate::Generate;
use cli::quantity::Size;
use std::path::PathBuf;
use updater::source::Location;

/// Installs RayOS: creates the slots, then applies the first bundle to one of them.
///
/// Without a verb, asks what to install on a terminal (see `interactive`). Elsewhere it prints a plan
/// for a sample machine, and reads and writes no disk.
#[derive(Parser)]
#[command(name = "rayos-installer", version, about, max_term_width = 100)]
#[command(after_help = exit_codes())]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    #[command(flatten)]
    pub(crate) plan: Plan,
}

fn exit_codes() -> String {
    ExitStatus::help(&[
        ExitStatus::Success,
        ExitStatus::Failed,
        ExitStatus::Usage,
        ExitStatus::Refused,
        ExitStatus::ConfirmationRequired,
        ExitStatus::Unavailable,
        ExitStatus::NothingToDo,
        ExitStatus::SlotEmptied,
    ])
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    Interactive(Interactive),
    Plan(Plan),
    Apply(Apply),
    Image(Image),
    Media(Media),
    RepairEsp(RepairEsp),
    /// Write man pages or shell completions
    #[command(hide = true)]
    Generate(Generate),
}

/// Install with questions: choose a disk, see it before and after, confirm, watch
///
/// Nothing is written before the end of the disk's own name was typed. Without a bundle it plans an
/// installation, and saves the answers file that does it unattended.
///
/// Keys: arrows move, Enter chooses, Escape returns to the screen before, Page Up and Page Down
/// scroll, Ctrl-C leaves, Ctrl-L draws the screen again. There are no colours.
#[derive(Args)]
pub(crate) struct Interactive {
    /// Bundle to install, a file or a URL
    #[arg(long)]
    pub(crate) bundle: Option<Location>,
    /// Trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = TRUST, value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// Answers file to begin with; docs/install.example.toml has every key
    #[arg(long, value_name = "FILE")]
    pub(crate) answers: Option<PathBuf>,
    /// Where the answers file of this installation can be saved; an existing file is not replaced
    #[arg(long, value_name = "FILE", default_value = SAVE)]
    pub(crate) save: PathBuf,
    /// Hardware name that releases must be compatible with [default: the one in the answers file,
    /// else the first one in the bundle]
    #[arg(long, value_name = "NAME")]
    pub(crate) compatible: Option<String>,
    /// Questions and answers as lines, for screen readers and pipes; the default without a terminal
    /// and with TERM=dumb
    #[arg(long)]
    pub(crate) plain: bool,
    /// Also use this terminal, full screen; both show the same and take keys
    #[arg(long, value_name = "FILE")]
    pub(crate) console: Vec<PathBuf>,
    /// Show the disks of a sample machine; nothing can be installed
    #[arg(long)]
    pub(crate) sample: bool,
    /// Read the machine from this folder, which has `sys`, `proc` and `dev`, and leave the EFI
    /// variables of this machine unchanged: for disk images, and for trying
    #[arg(long, value_name = "FOLDER", conflicts_with = "sample")]
    pub(crate) machine: Option<PathBuf>,
    /// Kernel name of a disk with the installation medium, which is never written
    #[arg(long, value_name = "NAME")]
    pub(crate) medium_disk: Vec<String>,
    /// On the installation medium: if the operator wants to start an installed system, write the
    /// path of its disk to this file and end
    #[arg(long, value_name = "FILE")]
    pub(crate) chosen: Option<PathBuf>,
}

/// The usual trust file.
const TRUST: &str = "/etc/rayos/trust.toml";
/// The usual place for an answers file.
const SAVE: &str = "install.toml";

impl Default for Interactive {
    fn default() -> Self {
        Self {
            bundle: None,
            trust: TRUST.into(),
            answers: None,
            save: SAVE.into(),
            compatible: None,
            plain: false,
            console: Vec::new(),
            sample: false,
            machine: None,
            medium_disk: Vec::new(),
            chosen: None,
        }
    }
}

/// Print which disk would be chosen and how it would be divided; write nothing
///
/// On a terminal this is a table and a drawing of the disk as it is and as it would be. Elsewhere it
/// is JSON. Both contain the hash of the plan, for `apply --plan-hash`.
#[derive(Args, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Inspect the disks of this machine instead of those of a sample machine
    #[arg(long)]
    pub(crate) enumerate_local_disks: bool,
    /// Answers file; docs/install.example.toml has every key
    #[arg(long, value_name = "FILE")]
    pub(crate) answers: Option<PathBuf>,
    /// Install into free space; partitions of other systems stay unchanged
    #[arg(long)]
    pub(crate) beside: bool,
    /// Plan to erase this disk, as `apply --erase` does
    #[arg(long, value_name = "ID")]
    pub(crate) erase: Option<String>,
    /// The recovery keys of the BitLocker volumes on the disk are at hand
    #[arg(long, requires = "beside")]
    pub(crate) recovery_key_at_hand: bool,
    /// Print JSON, also on a terminal
    #[arg(long)]
    pub(crate) json: bool,
    /// Print text, also to a file or pipe
    #[arg(long, conflicts_with = "json")]
    pub(crate) text: bool,
}

/// Install to a disk of this machine, as an answers file describes
#[derive(Args)]
pub(crate) struct Apply {
    /// Answers file; docs/install.example.toml has every key
    #[arg(long, value_name = "FILE")]
    pub(crate) answers: PathBuf,
    /// Bundle, a file or a URL; replaces the one in the answers file
    #[arg(long)]
    pub(crate) bundle: Option<Location>,
    /// Trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = "/etc/rayos/trust.toml", value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// Install into free space; partitions of other systems stay unchanged
    #[arg(long)]
    pub(crate) beside: bool,
    /// Erase this disk, named by serial number, or by device name if it has none (device names
    /// change from boot to boot); with --beside, erase only RayOS on it
    #[arg(long, value_name = "ID")]
    pub(crate) erase: Option<String>,
    /// Accept releases below the rollback floor of the previous installation on this disk; answers
    /// with `forget_floor` need this option or --yes
    #[arg(long)]
    pub(crate) forget_floor: bool,
    /// Install even if the answers file does not contain `unattended = true`
    #[arg(long)]
    pub(crate) yes: bool,
    /// Install only if the plan still has this hash, which `plan` printed; confirms that plan
    #[arg(long, value_name = "HASH")]
    pub(crate) plan_hash: Option<String>,
    /// The recovery keys of the BitLocker volumes on the disk are at hand
    #[arg(long, requires = "beside")]
    pub(crate) recovery_key_at_hand: bool,
}

/// Create a disk image with the release installed, by the same procedure
#[derive(Args)]
pub(crate) struct Image {
    /// Bundle: a file, - for standard input, or a URL
    #[arg(long)]
    pub(crate) bundle: Location,
    /// Trust file (TOML) or one public key (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// Size of the disk, such as 8G
    #[arg(long)]
    pub(crate) size: Size,
    /// Bytes in a sector: 512 or 4096
    #[arg(long, default_value_t = 512, value_parser = sector_size)]
    pub(crate) sector_size: u32,
    /// Layout (TOML) instead of the default one
    #[arg(long, value_name = "FILE")]
    pub(crate) layout: Option<PathBuf>,
    /// Hardware name that releases must be compatible with [default: the first one in the bundle]
    #[arg(long, value_name = "NAME")]
    pub(crate) compatible: Option<String>,
    /// Directory in efivarfs format to write boot entries to
    #[arg(long, value_name = "DIR")]
    pub(crate) efivars: Option<PathBuf>,
    /// Identity of the installation [default: random]
    #[arg(long, value_name = "GUID")]
    pub(crate) install_id: Option<String>,
    /// Image to create, a sparse file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Create an installation stick, or its file system alone
#[derive(Args)]
pub(crate) struct Media {
    /// Bundle; its recovery and guard images are copied to the stick too
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    /// Trust file (TOML) or one public key (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// Answers file to copy to the stick
    #[arg(long, value_name = "FILE")]
    pub(crate) answers: Option<PathBuf>,
    /// Create only the FAT file system, as an ISO image needs it
    #[arg(long)]
    pub(crate) esp_only: bool,
    /// Image to create
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Rewrite the EFI system partition of an installed disk if a copy of the boot guard is missing or
/// damaged
///
/// Slots, boot record and data stay unchanged. Run it from the installation medium: if the power
/// fails meanwhile, the firmware finds nothing to start on the disk.
///
/// Ends with code 7 if all copies are intact.
#[derive(Args)]
pub(crate) struct RepairEsp {
    /// Disk or image file
    #[arg(long, value_name = "FILE")]
    pub(crate) disk: PathBuf,
    /// Bundle that contains the guard
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    /// Trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = "/etc/rayos/trust.toml", value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// Only list the copies that are missing or damaged
    #[arg(long)]
    pub(crate) plan: bool,
    /// Delete other files on the partition
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Directory of EFI variables, to find out whether Secure Boot is on [default:
    /// /sys/firmware/efi/efivars for a disk, none for an image file]
    #[arg(long, value_name = "DIR")]
    pub(crate) efivars: Option<PathBuf>,
}

fn sector_size(text: &str) -> Result<u32, &'static str> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err("expected 512 or 4096"),
    }
}
