//! Fuzzing without the fuzzer: every file of `fuzz/corpus`, and inputs that are made from them, the
//! same in each run. `scripts/fuzz` runs the fuzzer.

#[path = "../fuzz/checks/decode.rs"]
mod decode;
#[path = "../fuzz/checks/index.rs"]
mod index;
#[path = "../fuzz/checks/links.rs"]
mod links;
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

/// Each target, the number of inputs to make for it (some seconds of work), and its check.
const TARGETS: [Listed<'_>; 7] = [
    ("decode", 8_000, decode::check),
    ("index", 300_000, index::check),
    ("links", 10_000, links::check),
    ("manifest", 400_000, manifest::check),
    ("seal", 15_000, seal::check),
    ("trust", 100_000, trust::check),
    ("whole", 2_000, whole::check),
];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

#[test]
fn every_input_of_every_target_passes() {
    assert_eq!(try_targets(&fuzz(), &TARGETS), Ok(()));
}

/// A corpus in which nothing is accepted would only reach the first check of a parser.
#[test]
fn the_corpora_contain_accepted_inputs() {
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
    let linked = |data: &Vec<u8>| ::seal::parse_links(data).is_ok_and(|links| links.len() > 1);
    assert!(corpus("links").iter().any(linked), "links");
}
