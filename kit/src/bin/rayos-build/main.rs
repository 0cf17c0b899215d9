//! `rayos-build`: builds a release of a product.

mod args;

use anyhow::{Context as _, Result, bail};
use args::{Build, Cli, Init, Verb};
use clap::{CommandFactory as _, Parser as _};
use cli::ExitStatus;
use cli::output::{note, print};
use kit::config::{Config, ConfigError};
use kit::plan::{Step, bundle, plan};
use kit::{init, locate, run};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            cli::output::error("rayos-build", &error);
            exit_status(&error)
        }
    }
    .into()
}

fn run(arguments: Cli) -> Result<()> {
    match arguments.verb {
        Verb::Init(init) => create(&init),
        Verb::Build(build) => build_release(&build),
        Verb::Generate(generate) => Ok(generate.write(&Cli::command())?),
    }
}

/// A program that this machine lacks.
#[derive(Debug, thiserror::Error)]
#[error("missing: {}", .0.join(", "))]
struct MissingPrograms(Vec<String>);

fn exit_status(error: &anyhow::Error) -> ExitStatus {
    if error.is::<MissingPrograms>() {
        return ExitStatus::Unavailable;
    }
    if error.is::<ConfigError>() {
        return ExitStatus::Usage;
    }
    ExitStatus::Failed
}

/// Writes the files of a new product, its key and its trust file.
fn create(arguments: &Init) -> Result<()> {
    let folder = &arguments.folder;
    init::write_files(folder)?;
    let key = folder.join("keys/release");
    let made = Command::new("rayos-bundle")
        .args(["keygen", "-o"])
        .arg(&key)
        .status();
    let made = made.context("rayos-bundle (package rayos-tools)")?;
    if !made.success() {
        bail!("rayos-bundle keygen: {made}");
    }
    let public = fs::read_to_string(key.with_extension("pub"))?;
    init::write_new(&folder.join("trust.toml"), &init::trust_file(&public))?;
    note(&format!(
        "Edit {}, then run: rayos-build build {}",
        folder.join("rayos.toml").display(),
        folder.display()
    ));
    Ok(())
}

fn build_release(arguments: &Build) -> Result<()> {
    let mut config = Config::load(&arguments.folder.join("rayos.toml"))?;
    if let Some(version) = &arguments.version {
        config.release.version.clone_from(version);
    }
    if let Some(index) = arguments.rollback_index {
        config.release.rollback_index = index;
    }
    config.check().map_err(ConfigError::Value)?;
    let boot = locate::boot_files(&config)?;
    let steps = plan(&config, &boot);
    if arguments.plan {
        return Ok(print(&lines(&steps))?);
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let missing = run::missing_programs(&steps, &path);
    if !missing.is_empty() {
        return Err(MissingPrograms(missing).into());
    }
    for step in &steps {
        note(&format!("+ {step}"));
        run::run(step)?;
    }
    let results: Vec<String> = results(&config.out, &bundle(&config))?;
    Ok(print(&results.join("\n"))?)
}

fn lines(steps: &[Step]) -> String {
    let lines: Vec<String> = steps.iter().map(Step::to_string).collect();
    lines.join("\n")
}

/// Returns the paths of the results, the bundle first.
fn results(out: &Path, bundle: &Path) -> Result<Vec<String>> {
    let mut names = vec![bundle.display().to_string()];
    for name in ["stick.img", "disk.img"] {
        let path = out.join(name);
        if path.exists() {
            names.push(path.display().to_string());
        }
    }
    Ok(names)
}
