//! How much of the processor a virtual machine has used: its own clock, as far as anything else on
//! the host is concerned.

use std::fs;
use std::io;
use std::time::Duration;

/// Processor time that all threads of a process have used so far. *Reads*
/// `/proc/PID/task/*/schedstat`, whose first number it is, in nanoseconds
/// (Documentation/scheduler/sched-stats.rst).
///
/// # Errors
/// When the process is gone.
pub(crate) fn used(process: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has ended meanwhile is not missed.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0_u64);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::used;

    #[test]
    fn work_counts_and_nobody_has_none() {
        let before = used(std::process::id()).unwrap();
        let mut sum = 0_u64;
        let mut after = before;
        // As long as it takes, however slow the host is.
        while after == before {
            sum = (0..1_000_000).fold(sum, |sum, number| std::hint::black_box(sum ^ number));
            after = used(std::process::id()).unwrap();
        }
        assert!(after > before);
        assert!(used(u32::MAX).is_err());
    }
}
