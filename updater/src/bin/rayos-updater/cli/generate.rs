//! `rayos-updater generate`: man pages and completions, from the same description as the command
//! line.

use super::Cli;
use crate::exit_code::Ending;
use crate::output;
use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

/// Write completions or man pages
#[derive(Args)]
pub(super) struct Generate {
    /// What to write
    what: Generated,
    /// Into which directory
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Generated {
    /// For bash, zsh and fish
    Completions,
    /// Section 1
    Man,
}

impl Generate {
    pub(super) fn run(self) -> Ending {
        match self.write().with_context(|| self.out.display().to_string()) {
            Ok(()) => Ending::Done,
            Err(error) => output::error(&error),
        }
    }

    fn write(&self) -> Result<()> {
        std::fs::create_dir_all(&self.out)?;
        match self.what {
            Generated::Man => clap_mangen::generate_to(Cli::command(), &self.out)?,
            Generated::Completions => {
                for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                    clap_complete::generate_to(
                        shell,
                        &mut Cli::command(),
                        "rayos-updater",
                        &self.out,
                    )?;
                }
            }
        }
        Ok(())
    }
}
