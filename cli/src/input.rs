//! Text files as people and their editors write them, and outputs that must not be inputs.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// An output that is also an input of the same command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: is the input {}: name another output", output.display(), input.display())]
pub struct OutputIsInput {
    /// The output.
    pub output: PathBuf,
    /// The input that is the same file.
    pub input: PathBuf,
}

/// Refuses an `output` that is one of `inputs`, by name, hard link or symbolic link. *Reads.*
///
/// An input that does not exist is left to its reader.
///
/// # Errors
/// [`OutputIsInput`], before anything is opened.
pub fn refuse_input_as_output<'a>(
    output: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), OutputIsInput> {
    let identity = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    let Some(written) = identity(output) else {
        return Ok(());
    };
    match inputs
        .into_iter()
        .find(|input| identity(input) == Some(written))
    {
        Some(input) => Err(OutputIsInput {
            output: output.to_owned(),
            input: input.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Why bytes are no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// They are in UTF-16, as some editors save text.
    #[error("encoded as UTF-16: save it as UTF-8")]
    Utf16,
    /// They are no UTF-8.
    #[error("byte {0} is not UTF-8")]
    NotUtf8(usize),
}

/// Decodes a text file: UTF-8, with or without a byte order mark. *Pure.* UTF-16 is named.
///
/// # Errors
/// [`TextError`].
pub fn decode_text(bytes: &[u8]) -> Result<String, TextError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(TextError::Utf16);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Without a byte order mark, UTF-16 of ASCII has a zero in every second byte.
    if bytes.len() >= 4 && bytes[..4].iter().filter(|byte| **byte == 0).count() == 2 {
        return Err(TextError::Utf16);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(TextError::NotUtf8(error.valid_up_to())),
    }
}

/// Reads a text file ([`decode_text`]). *Reads.*
///
/// # Errors
/// Those of reading; `InvalidData` for other encodings.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    decode_text(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_output_that_is_an_input_is_refused_by_any_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "a").unwrap();
        fs::write(path("b"), "b").unwrap();
        fs::hard_link(path("a"), path("hard")).unwrap();
        std::os::unix::fs::symlink("a", path("soft")).unwrap();
        let inputs = [path("missing"), path("b"), path("a")];
        let refuse = |output: &str| {
            refuse_input_as_output(&path(output), inputs.iter().map(PathBuf::as_path))
        };
        for output in ["a", "hard", "soft", "./a"] {
            let error = refuse(output).unwrap_err();
            assert_eq!(error.input, path("a"), "{output}");
        }
        assert_eq!(refuse("new"), Ok(()));
    }

    #[test]
    fn marks_are_dropped_and_utf_16_is_named() {
        assert_eq!(decode_text(b"\xef\xbb\xbfa\r\n").as_deref(), Ok("a\r\n"));
        for utf16 in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a", b"a\0b\0", b"\0a\0b"] {
            assert_eq!(decode_text(utf16), Err(TextError::Utf16), "{utf16:?}");
        }
        assert_eq!(decode_text(b"ab\xff"), Err(TextError::NotUtf8(2)));
    }

    proptest! {
        #[test]
        fn text_without_zeroes_is_read_as_it_is(text in "[^\0\u{feff}]{0,40}") {
            prop_assert_eq!(decode_text(text.as_bytes()).unwrap(), text);
        }
    }
}
