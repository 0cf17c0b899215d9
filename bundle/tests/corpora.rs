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

#[test]
fn every_file_of_every_corpus_passes() {
    fixtures::corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        &[
            ("seal", seal::check),
            ("manifest", manifest::check),
            ("index", index::check),
            ("trust", trust::check),
            ("decode", decode::check),
            ("whole", whole::check),
        ],
    );
}
