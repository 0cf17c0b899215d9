//! The verified device over the root partition of the slot that was started.

use devmapper::{Control, DeviceNumber, DmError, OnCorruption, Verity};
use record::Handoff;
use rustix::io::Errno;
use seal::VerifiedRoot;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Name of the device in the kernel's device-mapper, and of what `dm/name` in sysfs shows.
pub const DEVICE_NAME: &str = "rayos-root";
/// The kernel's command line.
pub const COMMAND_LINE: &str = "/proc/cmdline";
/// Seconds after which the kernel restarts when it panicked; 0: never.
const PANIC_TIMEOUT: &str = "/proc/sys/kernel/panic";

/// Why the verified device cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The kernel's command line, which is signed with the boot image, asks for another root hash
    /// than the seal.
    #[error(
        "root hash: the kernel's command line has {asked}, the seal of the release has {signed}"
    )]
    Differs {
        /// What `roothash=` says.
        asked: String,
        /// What the guard handed over.
        signed: String,
    },
    /// The device-mapper refused.
    #[error(transparent)]
    DeviceMapper(#[from] DmError),
    /// A device of this name has another table.
    #[error("device {DEVICE_NAME} is there already, and is another one: {0}")]
    Taken(String),
    /// A part of the verified device cannot be read.
    #[error("verified root: from byte {at} on: {error}")]
    Block {
        /// Where the part begins, in bytes.
        at: u64,
        /// Why.
        error: io::Error,
    },
    /// A file of the kernel or a device node cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Compares `roothash=` on the kernel's command line, if it is there, with what the guard handed
/// over. *Pure.*
///
/// # Errors
/// [`RootError::Differs`], also if only the command line has one.
pub fn check_command_line(line: &str, root: Option<&VerifiedRoot>) -> Result<(), RootError> {
    let signed = root.map(|root| hex(&root.root_hash));
    for asked in line
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("roothash="))
    {
        if signed.as_deref() != Some(asked.to_ascii_lowercase().as_str()) {
            return Err(RootError::Differs {
                asked: asked.to_owned(),
                signed: signed.unwrap_or_else(|| "none".to_owned()),
            });
        }
    }
    Ok(())
}

/// Returns the table of the verified device over the partition `device` (`major:minor`). *Pure.*
#[must_use]
pub fn table(device: String, root: &VerifiedRoot, on_corruption: OnCorruption) -> Verity {
    let data_blocks = root.data_blocks();
    Verity {
        device,
        data_blocks,
        // The superblock is between them.
        hash_start_block: data_blocks.saturating_add(1),
        root_hash: root.root_hash,
        on_corruption,
    }
}

/// Returns what a wrong block leads to if the machine is to restart: a panic where the kernel
/// restarts after one, so that its last lines are kept for `why`. *Reads* a file of the kernel.
#[must_use]
pub fn restart() -> OnCorruption {
    let text = std::fs::read_to_string(PANIC_TIMEOUT).unwrap_or_default();
    match text.trim().parse::<i64>() {
        Ok(seconds) if seconds != 0 => OnCorruption::Panic,
        _ => OnCorruption::Restart,
    }
}

