//! One boot of a machine with OVMF.

use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// The same with Secure Boot, whose variables only code in system management mode can write.
const SECURE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
const VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// A machine that says nothing new for so long is given up: two minutes of the guard's watchdog,
/// and a margin. `RAYOS_PATIENCE` (a number) multiplies it, for a machine that has other things to
/// do.
const SILENCE: Duration = Duration::from_secs(180);

/// Whether everything that a boot needs is on this machine.
pub(crate) fn missing() -> Option<&'static str> {
    if ![CODE, SECURE_CODE, VARS]
        .iter()
        .all(|file| Path::new(file).exists())
    {
        return Some("OVMF");
    }
    let runs = |program: &str, version: &str| {
        let quiet =
            |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet(Command::new(program).arg(version)).is_ok_and(|status| status.success())
    };
    let needed = [
        ("qemu-system-x86_64", "--version"),
        ("xorriso", "-version"),
        ("openssl", "version"),
        ("sbsign", "--version"),
    ];
    needed
        .into_iter()
        .find(|(program, version)| !runs(program, version))
        .map(|(program, _)| program)
}

/// A machine that is switched on once per [`Machine::boot`].
pub(crate) struct Machine {
    dir: PathBuf,
    pub(crate) extra: Vec<String>,
    pub(crate) read_only: bool,
    /// Whether the firmware is the one that knows Secure Boot; it is on as soon as keys are
    /// enrolled.
    pub(crate) secure: bool,
    /// What is typed on the serial line as soon as the firmware says that it starts the guard.
    pub(crate) typed: &'static str,
}

impl Machine {
    /// A machine with a fresh store of variables, in `dir`.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        std::fs::copy(VARS, dir.join("vars.fd"))?;
        Ok(Self {
            dir: dir.to_owned(),
            extra: Vec::new(),
            read_only: false,
            secure: false,
            typed: "",
        })
    }

    pub(crate) fn vars(&self) -> PathBuf {
        self.dir.join("vars.fd")
    }

    /// Boots with these disks (bytes and sector length; they are updated) until one of `until` is
    /// said or the machine switches itself off or resets. Returns the console.
    pub(crate) fn boot(
        &self,
        disks: &mut [(&mut Vec<u8>, usize)],
        until: &[&str],
    ) -> Result<String> {
        let mut command = Command::new("qemu-system-x86_64");
        command.args("-m 256 -nodefaults -net none -display none -no-reboot".split(' '));
        let code = if self.secure { SECURE_CODE } else { CODE };
        if self.secure {
            command.args(["-machine", "q35,smm=on,accel=tcg"]);
            command.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        } else {
            command.args(["-machine", "q35,accel=tcg"]);
        }
        command.args(["-serial", "stdio"]);
        command.args([
            "-drive",
            &format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"),
        ]);
        let vars = self.vars();
        command.args([
            "-drive",
            &format!("if=pflash,format=raw,unit=1,file={}", vars.display()),
        ]);
        for (number, (bytes, sector)) in disks.iter().enumerate() {
            let path = self.disk(number);
            std::fs::write(&path, bytes)?;
            let mode = if self.read_only { "on" } else { "off" };
            let drive = format!(
                "if=none,id=d{number},format=raw,readonly={mode},file={}",
                path.display()
            );
            let device = format!(
                "virtio-blk-pci,drive=d{number},logical_block_size={sector},physical_block_size={sector}"
            );
            command.args(["-drive", &drive, "-device", &device]);
        }
        command.args(&self.extra);
        let console = run(command, until, self.typed)?;
        for (number, (bytes, _)) in disks.iter_mut().enumerate() {
            **bytes = std::fs::read(self.disk(number))?;
        }
        Ok(console)
    }

    fn disk(&self, number: usize) -> PathBuf {
        self.dir.join(format!("disk{number}.img"))
    }
}

fn run(mut command: Command, until: &[&str], typed: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("qemu")?;
    let mut keyboard = child.stdin.take().context("no keyboard")?;
    let output = child.stdout.take().context("no console")?;
    let (send, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if send
                .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                .is_err()
            {
                break;
            }
        }
    });
    let mut console = String::new();
    let mut silent = false;
    let patience = std::env::var("RAYOS_PATIENCE")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(1);
    let silence = SILENCE * patience;
    loop {
        match lines.recv_timeout(silence) {
            Ok(line) => {
                console.push_str(&line);
                console.push('\n');
                if line.contains("BdsDxe: starting") {
                    keyboard.write_all(typed.as_bytes())?;
                }
                if until.iter().any(|word| line.contains(word)) {
                    break;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                silent = true;
                break;
            }
        }
    }
    drop(lines);
    // Killing one that has ended by itself is no error.
    child.kill()?;
    child.wait()?;
    drop(reader);
    if silent {
        bail!("the machine fell silent:\n{console}");
    }
    Ok(console)
}
