//! Kernel panics in pstore, where the firmware keeps them over a reset (Linux,
//! Documentation/admin-guide/pstore-blk.rst and `fs/pstore`). efi-pstore splits a log into files of
//! about 1 KiB; part 1 is the end of the log.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Where Linux mounts pstore.
pub const PSTORE_DIR: &str = "/sys/fs/pstore";
/// Maximum length of a part. Stops a backend with large records from filling memory.
const PART_MAX: u64 = 64 * 1024;
/// Maximum number of parts in one run. The next run reads the rest.
const PARTS_MAX: usize = 512;

/// One panic, joined from its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// The end of the kernel's log, up to its last line.
    pub text: String,
    /// Time of the panic by the clock at that time, in seconds since 1970; 0 if unknown.
    pub time: u64,
    /// The files that hold it.
    pub files: Vec<PathBuf>,
}

/// A part of a record: `Panic#2 Part3`, then text.
struct Part {
    number: u32,
    text: String,
    time: u64,
    file: PathBuf,
}

/// Returns all panics in `dir`, oldest first; none if the folder is missing. *Reads.* An oops that
/// the kernel survived is not a panic.
///
/// # Errors
/// The error of reading the folder. A part that cannot be read is skipped.
pub fn panics(dir: &Path) -> io::Result<Vec<Panic>> {
    let mut names = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?,
    };
    names.retain(|name| name.to_string_lossy().starts_with("dmesg-"));
    names.sort_unstable();
    // The latest ones: those of other systems stay there, and must not hide ours.
    let older = names.len().saturating_sub(PARTS_MAX);
    let parts = names
        .into_iter()
        .skip(older)
        .filter_map(|name| part(dir.join(name)));
    let mut found: Vec<(Panic, Vec<Part>)> = Vec::new();
    // Names begin with the time, so the parts of one panic follow each other, numbered from 1.
    for part in parts {
        match found
            .last_mut()
            .filter(|(_, parts)| parts.last().is_some_and(|last| last.number < part.number))
        {
            Some((_, parts)) => parts.push(part),
            None => found.push((
                Panic {
                    text: String::new(),
                    time: part.time,
                    files: Vec::new(),
                },
                vec![part],
            )),
        }
    }
    Ok(found
        .into_iter()
        .map(|(panic, parts)| joined(panic, parts))
        .collect())
}

/// Joins the parts. Part 1 is the end of the log.
fn joined(mut panic: Panic, parts: Vec<Part>) -> Panic {
    for part in parts.into_iter().rev() {
        panic.text.push_str(&part.text);
        panic.files.push(part.file);
    }
    panic.text = panic
        .text
        .lines()
        .map(without_level)
        .collect::<Vec<_>>()
        .join("\n");
    panic
}

/// Returns a line of the log without its level, as in `<0>[    1.234567] Kernel panic`.
fn without_level(line: &str) -> &str {
    let level = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    level
        .filter(|(digits, _)| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(line, |(_, rest)| rest)
}

fn part(file: PathBuf) -> Option<Part> {
    let time = fs::metadata(&file)
        .ok()?
        .modified()
        .ok()?
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let mut bytes = Vec::new();
    fs::File::open(&file)
        .ok()?
        .take(PART_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, text) = text.split_once('\n')?;
    let number = head
        .strip_prefix("Panic#")?
        .split_once(" Part")?
        .1
        .trim()
        .parse()
        .ok()?;
    Some(Part {
        number,
        text: text.to_owned(),
        time,
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn parts_are_joined_from_the_last_to_the_first() {
        let dir = dir(&[
            (
                "dmesg-efi-176399000001001",
                "Panic#1 Part1\n<0>[    2.5] Kernel panic\n<0>[    2.6] end\n",
            ),
            (
                "dmesg-efi-176399000002001",
                "Panic#1 Part2\n<6>[    1.0] begin\n",
            ),
            ("dmesg-efi-176399900001001", "Panic#1 Part1\nanother day\n"),
            ("dmesg-efi-176398000001001", "Oops#1 Part1\nit continued\n"),
            ("console-ramoops-0", "Panic#1 Part1\nnot a dump\n"),
        ]);
        let found = panics(dir.path()).unwrap();
        let texts: Vec<&str> = found.iter().map(|panic| panic.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "[    1.0] begin\n[    2.5] Kernel panic\n[    2.6] end",
                "another day"
            ]
        );
        assert_eq!((found[0].files.len(), found[1].files.len()), (2, 1));
    }

    #[test]
    fn a_missing_folder_and_malformed_files_hold_no_panic() {
        assert_eq!(panics(Path::new("/no/such/directory")).unwrap(), []);
        let dir = dir(&[
            ("dmesg-a", ""),
            ("dmesg-b", "Panic#1 PartX\n"),
            ("dmesg-c", "Panic#1\n"),
            ("d", "\u{0}"),
        ]);
        fs::create_dir(dir.path().join("dmesg-dir")).unwrap();
        fs::write(dir.path().join("dmesg-bytes"), [0xff; 100]).unwrap();
        assert_eq!(panics(dir.path()).unwrap(), []);
    }
}
