//! See `checks/partition_table.rs`, which ordinary tests call too.
#![no_main]

#[path = "../checks/partition_table.rs"]
mod checked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checked::check(data));
