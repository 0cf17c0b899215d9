//! The verb `generate`: man pages and shell completions, from the same description as the command
//! line.

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;
use std::io;
use std::path::PathBuf;

/// Write man pages or shell completions
#[derive(Args, Clone, Debug)]
pub struct Generate {
    /// What to write
    pub what: Generated,
    /// Folder to write into; it is created if it is missing
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
}

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// Completions for bash, zsh and fish
    Completions,
    /// Man pages (section 1), one for each verb
    Man,
}

impl Generate {
    /// Writes the files for `command` into the folder, replacing older ones.
    ///
    /// # Errors
    /// Whatever creating the folder or writing a file returns.
    ///
    /// # Power loss
    /// Leaves some files missing or short; running it again writes them all.
    pub fn write(&self, command: &Command) -> io::Result<()> {
        std::fs::create_dir_all(&self.output)?;
        match self.what {
            Generated::Man => clap_mangen::generate_to(command.clone(), &self.output)?,
            Generated::Completions => {
                let name = command.get_name().to_owned();
                for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                    clap_complete::generate_to(shell, &mut command.clone(), &name, &self.output)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_for_each_shell_and_a_page_for_each_verb() {
        let folder = std::env::temp_dir().join(format!("rayos-generate-{}", std::process::id()));
        let command = Command::new("rayos-x").subcommand(Command::new("y"));
        for what in [Generated::Completions, Generated::Man] {
            let output = folder.clone();
            Generate { what, output }.write(&command).unwrap();
        }
        for name in [
            "rayos-x.bash",
            "_rayos-x",
            "rayos-x.fish",
            "rayos-x.1",
            "rayos-x-y.1",
        ] {
            assert!(folder.join(name).is_file(), "{name}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
