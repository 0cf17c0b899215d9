//! `rayos-guard.efi`: the boot guard as a UEFI program. On any other target it only prints an
//! error.
#![cfg_attr(target_os = "uefi", no_main, no_std)]

#[cfg(target_os = "uefi")]
extern crate alloc;
#[cfg(target_os = "uefi")]
#[allow(unsafe_code, reason = "this is the interface to the firmware")]
mod firmware;

#[cfg(not(target_os = "uefi"))]
#[expect(clippy::print_stderr, reason = "there is no other output")]
fn main() {
    eprintln!("rayos-guard is a UEFI program: scripts/build-guard builds it");
    std::process::exit(2);
}
