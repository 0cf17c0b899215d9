//! `booted`: what the guard started.

use super::open::variables;
use crate::args::{BootedArgs, MachineArgs};
use crate::error::CommandError;
use crate::output::{print, print_json};
use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::machine::{MachineError, handoff};
use bootctl::status::{choice_word, why_word};
use bootctl::sysfs::{BlockDevices, FindError};
use bootctl::verified_root::hex;
use cli::ExitStatus;
use record::{Choice, Handoff};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) fn booted(args: &MachineArgs, options: &BootedArgs) -> Result<ExitStatus, CommandError> {
    let handoff = handoff(variables(args).as_ref())
        .map_err(MachineError::Handoff)?
        .ok_or(MachineError::NotGuarded)?;
    if options.root_device {
        print(&root_device(&handoff)?.display().to_string())?;
    } else if options.json {
        print_json(&HandoffJson::new(&handoff))?;
    } else {
        print(choice_word(handoff.choice))?;
    }
    Ok(ExitStatus::Success)
}

/// A handoff as JSON, schema `rayos-bootctl.booted/1`.
#[derive(Serialize)]
struct HandoffJson {
    schema: &'static str,
    choice: &'static str,
    why: &'static str,
    left: u8,
    record_seq: u64,
    disk_guid: String,
    boot_partuuid: String,
    root_partuuid: String,
    state_partuuid: String,
    root_hash: Option<String>,
}

impl HandoffJson {
    fn new(handoff: &Handoff) -> Self {
        Self {
            schema: "rayos-bootctl.booted/1",
            choice: choice_word(handoff.choice),
            why: why_word(handoff.why),
            left: handoff.left,
            record_seq: handoff.seq,
            disk_guid: handoff.disk_guid.to_string(),
            boot_partuuid: handoff.boot_uuid.to_string(),
            root_partuuid: handoff.root_uuid.to_string(),
            state_partuuid: handoff.state_uuid.to_string(),
            root_hash: handoff.verified_root.map(|root| hex(&root.root_hash)),
        }
    }
}

/// Returns the device node of the root partition that the guard named. *Reads.*
pub(super) fn root_device(handoff: &Handoff) -> Result<PathBuf, CommandError> {
    let Choice::Slot(slot) = handoff.choice else {
        return Err(CommandError::NoRoot);
    };
    let devices = BlockDevices::default();
    let node = devices.booted(handoff).map_err(MachineError::from)?;
    let device = FileDevice::open(&node.path, Access::Read, SectorSize::Detect)
        .map_err(MachineError::from)?;
    let disk = Disk::open(Arc::new(device)).map_err(|source| MachineError::Disk {
        path: node.path.clone(),
        source,
    })?;
    let disk = disk.settled(&[handoff.boot_uuid, handoff.root_uuid]);
    let root = disk
        .partitions()
        .root(slot)
        .filter(|root| root.uuid == handoff.root_uuid)
        .ok_or(FindError::NotFound {
            disk: handoff.disk_guid,
            partition: handoff.root_uuid,
        })
        .map_err(MachineError::from)?;
    let path = devices.partition(&node, &disk, &root);
    Ok(path.map_err(MachineError::from)?)
}
