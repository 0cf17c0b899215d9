//! A pseudo-terminal with a program on it, and its screen: the few sequences that the program uses.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Limit for a text to appear; a loaded machine is slow.
const LIMIT: Duration = Duration::from_secs(120);
const COLUMNS: usize = 80;
const LINES: usize = 24;

/// A pseudo-terminal.
pub(crate) struct Pty {
    master: File,
    pub(crate) path: PathBuf,
    bytes: Receiver<Vec<u8>>,
    screen: Screen,
    /// Everything that was written.
    pub(crate) log: Vec<u8>,
}

impl Pty {
    pub(crate) fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("pseudo-terminal");
        grantpt(&master).expect("grant");
        unlockpt(&master).expect("unlock");
        let path = ptsname(&master, Vec::new()).expect("name");
        let size = Winsize {
            ws_row: LINES as u16,
            ws_col: COLUMNS as u16,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).expect("size");
        let master = File::from(master);
        let (sender, bytes) = channel();
        let mut reader = master.try_clone().expect("reader");
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(count) = reader.read(&mut block) {
                if sender.send(block[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            master,
            path: PathBuf::from(path.to_string_lossy().into_owned()),
            bytes,
            screen: Screen::new(),
            log: Vec::new(),
        }
    }

    fn slave(&self) -> File {
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .open(&self.path)
            .expect("terminal")
    }

    /// Starts `command` on this terminal, its standard error excepted.
    pub(crate) fn start(&self, command: &mut Command) -> Child {
        let owned = |file: &File| file.as_fd().try_clone_to_owned().expect("descriptor");
        let slave = self.slave();
        command
            .env("TERM", "vt100")
            .stdin(Stdio::from(owned(&slave)))
            .stdout(Stdio::from(owned(&slave)))
            .stderr(Stdio::piped())
            .spawn()
            .expect("program")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).expect("keys");
    }

    /// Waits until the screen contains `text`; returns the screen.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        loop {
            let now = self.screen.text();
            if now.contains(text) {
                return now;
            }
            match self.bytes.recv_timeout(LIMIT) {
                Ok(bytes) => {
                    self.screen.write(&bytes);
                    self.log.extend(bytes);
                }
                Err(error) => panic!("{text:?} did not appear ({error}):\n{now}"),
            }
        }
    }

    /// Takes what the program wrote until its end.
    pub(crate) fn drain(&mut self) {
        while let Ok(bytes) = self.bytes.recv_timeout(Duration::from_millis(200)) {
            self.screen.write(&bytes);
            self.log.extend(bytes);
        }
    }
}

/// A screen of 80 columns and 24 lines.
struct Screen {
    cells: Vec<Vec<char>>,
    at: (usize, usize),
    /// An escape sequence that is not complete.
    sequence: Vec<u8>,
}

impl Screen {
    fn new() -> Self {
        Self {
            cells: vec![vec![' '; COLUMNS]; LINES],
            at: (0, 0),
            sequence: Vec::new(),
        }
    }

    fn text(&self) -> String {
        let line = |cells: &Vec<char>| cells.iter().collect::<String>().trim_end().to_owned();
        self.cells.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.sequence.is_empty() && byte != 0x1b {
                self.character(byte);
                continue;
            }
            self.sequence.push(byte);
            if self.sequence.len() > 2 && byte.is_ascii_alphabetic() {
                let sequence = std::mem::take(&mut self.sequence);
                self.control(&sequence[2..]);
            }
        }
    }

    fn character(&mut self, byte: u8) {
        let (row, column) = self.at;
        match byte {
            b'\r' => self.at.1 = 0,
            b'\n' if row + 1 < LINES => self.at.0 += 1,
            b'\n' => {
                self.cells.remove(0);
                self.cells.push(vec![' '; COLUMNS]);
            }
            _ => {
                if let Some(cell) = self.cells[row].get_mut(column) {
                    *cell = char::from(byte);
                }
                self.at.1 += 1;
            }
        }
    }

    fn control(&mut self, sequence: &[u8]) {
        let text = String::from_utf8_lossy(sequence).into_owned();
        if let Some(place) = text.strip_suffix('H') {
            let mut numbers = place.split(';').map(|it| it.parse().unwrap_or(1_usize));
            let mut next = || numbers.next().unwrap_or(1) - 1;
            self.at = (next(), next());
        } else if text == "2J" {
            self.cells = vec![vec![' '; COLUMNS]; LINES];
        }
    }
}
