//! QEMU's control socket (QEMU Machine Protocol): lines of JSON.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// How long QEMU may take to open its socket, and to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection to one QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    lines: BufReader<UnixStream>,
    /// How often the machine was reset so far, by the guest or by us.
    resets: u32,
}

impl Qmp {
    /// Connects as soon as the socket is there.
    ///
    /// # Errors
    /// `NotConnected` when QEMU ended instead; `TimedOut`; what the socket says.
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

    /// Runs one command and returns its answer; events that come before it are noted.
    ///
    /// # Errors
    /// What QEMU answers, or what the socket says.
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

    /// Runs `command`, which changes nothing, until its answer's `field` is one of `values`; which
    /// one it was.
    ///
    /// # Errors
    /// `TimedOut`; what QEMU answers, or what the socket says.
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

    /// How often the machine was reset so far.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn resets(&mut self) -> io::Result<u32> {
        // Any command: events that came before its answer are noted on the way.
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
