//! The choice of QEMU's accelerator: KVM where it runs firmware, else translation.

use crate::console::{Console, Waited};
use crate::{Failure, Firmware, Scratch, project_folder};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How QEMU runs the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// Translation, one host thread for each virtual processor. Works everywhere.
    Tcg,
    /// Translation in one host thread, with a clock that counts instructions and jumps ahead while
    /// the processor is idle: minutes of waiting in the guest take seconds.
    InstructionClock,
}

/// Maximum time for firmware to start under KVM; usually it takes one second.
const PROBE_LIMIT: Duration = Duration::from_secs(15);

impl Accelerator {
    /// Returns the accelerator that works on this host. It starts firmware once under KVM and
    /// caches the result under `target/` until the host is restarted: inside another virtual
    /// machine `/dev/kvm` may exist and not run firmware. `RAYOS_QEMU_ACCEL` (kvm or tcg)
    /// overrides it. *Reads, and writes the cache.*
    ///
    /// # Errors
    /// When `RAYOS_QEMU_ACCEL` has another value.
    pub fn choose() -> Result<Self, Failure> {
        match std::env::var("RAYOS_QEMU_ACCEL").as_deref() {
            Ok("kvm") => return Ok(Self::Kvm),
            Ok("tcg") => return Ok(Self::Tcg),
            Ok(other) => {
                return Err(Failure::new(
                    "choose an accelerator",
                    format!("RAYOS_QEMU_ACCEL is {other}"),
                ));
            }
            Err(_) => {}
        }
        let cache = cache();
        match std::fs::read_to_string(&cache).as_deref() {
            Ok("kvm") => return Ok(Self::Kvm),
            Ok("tcg") => return Ok(Self::Tcg),
            _ => {}
        }
        let found = if kvm_runs_firmware() {
            Self::Kvm
        } else {
            Self::Tcg
        };
        // Without the cache the next machine probes again.
        if let Some(folder) = cache.parent() {
            std::fs::create_dir_all(folder).ok();
        }
        std::fs::write(&cache, found.name()).ok();
        Ok(found)
    }

    /// `kvm` or `tcg`. *Pure.*
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg | Self::InstructionClock => "tcg",
        }
    }

    /// QEMU's arguments for it. *Pure.*
    #[must_use]
    pub const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max"],
            Self::InstructionClock => &[
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-icount",
                "shift=6,sleep=off",
            ],
        }
    }
}

/// The file that caches the result, one for each boot of the host.
fn cache() -> PathBuf {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    project_folder()
        .join("target/qemu")
        .join(format!("accelerator-{}", boot.trim()))
}

/// Starts firmware without a disk under KVM and waits for its boot manager.
fn kvm_runs_firmware() -> bool {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    if opened.is_err() {
        return false;
    }
    let console = || -> Result<Waited, Failure> {
        let step = "start firmware under KVM";
        let scratch = Scratch::new(&format!("probe-{}", std::process::id()))?;
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults"])
            .args(["-display", "none", "-machine", "q35", "-serial", "stdio"])
            .args(Accelerator::Kvm.arguments())
            .arg("-drive")
            .arg(format!(
                "if=pflash,unit=0,format=raw,readonly=on,file={}",
                Firmware::Plain.code()
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Failure::of(step))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new(step, "qemu has no console"));
        };
        let log = scratch.file("probe.log");
        let console = Console::start(input, output, &log, None).map_err(Failure::of(step))?;
        let waited = console.wait(&["UEFI"], PROBE_LIMIT);
        child.kill().and_then(|()| child.wait()).ok();
        Ok(waited)
    };
    matches!(console(), Ok(Waited::Found(..)))
}
