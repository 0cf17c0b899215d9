//! The program that tests let the guard start: it prints the handoff, then does what its argument
//! says. On any other target it only prints that it is a UEFI program.
#![cfg_attr(target_os = "uefi", no_main, no_std)]

#[cfg(target_os = "uefi")]
#[allow(
    unsafe_code,
    reason = "the argument is written into the finished program"
)]
mod program {
    extern crate alloc;

    use record::{Handoff, LOADER_INTERFACE, VENDOR};
    use uefi::runtime::{self, ResetType, VariableVendor};
    use uefi::{CString16, Guid, Status, boot, cstr16, println};

    /// A marker, then a word that says what to do, padded with zeroes. Tests write it into the
    /// finished program.
    #[used]
    #[unsafe(link_section = ".orders")]
    static ORDERS: [u8; 32] = *b"guard-payload orders\0\0\0\0return\0\0";
    const WORD_AT: usize = 24;

    #[uefi::entry]
    fn main() -> Status {
        // SAFETY: `ORDERS` is a live, aligned and initialized static. The read is volatile because
        // the bytes are changed after compilation.
        let orders = unsafe { core::ptr::read_volatile(&raw const ORDERS) };
        let word: alloc::string::String = orders
            .iter()
            .skip(WORD_AT)
            .take_while(|byte| **byte != 0)
            .map(|byte| char::from(*byte))
            .collect();
        print_variables();
        println!("guard-payload: orders: {word}");
        match word.as_str() {
            "reset" => runtime::reset(ResetType::COLD, Status::SUCCESS, None),
            "off" => runtime::reset(ResetType::SHUTDOWN, Status::SUCCESS, None),
            "hang" => loop {
                // SAFETY: waits for the next interrupt. The firmware's timer continues, as while
                // waiting for a key.
                unsafe { core::arch::asm!("hlt", options(nomem, nostack)) };
            },
            // Like a kernel that hangs: the firmware's own watchdog is off from here on.
            "dead" => {
                // SAFETY: no boot service is used after this.
                let _map = unsafe { boot::exit_boot_services(None) };
                loop {
                    // SAFETY: stops the CPU with interrupts off; no memory is touched.
                    unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) };
                }
            }
            "success" => Status::SUCCESS,
            _ => Status::ABORTED,
        }
    }

    fn print_variables() {
        let name = CString16::try_from(Handoff::VARIABLE).unwrap_or_default();
        let ours = VariableVendor(Guid::from_bytes(VENDOR.0));
        match runtime::get_variable_boxed(&name, &ours) {
            Ok((data, _)) => println!("guard-payload: {:?}", Handoff::decode(&data)),
            Err(error) => println!("guard-payload: no RayosBoot: {:?}", error.status()),
        }
        let global = VariableVendor::GLOBAL_VARIABLE;
        if let Ok((data, _)) = runtime::get_variable_boxed(cstr16!("SecureBoot"), &global) {
            println!(
                "guard-payload: SecureBoot={}",
                data.first().copied().unwrap_or_default()
            );
        }
        let loader = VariableVendor(Guid::from_bytes(LOADER_INTERFACE.0));
        for name in [
            cstr16!("LoaderInfo"),
            cstr16!("LoaderEntrySelected"),
            cstr16!("LoaderDevicePartUUID"),
        ] {
            let value = runtime::get_variable_boxed(name, &loader)
                .map(|(data, _)| data)
                .unwrap_or_default();
            let text: alloc::vec::Vec<u16> = value
                .chunks_exact(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                .collect();
            println!(
                "guard-payload: {name}={}",
                alloc::string::String::from_utf16_lossy(&text).trim_end_matches('\0')
            );
        }
    }

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        println!("guard-payload: {info}");
        runtime::reset(ResetType::COLD, Status::ABORTED, None)
    }
}

#[cfg(not(target_os = "uefi"))]
#[expect(clippy::print_stderr, reason = "there is no other output")]
fn main() {
    eprintln!("guard-payload is a UEFI program: scripts/build-guard builds it");
    std::process::exit(2);
}
