//! `rayos-bootctl`: how this machine boots.

mod cli;
mod repair;
mod show;
mod verbs;

use clap::Parser as _;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match verbs::run(&cli) {
        Ok(code) => code,
        Err(failure) => {
            show::say(format_args!("rayos-bootctl: {failure}"));
            failure.code()
        }
    }
}

/// Ends with a result on stdout, which must not be lost silently.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
