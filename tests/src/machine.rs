//! What a virtual machine is made of, before it starts.

use crate::console::{Console, LineSink};
use crate::qmp::Qmp;
use crate::running::Running;
use crate::{Accelerator, Failure, Scratch};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// `/dev/vda` and so on.
    Virtio,
    /// `/dev/nvme0n1` and so on.
    Nvme,
    /// A stick on a USB 3 controller: `/dev/sda` and so on.
    Usb,
    /// A SATA CD drive: `/dev/sr0`.
    Cd,
}

/// A disk of the machine.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
    bus: Bus,
    sector_size: u32,
    read_only: bool,
    bootindex: Option<u32>,
    recording: Option<PathBuf>,
}

impl Disk {
    /// A disk at `bus`, of the raw image `path`, with sectors of 512 bytes. *Pure.*
    #[must_use]
    pub fn new(bus: Bus, path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            bus,
            sector_size: 512,
            read_only: bus == Bus::Cd,
            bootindex: None,
            recording: None,
        }
    }

    /// A virtio disk. *Pure.*
    #[must_use]
    pub fn virtio(path: impl Into<PathBuf>) -> Self {
        Self::new(Bus::Virtio, path)
    }

    /// A USB stick. *Pure.*
    #[must_use]
    pub fn usb(path: impl Into<PathBuf>) -> Self {
        Self::new(Bus::Usb, path)
    }

    /// Sectors of 4096 bytes (virtio, NVMe and USB). *Pure.*
    #[must_use]
    pub fn sectors_4096(mut self) -> Self {
        self.sector_size = 4096;
        self
    }

    /// Nothing can be written to it. *Pure.*
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Firmware is told to prefer this disk. OVMF then rewrites `BootOrder` and deletes entries for
    /// other disks: a hostile firmware by one switch. *Pure.*
    #[must_use]
    pub fn bootindex(mut self, index: u32) -> Self {
        self.bootindex = Some(index);
        self
    }

    /// QEMU writes down in `file` what the machine does to the disk, for
    /// [`crate::recorded::Recording`]. The file is made anew by [`Machine::start`]. *Pure.*
    #[must_use]
    pub fn recording(mut self, file: impl Into<PathBuf>) -> Self {
        self.recording = Some(file.into());
        self
    }

    /// QEMU's arguments for the disk with this number.
    fn arguments(&self, number: usize) -> Vec<OsString> {
        let id = format!("disk{number}");
        let mut drive = OsString::from(format!(
            "if=none,id={id},cache=writeback,discard=unmap,readonly={},",
            if self.read_only { "on" } else { "off" }
        ));
        match &self.recording {
            // The names are for [`Running::break_disk`].
            None => drive.push(format!(
                "driver=raw,node-name={id}-raw,file.driver=file,file.node-name={id}-file,file.filename="
            )),
            Some(recording) => {
                drive.push("driver=blklogwrites,log-super-update-interval=1,log.driver=file,log.filename=");
                drive.push(recording);
                drive.push(",file.driver=file,file.filename=");
            }
        }
        drive.push(&self.path);
        let blocks = format!(
            "logical_block_size={0},physical_block_size={0}",
            self.sector_size.max(512)
        );
        let mut device = match self.bus {
            Bus::Virtio => {
                format!("virtio-blk-pci,drive={id},id={id}-dev,serial=RAYOS{number},{blocks}")
            }
            Bus::Nvme => format!("nvme,drive={id},id={id}-dev,serial=RAYOS{number},{blocks}"),
            Bus::Usb => {
                format!("usb-storage,bus=xhci.0,drive={id},id={id}-dev,removable=on,{blocks}")
            }
            Bus::Cd => format!("ide-cd,drive={id},id={id}-dev"),
        };
        if let Some(index) = self.bootindex {
            device.push_str(&format!(",bootindex={index}"));
        }
        vec!["-drive".into(), drive, "-device".into(), device.into()]
    }
}

/// A virtual machine with UEFI firmware (q35, OVMF, one processor, a serial console).
pub struct Machine<'a> {
    scratch: &'a Scratch,
    disks: Vec<Disk>,
    firmware: PathBuf,
    variables: PathBuf,
    variables_template: &'static str,
    memory_mib: u32,
    network: bool,
    accelerator: Option<Accelerator>,
    extra: Vec<OsString>,
    memory: Option<PathBuf>,
    sink: Option<LineSink>,
}

