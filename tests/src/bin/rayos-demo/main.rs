//! `rayos-demo`: a machine is installed, updated, handed a broken release, and comes back by
//! itself, told as it happens. `scripts/demo` builds what it needs and starts it.

mod story;
mod teller;

use anyhow::{Result, bail};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use teller::Teller;

const USAGE: &str = "usage: rayos-demo --sample FOLDER --stick FILE --out FOLDER [--verbose]";

/// What the demo is made of.
struct Given {
    /// The sample releases.
    sample: PathBuf,
    /// The installation stick.
    stick: PathBuf,
    /// Where disk, variables and consoles are left.
    out: PathBuf,
    /// Show every line of the console.
    verbose: bool,
}

fn main() -> ExitCode {
    let mut teller = Teller::default();
    let given = match given(std::env::args_os().skip(1)) {
        Ok(given) => given,
        Err(error) => {
            teller.trouble(&format!("{error}\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match story::tell(&given, &mut teller) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            teller.trouble(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn given(mut words: impl Iterator<Item = OsString>) -> Result<Given> {
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
            // Programs are run in the sample's folder.
            let absolute = |path: OsString| std::path::absolute(path);
            Ok(Given {
                sample: absolute(sample)?,
                stick: absolute(stick)?,
                out: absolute(out)?,
                verbose,
            })
        }
        _ => bail!("--sample, --stick and --out are needed"),
    }
}
