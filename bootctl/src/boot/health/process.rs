//! One run of a check: its process, its output, and its end.

use super::cgroup::Cgroup;
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::io::{self, PipeReader, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Exit code of a check that is not ready yet.
pub const NOT_YET: i32 = 75;
/// Number of bytes of a check's output that are kept: its last ones.
pub const OUTPUT_MAX: usize = 3000;

const POLL: Duration = Duration::from_millis(20);
/// How long to wait for the end of a process that was killed.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// Capacity of a pipe (pipe(7)). What a check wrote before it ended is within this many bytes.
const PIPE_LEN: usize = 64 * 1024;

/// How a run of a check ended.
pub(super) enum Ended {
    Code(i32),
    Signal(i32),
    TimedOut,
    /// Timed out, and still there after it was killed.
    NotKilled,
    NotStarted(String),
}

impl Ended {
    /// Returns words that follow the name of the check.
    pub(super) fn words(&self, time_out: Duration) -> String {
        match self {
            Self::Code(NOT_YET) => "is not ready yet".to_owned(),
            Self::Code(code) => format!("failed with exit code {code}"),
            Self::Signal(signal) => format!("was ended by signal {signal}"),
            Self::TimedOut => format!("did not end within {} s", time_out.as_secs()),
            Self::NotKilled => {
                let seconds = time_out.as_secs();
                format!("did not end within {seconds} s, nor when it was killed")
            }
            Self::NotStarted(words) => words.clone(),
        }
    }
}

/// Runs a check once. Returns how it ended, and the end of its output.
pub(super) fn run_once(path: &Path, time_out: Duration) -> (Ended, String) {
    let cgroup = Cgroup::enter();
    let started = start(path);
    // The check is in the group from its beginning; this program leaves it.
    let cgroup = cgroup.and_then(Cgroup::leave);
    let (mut child, mut output) = match started {
        Ok(started) => started,
        Err(error) => return (Ended::NotStarted(words_of(path, &error)), String::new()),
    };
    let ended = wait(&mut child, &mut output, time_out);
    if matches!(ended, Ended::TimedOut | Ended::NotKilled) {
        cgroup.as_ref().map(Cgroup::kill).unwrap_or_default();
    }
    // All that it wrote is in the pipe by now, however busy the machine is.
    output.drain();
    (ended, output.text())
}

/// Starts a check in a process group of its own, so that a time-out ends its children, too.
fn start(path: &Path) -> io::Result<(Child, Output)> {
    let (reader, writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    let child = Command::new(path)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()?;
    let output = Output {
        reader,
        end: Vec::new(),
    };
    Ok((child, output))
}

/// The output of a check, of which only the end is kept.
struct Output {
    reader: PipeReader,
    end: Vec<u8>,
}

impl Output {
    /// Reads what is in the pipe without waiting for more: a process that the check left behind may
    /// hold the pipe open, or write without end.
    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..PIPE_LEN / buffer.len() {
            match self.reader.read(&mut buffer) {
                Ok(count @ 1..) => self.end.extend(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
            let excess = self.end.len().saturating_sub(OUTPUT_MAX);
            self.end.drain(..excess);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.end).into_owned()
    }
}

fn wait(child: &mut Child, output: &mut Output, time_out: Duration) -> Ended {
    let start = Instant::now();
    loop {
        // A check that prints a lot must not wait for room in the pipe.
        output.drain();
        match child.try_wait() {
            Ok(Some(status)) => {
                let signal = || Ended::Signal(status.signal().unwrap_or_default());
                return status.code().map_or_else(signal, Ended::Code);
            }
            Ok(None) if start.elapsed() < time_out => thread::sleep(POLL),
            Ok(None) => return kill_group(child),
            Err(error) => return Ended::NotStarted(format!("cannot be waited for: {error}")),
        }
    }
}

fn kill_group(child: &mut Child) -> Ended {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let killed = group.map(|group| rustix::process::kill_process_group(group, Signal::KILL));
    if !matches!(killed, Some(Ok(()))) && child.kill().is_err() {
        return Ended::NotKilled;
    }
    // Dead processes are gone at once, unless they wait for hardware in the kernel.
    if is_reaped(
        || child.try_wait().map(|status| status.is_some()),
        KILL_WAIT,
    ) {
        Ended::TimedOut
    } else {
        Ended::NotKilled
    }
}

/// Returns whether `has_ended` becomes true within `limit`.
fn is_reaped(mut has_ended: impl FnMut() -> io::Result<bool>, limit: Duration) -> bool {
    let start = Instant::now();
    loop {
        match has_ended() {
            Ok(false) if start.elapsed() < limit => thread::sleep(POLL),
            Ok(has_ended) => return has_ended,
            Err(_) => return false,
        }
    }
}

/// Returns why a check that is there cannot be started.
fn words_of(path: &Path, error: &io::Error) -> String {
    let mut first = [0; 256];
    let count = File::open(path).and_then(|mut file| file.read(&mut first));
    let first = first.get(..count.unwrap_or(0)).unwrap_or_default();
    let line = first
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if line.starts_with(b"#!") && line.ends_with(b"\r") {
        format!("cannot be started: its first line ends with CR LF: {error}")
    } else {
        format!("cannot be started: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_killed_process_has_a_limit() {
        assert!(!is_reaped(|| Ok(false), Duration::ZERO), "state D");
        let mut polls = 0;
        let third = || {
            polls += 1;
            Ok(polls == 3)
        };
        assert!(is_reaped(third, Duration::from_secs(60)));
        assert!(!is_reaped(|| Err(io::Error::other("lost")), Duration::ZERO));
    }
}
