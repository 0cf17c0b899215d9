//! The bytes of a device-mapper call: `struct dm_ioctl`, and behind it the lines of a table.

/// Length of `struct dm_ioctl`.
pub(crate) const HEADER_LEN: usize = 312;
/// Bytes of a call: one line of a table, and more than that for what the kernel answers.
pub(crate) const MESSAGE_LEN: usize = 4096;
/// Length of `struct dm_target_spec`, which goes before a line's parameters.
const TARGET_LEN: usize = 40;
/// `DM_READONLY_FLAG`.
pub(crate) const READ_ONLY: u32 = 1;
/// `DM_STATUS_TABLE_FLAG`: the answer is the table instead of the state.
pub(crate) const TABLE: u32 = 1 << 4;

const NAME_AT: usize = 48;
const NAME_LEN: usize = 128;

/// A call and its answer. Aligned as the kernel's structures are.
#[repr(C, align(8))]
pub(crate) struct Message {
    pub(crate) bytes: [u8; MESSAGE_LEN],
}

impl Message {
    /// A call about the device `name`; `None` if the name is empty, too long or has a zero.
    pub(crate) fn new(name: &str, flags: u32) -> Option<Self> {
        if name.is_empty() || name.len() >= NAME_LEN || name.contains(['\0', '/']) {
            return None;
        }
        let mut message = Self {
            bytes: [0; MESSAGE_LEN],
        };
        // Version 4.0.0 of the interface: every later 4.x accepts it.
        message.put(0, &4_u32.to_ne_bytes());
        message.put(12, &(MESSAGE_LEN as u32).to_ne_bytes());
        message.put(16, &(HEADER_LEN as u32).to_ne_bytes());
        message.put(28, &flags.to_ne_bytes());
        message.put(NAME_AT, name.as_bytes());
        Some(message)
    }

    /// With a table of one line; `None` if it is too long.
    pub(crate) fn with_line(mut self, kind: &str, sectors: u64, parameters: &str) -> Option<Self> {
        let end = HEADER_LEN + TARGET_LEN + parameters.len() + 1;
        if kind.len() >= 16 || end > MESSAGE_LEN {
            return None;
        }
        self.put(20, &1_u32.to_ne_bytes());
        let at = HEADER_LEN;
        self.put(at + 8, &sectors.to_ne_bytes());
        self.put(
            at + 20,
            &((end - at).next_multiple_of(8) as u32).to_ne_bytes(),
        );
        self.put(at + 24, kind.as_bytes());
        self.put(at + TARGET_LEN, parameters.as_bytes());
        Some(self)
    }

    /// Major and minor number of the device, of an answer.
    pub(crate) fn device(&self) -> (u32, u32) {
        let bytes = self.bytes[40..48].try_into().unwrap_or_default();
        // `huge_encode_dev`.
        let dev = u64::from_ne_bytes(bytes);
        let major = (dev & 0xf_ff00) >> 8;
        let minor = (dev & 0xff) | ((dev >> 12) & 0xfff_ff00);
        (major as u32, minor as u32)
    }

    /// The parameters, or the state, of the table's first line, of an answer.
    pub(crate) fn line(&self) -> String {
        let start = u32::from_ne_bytes(self.bytes[16..20].try_into().unwrap_or_default()) as usize;
        let text = self
            .bytes
            .get(start.saturating_add(TARGET_LEN)..)
            .unwrap_or_default();
        let end = text
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(text.len());
        String::from_utf8_lossy(&text[..end]).into_owned()
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_behind_the_header() {
        let message = Message::new("rayos-root", READ_ONLY).unwrap();
        let message = message.with_line("verity", 16, "1 8:5 8:5").unwrap();
        let word = |at: usize| u32::from_ne_bytes(message.bytes[at..at + 4].try_into().unwrap());
        assert_eq!(
            [word(0), word(12), word(16), word(20), word(28)],
            [4, 4096, 312, 1, 1]
        );
        assert!(message.bytes[48..].starts_with(b"rayos-root\0"));
        assert_eq!(message.bytes[320..328], 16_u64.to_ne_bytes());
        // 40 bytes, 9 letters and a zero, in whole words of 8 bytes.
        assert_eq!(word(332), 56);
        assert!(message.bytes[336..].starts_with(b"verity\0"));
        assert_eq!(message.line(), "1 8:5 8:5");
    }

    #[test]
    fn names_and_lines_that_do_not_fit() {
        assert!(Message::new("", 0).is_none());
        assert!(Message::new("a/b", 0).is_none());
        assert!(Message::new(&"x".repeat(128), 0).is_none());
        let message = Message::new("x", 0).unwrap();
        assert!(message.with_line("verity", 1, &"x".repeat(4096)).is_none());
    }

    #[test]
    fn a_device_number_as_the_kernel_encodes_it() {
        let mut message = Message::new("x", 0).unwrap();
        message.put(40, &(254_u64 << 8 | 3).to_ne_bytes());
        assert_eq!(message.device(), (254, 3));
        message.put(
            40,
            &(0x1_0000_0000_u64 >> 12 << 12 | 254 << 8 | 1).to_ne_bytes(),
        );
        assert_eq!(message.device(), (254, 0x10_0001));
    }
}
