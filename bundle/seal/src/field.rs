//! Fields at fixed offsets in blocks of fixed length, without indexing that could panic.

/// Returns `N` bytes of `block` from offset `at`; bytes after its end are zero. *Pure.*
#[must_use]
pub fn get<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(block.iter().skip(at)) {
        *to = *from;
    }
    field
}

/// Copies `field` into `block` at offset `at`; bytes after its end are dropped. *Pure.*
pub fn put(block: &mut [u8], at: usize, field: &[u8]) {
    for (to, from) in block.iter_mut().skip(at).zip(field) {
        *to = *from;
    }
}

/// Up to 64 bytes of printable ASCII without spaces, such as a version. Padded with zeroes in a
/// block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text64([u8; 64]);

impl Text64 {
    /// The empty text.
    pub const EMPTY: Self = Self([0; 64]);

    /// Returns `text`, or `None` if it is longer than 64 bytes or has a character outside `!` to
    /// `~`. *Pure.*
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; 64];
        if text.len() > bytes.len() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        put(&mut bytes, 0, text.as_bytes());
        Some(Self(bytes))
    }

    /// Decodes the padded form; `None` if a character is not printable or follows a zero. *Pure.*
    #[must_use]
    pub fn decode(bytes: [u8; 64]) -> Option<Self> {
        let len = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len());
        let (text, padding) = bytes.split_at_checked(len)?;
        let valid = text.iter().all(u8::is_ascii_graphic) && padding.iter().all(|byte| *byte == 0);
        valid.then_some(Self(bytes))
    }

    /// Returns the padded form.
    #[must_use]
    pub const fn encode(&self) -> [u8; 64] {
        self.0
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.0.len());
        core::str::from_utf8(self.0.get(..len).unwrap_or_default()).unwrap_or_default()
    }
}

impl core::fmt::Display for Text64 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.as_str())
    }
}
impl core::fmt::Debug for Text64 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), f)
    }
}
