//! What fuzzing found or keeps is tried again, without the fuzzer: every file of `fuzz/corpus`.

mod checks {
    #[path = "../../fuzz/checks/decode.rs"]
    pub(crate) mod decode;
    #[path = "../../fuzz/checks/index.rs"]
    pub(crate) mod index;
    #[path = "../../fuzz/checks/manifest.rs"]
    pub(crate) mod manifest;
    #[path = "../../fuzz/checks/seal.rs"]
    pub(crate) mod seal;
    #[path = "../../fuzz/checks/trust.rs"]
    pub(crate) mod trust;
    #[path = "../../fuzz/checks/whole.rs"]
    pub(crate) mod whole;
}

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
    replay("seal", checks::seal::check);
}

#[test]
fn manifests() {
    replay("manifest", checks::manifest::check);
}

#[test]
fn indexes() {
    replay("index", checks::index::check);
}

#[test]
fn trust_files() {
    replay("trust", checks::trust::check);
}

#[test]
fn frames() {
    replay("decode", checks::decode::check);
}

#[test]
fn whole_bundles() {
    replay("whole", checks::whole::check);
}
