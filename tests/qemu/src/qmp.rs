//! QEMU's control socket (QEMU Machine Protocol): lines of JSON.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// Maximum time for QEMU to open its socket and to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection to one QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    lines: BufReader<UnixStream>,
    /// Number of resets so far, by the guest or by the scenario.
    resets: u32,
}

impl Qmp {
    /// Connects as soon as the socket exists.
    ///
    /// # Errors
    /// `NotConnected` when QEMU ended; `TimedOut`; errors of the socket.
    pub(crate) fn connect(socket: &Path, child: &mut Child) -> io::Result<Self> {
        let until = Instant::now() + LIMIT;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < until => {
                    if let Some(status) = child.try_wait()? {
                        return Err(io::Error::new(
                            io::ErrorKind::NotConnected,
                            format!("qemu ended: {status}"),
                        ));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        };
        stream.set_read_timeout(Some(LIMIT))?;
        let mut qmp = Self {
            lines: BufReader::new(stream),
            resets: 0,
        };
        qmp.message()?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns its answer. Counts the resets among the events before it.
    ///
    /// # Errors
    /// The error that QEMU answers; errors of the socket.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let line = json!({"execute": command, "arguments": arguments}).to_string();
        self.lines
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())?;
        loop {
            let mut message = self.message()?;
            if let Some(error) = message.get("error") {
                return Err(io::Error::other(format!("{command}: {error}")));
            }
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    /// Runs the query `command` until `field` of its answer is one of `values`, and returns that
    /// value.
    ///
    /// # Errors
    /// `TimedOut`; the error that QEMU answers; errors of the socket.
    pub(crate) fn until<'a>(
        &mut self,
        command: &str,
        field: &str,
        values: &[&'a str],
    ) -> io::Result<&'a str> {
        let until = Instant::now() + LIMIT;
        loop {
            let answer = self.execute(command, json!({}))?;
            let found = answer
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default();
            if let Some(value) = values.iter().find(|value| **value == found) {
                return Ok(value);
            }
            if Instant::now() > until {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{command}: {field} is {found}"),
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the number of resets so far.
    ///
    /// # Errors
    /// Errors of the socket.
    pub(crate) fn resets(&mut self) -> io::Result<u32> {
        // Any command will do: events before its answer are counted on the way.
        self.execute("query-status", json!({}))?;
        Ok(self.resets)
    }

    fn message(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "qemu has ended",
            ));
        }
        let message: Value = serde_json::from_str(&line)?;
        if message.get("event").and_then(Value::as_str) == Some("RESET") {
            self.resets += 1;
        }
        Ok(message)
    }
}
