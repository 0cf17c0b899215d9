//! The line of a dm-verity table.

/// What the kernel does when a block does not have the hash that vouches for it. The reader gets an
/// input/output error unless it only reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCorruption {
    /// Restarts the machine.
    Restart,
    /// Panics, so that the kernel's last lines are kept where pstore keeps them. The machine
    /// restarts only if the kernel restarts after a panic. Linux 5.9 and later.
    Panic,
    /// Writes to the kernel's log, and gives the reader the wrong bytes.
    Report,
}

/// A dm-verity device of format 1 with SHA-256, blocks of 4096 bytes and no salt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verity {
    /// Device that holds data and hash tree: a path, or `major:minor`.
    pub device: String,
    /// Data blocks, from the beginning of the device.
    pub data_blocks: u64,
    /// Block in which the tree begins, behind the superblock.
    pub hash_start_block: u64,
    /// Root hash.
    pub root_hash: [u8; 32],
    /// What a wrong block leads to.
    pub on_corruption: OnCorruption,
}

impl Verity {
    /// Sectors of 512 bytes that the device has. *Pure.*
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.data_blocks.saturating_mul(8)
    }

    /// Returns the parameters of the table's only line. *Pure.*
    #[must_use]
    pub fn parameters(&self) -> String {
        let Self {
            device,
            data_blocks,
            hash_start_block,
            ..
        } = self;
        let root: String = self
            .root_hash
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let option = match self.on_corruption {
            OnCorruption::Restart => "restart_on_corruption",
            OnCorruption::Panic => "panic_on_corruption",
            OnCorruption::Report => "ignore_corruption",
        };
        format!(
            "1 {device} {device} 4096 4096 {data_blocks} {hash_start_block} sha256 {root} - 1 {option}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_as_the_kernel_documents_it() {
        let mut verity = Verity {
            device: "8:5".to_owned(),
            data_blocks: 262_144,
            hash_start_block: 262_145,
            root_hash: [0x4f; 32],
            on_corruption: OnCorruption::Restart,
        };
        let root = "4f".repeat(32);
        assert_eq!(
            verity.parameters(),
            format!("1 8:5 8:5 4096 4096 262144 262145 sha256 {root} - 1 restart_on_corruption")
        );
        assert_eq!(verity.sectors(), 2_097_152);
        for (what, words) in [
            (OnCorruption::Panic, " - 1 panic_on_corruption"),
            (OnCorruption::Report, " - 1 ignore_corruption"),
        ] {
            verity.on_corruption = what;
            assert!(verity.parameters().ends_with(words));
        }
    }
}
