//! Disk images, read and made by other tools: partition tables by `sfdisk`, FAT by mtools. The images
//! that our programs write are checked independently of our code.

use qemu::Failure;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A partition, as `sfdisk` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its label.
    pub name: String,
    /// Its type GUID, in upper case.
    pub kind: String,
    /// Its PARTUUID, in upper case.
    pub uuid: String,
    /// Its offset in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

#[derive(Deserialize)]
struct Dump {
    partitiontable: Table,
}

#[derive(Deserialize)]
struct Table {
    sectorsize: u64,
    #[serde(default)]
    partitions: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    start: u64,
    size: u64,
    #[serde(rename = "type")]
    kind: String,
    uuid: String,
    #[serde(default)]
    name: String,
}

/// Returns all partitions of a disk image with sectors of 512 bytes, by `sfdisk --json`. *Reads.*
///
/// # Errors
/// When there is no valid GPT on it.
pub fn partitions(image: &Path) -> Result<Vec<Partition>, Failure> {
    let text = output_of(Command::new("sfdisk").arg("--json").arg(image))?;
    let dump: Dump =
        serde_json::from_str(&text).map_err(Failure::of("read the output of sfdisk"))?;
    let sector = dump.partitiontable.sectorsize;
    Ok(dump
        .partitiontable
        .partitions
        .into_iter()
        .map(|row| Partition {
            name: row.name,
            kind: row.kind.to_uppercase(),
            uuid: row.uuid.to_uppercase(),
            offset: row.start * sector,
            len: row.size * sector,
        })
        .collect())
}

/// Returns the partition with this label. *Reads.*
///
/// # Errors
/// As [`partitions`], and when there is none.
pub fn partition(image: &Path, name: &str) -> Result<Partition, Failure> {
    let all = partitions(image)?;
    let names = all
        .iter()
        .map(|partition| partition.name.clone())
        .collect::<Vec<_>>()
        .join(", ");
    all.into_iter()
        .find(|partition| partition.name == name)
        .ok_or_else(|| {
            Failure::new(
                format!("find partition {name}"),
                format!("there are {names}"),
            )
        })
}

/// Returns the SHA-256, in hex, of `len` bytes of `file` from `offset` on. *Reads.*
///
/// # Errors
/// When the file cannot be read or is shorter.
pub fn digest_of(file: &Path, offset: u64, len: u64) -> Result<String, Failure> {
    let step = format!("read {}", file.display());
    let mut source = File::open(file).map_err(Failure::of(&step))?;
    source
        .seek(SeekFrom::Start(offset))
        .map_err(Failure::of(&step))?;
    let mut source = source.take(len);
    let (mut hash, mut piece, mut total) = (Sha256::new(), vec![0; 1 << 20], 0_u64);
    loop {
        match source.read(&mut piece).map_err(Failure::of(&step))? {
            0 => break,
            count => {
                hash.update(&piece[..count]);
                total += count as u64;
            }
        }
    }
    if total != len {
        return Err(Failure::new(
            step,
            format!("{total} bytes from {offset} on, expected {len}"),
        ));
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

impl Partition {
    /// Returns the SHA-256, in hex, of the whole partition. *Reads.*
    ///
    /// # Errors
    /// As [`digest_of`].
    pub fn digest(&self, image: &Path) -> Result<String, Failure> {
        digest_of(image, self.offset, self.len)
    }

    /// Returns its first `len` bytes. *Reads.*
    ///
    /// # Errors
    /// When the image cannot be read.
    pub fn head(&self, image: &Path, len: usize) -> Result<Vec<u8>, Failure> {
        let step = format!("read {} of {}", self.name, image.display());
        let mut source = File::open(image).map_err(Failure::of(&step))?;
        let mut bytes = vec![0; len];
        source
            .seek(SeekFrom::Start(self.offset))
            .map_err(Failure::of(&step))?;
        source.read_exact(&mut bytes).map_err(Failure::of(&step))?;
        Ok(bytes)
    }
}

/// A FAT file system: an image file, or a part of one.
#[derive(Clone, Debug)]
pub struct Fat {
    image: PathBuf,
    offset: u64,
}

impl Fat {
    /// Creates an image file with an empty FAT32 file system. *Writes.*
    ///
    /// # Errors
    /// When mkfs.vfat fails.
    pub fn create(image: impl Into<PathBuf>, mib: u64) -> Result<Self, Failure> {
        let image = image.into();
        let step = format!("make {}", image.display());
        let file = File::create(&image).map_err(Failure::of(&step))?;
        file.set_len(mib << 20).map_err(Failure::of(&step))?;
        output_of(
            Command::new("mkfs.vfat")
                .args(["-F", "32", "-n", "RAYOS"])
                .arg(&image),
        )?;
        Ok(Self { image, offset: 0 })
    }

    /// The file system that begins at byte `offset` of `image`. *Pure.*
    #[must_use]
    pub fn at(image: impl Into<PathBuf>, offset: u64) -> Self {
        Self {
            image: image.into(),
            offset,
        }
    }

    /// Copies the file `from` to the path `to` (`EFI/BOOT/BOOTX64.EFI`) and creates its folders.
    /// *Writes.*
    ///
    /// # Errors
    /// When mtools fails.
    pub fn put(&self, from: &Path, to: &str) -> Result<(), Failure> {
        for (at, _) in to.match_indices('/') {
            // An existing folder is an error of mmd, and ignored.
            output_of(
                self.tool("mmd")
                    .args(["-D", "s"])
                    .arg(format!("::{}", &to[..at])),
            )
            .ok();
        }
        output_of(
            self.tool("mcopy")
                .args(["-D", "o"])
                .arg(from)
                .arg(format!("::{to}")),
        )
        .map(|_| ())
    }

    /// Copies the file at path `from` to the host's file `to`. *Reads* the image.
    ///
    /// # Errors
    /// When mtools fails, for example because there is no such file.
    pub fn take(&self, from: &str, to: &Path) -> Result<(), Failure> {
        output_of(
            self.tool("mcopy")
                .arg("-n")
                .arg(format!("::{from}"))
                .arg(to),
        )
        .map(|_| ())
    }

    /// Deletes the file at `path`. *Writes.*
    ///
    /// # Errors
    /// When mtools fails.
    pub fn delete(&self, path: &str) -> Result<(), Failure> {
        output_of(self.tool("mdel").arg(format!("::{path}"))).map(|_| ())
    }

    fn tool(&self, name: &str) -> Command {
        let mut image = self.image.clone().into_os_string();
        image.push(format!("@@{}", self.offset));
        let mut command = Command::new(name);
        command.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(image);
        command
    }
}

/// Runs `command` to its end and returns its stdout.
fn output_of(command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    // sgdisk, sfdisk and mkfs.vfat are in folders that are not on every user's path.
    let path = [path.as_os_str(), OsStr::new("/usr/sbin:/sbin")].join(OsStr::new(":"));
    let step = format!("run {}", name.to_string_lossy());
    let output = command
        .env("PATH", path)
        .output()
        .map_err(Failure::of(&step))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(
            step,
            format!("{}: {}", output.status, stderr.trim()),
        ));
    }
    String::from_utf8(output.stdout).map_err(Failure::of(step))
}

