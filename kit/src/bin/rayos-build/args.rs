//! The command line: one struct for each verb.

use clap::{Args, Parser, Subcommand};
use cli::ExitStatus;
use cli::generate::Generate;
use std::path::PathBuf;

/// Builds a release of a product from its root file system, its kernel and one rayos.toml
#[derive(Debug, Parser)]
#[command(name = "rayos-build", version, after_help = exit_codes())]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

fn exit_codes() -> String {
    ExitStatus::help(&[
        ExitStatus::Success,
        ExitStatus::Failed,
        ExitStatus::Usage,
        ExitStatus::Unavailable,
    ])
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Init(Init),
    Build(Build),
    #[command(hide = true)]
    Generate(Generate),
}

/// Write a commented rayos.toml, answers for the stick, a new signing key and its trust file
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// Folder of the product; files that exist are not replaced
    pub(crate) folder: PathBuf,
}

/// Build everything that rayos.toml describes, and print the paths of the results
///
/// Root needs this if the files of its tree belong to several users.
#[derive(Args, Debug)]
pub(crate) struct Build {
    /// Folder of rayos.toml
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Version, instead of that in rayos.toml
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// Rollback index, instead of that in rayos.toml
    #[arg(long, value_name = "INDEX")]
    pub(crate) rollback_index: Option<u64>,
    /// Only print the steps
    #[arg(long)]
    pub(crate) plan: bool,
}
