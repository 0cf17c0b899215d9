//! See `checks/event_ring.rs`, which ordinary tests call too.
#![no_main]

#[path = "../checks/event_ring.rs"]
mod checked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checked::check(data));
