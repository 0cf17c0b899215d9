//! The console: one line per decision, and one key.

use core::time::Duration;
use uefi::proto::console::text::Key;
use uefi::{Char16, boot, system};

/// How often and how long the keyboard is looked at: 300 ms altogether.
const LOOKS: u32 = 15;
const BETWEEN: Duration = Duration::from_millis(20);

/// Shows one line. OVMF shows the console on the serial line too.
pub(super) fn line(line: &str) {
    uefi::println!("rayos-guard: {line}");
}

/// Whether R is held down or was pressed, now or in the next moment.
pub(super) fn recovery_key_pressed() -> bool {
    for _ in 0..LOOKS {
        while let Some(key) = next_key() {
            if is_r(key) {
                return true;
            }
        }
        boot::stall(BETWEEN);
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
