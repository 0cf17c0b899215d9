//! See `checks/program.rs`, which ordinary tests call too.
#![no_main]

#[path = "../checks/program.rs"]
mod checked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checked::check(data));
