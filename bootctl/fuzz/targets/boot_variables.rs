//! See `checks/boot_variables.rs`, which ordinary tests call too.
#![no_main]

#[path = "../checks/boot_variables.rs"]
mod checked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checked::check(data));
