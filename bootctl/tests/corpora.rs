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

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut tried = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        assert!(std::panic::catch_unwind(|| check(&data)).is_ok(), "{}", path.display());
        tried += 1;
    }
    assert!(tried > 0, "{} is empty", folder.display());
}

#[test]
fn every_file_of_every_corpus_passes() {
    replay("boot_variables", boot_variables::check);
    replay("device_path", device_path::check);
    replay("event_ring", event_ring::check);
    replay("load_option", load_option::check);
    replay("partition_table", partition_table::check);
    replay("program", program::check);
    replay("record_pair", record_pair::check);
}
