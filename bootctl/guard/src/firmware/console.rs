//! The console: one line for each decision, and one key.

use core::time::Duration;
use uefi::proto::console::text::Key;
use uefi::{Char16, boot, system};

/// Number of polls of the keyboard and the pause between them: 300 ms altogether.
const POLLS: u32 = 15;
const PAUSE: Duration = Duration::from_millis(20);

/// Prints one line. OVMF shows the console on the serial line, too.
pub(super) fn line(line: &str) {
    uefi::println!("rayos-guard: {line}");
}

/// Returns whether R is pressed before or during the polls.
pub(super) fn recovery_key_pressed() -> bool {
    for _ in 0..POLLS {
        while let Some(key) = next_key() {
            if is_r(key) {
                return true;
            }
        }
        boot::stall(PAUSE);
    }
    false
}

fn next_key() -> Option<Key> {
    system::with_stdin(|stdin| stdin.read_key().ok().flatten())
}

fn is_r(key: Key) -> bool {
    let is =
        |letter: char| Char16::try_from(letter).is_ok_and(|letter| key == Key::Printable(letter));
    is('r') || is('R')
}
