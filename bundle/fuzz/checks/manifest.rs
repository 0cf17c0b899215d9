//! Manifest: what is accepted has one encoding, and a maintained CBOR crate reads the same in it.

use bundle::Manifest;

/// Panics if the property does not hold.
pub(crate) fn check(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        assert_eq!(manifest.encode().unwrap(), data);
        let second: Manifest = ciborium::from_reader(data).unwrap();
        assert_eq!(second, manifest);
    }
}
