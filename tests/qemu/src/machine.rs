//! A machine before it starts: firmware, disks, network, memory.

use crate::console::{Console, LineCallback};
use crate::qmp::Qmp;
use crate::running::Running;
use crate::{Accelerator, Bus, Disk, Failure, Firmware, Scratch, VariableStore};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A machine that is not switched on: q35, one processor, a serial console.
pub struct Machine<'a> {
    scratch: &'a Scratch,
    disks: Vec<Disk>,
    firmware: Firmware,
    memory_mib: u32,
    network: bool,
    reboot: bool,
    accelerator: Option<Accelerator>,
    extra: Vec<OsString>,
    suspended: Option<PathBuf>,
    on_line: Option<LineCallback>,
}

impl<'a> Machine<'a> {
    /// Returns a machine without disks. Its variables are in `vars.fd` of the scratch folder:
    /// machines that follow each other in one folder are the same machine, switched off and on
    /// again. *Pure.*
    #[must_use]
    pub fn new(scratch: &'a Scratch) -> Self {
        Self {
            scratch,
            disks: Vec::new(),
            firmware: Firmware::Plain,
            memory_mib: 768,
            network: false,
            reboot: true,
            accelerator: None,
            extra: Vec::new(),
            suspended: None,
            on_line: None,
        }
    }

    /// Adds a disk. Disks are numbered from 0 in the order in which they are added. *Pure.*
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Sets the firmware instead of [`Firmware::Plain`]. *Pure.*
    #[must_use]
    pub const fn firmware(mut self, firmware: Firmware) -> Self {
        self.firmware = firmware;
        self
    }

    /// Sets the memory in MiB instead of 768. *Pure.*
    #[must_use]
    pub const fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Adds a network card on QEMU's user network: the guest is 10.0.2.15, the host 10.0.2.2.
    /// *Pure.*
    #[must_use]
    pub const fn network(mut self) -> Self {
        self.network = true;
        self
    }

    /// Makes a reset of the guest end the machine. *Pure.*
    #[must_use]
    pub const fn end_at_reset(mut self) -> Self {
        self.reboot = false;
        self
    }

    /// Sets the accelerator instead of the one that [`Accelerator::choose`] finds. *Pure.*
    #[must_use]
    pub const fn accelerator(mut self, accelerator: Accelerator) -> Self {
        self.accelerator = Some(accelerator);
        self
    }