#[cfg(test)]
mod tests {
    use super::{Fat, digest_of, partition};
    use qemu::Failure;
    use std::process::Command;

    fn folder() -> Result<tempfile::TempDir, Failure> {
        tempfile::tempdir().map_err(Failure::of("make a folder"))
    }

    #[test]
    fn a_file_put_into_fat_comes_out_again() -> Result<(), Failure> {
        let folder = folder()?;
        let (file, back) = (folder.path().join("in"), folder.path().join("out"));
        std::fs::write(&file, b"guard").map_err(Failure::of("write"))?;
        let fat = Fat::create(folder.path().join("esp.img"), 40)?;
        fat.put(&file, "EFI/BOOT/BOOTX64.EFI")?;
        fat.put(&file, "EFI/BOOT/BOOTX64.EFI")?;
        fat.take("EFI/BOOT/BOOTX64.EFI", &back)?;
        assert_eq!(std::fs::read(&back).map_err(Failure::of("read"))?, b"guard");
        assert!(fat.take("EFI/BOOT/NONE.EFI", &back).is_err());
        Ok(())
    }

    #[test]
    fn partitions_are_found_by_label() -> Result<(), Failure> {
        let folder = folder()?;
        let image = folder.path().join("disk.img");
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(8 << 20))
            .map_err(Failure::of("make"))?;
        super::output_of(
            Command::new("sgdisk")
                .args(["-n", "1:2048:+1M", "-c", "1:rayos-state"])
                .arg(&image),
        )?;
        let found = partition(&image, "rayos-state")?;
        assert_eq!((found.offset, found.len), (1 << 20, 1 << 20));
        assert_eq!(
            found.digest(&image)?,
            "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58"
        );
        assert!(
            partition(&image, "root-a").is_err_and(|error| error.what == "there are rayos-state")
        );
        Ok(())
    }

    #[test]
    fn a_digest_past_the_end_is_refused() -> Result<(), Failure> {
        let folder = folder()?;
        let file = folder.path().join("file");
        std::fs::write(&file, b"abc").map_err(Failure::of("write"))?;
        assert_eq!(
            digest_of(&file, 0, 3)?,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(
            digest_of(&file, 1, 3)
                .is_err_and(|error| error.what == "2 bytes from 1 on, expected 3")
        );
        Ok(())
    }
}
