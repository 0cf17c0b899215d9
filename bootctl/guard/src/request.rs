//! The request by the boot entry that started the guard.

use record::{Choice, ENTRY_TAG, Request};
use seal::field::get;

/// Maximum length of options that are looked at. Stops a firmware's wrong length from making the
/// guard read far.
const OPTIONS_MAX: usize = 64 * 1024;
/// Maximum length of a description in UTF-16 units.
const DESCRIPTION_MAX: usize = 1024;
/// Last node of a device path list (UEFI 2.10, 10.3.1).
const END_OF_PATHS: [u8; 4] = [0x7f, 0xff, 4, 0];

/// Returns the request in the load options that the firmware passed on. *Pure.*
///
/// They are the optional data of the boot entry (UEFI 2.10, 3.1.3). Some firmware (seen on machines
/// of Dell) passes on the whole `EFI_LOAD_OPTION` instead, of which the optional data is taken.
///
/// Only recovery can be requested in this way. An entry for a slot requests nothing: the record
/// decides which slot is started, because some firmware reorders entries.
#[must_use]
pub fn parse_options(data: &[u8]) -> Request {
    let data = data.get(..OPTIONS_MAX).unwrap_or(data);
    let of = |optional: &[u8]| {
        let (tag, rest) = optional.split_at_checked(16)?;
        let code = rest.first().filter(|_| tag == ENTRY_TAG.0)?;
        Choice::from_code(*code)
    };
    let choice = of(data).or_else(|| of(optional_data(data)?));
    if choice == Some(Choice::Recovery) {
        Request::Recovery
    } else {
        Request::Plain
    }
}

/// Returns the optional data of an `EFI_LOAD_OPTION`; `None` if the bytes are none: its description
/// must end, and its device path list must consist of whole nodes up to its end node.
fn optional_data(option: &[u8]) -> Option<&[u8]> {
    let (fixed, rest) = option.split_at_checked(6)?;
    let path_len = usize::from(u16::from_le_bytes(get(fixed, 4)));
    let (units, _) = rest.as_chunks::<2>();
    let chars = units
        .iter()
        .take(DESCRIPTION_MAX)
        .position(|unit| *unit == [0, 0])?;
    let after = rest.get(chars.checked_add(1)?.checked_mul(2)?..)?;
    let (paths, optional) = after.split_at_checked(path_len)?;
    is_path_list(paths).then_some(optional)
}

fn is_path_list(mut nodes: &[u8]) -> bool {
    // Each node has at least 4 bytes, so this ends.
    while nodes != END_OF_PATHS {
        let len = usize::from(u16::from_le_bytes(get(nodes, 2)));
        match nodes.get(len..) {
            Some(rest) if len >= END_OF_PATHS.len() && !rest.is_empty() => nodes = rest,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
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

    /// An `EFI_LOAD_OPTION` with this description, these nodes and this optional data.
    fn whole(description: &str, nodes: &[Vec<u8>], optional: &[u8]) -> Vec<u8> {
        let mut path = Vec::new();
        for body in nodes {
            path.extend([4, 1]);
            path.extend(u16::try_from(body.len() + 4).unwrap().to_le_bytes());
            path.extend(body);
        }
        path.extend(END_OF_PATHS);
        let mut option = 1_u32.to_le_bytes().to_vec();
        option.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
        option.extend(
            description
                .encode_utf16()
                .chain([0])
                .flat_map(u16::to_le_bytes),
        );
        option.extend(path);
        option.extend(optional);
        option
    }

    proptest! {
        #[test]
        fn a_whole_load_option_requests_what_its_optional_data_requests(
            description in "[^\0]{0,40}",
            nodes in vec(vec(any::<u8>(), 0..60), 0..5),
            code: u8,
            more in vec(any::<u8>(), 0..20),
        ) {
            let mut optional = options(code);
            optional.extend(more);
            let option = whole(&description, &nodes, &optional);
            prop_assert_eq!(parse_options(&option), parse_options(&optional));
        }

        #[test]
        fn a_load_option_that_is_cut_off_or_has_a_wrong_length_requests_nothing(
            nodes in vec(vec(any::<u8>(), 0..60), 0..5),
            cut in 0_usize..400,
            wrong in any::<u16>(),
        ) {
            let option = whole("RayOS Recovery", &nodes, &options(3));
            let cut = cut.min(option.len() - 1);
            prop_assert_eq!(parse_options(&option[..cut]), Request::Plain);
            let mut other = option.clone();
            other[4..6].copy_from_slice(&wrong.to_le_bytes());
            if other != option {
                prop_assert_eq!(parse_options(&other), Request::Plain);
            }
        }

        #[test]
        fn any_options_are_read_to_their_end_without_a_panic(data in vec(any::<u8>(), 0..300)) {
            let request = parse_options(&data);
            prop_assert!(request == Request::Plain || data.len() > ENTRY_TAG.0.len());
        }
    }

    #[test]
    fn options_of_another_system_that_contain_our_tag_request_nothing() {
        let mut text = std::vec![b'x', 0, 0, 0];
        text.extend(options(3));
        assert_eq!(parse_options(&text), Request::Plain);
    }
}
