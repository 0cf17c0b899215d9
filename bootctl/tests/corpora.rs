//! What fuzzing keeps is tried again, without the fuzzer: every file of `fuzz/corpus`.

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

#[test]
fn every_file_of_every_corpus_passes() {
    fixtures::corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        &[
            ("boot_variables", boot_variables::check),
            ("device_path", device_path::check),
            ("event_ring", event_ring::check),
            ("load_option", load_option::check),
            ("partition_table", partition_table::check),
            ("program", program::check),
            ("record_pair", record_pair::check),
        ],
    );
}
