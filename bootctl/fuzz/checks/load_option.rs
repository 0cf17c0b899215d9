//! Any bytes as a load option.

use bootctl::entry::LoadOption;

/// The data of a `Boot####` variable.
pub(crate) fn check(data: &[u8]) {
    let Ok(option) = LoadOption::parse(data) else {
        return;
    };
    assert!(option.hard_drive().is_none() || option.device_path.len() >= 42);
    assert!(option.starts().is_none() || option.file().is_some());
    // A description that is not UTF-16 is replaced; anything else comes back as it was.
    if !option.description.contains(char::REPLACEMENT_CHARACTER) {
        assert_eq!(LoadOption::parse(&option.encode()).as_ref(), Ok(&option));
    }
}
