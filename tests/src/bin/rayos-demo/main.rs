//! `rayos-demo`: installs a machine, updates it, applies a broken release, and shows the fallback,
//! with an explanation of each step. `scripts/demo` builds the inputs and starts it.

mod narrator;
mod steps;

use anyhow::{Result, bail};
use narrator::Narrator;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: rayos-demo --sample FOLDER --stick FILE --out FOLDER [--verbose]";

/// The options of the demo.
struct Options {
    /// The sample releases.
    sample: PathBuf,
    /// The installation stick.
    stick: PathBuf,
    /// Folder for disk, variables and consoles.
    out: PathBuf,
    /// Show every line of the console.
    verbose: bool,
}

fn main() -> ExitCode {
    let mut narrator = Narrator::default();
    let options = match parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            narrator.error(&format!("{error}\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match steps::run(&options, &mut narrator) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            narrator.error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Options> {
    let (mut sample, mut stick, mut out, mut verbose) = (None, None, None, false);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--sample") => sample = words.next(),
            Some("--stick") => stick = words.next(),
            Some("--out") => out = words.next(),
            Some("--verbose") => verbose = true,
            _ => bail!("unknown argument {}", word.to_string_lossy()),
        }
    }
    match (sample, stick, out) {
        (Some(sample), Some(stick), Some(out)) => {
            // Programs run in the sample's folder.
            let absolute = |path: OsString| std::path::absolute(path);
            Ok(Options {
                sample: absolute(sample)?,
                stick: absolute(stick)?,
                out: absolute(out)?,
                verbose,
            })
        }
        _ => bail!("--sample, --stick and --out are needed"),
    }
}
