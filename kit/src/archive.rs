//! A cpio archive in the format "newc" (Linux, Documentation/driver-api/early-userspace/
//! buffer-format.rst), which the kernel unpacks before an initramfs that follows it.

use std::fmt::Write as _;

/// The kernel accepts an archive before another one if its length is a multiple of this.
const BLOCK: usize = 512;

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Its path, without a leading `/`.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// Returns an archive with `files` and the folders above them, owned by root, without times.
/// *Pure.*
///
/// # Errors
/// A file of 4 GiB or more, whose length the format cannot hold; the name of the file.
pub fn archive(files: &[ArchiveFile]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut folders: Vec<&str> = Vec::new();
    let mut inode = 0;
    for file in files {
        for (at, _) in file.path.match_indices('/') {
            let folder = &file.path[..at];
            if !folders.contains(&folder) {
                folders.push(folder);
                inode += 1;
                entry(&mut bytes, inode, 0o040_755, folder, &[]).ok_or(folder)?;
            }
        }
        inode += 1;
        let added = entry(&mut bytes, inode, 0o100_644, &file.path, &file.content);
        added.ok_or(file.path.as_str())?;
    }
    entry(&mut bytes, 0, 0, "TRAILER!!!", &[]).ok_or("TRAILER!!!")?;
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    Ok(bytes)
}

/// Appends an entry. Returns `None` if a length does not fit into 32 bits.
fn entry(bytes: &mut Vec<u8>, inode: u32, mode: u32, name: &str, content: &[u8]) -> Option<()> {
    let links = u32::from(inode != 0);
    let len = u32::try_from(content.len()).ok()?;
    let name_len = u32::try_from(name.len() + 1).ok()?;
    let mut header = String::from("070701");
    // Inode, mode, owner, group, links, time, length, four device numbers, length of the name,
    // checksum (unused).
    for field in [inode, mode, 0, 0, links, 0, len, 0, 0, 0, 0, name_len, 0] {
        write!(header, "{field:08x}").ok()?;
    }
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_unpacks_the_archive() {
        let files = [
            ArchiveFile {
                path: "etc/rayos/trust.toml".to_owned(),
                content: b"epoch = 0\n".to_vec(),
            },
            ArchiveFile {
                path: "etc/rayos/system.toml".to_owned(),
                content: b"compatible = \"x\"\n".to_vec(),
            },
        ];
        let bytes = archive(&files).unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        assert_eq!(bytes, archive(&files).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let mut cpio = Command::new("cpio")
            .args(["-id", "--quiet"])
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(cpio.wait().unwrap().success());
        for file in files {
            let found = std::fs::read(folder.path().join(&file.path)).unwrap();
            assert_eq!(found, file.content);
        }
    }
}
