//! Any bytes as an EFI program: whether it is signed.

use bootctl::secure_boot::{Signature, is_signed, signature};

/// The beginning of a program, or all of it.
pub(crate) fn check(data: &[u8]) {
    let Ok(found) = signature(data) else {
        assert!(is_signed(data).is_err());
        return;
    };
    assert!(data.starts_with(b"MZ"));
    if is_signed(data) == Ok(true) {
        let Signature::Table { offset, len } = found else {
            panic!("signed without a table")
        };
        assert!(u64::from(offset) + u64::from(len) <= data.len() as u64);
    }
}
