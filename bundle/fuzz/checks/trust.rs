//! Trust files: one that the current keys have not signed is refused as an update.

use bundle::keys::SecretKey;
use bundle::trust::update;
use bundle::trust::{Keys, parse};
use std::path::Path;
use std::sync::LazyLock;

static CURRENT: LazyLock<bundle::trust::TrustFile> = LazyLock::new(|| {
    let pem = SecretKey::from_seed(&[7; 32]).public_pem().unwrap();
    parse(&pem, Path::new("current"), Keys::Inside).unwrap()
});

/// Panics if the property does not hold.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    drop(parse(text, Path::new("new"), Keys::Inside));
    assert!(update::check(&CURRENT, text, Path::new("new")).is_err());
}
