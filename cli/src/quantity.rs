//! Sizes that people write (`2M`, `8 GiB`), and sizes and durations that people read.

use indicatif::{BinaryBytes, HumanDuration};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written with the units K, M, G and T (or KiB, MiB, GiB, TiB) for powers of
/// 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text.get(digits.len()..).unwrap_or_default();
        let shift = match unit.to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KIB" => 10,
            "M" | "MIB" => 20,
            "G" | "GIB" => 30,
            "T" | "TIB" => 40,
            _ => {
                return Err(format!(
                    "size {text:?}: unit {unit:?}, expected K, M, G or T"
                ));
            }
        };
        let number: u64 = digits
            .trim_end()
            .parse()
            .map_err(|_| format!("size {text:?}: expected a whole number and a unit"))?;
        number
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or_else(|| format!("size {text:?}: more than 2^64 bytes"))
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

/// Exact: in the largest unit that divides the size.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")]
            .into_iter()
            .find(|(shift, _)| self.0 >> shift > 0 && self.0.trailing_zeros() >= *shift);
        match unit {
            Some((shift, name)) => write!(f, "{}{name}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Formats a number of bytes for a person, rounded, in binary units: `1.50 MiB`. *Pure.*
#[must_use]
pub fn bytes(count: u64) -> String {
    BinaryBytes(count).to_string()
}

/// Formats a duration for a person, rounded to its largest unit: `2 minutes`. *Pure.*
#[must_use]
pub fn duration(duration: Duration) -> String {
    HumanDuration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, size) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64K", 64 << 10),
            ("8 GiB", 8 << 30),
            ("2m", 2 << 20),
            ("1T", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(size)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_named() {
        for (text, words) in [
            ("8X", "size \"8X\": unit \"X\", expected K, M, G or T"),
            ("M", "size \"M\": expected a whole number and a unit"),
            ("1.5G", "size \"1.5G\": expected a whole number and a unit"),
            ("99999999T", "size \"99999999T\": more than 2^64 bytes"),
        ] {
            assert_eq!(text.parse::<Size>().unwrap_err(), words);
        }
    }

    #[test]
    fn people_read_rounded_values() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(3 << 19), "1.50 MiB");
        assert_eq!(duration(Duration::from_secs(130)), "2 minutes");
    }

    proptest! {
        #[test]
        fn a_written_size_is_read_back(size: u64) {
            prop_assert_eq!(Size(size).to_string().parse(), Ok(Size(size)));
        }
    }
}
