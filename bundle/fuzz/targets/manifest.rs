//! Manifest: what is accepted has one encoding, and a maintained CBOR crate reads the same in it.
#![no_main]

use bundle::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = Manifest::decode(data) {
        assert_eq!(manifest.encode().unwrap(), data);
        let second: Manifest = ciborium::from_reader(data).unwrap();
        assert_eq!(second, manifest);
    }
});
