//! See `checks/record_pair.rs`, which ordinary tests call too.
#![no_main]

#[path = "../checks/record_pair.rs"]
mod checked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checked::check(data));
