//! Converts the bytes of a serial line into text without escape sequences.

/// Converts bytes, in pieces of any size, into text without escape sequences and carriage returns.
///
/// Firmware moves the cursor on its screen; a new position begins a new line, so that words which
/// are apart on the screen are apart in the text. A carriage return alone (a progress bar) begins a
/// new line, too.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    state: State,
    /// Whether the last byte was a carriage return.
    returned: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// Within `ESC [ ... letter`.
    Control,
    /// Within `ESC ] ... BEL`.
    Title,
}

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

impl Terminal {
    /// Appends the text of `bytes` to `text`. Bytes that are not ASCII become `?`.
    pub(crate) fn feed(&mut self, bytes: &[u8], text: &mut String) {
        for &byte in bytes {
            if self.returned
                && !matches!(byte, b'\n' | b'\r')
                && !text.is_empty()
                && !text.ends_with('\n')
            {
                text.push('\n');
            }
            self.returned = byte == b'\r';
            self.state = self.next(byte, text);
        }
    }

    fn next(&self, byte: u8, text: &mut String) -> State {
        match (self.state, byte) {
            (_, ESCAPE) => State::Escape,
            (State::Text, b'\n' | b'\t' | b' '..=b'~') => {
                text.push(char::from(byte));
                State::Text
            }
            (State::Text, 0x80..) => {
                text.push('?');
                State::Text
            }
            (State::Escape, b'[') => State::Control,
            (State::Escape, b']') => State::Title,
            (State::Control, b'H' | b'f') => {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                State::Text
            }
            (State::Control, b' '..=b'?') => State::Control,
            (State::Title, BELL) => State::Text,
            (State::Title, _) => State::Title,
            (State::Text | State::Escape | State::Control, _) => State::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Terminal;

    fn text_of(pieces: &[&[u8]]) -> String {
        let (mut terminal, mut text) = (Terminal::default(), String::new());
        for piece in pieces {
            terminal.feed(piece, &mut text);
        }
        text
    }

    #[test]
    fn plain_lines_stay_without_carriage_returns() {
        assert_eq!(text_of(&[b"one\r\ntwo\tthree\r\n"]), "one\ntwo\tthree\n");
    }

    #[test]
    fn each_update_of_a_progress_bar_is_a_line() {
        assert_eq!(
            text_of(&[b"\r 10 %\r", b" 20 %\r\r\ndone\r\n"]),
            " 10 %\n 20 %\ndone\n"
        );
    }

    #[test]
    fn colours_are_removed_even_across_pieces() {
        assert_eq!(text_of(&[b"\x1b[1;3", b"1mred\x1b", b"[0m."]), "red.");
    }

    #[test]
    fn a_cursor_position_begins_a_new_line() {
        assert_eq!(
            text_of(&[b"BdsDxe\x1b[04;01Hloading\x1b[2J\x1b[01;01H"]),
            "BdsDxe\nloading\n"
        );
    }

    #[test]
    fn titles_are_removed_and_other_bytes_become_question_marks() {
        assert_eq!(text_of(&[b"\x1b]0;title\x07a\xc3\xa9b"]), "a??b");
    }
}
