//! What the machine that a program runs on gives it: randomness, the time, cores, a restart. The
//! edges that `main` hands inward as values.

use record::Guid;
use rustix::system::{RebootCommand, reboot};
use std::fs::File;
use std::io::{self, Read as _};

/// 128 bits from the kernel.
///
/// # Errors
/// What reading `/dev/urandom` says.
pub fn random_guid() -> io::Result<Guid> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Guid(bytes))
}

/// How many threads can run at once.
#[must_use]
pub fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `future` on a runtime of its own.
///
/// # Errors
/// What starting the runtime's threads says.
pub fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder
        .worker_threads(jobs().max(2))
        .enable_all()
        .build()?
        .block_on(future))
}

/// Writes out what is in memory and restarts the machine, or switches it off.
///
/// # Errors
/// What the kernel says; without one, this does not return.
pub fn restart(power_off: bool) -> io::Result<()> {
    rustix::fs::sync();
    let command = if power_off {
        RebootCommand::PowerOff
    } else {
        RebootCommand::Restart
    };
    Ok(reboot(command)?)
}
