//! A machine whose disks are bytes in memory: each boot writes them to files, and reads them again
//! when the machine has ended.

use anyhow::{Context as _, Result};
use qemu::{Accelerator, Bus, Disk, Firmware, Scratch, VariableStore};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tools that the scenarios run, with the argument that only prints a version.
const TOOLS: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "--version"),
    ("setpriv", "--version"),
    ("xorriso", "-version"),
    ("openssl", "version"),
    ("sbsign", "--version"),
];

/// Returns a tool or firmware file that is not installed on this host, if there is one.
pub(crate) fn missing() -> Option<&'static str> {
    let runs = |program: &str, version: &str| {
        let quiet =
            |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet(Command::new(program).arg(version)).is_ok_and(|status| status.success())
    };
    let tool = || {
        TOOLS
            .iter()
            .find(|(program, version)| !runs(program, version))
    };
    qemu::missing_firmware().or_else(|| tool().map(|(program, _)| *program))
}

/// A machine that is switched on by each [`Machine::boot`].
pub(crate) struct Machine {
    scratch: Scratch,
    variables: VariableStore,
    /// Appended to QEMU's arguments.
    pub(crate) arguments: Vec<&'static str>,
    pub(crate) accelerator: Accelerator,
    pub(crate) firmware: Firmware,
    /// The image in the CD drive.
    pub(crate) cd: Option<PathBuf>,
    pub(crate) read_only: bool,
    /// Typed on the serial line as soon as the firmware reports that it starts the guard.
    pub(crate) typed: &'static str,
}

impl Machine {
    /// Returns a machine with an empty variable store, in the folder `dir`. *Writes.*
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let mut scratch = Scratch::at(dir.to_owned())?;
        // The lab removes its whole folder when all scenarios have passed.
        scratch.keep();
        let variables = VariableStore::create(scratch.file("vars.fd"), Firmware::Plain)?;
        Ok(Self {
            scratch,
            variables,
            arguments: Vec::new(),
            accelerator: Accelerator::Tcg,
            firmware: Firmware::Plain,
            cd: None,
            read_only: false,
            typed: "",
        })
    }

    pub(crate) const fn variables(&self) -> &VariableStore {
        &self.variables
    }

    /// Boots with these disks (bytes and sector length; the bytes are updated) until a line of the
    /// console has one of `until`, or the machine switches itself off or resets. Returns the
    /// console.
    pub(crate) fn boot(
        &self,
        disks: &mut [(&mut Vec<u8>, usize)],
        until: &[&str],
    ) -> Result<String> {
        let mut machine = qemu::Machine::new(&self.scratch)
            .firmware(self.firmware)
            .accelerator(self.accelerator)
            .memory_mib(256)
            .end_at_reset()
            .arguments(self.arguments.iter().copied());
        for (number, (bytes, sector)) in disks.iter().enumerate() {
            let image = self.image(number);
            std::fs::write(&image, bytes)?;
            let mut disk = Disk::virtio(image);
            if *sector == 4096 {
                disk = disk.sectors_4096();
            }
            if self.read_only {
                disk = disk.read_only();
            }
            machine = machine.disk(disk);
        }
        if let Some(cd) = &self.cd {
            machine = machine.disk(Disk::new(Bus::Cd, cd));
        }
        let mut running = machine.start("boot")?;
        if !self.typed.is_empty() {
            running.expect("BdsDxe: starting")?;
            running.send_keys(self.typed.as_bytes())?;
        }
        let console = running.expect_any_or_end(until)?;
        running.kill()?;
        for (number, (bytes, _)) in disks.iter_mut().enumerate() {
            let image = self.image(number);
            **bytes = std::fs::read(&image).with_context(|| image.display().to_string())?;
        }
        Ok(console)
    }

    fn image(&self, number: usize) -> PathBuf {
        self.scratch.file(format!("disk{number}.img"))
    }
}