    /// Appends arguments for QEMU. *Pure.*
    #[must_use]
    pub fn arguments<I, S>(mut self, arguments: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        self.extra.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts from the memory that [`Running::suspend`] wrote to the file `memory`, instead of
    /// being switched on. The machine must have the same parts; its disks and variables must be
    /// copies from that moment. *Pure.*
    #[must_use]
    pub fn resume(mut self, memory: impl Into<PathBuf>) -> Self {
        self.suspended = Some(memory.into());
        self
    }

    /// Calls `on_line` with every line of the console. *Pure.*
    #[must_use]
    pub fn on_line(mut self, on_line: impl FnMut(&str) + Send + 'static) -> Self {
        self.on_line = Some(Box::new(on_line));
        self
    }

    /// Returns the command line that starts this machine with its console on the terminal.
    /// *Reads.*
    ///
    /// # Errors
    /// When no accelerator can be chosen.
    pub fn command_line(&self) -> Result<String, Failure> {
        Ok(format!(
            "{} -serial mon:stdio",
            shell_line(&self.qemu_arguments()?)
        ))
    }

    /// Switches the machine on. `name` names this run's log: `NAME.log` in the scratch folder.
    /// *Writes.*
    ///
    /// QEMU is killed with the thread that called this, so that a killed test leaves no machine.
    ///
    /// # Errors
    /// When QEMU or its firmware is not there or does not start.
    pub fn start(mut self, name: &str) -> Result<Running, Failure> {
        let step = format!("start machine {name}");
        if !self.variables().exists() {
            VariableStore::create(self.variables(), self.firmware)?;
        }
        for log in self.disks.iter().filter_map(Disk::write_log) {
            std::fs::File::create(log).map_err(Failure::of(&step))?;
        }
        // A folder with a short path: the name of a socket has 108 bytes at most.
        let socket_folder = tempfile::Builder::new()
            .prefix("rayos-")
            .tempdir()
            .map_err(Failure::of(&step))?;
        let socket = socket_folder.path().join("qmp");
        let mut arguments = self.qemu_arguments()?;
        arguments.extend(console_arguments(&socket));

        let errors_path = self.scratch.file(format!("{name}.qemu"));
        let errors = std::fs::File::create(&errors_path).map_err(Failure::of(&step))?;
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|error| Failure::new(&step, format!("setpriv qemu-system-x86_64: {error}")))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new(step, "qemu has no console"));
        };
        let log = self.scratch.file(format!("{name}.log"));
        let console =
            Console::start(input, output, &log, self.on_line.take()).map_err(Failure::of(&step))?;
        let qmp = Qmp::connect(&socket, &mut child).map_err(|error| {
            let stderr = std::fs::read_to_string(&errors_path).unwrap_or_default();
            Failure::new(&step, format!("{error}; qemu printed: {}", stderr.trim()))
        });
        let mut running = Running::new(child, console, log, shell_line(&arguments));
        running.attach(qmp?, socket_folder);
        if self.suspended.is_some() {
            running.resume()?;
        }
        Ok(running)
    }

    fn variables(&self) -> PathBuf {
        self.scratch.file("vars.fd")
    }

    /// All arguments except those of console and monitor. *Reads.*
    fn qemu_arguments(&self) -> Result<Vec<OsString>, Failure> {
        let accelerator = match self.accelerator {
            Some(accelerator) => accelerator,
            None => Accelerator::choose()?,
        };
        let mut arguments: Vec<OsString> =
            ["-nodefaults", "-display", "none"].map(Into::into).into();
        if self.firmware == Firmware::Plain {
            arguments.extend(["-machine", "q35"].map(Into::into));
        } else {
            // Only code in system management mode can write the variables of Secure Boot.
            let protected = "driver=cfi.pflash01,property=secure,value=on";
            arguments.extend(["-machine", "q35,smm=on", "-global", protected].map(Into::into));
        }
        arguments.extend(accelerator.arguments().iter().map(Into::into));
        arguments.extend(["-m".into(), self.memory_mib.to_string().into()]);
        if !self.reboot {
            arguments.push("-no-reboot".into());
        }
        arguments.extend(pflash(0, Path::new(self.firmware.code()), true));
        arguments.extend(pflash(1, &self.variables(), false));
        // No network boot: it only takes time before the firmware gives up.
        for switch in ["IPv4PXESupport", "IPv6PXESupport"] {
            arguments.extend([
                "-fw_cfg".into(),
                format!("name=opt/org.tianocore/{switch},string=n").into(),
            ]);
        }
        if self.disks.iter().any(|disk| disk.bus() == Bus::Usb) {
            arguments.extend(["-device".into(), "qemu-xhci,id=xhci".into()]);
        }
        for (number, disk) in self.disks.iter().enumerate() {
            arguments.extend(disk.arguments(number));
        }
        if self.network {
            let card = "virtio-net-pci,netdev=net,romfile=";
            arguments.extend(["-netdev", "user,id=net", "-device", card].map(Into::into));
        } else {
            arguments.extend(["-nic", "none"].map(Into::into));
        }
        if let Some(memory) = &self.suspended {
            arguments.extend([
                "-incoming".into(),
                format!("exec:cat '{}'", memory.display()).into(),
            ]);
        }
        arguments.extend(self.extra.iter().cloned());
        Ok(arguments)
    }
}

/// Arguments that put the monitor on `socket` and the serial line on stdin and stdout. *Pure.*
fn console_arguments(socket: &Path) -> Vec<OsString> {
    let mut chardev = OsString::from("socket,id=qmp,server=on,wait=off,path=");
    chardev.push(socket);
    let mut arguments = vec!["-chardev".into(), chardev];
    arguments.extend(["-mon", "chardev=qmp,mode=control"].map(Into::into));
    arguments.extend(["-chardev", "stdio,id=console,signal=off"].map(Into::into));
    arguments.extend(["-serial", "chardev:console"].map(Into::into));
    arguments
}

fn pflash(unit: u8, path: &Path, read_only: bool) -> [OsString; 2] {
    let read_only = if read_only { "on" } else { "off" };
    let mut drive = OsString::from(format!(
        "if=pflash,unit={unit},format=raw,readonly={read_only},file="
    ));
    drive.push(path);
    ["-drive".into(), drive]
}

/// The command line, quoted for a shell. *Pure.*
fn shell_line(arguments: &[OsString]) -> String {
    let words = arguments
        .iter()
        .map(|word| quoted(&word.to_string_lossy()))
        .collect::<Vec<_>>();
    format!("qemu-system-x86_64 {}", words.join(" "))
}

/// `word`, quoted for a shell. *Pure.*
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("if=none,file=/tmp/a.img"), "if=none,file=/tmp/a.img");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
