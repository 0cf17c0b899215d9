//! What fuzzing found or keeps is tried again, without the fuzzer: every file of `fuzz/corpus`.

#[path = "../fuzz/checks/decode.rs"]
mod decode;
#[path = "../fuzz/checks/index.rs"]
mod index;
#[path = "../fuzz/checks/manifest.rs"]
mod manifest;
#[path = "../fuzz/checks/seal.rs"]
mod seal;
#[path = "../fuzz/checks/trust.rs"]
mod trust;
#[path = "../fuzz/checks/whole.rs"]
mod whole;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut tried = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        if std::panic::catch_unwind(|| check(&data)).is_err() {
            panic!("{}", path.display());
        }
        tried += 1;
    }
    assert!(tried > 0, "{}", folder.display());
}

#[test]
fn seals() {
    replay("seal", seal::check);
}

#[test]
fn manifests() {
    replay("manifest", manifest::check);
}

#[test]
fn indexes() {
    replay("index", index::check);
}

#[test]
fn trust_files() {
    replay("trust", trust::check);
}

#[test]
fn frames() {
    replay("decode", decode::check);
}

#[test]
fn whole_bundles() {
    replay("whole", whole::check);
}