/// Makes the verified device over the partition whose node is `partition`, or finds the one that
/// was made before. Returns its node. *Writes* the kernel's state; nothing on a disk.
///
/// # Errors
/// [`RootError`]; there is no device then, or the one that was there.
pub fn open(
    handoff: &Handoff,
    partition: &Path,
    on_corruption: OnCorruption,
) -> Result<PathBuf, RootError> {
    let path = Path::new(COMMAND_LINE);
    let line = std::fs::read_to_string(path).map_err(|error| RootError::Io {
        path: path.to_owned(),
        error,
    })?;
    check_command_line(&line, handoff.verified_root.as_ref())?;
    let Some(root) = &handoff.verified_root else {
        return Ok(partition.to_owned());
    };
    let found = std::fs::metadata(partition).map_err(|error| RootError::Io {
        path: partition.to_owned(),
        error,
    })?;
    let (major, minor) = (
        rustix::fs::major(found.rdev()),
        rustix::fs::minor(found.rdev()),
    );
    let mut verity = table(format!("{major}:{minor}"), root, on_corruption);
    let control = Control::open()?;
    let mut made = control.create_verity(DEVICE_NAME, &verity);
    if verity.on_corruption == OnCorruption::Panic && is_refused_table(&made) {
        // Before Linux 5.9 there is no such option.
        verity.on_corruption = OnCorruption::Restart;
        made = control.create_verity(DEVICE_NAME, &verity);
    }
    match made {
        Ok(device) => Ok(node(device)),
        Err(DmError::Call {
            call: "create",
            error: Errno::BUSY | Errno::EXIST,
            ..
        }) => {
            let (device, table) = control.table(DEVICE_NAME)?;
            if table == verity.parameters() {
                Ok(node(device))
            } else {
                Err(RootError::Taken(table))
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn is_refused_table(made: &Result<DeviceNumber, DmError>) -> bool {
    matches!(
        made,
        Err(DmError::Call {
            error: Errno::INVAL,
            ..
        })
    )
}

/// The node that the kernel makes in devtmpfs.
fn node(device: DeviceNumber) -> PathBuf {
    PathBuf::from(format!("/dev/dm-{}", device.minor))
}

/// Returns the node of the verified device of this system, if there is one. *Reads* sysfs at `sys`.
#[must_use]
pub fn opened(sys: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(sys.join("block")).ok()?;
    let mut names = entries.flatten().map(|entry| entry.file_name());
    let name = names.find(|name| {
        let path = sys.join("block").join(name).join("dm/name");
        std::fs::read_to_string(path).is_ok_and(|found| found.trim() == DEVICE_NAME)
    })?;
    Some(Path::new("/dev").join(name))
}

/// Reads all of a verified device once, so that every block of it is verified. *Reads*, at the
/// lowest priority of the calling thread, and keeps nothing of it in memory. Returns the bytes.
///
/// # Errors
/// Where it could not be read; a wrong block is an input/output error.
pub fn read_all(device: &Path) -> Result<u64, RootError> {
    // Without it the reading is as thorough.
    rustix::process::nice(19).map(drop).unwrap_or_default();
    let failed = |error| RootError::Io {
        path: device.to_owned(),
        error,
    };
    let mut file = File::open(device).map_err(failed)?;
    let mut piece = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) => return Ok(at),
            Ok(count) => count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(RootError::Block { at, error }),
        };
        let len = std::num::NonZeroU64::new(count);
        // The system's own files are to stay in memory, not these bytes.
        rustix::fs::fadvise(&file, at, len, rustix::fs::Advice::DontNeed).unwrap_or_default();
        at += count;
    }
}

/// Bytes in lower-case hexadecimal. *Pure.*
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: VerifiedRoot = VerifiedRoot {
        len: 3 * 4096 - 1,
        root_hash: [0xab; 32],
    };

    #[test]
    fn the_command_line_and_the_seal_agree() {
        let hash = "ab".repeat(32);
        let line = |words: &str| format!("console=ttyS0 {words} panic=5\n");
        for (words, root) in [
            (String::new(), None),
            (String::new(), Some(&ROOT)),
            (format!("roothash={hash}"), Some(&ROOT)),
            (format!("roothash={}", hash.to_uppercase()), Some(&ROOT)),
        ] {
            assert!(check_command_line(&line(&words), root).is_ok(), "{words}");
        }
        let differs = |words: &str, root| {
            check_command_line(&line(words), root)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            differs("roothash=00", Some(&ROOT)),
            format!(
                "root hash: the kernel's command line has 00, the seal of the release has {hash}"
            )
        );
        let both = format!("roothash={hash} roothash=11");
        assert!(differs(&both, Some(&ROOT)).contains("has 11,"));
        assert!(differs(&format!("roothash={hash}"), None).ends_with("has none"));
    }

    #[test]
    fn the_tree_begins_behind_the_superblock() {
        let verity = table("8:5".to_owned(), &ROOT, OnCorruption::Report);
        assert_eq!((verity.data_blocks, verity.hash_start_block), (3, 4));
        assert_eq!(verity.sectors(), 24);
    }

    #[test]
    fn all_of_a_device_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        std::fs::write(&path, vec![1; 3_000_001]).unwrap();
        assert_eq!(read_all(&path).unwrap(), 3_000_001);
        assert!(read_all(folder.path()).is_err());
    }

    #[test]
    fn the_device_is_found_by_its_name() {
        let sys = tempfile::tempdir().unwrap();
        let make = |name: &str, dm: &str| {
            let folder = sys.path().join("block").join(name).join("dm");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("name"), dm).unwrap();
        };
        assert_eq!(opened(sys.path()), None);
        make("dm-0", "other\n");
        assert_eq!(opened(sys.path()), None);
        make("dm-1", "rayos-root\n");
        assert_eq!(opened(sys.path()), Some(PathBuf::from("/dev/dm-1")));
    }
}
