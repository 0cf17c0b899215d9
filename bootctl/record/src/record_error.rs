//! Why a block is not a usable copy of the boot record.

/// Why a block is not a usable copy of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The block is empty or has no magic number.
    NotARecord,
    /// The CRC does not match: a torn write, or damage.
    Damaged,
    /// A later major version wrote it: it must not be overwritten.
    UnknownMajor(u16),
    /// It is marked as the other copy: a misdirected write.
    WrongCopy,
    /// A field has an unknown value.
    Field(&'static str),
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotARecord => f.write_str("not a boot record"),
            Self::Damaged => f.write_str("checksum does not match"),
            Self::UnknownMajor(found) => {
                write!(f, "version {found}, expected 1")
            }
            Self::WrongCopy => f.write_str("it is the other copy"),
            Self::Field(name) => write!(f, "{name} has an unknown value"),
        }
    }
}
impl core::error::Error for RecordError {}
