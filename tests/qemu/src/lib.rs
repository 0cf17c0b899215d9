//! Virtual machines for tests: QEMU with UEFI firmware (OVMF), its disks, its serial console and
//! its variable store. This crate knows nothing of the product: the scenarios of `tests/` and the
//! boot guard's lab (`bootctl/guard/examples/lab`) both run on it.
//!
//! A scenario names a pattern and waits for it with a limit; nothing here sleeps for a fixed time.
//! A step that fails is a [`Failure`], which shows the step, the last lines of the console, the
//! path of the full log and the command line of QEMU.
//!
//! | module | content |
//! | --- | --- |
//! | `accelerator` | KVM where it runs firmware, else translation |
//! | `console` | the serial line: log file, and text to wait on |
//! | `cpu_time` | processor time used by a machine |
//! | `disk` | a disk and how it is attached |
//! | `disk_error` | disks that return errors on command |
//! | `failure` | a failed step with the machine's state |
//! | `firmware` | the firmware and its variable store |
//! | `machine` | a machine before it starts |
//! | `power` | reset, power off, kill, suspend |
//! | `qmp` | QEMU's control socket |
//! | `running` | a machine that runs |
//! | `scratch` | the folder of one scenario |
//! | `shell` | commands in the guest's shell |
//! | `terminal` | text without escape sequences |
//! | `variable_store` | the firmware's variables, read and written from outside |
//!
//! ```no_run
//! # fn main() -> Result<(), qemu::Failure> {
//! use qemu::{Disk, Machine, Scratch};
//! let scratch = Scratch::new("example")?;
//! let mut machine = Machine::new(&scratch).disk(Disk::virtio("disk.img")).start("first")?;
//! machine.step("the release starts").expect("RAYOS:UP")?;
//! let shell = machine.run("rayos-bootctl status")?;
//! assert_eq!(shell.code, 0);
//! # Ok(()) }
//! ```

mod accelerator;
mod console;
mod cpu_time;
mod disk;
mod disk_error;
mod failure;
mod firmware;
mod machine;
mod power;
mod qmp;
mod running;
mod scratch;
mod shell;
mod terminal;
mod variable_store;

pub use accelerator::Accelerator;
pub use disk::{Bus, Disk};
pub use disk_error::DiskError;
pub use failure::{Failure, MachineState};
pub use firmware::{Firmware, missing_firmware};
pub use machine::Machine;
pub use running::Running;
pub use scratch::{Scratch, project_folder};
pub use shell::Shell;
pub use variable_store::{Variable, VariableStore};
