//! The output of the demo: headings, explanations, lines of the console, commands and their output.

use std::io::Write as _;
use std::time::Instant;

/// Writes to standard output.
pub(crate) struct Narrator {
    began: Instant,
    chapter: u32,
}

impl Default for Narrator {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            chapter: 0,
        }
    }
}

/// Lines of the console that are shown: those of our programs, and the kernel's last ones.
const SHOWN: [&str; 7] = [
    "rayos-guard:",
    "RAYOS:",
    "RAYOS_",
    "Kernel panic",
    "reboot: Restarting",
    "not syncing",
    "BdsDxe: starting",
];

impl Narrator {
    /// Writes a heading.
    pub(crate) fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        let seconds = self.began.elapsed().as_secs();
        line(&format!(
            "\n== {}. {title}  [{}:{:02}]",
            self.chapter,
            seconds / 60,
            seconds % 60
        ));
    }

    /// Writes an explanation.
    pub(crate) fn say(&self, words: &str) {
        line("");
        for words in words.lines() {
            line(words.trim_start());
        }
    }

    /// Writes a command and its output.
    pub(crate) fn answer(&self, prompt: &str, command: &str, output: &str) {
        line(&format!("\n   {prompt} {command}"));
        for text in output.lines() {
            line(&format!("   {}", text.trim_end()));
        }
    }

    /// Writes an error.
    pub(crate) fn error(&self, words: &str) {
        // Without stderr there is no other place for it.
        writeln!(std::io::stderr(), "rayos-demo: {words}").ok();
    }

    /// Writes a line of the console if it is one of [`SHOWN`] or `verbose` is set.
    pub(crate) fn console(text: &str, verbose: bool) {
        if verbose || SHOWN.iter().any(|word| text.contains(word)) {
            line(&format!("   console | {}", text.trim_end()));
        }
    }

    /// Returns the duration so far. *Pure.*
    pub(crate) fn time(&self) -> String {
        let seconds = self.began.elapsed().as_secs();
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

fn line(text: &str) {
    // A closed pipe must not interrupt an installation.
    writeln!(std::io::stdout(), "{text}").ok();
}
