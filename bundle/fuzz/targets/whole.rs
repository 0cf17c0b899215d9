//! See `checks/whole.rs`.
#![no_main]

#[path = "../checks/whole.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
