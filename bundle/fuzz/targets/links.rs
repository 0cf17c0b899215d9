//! See `checks/links.rs`.
#![no_main]

#[path = "../checks/links.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