/// Firmware and an empty variable store, in the folders of Debian and Ubuntu.
const FIRMWARE: (&str, &str) = (
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
);

/// The same with Secure Boot, whose variables are kept from the system by system management mode;
/// and a variable store in which it is on.
const SECURE_FIRMWARE: (&str, &str) = (
    "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd",
);

impl<'a> Machine<'a> {
    /// A machine without disks. Its EFI variables are in `vars.fd` of the scratch folder: machines
    /// that follow each other in one folder are the same machine, switched off and on. *Pure.*
    #[must_use]
    pub fn new(scratch: &'a Scratch) -> Self {
        Self {
            scratch,
            disks: Vec::new(),
            firmware: FIRMWARE.0.into(),
            variables: scratch.file("vars.fd"),
            variables_template: FIRMWARE.1,
            memory_mib: 768,
            network: false,
            accelerator: None,
            extra: Vec::new(),
            memory: None,
            sink: None,
        }
    }

    /// One more disk. *Pure.*
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Keeps EFI variables in this file instead of `vars.fd`. *Pure.*
    #[must_use]
    pub fn variables(mut self, path: impl Into<PathBuf>) -> Self {
        self.variables = path.into();
        self
    }

    /// Memory in MiB instead of 768. *Pure.*
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// A network card on QEMU's user network: the guest is 10.0.2.15, the host 10.0.2.2. *Pure.*
    #[must_use]
    pub fn network(mut self) -> Self {
        self.network = true;
        self
    }

    /// The firmware with Secure Boot on, which accepts what the test key of the package `ovmf` has
    /// signed. *Pure.*
    #[must_use]
    pub fn secure_boot(mut self) -> Self {
        (self.firmware, self.variables_template) = (SECURE_FIRMWARE.0.into(), SECURE_FIRMWARE.1);
        self
    }

    /// This accelerator, instead of the one that works here. *Pure.*
    #[must_use]
    pub fn accelerator(mut self, accelerator: Accelerator) -> Self {
        self.accelerator = Some(accelerator);
        self
    }

