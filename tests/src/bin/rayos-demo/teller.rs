//! How the story is told: chapters, words, what the console says, what a command answers.

use std::io::Write as _;
use std::time::Instant;

/// Tells the story on standard output.
pub(crate) struct Teller {
    began: Instant,
    chapter: u32,
}

impl Default for Teller {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            chapter: 0,
        }
    }
}

/// What of the console is shown: our programs' words, and the kernel's last ones.
const SHOWN: [&str; 7] = [
    "rayos-guard:",
    "RAYOS:",
    "RAYOS_",
    "Kernel panic",
    "reboot: Restarting",
    "not syncing",
    "BdsDxe: starting",
];

impl Teller {
    /// Begins a chapter.
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

    /// Says what happens.
    pub(crate) fn say(&self, words: &str) {
        line("");
        for words in words.lines() {
            line(words.trim_start());
        }
    }

    /// Shows a command and its answer.
    pub(crate) fn answer(&self, prompt: &str, command: &str, output: &str) {
        line(&format!("\n   {prompt} {command}"));
        for text in output.lines() {
            line(&format!("   {}", text.trim_end()));
        }
    }

    /// Says what went wrong.
    pub(crate) fn trouble(&self, words: &str) {
        // There is nowhere else to say it.
        writeln!(std::io::stderr(), "rayos-demo: {words}").ok();
    }

    /// Shows a line of the console, if it is of interest.
    pub(crate) fn console(text: &str, verbose: bool) {
        if verbose || SHOWN.iter().any(|word| text.contains(word)) {
            line(&format!("   console | {}", text.trim_end()));
        }
    }

    /// Minutes and seconds since the beginning.
    pub(crate) fn time(&self) -> String {
        let seconds = self.began.elapsed().as_secs();
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

fn line(text: &str) {
    // A reader that has gone away is no reason to leave the machine half installed.
    writeln!(std::io::stdout(), "{text}").ok();
}
