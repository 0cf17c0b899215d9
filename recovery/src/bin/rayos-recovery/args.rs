//! The command line.

use bootctl::system::SYSTEM_FILE;
use clap::Parser;
use std::path::PathBuf;

/// Main program of the recovery system: installs from a medium, or reports the state of the disk
#[derive(Parser)]
#[command(name = "rayos-recovery", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    /// Trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = "/etc/rayos/trust.toml", value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// Description of this system
    #[arg(long, default_value = SYSTEM_FILE, value_name = "FILE")]
    pub(crate) system: PathBuf,
    /// Mount point for the medium
    #[arg(long, default_value = "/run/media", value_name = "DIR")]
    pub(crate) mount: PathBuf,
    /// Without unattended answers: also ask on this terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) screen: Option<PathBuf>,
    /// Boot the system that is installed on the disk, although the medium is present
    #[arg(long)]
    pub(crate) start_installed: bool,
}
