//! Which accelerator QEMU gets: KVM where it really runs firmware, else translation.

use crate::scratch::project;
use crate::{Failure, Machine, Scratch};
use std::path::PathBuf;
use std::time::Duration;

/// How QEMU runs the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// Translation, one host thread for each virtual processor. Works everywhere.
    Tcg,
}

/// How long firmware may take to come up under KVM before it counts as not running: it takes one
/// second.
const PROBE_LIMIT: Duration = Duration::from_secs(15);

impl Accelerator {
    /// The accelerator for this machine, found by starting firmware once under KVM; the answer
    /// holds until the host is started again. `/dev/kvm` alone says little: inside another virtual
    /// machine it may be there and not run firmware. `RAYOS_QEMU_ACCEL` (kvm or tcg) overrules.
    /// *Reads* and caches under `target/`.
    ///
    /// # Errors
    /// When `RAYOS_QEMU_ACCEL` says something else.
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
        // Without the cache the next one probes again.
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
            Self::Tcg => "tcg",
        }
    }

    /// QEMU's arguments for it. *Pure.*
    #[must_use]
    pub const fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

/// Where the answer is kept; another boot of the host is another file.
fn cache() -> PathBuf {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    project()
        .join("target/qemu")
        .join(format!("accelerator-{}", boot.trim()))
}

/// Starts firmware without any disk and waits for its boot manager.
fn kvm_runs_firmware() -> bool {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    if opened.is_err() {
        return false;
    }
    let probe = || -> Result<(), Failure> {
        let scratch = Scratch::new(&format!("probe-{}", std::process::id()))?;
        let mut machine = Machine::new(&scratch)
            .accelerator(Accelerator::Kvm)
            .start("probe")?;
        machine
            .step("firmware comes up")
            .expect_within("UEFI", PROBE_LIMIT)?;
        machine.power_off()
    };
    probe().is_ok()
}
