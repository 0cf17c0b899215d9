//! Opens a machine: the running one, or any disk.

use crate::boot::reconcile::Facts;
use crate::boot::transition::Refusal;
use crate::disk::device::{Access, FileDevice, OpenError, SectorSize};
use crate::disk::{Disk, DiskError};
use crate::firmware::efivars::{EfiVars, VarError, VarName};
use crate::state::log::EventLog;
use crate::state::store::{RecordStore, StoreError};
use crate::sysfs::{BlockDevices, DiskNode, FindError};
use record::gpt::Search;
use record::{Choice, Handoff, Pair, VENDOR};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for a busy disk. Programs other than an update hold its lock for moments only.
const BUSY_WAIT: Duration = Duration::from_secs(10);
const BUSY_POLL: Duration = Duration::from_millis(50);

/// Why an operation on a machine failed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The guard did not start this system.
    #[error("this system was not started by the boot guard: no variable RayosBoot of its making")]
    NotGuarded,
    /// The guard's variable cannot be read.
    #[error("variable RayosBoot: {0}")]
    Handoff(VarError),
    /// The disk was not found.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The disk could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk has no usable partition table.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Path of the device node or image.
        path: PathBuf,
        /// Why it is not usable.
        source: DiskError,
    },
    /// The boot record could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state of the boot record does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Returns what the guard reported about this boot; `None` if it did not start this system, or
/// there are no EFI variables. *Reads.* A variable with other attributes than the guard sets is not
/// the guard's.
///
/// # Errors
/// [`VarError`] if the variable cannot be read.
pub fn handoff(vars: &dyn EfiVars) -> Result<Option<Handoff>, VarError> {
    let name = VarName {
        name: Handoff::VARIABLE.to_owned(),
        vendor: VENDOR,
    };
    match vars.get(&name) {
        // Only the guard can set a variable that does not outlast the start: one with other
        // attributes may have been left behind by another system.
        Ok(found) => Ok(found
            .filter(|found| found.attributes == Handoff::ATTRIBUTES)
            .and_then(|found| Handoff::decode(&found.data))),
        Err(VarError::Unsupported) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A machine, running or offline.
pub struct Machine {
    /// Its disk.
    pub disk: Disk,
    /// The boot record on the disk.
    pub store: RecordStore,
    /// The event ring on the disk.
    pub log: EventLog,
    /// Its EFI variables.
    pub vars: Box<dyn EfiVars>,
    /// What the guard reported; `None` offline.
    pub handoff: Option<Handoff>,
    /// The disk as the running kernel shows it; `None` offline.
    pub node: Option<DiskNode>,
}

impl Machine {
    /// Opens the running machine, with the disk that the guard named. *Reads.* To write, it waits a
    /// while for the lock of the disk.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn running(
        vars: Box<dyn EfiVars>,
        devices: &BlockDevices,
        access: Access,
    ) -> Result<Self, MachineError> {
        let handoff = handoff(vars.as_ref())
            .map_err(MachineError::Handoff)?
            .ok_or(MachineError::NotGuarded)?;
        let node = devices.booted(&handoff)?;
        let machine = Self::open(&node.path, vars, access)?;
        Ok(Self {
            store: machine.store.started_by(&handoff),
            handoff: Some(handoff),
            node: Some(node),
            ..machine
        })
    }

    /// Opens any disk or image, with any store of EFI variables. *Reads.*
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn open(path: &Path, vars: Box<dyn EfiVars>, access: Access) -> Result<Self, MachineError> {
        let device = open_when_free(path, access)?;
        let disk = Disk::search(Arc::new(device), Search::Thorough);
        let disk = disk.map_err(|source| MachineError::Disk {
            path: path.to_owned(),
            source,
        })?;
        let store = RecordStore::open(&disk)?;
        // Of several partitions with a type of ours, the record names the one that holds the slot.
        let disk = match store.pair() {
            Pair::Valid { record, .. } => disk.settled(&record.partition_uuids()),
            _ => disk,
        };
        let log = EventLog::open(&disk)?;
        Ok(Self {
            disk,
            store,
            log,
            vars,
            handoff: None,
            node: None,
        })
    }

    /// Returns what is running; `None` offline. *Pure.*
    #[must_use]
    pub fn booted(&self) -> Option<Choice> {
        self.handoff.map(|handoff| handoff.choice)
    }

    /// Returns what is running. *Pure.*
    ///
    /// # Errors
    /// [`MachineError::NotGuarded`] offline.
    pub fn require_booted(&self) -> Result<Choice, MachineError> {
        self.booted().ok_or(MachineError::NotGuarded)
    }

    /// Returns the facts about the disk that boot entries depend on; `None` without an EFI system
    /// partition. *Pure.*
    #[must_use]
    pub fn facts(&self) -> Option<Facts> {
        self.disk.partitions().esp.map(|esp| Facts {
            esp,
            retired: Vec::new(),
        })
    }
}

fn open_when_free(path: &Path, access: Access) -> Result<FileDevice, OpenError> {
    let end = Instant::now() + BUSY_WAIT;
    loop {
        match FileDevice::open(path, access, SectorSize::Detect) {
            Err(OpenError::Busy(_)) if Instant::now() < end => thread::sleep(BUSY_POLL),
            result => return result,
        }
    }
}
