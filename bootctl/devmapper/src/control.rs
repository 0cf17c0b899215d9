//! `/dev/mapper/control`.

use crate::message::{HEADER_LEN, Message, READ_ONLY, TABLE};
use crate::verity::Verity;
use rustix::io::Errno;
use rustix::ioctl::{self, Opcode, Updater, opcode};
use std::fs::File;
use std::io;
use std::path::Path;

/// A device by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Number of the driver.
    pub major: u32,
    /// Number of the device.
    pub minor: u32,
}

/// Why a call of the device-mapper failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum DmError {
    #[error("/dev/mapper/control: {0}")]
    Open(io::Error),
    #[error("device-mapper: {call} {name}: {error}")]
    Call {
        call: &'static str,
        name: String,
        error: Errno,
    },
    #[error("device-mapper: {0:?} is not a name, or its table is too long")]
    Name(String),
}

const fn number(command: u8) -> Opcode {
    opcode::read_write::<[u8; HEADER_LEN]>(0xfd, command)
}
const CREATE: Opcode = number(3);
const REMOVE: Opcode = number(4);
/// `DM_DEV_SUSPEND`: resumes without its flag.
const RESUME: Opcode = number(6);
const LOAD: Opcode = number(9);
const STATUS: Opcode = number(12);

/// The device-mapper of this machine.
pub struct Control {
    file: File,
}

impl Control {
    /// Opens `/dev/mapper/control`.
    ///
    /// # Errors
    /// [`DmError::Open`], for example if the kernel has no device-mapper, or its module is not
    /// loaded.
    pub fn open() -> Result<Self, DmError> {
        let path = Path::new("/dev/mapper/control");
        let file = File::options().read(true).write(true).open(path);
        Ok(Self {
            file: file.map_err(DmError::Open)?,
        })
    }

    /// Makes the verified device `name`, read-only. Returns its numbers; its node is made by the
    /// kernel (devtmpfs) as `/dev/dm-MINOR`. *Writes* the kernel's state; nothing on a disk.
    ///
    /// # Errors
    /// [`DmError::Call`]: `EXIST` or `BUSY` if there is a device of that name. After an error there
    /// is no device.
    pub fn create_verity(&self, name: &str, verity: &Verity) -> Result<DeviceNumber, DmError> {
        let bad_name = || DmError::Name(name.to_owned());
        let message = || Message::new(name, READ_ONLY).ok_or_else(bad_name);
        self.call::<CREATE>("create", name, &mut message()?)?;
        let load = message()?
            .with_line("verity", verity.sectors(), &verity.parameters())
            .ok_or_else(bad_name);
        let started = load.and_then(|mut load| {
            self.call::<LOAD>("load table of", name, &mut load)?;
            let mut resume = message()?;
            self.call::<RESUME>("resume", name, &mut resume)?;
            Ok(resume.device())
        });
        match started {
            Ok((major, minor)) => Ok(DeviceNumber { major, minor }),
            Err(error) => {
                // The first error says more than one of clearing up.
                drop(self.remove(name));
                Err(error)
            }
        }
    }

    /// Removes a device. *Writes* the kernel's state.
    ///
    /// # Errors
    /// [`DmError::Call`]: `BUSY` while it is in use.
    pub fn remove(&self, name: &str) -> Result<(), DmError> {
        let mut message = Message::new(name, 0).ok_or_else(|| DmError::Name(name.to_owned()))?;
        self.call::<REMOVE>("remove", name, &mut message)
    }

    /// Returns numbers and table of a device. *Reads.*
    ///
    /// # Errors
    /// [`DmError::Call`]: `NXIO` if there is none of that name.
    pub fn table(&self, name: &str) -> Result<(DeviceNumber, String), DmError> {
        let message = Message::new(name, TABLE);
        let mut message = message.ok_or_else(|| DmError::Name(name.to_owned()))?;
        self.call::<STATUS>("table of", name, &mut message)?;
        let (major, minor) = message.device();
        Ok((DeviceNumber { major, minor }, message.line()))
    }

    /// Returns the state of a verified device: `V` while every block that was read was right, `C`
    /// after one was not. *Reads.*
    ///
    /// # Errors
    /// As [`Control::table`].
    pub fn state(&self, name: &str) -> Result<String, DmError> {
        let mut message = Message::new(name, 0).ok_or_else(|| DmError::Name(name.to_owned()))?;
        self.call::<STATUS>("state of", name, &mut message)?;
        Ok(message.line())
    }

    #[allow(unsafe_code, reason = "an ioctl")]
    fn call<const COMMAND: Opcode>(
        &self,
        call: &'static str,
        name: &str,
        message: &mut Message,
    ) -> Result<(), DmError> {
        // SAFETY: COMMAND is one of the device-mapper's, all of which take a pointer to a `struct
        // dm_ioctl`. A message begins with one, aligned, and the length that it states, within
        // which the kernel reads and writes, is the message's own. The message outlives the call.
        let called = unsafe {
            let command = Updater::<COMMAND, Message>::new(message);
            ioctl::ioctl(&self.file, command)
        };
        called.map_err(|error| DmError::Call {
            call,
            name: name.to_owned(),
            error,
        })
    }
}
