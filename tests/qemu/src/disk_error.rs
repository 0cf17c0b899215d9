//! Disks that return errors on command while the machine runs: QEMU's `blkdebug`, inserted below a
//! disk and removed again.

use crate::{Failure, Running};
use serde_json::{Value, json};

/// An operation of a disk that fails. The guest receives `Input/output error` (EIO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// Reads of the 512 bytes at this byte of the disk.
    Read(u64),
    /// Writes of the 512 bytes at this byte of the disk.
    Write(u64),
    /// The flush with this number, counted from 0. Later flushes succeed: real drives behave so,
    /// and QEMU itself flushes in [`Running::clear_disk_errors`].
    Flush(u32),
}

impl DiskError {
    /// The rule of `blkdebug`. Its sectors have 512 bytes, whatever the guest's have, and the
    /// states of [`flush_counter`] begin with 1. *Pure.*
    fn rule(self) -> Value {
        const EIO: i32 = 5;
        let at_sector = |iotype, at| json!({"event": "none", "iotype": iotype, "sector": at / 512, "errno": EIO});
        match self {
            Self::Read(at) => at_sector("read", at),
            Self::Write(at) => at_sector("write", at),
            Self::Flush(number) => json!({
                "event": FLUSH, "state": number + 1, "iotype": "flush", "once": true, "errno": EIO,
            }),
        }
    }
}

/// The event of `blkdebug` for a flush.
const FLUSH: &str = "flush_to_disk";
/// Maximum number of flushes that are counted.
const COUNTED_FLUSHES: u32 = 64;

/// Rules by which `blkdebug` counts flushes. *Pure.*
fn flush_counter() -> Vec<Value> {
    let rule = |state| json!({"event": FLUSH, "state": state, "new_state": state + 1});
    (1..=COUNTED_FLUSHES).map(rule).collect()
}

impl Running {
    /// Makes the disk with this number fail in these ways until [`Running::clear_disk_errors`].
    ///
    /// # Errors
    /// When there is no such disk, it has errors already, or the machine has ended.
    pub fn inject_disk_errors(
        &mut self,
        number: usize,
        errors: &[DiskError],
    ) -> Result<(), Failure> {
        let rules: Vec<Value> = errors.iter().map(|error| error.rule()).collect();
        let faulty = format!("disk{number}-faulty");
        let node = json!({
            "driver": "blkdebug", "node-name": faulty, "image": format!("disk{number}-file"),
            "inject-error": rules, "set-state": flush_counter(),
        });
        self.execute("blockdev-add", node)?;
        self.connect_disk(number, &faulty)
    }

    /// Makes the disk with this number work again.
    ///
    /// # Errors
    /// When it has no errors, or the machine has ended.
    pub fn clear_disk_errors(&mut self, number: usize) -> Result<(), Failure> {
        self.connect_disk(number, &format!("disk{number}-file"))?;
        let node = json!({"node-name": format!("disk{number}-faulty")});
        self.execute("blockdev-del", node)
    }

    /// Connects the disk to the node `node` of QEMU's block layer.
    fn connect_disk(&mut self, number: usize, node: &str) -> Result<(), Failure> {
        let disk = format!("disk{number}-raw");
        let options = json!({"driver": "raw", "node-name": disk, "file": node, "discard": "unmap"});
        self.execute("blockdev-reopen", json!({"options": [options]}))
    }
}
