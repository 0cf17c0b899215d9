//! See `checks/device_path.rs`, which ordinary tests call too.
#![no_main]

#[path = "../checks/device_path.rs"]
mod checked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checked::check(data));
