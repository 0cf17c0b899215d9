//! Any bytes as a load option.

use bootctl::entry::LoadOption;

/// The data of a `Boot####` variable.
pub(crate) fn check(data: &[u8]) {
    let Ok(option) = LoadOption::parse(data) else {
        return;
    };
    assert!(option.hard_drive().is_none() || option.device_path.len() >= 42);
    assert!(option.starts().is_none() || option.file().is_some());
    // Invalid UTF-16 in a description is replaced; everything else is encoded to the same bytes.
    if !option.description.contains(char::REPLACEMENT_CHARACTER) {
        assert_eq!(LoadOption::parse(&option.encode()).as_ref(), Ok(&option));
    }
}
