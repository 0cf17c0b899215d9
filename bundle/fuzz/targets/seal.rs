//! See `checks/seal.rs`.
#![no_main]

#[path = "../checks/seal.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
