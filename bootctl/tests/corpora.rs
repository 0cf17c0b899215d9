//! Fuzzing without a fuzzer: each file of `fuzz/corpus`, and inputs made from them, the same in
//! each run. `scripts/fuzz` does longer runs, guided by coverage.

#[path = "../fuzz/checks/boot_variables.rs"]
mod boot_variables;
#[path = "../fuzz/checks/device_path.rs"]
mod device_path;
#[path = "../fuzz/checks/event_ring.rs"]
mod event_ring;
#[path = "../fuzz/checks/load_option.rs"]
mod load_option;
#[path = "../fuzz/checks/partition_table.rs"]
mod partition_table;
#[path = "../fuzz/checks/program.rs"]
mod program;
#[path = "../fuzz/checks/record_pair.rs"]
mod record_pair;

use fixtures::corpus::{Listed, corpus, try_targets};
use std::path::{Path, PathBuf};

/// Each target, the number of inputs made for it (some seconds), and its check.
const TARGETS: [Listed<'_>; 7] = [
    ("boot_variables", 2_000, boot_variables::check),
    ("device_path", 400_000, device_path::check),
    ("event_ring", 100_000, event_ring::check),
    ("load_option", 400_000, load_option::check),
    ("partition_table", 50_000, partition_table::check),
    ("program", 800_000, program::check),
    ("record_pair", 80_000, record_pair::check),
];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

#[test]
fn no_input_of_any_target_fails() {
    assert_eq!(try_targets(&fuzz(), &TARGETS), Ok(()));
}

/// An input that is refused by the first check does not lead to the others, so each corpus must
/// contain accepted ones.
#[test]
fn the_corpora_contain_accepted_inputs() {
    let corpus = |name: &str| corpus(&fuzz(), name).unwrap();
    assert!(
        corpus("event_ring")
            .iter()
            .all(|data| record::event::events(data).count() == data.len() / 4096)
    );
    assert!(
        corpus("load_option")
            .iter()
            .any(|data| bootctl::entry::LoadOption::parse(data).is_ok())
    );
    assert!(
        corpus("program")
            .iter()
            .any(|data| bootctl::secure_boot::is_signed(data) == Ok(true))
    );
}
