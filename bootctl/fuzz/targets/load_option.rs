//! See `checks/load_option.rs`, which ordinary tests call too.
#![no_main]

#[path = "../checks/load_option.rs"]
mod checked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checked::check(data));
