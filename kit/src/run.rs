//! Runs the steps of a build.

use crate::archive::{ArchiveFile, archive};
use crate::plan::{Command, Content, Step};
use crate::uki::{self, Section, UkiError};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// External programs, and the packages of Debian that have them.
const PACKAGES: &[(&str, &str)] = &[
    ("mkfs.erofs", "erofs-utils"),
    ("sbsign", "sbsigntool"),
    ("rayos-bundle", "rayos-tools"),
    ("rayos-installer", "rayos-tools"),
];

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or folder.
    #[error("{path}: {error}")]
    File {
        /// Its path.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A file of the tree that has other content than the build.
    #[error("{path} differs from {wanted}: remove one of them")]
    Differs {
        /// The file of the tree.
        path: PathBuf,
        /// What it should hold.
        wanted: String,
    },
    /// The recovery initramfs could not be extended.
    #[error("the initramfs cannot hold {0}")]
    Archive(String),
    /// The boot or recovery image could not be made.
    #[error("{path}: {error}")]
    Uki {
        /// The file to write.
        path: PathBuf,
        /// The reason.
        error: UkiError,
    },
    /// A command that ended with an error, which it has printed.
    #[error("{program}: {status}")]
    Command {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
}

/// Returns the programs of `steps` that this machine does not have, each with the package that has
/// it. *Reads* the folders of `path`, in the form of the variable `PATH`.
#[must_use]
pub fn missing_programs(steps: &[Step], path: &str) -> Vec<String> {
    let mut missing = BTreeMap::new();
    for step in steps {
        let Step::Run(Command { program, .. }) = step else {
            continue;
        };
        let found = if program.components().count() > 1 {
            program.is_file()
        } else {
            path.split(':')
                .any(|folder| Path::new(folder).join(program).is_file())
        };
        if !found {
            let name = program.to_string_lossy().into_owned();
            let package = PACKAGES.iter().find(|(known, _)| *known == name);
            let package = package.map_or("rayos-system, in the root tree", |(_, package)| package);
            missing.insert(name, package);
        }
    }
    let named = missing.into_iter();
    named
        .map(|(name, package)| format!("{name} (package {package})"))
        .collect()
}

/// Runs one step. *Writes*; a build that was interrupted is repeated as a whole.
///
/// # Errors
/// [`RunError`].
///
/// # Power loss
/// Leaves some results missing or short.
pub fn run(step: &Step) -> Result<(), RunError> {
    match step {
        Step::Folder(path) => fs::create_dir_all(path).map_err(in_file(path)),
        Step::Place(path, content) => place(path, content),
        Step::Write(path, content) => write(path, &read(content)?),
        Step::Initramfs { base, files, out } => initramfs(base, files, out),
        Step::Uki {
            stub,
            sections,
            out,
        } => unified(stub, sections, out),
        Step::Run(command) => run_command(command),
    }
}

fn in_file(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_owned();
    move |error| RunError::File { path, error }
}

fn read(content: &Content) -> Result<Vec<u8>, RunError> {
    match content {
        Content::File(path) => fs::read(path).map_err(in_file(path)),
        Content::Text(text) => Ok(text.clone().into_bytes()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    fs::write(path, bytes).map_err(in_file(path))
}

/// Writes a file of the tree, unless it is there.
fn place(path: &Path, content: &Content) -> Result<(), RunError> {
    let wanted = read(content)?;
    match fs::read(path) {
        Ok(found) if found == wanted => Ok(()),
        Ok(_) => Err(RunError::Differs {
            path: path.to_owned(),
            wanted: match content {
                Content::File(path) => path.display().to_string(),
                Content::Text(text) => text.trim_end().to_owned(),
            },
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(folder).map_err(in_file(folder))?;
            write(path, &wanted)
        }
        Err(error) => Err(in_file(path)(error)),
    }
}

fn initramfs(base: &Path, files: &[(&str, Content)], out: &Path) -> Result<(), RunError> {
    let files = files.iter().map(|(path, content)| {
        Ok(ArchiveFile {
            path: (*path).to_owned(),
            content: read(content)?,
        })
    });
    let files = files.collect::<Result<Vec<_>, RunError>>()?;
    let mut bytes = archive(&files).map_err(RunError::Archive)?;
    bytes.extend(fs::read(base).map_err(in_file(base))?);
    write(out, &bytes)
}

fn unified(stub: &Path, sections: &[(&str, Content)], out: &Path) -> Result<(), RunError> {
    let contents = sections
        .iter()
        .map(|(_, content)| read(content))
        .collect::<Result<Vec<_>, RunError>>()?;
    let sections: Vec<Section<'_>> = sections
        .iter()
        .zip(&contents)
        .map(|((name, _), content)| Section { name, content })
        .collect();
    let stub = fs::read(stub).map_err(in_file(stub))?;
    let image = uki::assemble(&stub, &sections).map_err(|error| RunError::Uki {
        path: out.to_owned(),
        error,
    })?;
    write(out, &image)
}

fn run_command(command: &Command) -> Result<(), RunError> {
    let Command { program, args, out } = command;
    if let Some(out) = out {
        match fs::remove_file(out) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(in_file(out)(error));
            }
            _ => {}
        }
    }
    // Its results are files; what it prints is about progress.
    let status = std::process::Command::new(program)
        .args(args)
        .stdout(io::stderr())
        .status()
        .map_err(in_file(program))?;
    if status.success() {
        return Ok(());
    }
    Err(RunError::Command {
        program: program.clone(),
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_tree_is_written_once_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/rayos/system.toml");
        let content = Content::Text("compatible = \"a\"\n".to_owned());
        let step = Step::Place(path.clone(), content);
        run(&step).unwrap();
        run(&step).unwrap();
        fs::write(&path, "compatible = \"b\"\n").unwrap();
        let words = run(&step).unwrap_err().to_string();
        assert!(
            words.ends_with("system.toml differs from compatible = \"a\": remove one of them"),
            "{words}"
        );
    }

    #[test]
    fn missing_programs_are_named_with_their_packages() {
        let command = |program: &str| {
            Step::Run(Command {
                program: program.into(),
                args: Vec::new(),
                out: None,
            })
        };
        let steps = ["sbsign", "mkfs.erofs", "sbsign"].map(command);
        assert_eq!(
            missing_programs(&steps, "/nonexistent:/none"),
            [
                "mkfs.erofs (package erofs-utils)",
                "sbsign (package sbsigntool)"
            ]
        );
        let folder = tempfile::tempdir().unwrap();
        for program in ["sbsign", "mkfs.erofs"] {
            fs::write(folder.path().join(program), "").unwrap();
        }
        let path = folder.path().display().to_string();
        assert!(missing_programs(&steps, &path).is_empty());
    }

    #[test]
    fn an_older_result_is_removed_and_a_failed_command_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::write(&out, "of an older build").unwrap();
        let step = Step::Run(Command {
            program: "false".into(),
            args: Vec::new(),
            out: Some(out.clone()),
        });
        let words = run(&step).unwrap_err().to_string();
        assert_eq!(words, "false: exit status: 1");
        assert!(!out.exists());
    }
}
