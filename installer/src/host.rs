//! Randomness, threads and restart: what the programs take from their machine.

use record::Guid;
use rustix::system::{RebootCommand, reboot};
use std::fs::File;
use std::io::{self, Read as _};

/// Returns a random GUID from the kernel. *Reads.*
///
/// # Errors
/// `/dev/urandom` cannot be read.
pub fn random_guid() -> io::Result<Guid> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Guid(bytes))
}

/// Returns the number of threads that can run at once. *Reads.*
#[must_use]
pub fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `future` to its end on a new runtime.
///
/// # Errors
/// The threads of the runtime cannot be started.
pub fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder
        .worker_threads(jobs().max(2))
        .enable_all()
        .build()?
        .block_on(future))
}

/// Flushes all file systems, then restarts the machine or switches it off. Returns only on failure.
///
/// # Errors
/// The kernel refused the restart.
pub fn restart(power_off: bool) -> io::Result<()> {
    rustix::fs::sync();
    let command = if power_off {
        RebootCommand::PowerOff
    } else {
        RebootCommand::Restart
    };
    Ok(reboot(command)?)
}
