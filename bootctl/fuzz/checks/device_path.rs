//! Any bytes as a device path list: the walk over its nodes ends, and all that is read is within
//! them.

use bootctl::entry::LoadOption;

/// A device path list.
pub(crate) fn check(data: &[u8]) {
    let option = LoadOption {
        attributes: 1,
        description: String::new(),
        device_path: data.to_vec(),
        optional: Vec::new(),
    };
    if let Some(drive) = option.hard_drive() {
        assert!(
            data.windows(16).any(|bytes| bytes == drive.uuid.0),
            "its PARTUUID is in the path"
        );
    }
    if let Some(file) = option.file() {
        assert!(
            file.encode_utf16().count() * 2 <= data.len(),
            "no file name is longer than its path"
        );
    }
    assert!(option.starts().is_none() || option.file().is_some());
}
