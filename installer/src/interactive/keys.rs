//! Keys, decoded from the bytes of a terminal.

/// A key that the program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Enter.
    Enter,
    /// Escape: one screen back.
    Escape,
    /// Backspace.
    Backspace,
    /// Ctrl-C, or the end of the input.
    Interrupt,
    /// A printable ASCII character.
    Character(char),
}

/// Maximum number of bytes of a sequence that are kept while it is not complete.
const MAX_SEQUENCE: usize = 16;

/// Decodes bytes to keys. A sequence may arrive in several parts, as on a serial line.
#[derive(Debug, Default)]
pub struct KeyDecoder {
    sequence: Vec<u8>,
}

impl KeyDecoder {
    /// Returns the keys that `bytes` complete. *Pure.*
    pub fn decode(&mut self, bytes: &[u8]) -> Vec<Key> {
        bytes.iter().flat_map(|byte| self.byte(*byte)).collect()
    }

    /// Reports whether a sequence is not complete: the caller waits for a tenth of a second, then
    /// calls [`Self::flush`]. *Pure.*
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        !self.sequence.is_empty()
    }

    /// Returns the key of an incomplete sequence: an escape character alone is Escape. *Pure.*
    pub fn flush(&mut self) -> Option<Key> {
        let is_escape = self.sequence == [0x1b];
        self.sequence.clear();
        is_escape.then_some(Key::Escape)
    }

    fn byte(&mut self, byte: u8) -> Vec<Key> {
        let is_control = byte < 0x20 || byte == 0x7f;
        if is_control && self.is_pending() {
            // No sequence contains a control character: the one before it ends here.
            let before = self.flush();
            return before.into_iter().chain(self.byte(byte)).collect();
        }
        if byte == 0x1b || self.is_pending() {
            self.sequence.push(byte);
            return self.sequence_key().into_iter().collect();
        }
        plain(byte).into_iter().collect()
    }

    /// Returns the key of the sequence if it is complete and known.
    fn sequence_key(&mut self) -> Option<Key> {
        let [_, introducer, rest @ ..] = &self.sequence[..] else {
            return None;
        };
        if !matches!(introducer, b'[' | b'O') {
            self.sequence.clear();
            return None;
        }
        let last = *rest.last()?;
        let is_end = (0x40..=0x7e).contains(&last);
        if !is_end && self.sequence.len() < MAX_SEQUENCE {
            return None;
        }
        let sequence = std::mem::take(&mut self.sequence);
        match sequence.get(1..).unwrap_or_default() {
            b"[A" | b"OA" => Some(Key::Up),
            b"[B" | b"OB" => Some(Key::Down),
            b"[5~" => Some(Key::PageUp),
            b"[6~" => Some(Key::PageDown),
            _ => None,
        }
    }
}

const fn plain(byte: u8) -> Option<Key> {
    match byte {
        b'\r' | b'\n' => Some(Key::Enter),
        0x08 | 0x7f => Some(Key::Backspace),
        // Ctrl-C, and Ctrl-D: the end of the input.
        0x03 | 0x04 => Some(Key::Interrupt),
        // Ctrl-P and Ctrl-N, for terminals without arrows.
        0x10 => Some(Key::Up),
        0x0e | b'\t' => Some(Key::Down),
        0x20..=0x7e => Some(Key::Character(byte as char)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn keys_are_decoded_whole_or_in_parts() {
        let mut decoder = KeyDecoder::default();
        let keys = decoder.decode(b"\x1b[Ax\r\x1b[6~\x7f\x1bOB\x03\x1b[200~");
        let expected = [
            Key::Up,
            Key::Character('x'),
            Key::Enter,
            Key::PageDown,
            Key::Backspace,
            Key::Down,
            Key::Interrupt,
        ];
        assert_eq!(keys, expected);
        assert_eq!(decoder.decode(b"\x1b"), []);
        assert_eq!(decoder.decode(b"["), []);
        assert_eq!(decoder.decode(b"B"), [Key::Down]);
        assert_eq!(decoder.decode(b"\x1b"), []);
        assert_eq!(decoder.flush(), Some(Key::Escape));
        assert_eq!(
            decoder.decode(b"\x1b\r\x1b\x1b"),
            [Key::Escape, Key::Enter, Key::Escape]
        );
        assert_eq!(decoder.flush(), Some(Key::Escape));
        assert_eq!(decoder.decode(b"\x1bx\x1b[1\x03"), [Key::Interrupt]);
        assert!(!decoder.is_pending());
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_parts_give_the_same_keys(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..200,
        ) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut parts = KeyDecoder::default();
            let mut keys = parts.decode(first);
            keys.extend(parts.decode(second));
            prop_assert_eq!(keys, KeyDecoder::default().decode(&bytes));
            prop_assert!(parts.sequence.len() < MAX_SEQUENCE);
        }
    }
}
