//! The request by the boot entry that started the guard.

use record::{Choice, ENTRY_TAG, Request};

/// Returns the request in the optional data of the boot entry (UEFI 2.10, 3.1.3). *Pure.*
///
/// Only recovery can be requested in this way. An entry for a slot requests nothing: the record
/// decides which slot is started, because some firmware reorders entries.
#[must_use]
pub fn parse_options(data: &[u8]) -> Request {
    let wants_recovery = data
        .split_at_checked(16)
        .filter(|(tag, _)| *tag == ENTRY_TAG.0)
        .and_then(|(_, rest)| rest.first())
        .and_then(|code| Choice::from_code(*code))
        == Some(Choice::Recovery);
    if wants_recovery {
        Request::Recovery
    } else {
        Request::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn options(code: u8) -> Vec<u8> {
        let mut data = ENTRY_TAG.0.to_vec();
        data.push(code);
        data
    }

    #[test]
    fn only_our_recovery_entry_is_a_request() {
        assert_eq!(parse_options(&options(3)), Request::Recovery);
        for code in [0, 1, 2, 4, 255] {
            assert_eq!(parse_options(&options(code)), Request::Plain, "{code}");
        }
        assert_eq!(parse_options(&[]), Request::Plain);
        assert_eq!(parse_options(&ENTRY_TAG.0), Request::Plain);
        let foreign: Vec<u8> = options(3).iter().map(|byte| byte ^ 1).collect();
        assert_eq!(parse_options(&foreign), Request::Plain);
    }
}
