//! Processor time of a virtual machine. It measures the machine's progress independently of the
//! load of the host.

use std::fs;
use std::io;
use std::time::Duration;

/// Returns the processor time that all threads of `process` have used so far. *Reads* the first
/// number, in nanoseconds, of `/proc/PID/task/*/schedstat`
/// (Linux, Documentation/scheduler/sched-stats.rst).
///
/// # Errors
/// When the process has ended.
pub(crate) fn used(process: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has ended in the meantime counts as zero.
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
    fn work_is_counted_and_an_unknown_process_is_an_error() {
        let before = used(std::process::id()).unwrap();
        let mut sum = 0_u64;
        let mut after = before;
        // Until the counter moves, however slow the host is.
        while after == before {
            sum = (0..1_000_000).fold(sum, |sum, number| std::hint::black_box(sum ^ number));
            after = used(std::process::id()).unwrap();
        }
        assert!(after > before);
        assert!(used(u32::MAX).is_err());
    }
}
