//! Disks that fail on command, while the machine runs: QEMU's `blkdebug`, put under a disk and
//! taken away again.

use crate::{Failure, Partition, Running};
use serde_json::{Value, json};

/// What a disk does not do any more. The guest is told `Input/output error` (EIO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// To read the 512 bytes at this byte of the disk.
    Read(u64),
    /// To write the 512 bytes at this byte of the disk.
    Write(u64),
    /// To make durable what was written, when it is asked to for the time with this number, from 0.
    /// Later flushes succeed: drives do that, and QEMU itself flushes when [`Running::mend`] is
    /// called.
    Flush(u32),
}

impl Broken {
    /// To write some bytes in the middle of a partition. *Pure.*
    #[must_use]
    pub const fn write_in(partition: &Partition, at: u64) -> Self {
        Self::Write(partition.offset + at)
    }

    /// To read some bytes in the middle of a partition. *Pure.*
    #[must_use]
    pub const fn read_in(partition: &Partition, at: u64) -> Self {
        Self::Read(partition.offset + at)
    }

    /// The rule of `blkdebug` for it: sectors have 512 bytes, whatever the guest sees, and the
    /// states of [`counting`] begin with 1.
    fn rule(self) -> Value {
        const EIO: i32 = 5;
        let place = |iotype, at| json!({"event": "none", "iotype": iotype, "sector": at / 512, "errno": EIO});
        match self {
            Self::Read(at) => place("read", at),
            Self::Write(at) => place("write", at),
            Self::Flush(number) => {
                json!({"event": FLUSH, "state": number + 1, "iotype": "flush", "once": true, "errno": EIO})
            }
        }
    }
}

/// What `blkdebug` calls the moment in which there is something to flush.
const FLUSH: &str = "flush_to_disk";
/// Flushes that are counted.
const COUNTED: u32 = 64;

/// Rules by which `blkdebug` counts flushes.
fn counting() -> Vec<Value> {
    let rule = |state| json!({"event": FLUSH, "state": state, "new_state": state + 1});
    (1..=COUNTED).map(rule).collect()
}

impl Running {
    /// From now on the disk with this number is broken in these ways, until [`Running::mend`].
    ///
    /// # Errors
    /// When there is no such disk, it is broken already, or the machine is gone.
    pub fn break_disk(&mut self, number: usize, broken: &[Broken]) -> Result<(), Failure> {
        let rules: Vec<Value> = broken.iter().map(|broken| broken.rule()).collect();
        let (bad, image) = (format!("disk{number}-bad"), format!("disk{number}-file"));
        let node = json!({
            "driver": "blkdebug", "node-name": bad, "image": image, "inject-error": rules, "set-state": counting(),
        });
        self.execute("blockdev-add", node)?;
        self.reconnect(number, &bad)
    }

    /// The disk with this number works again.
    ///
    /// # Errors
    /// When it is not broken, or the machine is gone.
    pub fn mend(&mut self, number: usize) -> Result<(), Failure> {
        self.reconnect(number, &format!("disk{number}-file"))?;
        self.execute(
            "blockdev-del",
            json!({"node-name": format!("disk{number}-bad")}),
        )
    }

    /// Puts a node of QEMU's block layer under the disk.
    fn reconnect(&mut self, number: usize, node: &str) -> Result<(), Failure> {
        let disk = format!("disk{number}-raw");
        let options = json!({"driver": "raw", "node-name": disk, "file": node, "discard": "unmap"});
        self.execute("blockdev-reopen", json!({"options": [options]}))
    }
}
