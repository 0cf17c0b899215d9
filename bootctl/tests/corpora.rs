//! Fuzzing without the fuzzer: every file of `fuzz/corpus` is tried again, and inputs that are made from them, the same in each
//! run. Longer runs, led by coverage, are those of `scripts/fuzz`.

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

use fixtures::corpus::{Target, targets};
use std::path::Path;

type Check = fn(&[u8]);

/// Each target, how many inputs are made for it (some seconds' worth), and what is checked.
const TARGETS: [(&str, u32, Check); 7] = [
    ("boot_variables", 2_000, boot_variables::check),
    ("device_path", 400_000, device_path::check),
    ("event_ring", 100_000, event_ring::check),
    ("load_option", 400_000, load_option::check),
    ("partition_table", 50_000, partition_table::check),
    ("program", 800_000, program::check),
    ("record_pair", 80_000, record_pair::check),
];

#[test]
fn no_input_of_any_target_fails() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut named = targets(&fuzz).unwrap();
    named.sort_unstable();
    assert_eq!(named, TARGETS.map(|(name, ..)| name), "every target of fuzz/Cargo.toml is tried");
    let fuzz = &fuzz;
    std::thread::scope(|scope| {
        let tried = TARGETS.map(|(name, mutants, check)| {
            scope.spawn(move || Target::new(fuzz, name).try_all(mutants, check))
        });
        for tried in tried {
            assert_eq!(tried.join().unwrap(), Ok(()));
        }
    });
}

/// What is never accepted is refused by the first check that it comes to, and leads to no other. The rest of what a target reads begins with
/// bytes of its own.
#[test]
fn the_corpora_hold_what_is_accepted() {
    let corpus = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let files =
            std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.collect::<Vec<_>>()
    };
    assert!(corpus("event_ring").iter().all(|data| record::event::events(data).count() == data.len() / 4096));
    assert!(corpus("load_option").iter().any(|data| bootctl::entry::LoadOption::parse(data).is_ok()));
    assert!(corpus("program").iter().any(|data| bootctl::secure_boot::is_signed(data) == Ok(true)));
}
