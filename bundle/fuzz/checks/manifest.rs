//! Manifest: an accepted manifest has one encoding, and a second CBOR crate decodes it to the same
//! value.

use bundle::Manifest;

/// Panics if the property does not hold.
pub(crate) fn check(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        assert_eq!(manifest.encode().unwrap(), data);
        let second: Manifest = ciborium::from_reader(data).unwrap();
        assert_eq!(second, manifest);
    }
}
