//! Fuzzing without the fuzzer: every file of `fuzz/corpus` is tried again, and inputs that are made
//! from them, the same in each run. Longer runs, led by coverage, are those of `scripts/fuzz`.

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

use fixtures::corpus::{Listed, corpus, try_targets};
use std::path::{Path, PathBuf};

/// Each target, how many inputs are made for it (some seconds' worth), and what is checked.
const TARGETS: [Listed<'_>; 6] = [
    ("decode", 8_000, decode::check),
    ("index", 300_000, index::check),
    ("manifest", 400_000, manifest::check),
    ("seal", 15_000, seal::check),
    ("trust", 100_000, trust::check),
    ("whole", 2_000, whole::check),
];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

#[test]
fn no_input_of_any_target_fails() {
    assert_eq!(try_targets(&fuzz(), &TARGETS), Ok(()));
}

/// What is never accepted is refused by the first check that it comes to, and leads to no other.
#[test]
fn the_corpora_hold_what_is_accepted() {
    let corpus = |name: &str| corpus(&fuzz(), name).unwrap();
    let accepted = |data: &Vec<u8>| matches!(index::read(data), Some((_, _, Ok(_))));
    assert!(corpus("index").iter().any(accepted), "index");
    assert!(
        corpus("manifest")
            .iter()
            .any(|data| bundle::Manifest::decode(data).is_ok()),
        "manifest"
    );
    let sealed = |data: &Vec<u8>| {
        data.first_chunk()
            .is_some_and(|bytes| ::seal::Seal::from_bytes(bytes).is_ok())
    };
    assert!(corpus("seal").iter().any(sealed), "seal");
}