    /// Arguments for QEMU, as they are. *Pure.*
    #[must_use]
    pub fn arguments<I, S>(mut self, arguments: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        self.extra.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Goes on where a machine of the same parts was stopped by [`Running::freeze`], instead of
    /// being switched on. Disks and variables must be copies of what they were then. *Pure.*
    #[must_use]
    pub fn resume(mut self, memory: impl Into<PathBuf>) -> Self {
        self.memory = Some(memory.into());
        self
    }

    /// Calls `sink` with every line of the console. *Pure.*
    #[must_use]
    pub fn lines(mut self, sink: impl FnMut(&str) + Send + 'static) -> Self {
        self.sink = Some(Box::new(sink));
        self
    }

    /// The command line that starts this machine with a console on the terminal, for a person.
    /// *Reads.*
    ///
    /// # Errors
    /// When no accelerator can be chosen.
    pub fn command_line(&self) -> Result<String, Failure> {
        let mut words = vec!["qemu-system-x86_64".to_owned()];
        words.extend(
            self.qemu_arguments()?
                .iter()
                .map(|word| quoted(&word.to_string_lossy())),
        );
        words.push("-serial mon:stdio".to_owned());
        Ok(words.join(" "))
    }

    /// Switches the machine on. `name` names this run's log: `NAME.log` in the scratch folder.
    /// *Writes.*
    ///
    /// The process ends with the thread that called this, so that a killed test leaves no machine
    /// behind.
    ///
    /// # Errors
    /// When QEMU or its firmware is not there or does not start.
    pub fn start(mut self, name: &str) -> Result<Running, Failure> {
        let step = format!("start machine {name}");
        if !self.variables.exists() {
            let template = self.variables_template;
            std::fs::copy(template, &self.variables)
                .map_err(|error| Failure::new(&step, format!("{template}: {error}")))?;
        }
        for recording in self.disks.iter().filter_map(|disk| disk.recording.as_ref()) {
            std::fs::File::create(recording).map_err(Failure::of(&step))?;
        }
        // A short path: the name of a socket has 108 bytes.
        let socket = tempfile::Builder::new()
            .prefix("rayos-")
            .tempdir()
            .map_err(Failure::of(&step))?;
        let monitor = socket.path().join("qmp");
        let mut chardev = OsString::from("socket,id=qmp,server=on,wait=off,path=");
        chardev.push(&monitor);
        let mut arguments = self.qemu_arguments()?;
        arguments.extend([
            "-chardev".into(),
            chardev,
            "-mon".into(),
            "chardev=qmp,mode=control".into(),
        ]);
        arguments.extend(
            [
                "-chardev",
                "stdio,id=console,signal=off",
                "-serial",
                "chardev:console",
            ]
            .map(Into::into),
        );

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
            Console::start(input, output, &log, self.sink.take()).map_err(Failure::of(&step))?;
        let words = arguments
            .iter()
            .map(|word| quoted(&word.to_string_lossy()))
            .collect::<Vec<_>>();
        let command_line = format!("qemu-system-x86_64 {}", words.join(" "));
        let qmp = Qmp::connect(&monitor, &mut child).map_err(|error| {
            let said = std::fs::read_to_string(&errors_path).unwrap_or_default();
            Failure::new(&step, format!("{error}; qemu said: {}", said.trim()))
        });
        let mut running = Running::new(child, console, log, command_line);
        running.attach(qmp?, socket);
        if self.memory.is_some() {
            running.go_on()?;
        }
        Ok(running)
    }

    /// Everything but console and monitor.
    fn qemu_arguments(&self) -> Result<Vec<OsString>, Failure> {
        let accelerator = match self.accelerator {
            Some(accelerator) => accelerator,
            None => Accelerator::choose()?,
        };
        let mut arguments: Vec<OsString> =
            ["-nodefaults", "-display", "none"].map(Into::into).into();
        if self.firmware == Path::new(SECURE_FIRMWARE.0) {
            let guarded = "driver=cfi.pflash01,property=secure,value=on";
            arguments.extend(["-machine", "q35,smm=on", "-global", guarded].map(Into::into));
        } else {
            arguments.extend(["-machine", "q35"].map(Into::into));
        }
        arguments.extend(accelerator.arguments().map(Into::into));
        arguments.extend(["-m".into(), self.memory_mib.to_string().into()]);
        arguments.extend(pflash(0, &self.firmware, true));
        arguments.extend(pflash(1, &self.variables, false));
        // No network boot: it only takes time before firmware gives up.
        for switch in ["IPv4PXESupport", "IPv6PXESupport"] {
            arguments.extend([
                "-fw_cfg".into(),
                format!("name=opt/org.tianocore/{switch},string=n").into(),
            ]);
        }
        if self.disks.iter().any(|disk| disk.bus == Bus::Usb) {
            arguments.extend(["-device".into(), "qemu-xhci,id=xhci".into()]);
        }
        for (number, disk) in self.disks.iter().enumerate() {
            arguments.extend(disk.arguments(number));
        }
        if self.network {
            arguments.extend(
                [
                    "-netdev",
                    "user,id=net",
                    "-device",
                    "virtio-net-pci,netdev=net,romfile=",
                ]
                .map(Into::into),
            );
        } else {
            arguments.extend(["-nic", "none"].map(Into::into));
        }
        if let Some(memory) = &self.memory {
            arguments.extend([
                "-incoming".into(),
                format!("exec:cat '{}'", memory.display()).into(),
            ]);
        }
        arguments.extend(self.extra.iter().cloned());
        Ok(arguments)
    }
}

fn pflash(unit: u8, path: &Path, read_only: bool) -> [OsString; 2] {
    let read_only = if read_only { "on" } else { "off" };
    let mut drive = OsString::from(format!(
        "if=pflash,unit={unit},format=raw,readonly={read_only},file="
    ));
    drive.push(path);
    ["-drive".into(), drive]
}

/// `word` as a shell takes it. *Pure.*
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
    use super::{Disk, quoted};

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("if=none,file=/tmp/a.img"), "if=none,file=/tmp/a.img");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_disk_names_its_sectors_and_its_order() {
        let words = Disk::virtio("d.img")
            .sectors_4096()
            .bootindex(1)
            .arguments(3);
        let device = words[3].to_string_lossy();
        assert!(
            device.contains("logical_block_size=4096") && device.ends_with("bootindex=1"),
            "{device}"
        );
        assert!(
            words[1]
                .to_string_lossy()
                .ends_with("file.node-name=disk3-file,file.filename=d.img")
        );
        let words = Disk::virtio("d.img").recording("d.log").arguments(0);
        let drive = words[1].to_string_lossy();
        assert!(
            drive.ends_with("log.filename=d.log,file.driver=file,file.filename=d.img"),
            "{drive}"
        );
    }
}
