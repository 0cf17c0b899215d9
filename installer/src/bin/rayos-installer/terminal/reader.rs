//! A thread that reads a terminal.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{ErrorKind, Read as _};

/// Time after which an incomplete sequence of a key is complete, in nanoseconds.
const SEQUENCE_TIME: i64 = 100_000_000;

/// What a terminal sent.
pub(crate) enum Input {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing for a tenth of a second after the last bytes.
    Quiet,
    /// It was closed.
    Closed,
}

/// Reads `file` until it is closed or `send` returns false.
pub(crate) fn read(mut file: File, mut send: impl FnMut(Input) -> bool) {
    let mut bytes = [0; 512];
    let mut is_quiet = true;
    loop {
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: SEQUENCE_TIME,
        };
        let limit = (!is_quiet).then_some(&pause);
        match poll(&mut [PollFd::new(&file, PollFlags::IN)], limit) {
            Ok(0) => {
                is_quiet = true;
                if !send(Input::Quiet) {
                    return;
                }
                continue;
            }
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                send(Input::Closed);
                return;
            }
            Ok(_) | Err(_) => {}
        }
        match file.read(&mut bytes) {
            Ok(0) => {
                send(Input::Closed);
                return;
            }
            Ok(count) => {
                is_quiet = false;
                let read = bytes.get(..count).unwrap_or_default().to_vec();
                if !send(Input::Bytes(read)) {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => {
                send(Input::Closed);
                return;
            }
        }
    }
}
