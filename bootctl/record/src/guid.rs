//! GUIDs in partition tables, variables and records.

/// A GUID in its on-disk form: the first three fields little-endian (UEFI 2.10, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The GUID zero: an unused partition entry.
    pub const ZERO: Self = Self([0; 16]);

    /// Returns the GUID with the five fields of its text form, the last two as one number. *Pure.*
    #[must_use]
    pub const fn from_fields(a: u32, b: u16, c: u16, rest: u64) -> Self {
        let [a0, a1, a2, a3] = a.to_le_bytes();
        let [b0, b1] = b.to_le_bytes();
        let [c0, c1] = c.to_le_bytes();
        let [r0, r1, r2, r3, r4, r5, r6, r7] = rest.to_be_bytes();
        Self([
            a0, a1, a2, a3, b0, b1, c0, c1, r0, r1, r2, r3, r4, r5, r6, r7,
        ])
    }

    /// Parses `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` in either case. *Pure.*
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut field = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
            if hex {
                u64::from_str_radix(part, 16).ok()
            } else {
                None
            }
        };
        let (a, b, c) = (field(8)?, field(4)?, field(4)?);
        let rest = (field(4)? << 48) | field(12)?;
        let guid = Self::from_fields(a as u32, b as u16, c as u16, rest);
        parts.next().is_none().then_some(guid)
    }
}

impl core::fmt::Display for Guid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, rest @ ..] = self.0;
        let (a, b, c) = (
            u32::from_le_bytes([a0, a1, a2, a3]),
            u16::from_le_bytes([b0, b1]),
            u16::from_le_bytes([c0, c1]),
        );
        let rest = u64::from_be_bytes(rest);
        write!(
            f,
            "{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}",
            rest >> 48,
            rest & 0xffff_ffff_ffff
        )
    }
}
impl core::fmt::Debug for Guid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn the_text_form_is_that_of_sgdisk() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        assert_eq!(crate::ESP_TYPE.to_string(), text);
        assert_eq!(Guid::parse(text), Some(crate::ESP_TYPE));
        assert_eq!(Guid::parse(&text.to_uppercase()), Some(crate::ESP_TYPE));
        for bad in [
            "",
            "c12a7328",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93b-",
            "c12a7328-f81f-11d2-ba4b+00a0c93ec93b",
        ] {
            assert_eq!(Guid::parse(bad), None, "{bad}");
        }
    }
}
