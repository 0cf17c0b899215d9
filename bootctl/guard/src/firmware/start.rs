//! The start of an image: variables, watchdog, `LoadImage`, `StartImage`.

use super::pci::each_bridge;
use super::volume::{Volume, partition_path};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use guard::{Ended, Launch, Origin, watchdog};
use record::{Choice, Handoff, LOADER_INTERFACE, VENDOR, WATCHDOG_NOT_WANTED, WATCHDOG_VARIABLE};
use uefi::boot::{self, LoadImageSource};
use uefi::proto::device_path::{DevicePath, FfiDevicePath};
use uefi::runtime::{self, VariableAttributes, VariableVendor};
use uefi::{CStr16, CString16, Guid, Status, cstr16};

/// Features of this loader in that interface: none, because its entries are not files.
const LOADER_FEATURES: u64 = 0;
/// Seconds until the firmware resets a machine whose image hangs before it takes over (UEFI 2.10,
/// 7.5).
const WATCHDOG_SECONDS: usize = 120;
/// The firmware's own value for a boot option, set again after an image returned.
const WATCHDOG_DEFAULT: usize = 300;
/// Codes above 0xffff are free for programs (UEFI 2.10, 7.5).
const WATCHDOG_CODE: u64 = 0x1_0000;

/// Publishes, loads and starts; returns only if that fails or the image returns.
pub(super) fn start(launch: &Launch, volume: Option<&Volume>) -> Ended {
    if let Err(status) = announce(launch) {
        // Recovery is the last resort, and takes no other variable for the guard's.
        if launch.handoff.choice != Choice::Recovery {
            return Ended::NotAnnounced(words(status));
        }
        super::console::line("variable RayosBoot was not set");
    }
    publish(launch, volume);
    let path = match launch.origin {
        Origin::Partition(uuid) => partition_path(uuid),
        Origin::File => volume.and_then(Volume::recovery_path),
    };
    // SAFETY: the builder of device paths made the bytes and ends each path; they outlive the call.
    let file_path = path
        .as_deref()
        .map(|path| unsafe { DevicePath::from_ffi_ptr(path.as_ptr().cast::<FfiDevicePath>()) });
    let source = LoadImageSource::FromBuffer {
        buffer: &launch.image.bytes,
        file_path,
    };
    let image = match boot::load_image(boot::image_handle(), source) {
        Ok(image) => image,
        Err(error) => return not_loaded(error.status()),
    };
    set_watchdog(WATCHDOG_SECONDS);
    // A healthy release that does not feed it would be reset. Recovery waits for the operator.
    let armed = if launch.image.statement.watchdog && launch.handoff.choice != Choice::Recovery {
        let mut armed: usize = 0;
        each_bridge(|bridge| armed = armed.saturating_add(watchdog::arm(bridge)));
        u8::try_from(armed).unwrap_or(WATCHDOG_NOT_WANTED - 1)
    } else {
        WATCHDOG_NOT_WANTED
    };
    let name = CString16::try_from(WATCHDOG_VARIABLE).unwrap_or_default();
    set(&name, &VariableVendor(Guid::from_bytes(VENDOR.0)), &[armed]);
    let status = boot::start_image(image).map_or_else(|error| error.status(), |()| Status::SUCCESS);
    each_bridge(|bridge| {
        watchdog::disarm(bridge);
    });
    set_watchdog(WATCHDOG_DEFAULT);
    Ended::Returned(words(status))
}

/// With Secure Boot an image from memory is verified like one from a file. EDK2 then returns
/// ACCESS_DENIED, or SECURITY_VIOLATION if an operator could allow the image (UEFI 2.10, 7.4.1).
fn not_loaded(status: Status) -> Ended {
    match status {
        Status::ACCESS_DENIED | Status::SECURITY_VIOLATION => Ended::NotTrusted(words(status)),
        _ => Ended::NotLoaded(words(status)),
    }
}

fn words(status: Status) -> String {
    format!("{status:?}")
}

/// Sets the firmware's watchdog. Without one, an image that hangs before it takes over stays hung.
fn set_watchdog(seconds: usize) {
    if boot::set_watchdog_timer(seconds, WATCHDOG_CODE, None).is_err() {
        super::console::line("the firmware has no watchdog");
    }
}

/// Sets the volatile variable by which the started system learns what it is. One that another system
/// left behind is deleted first: firmware refuses other attributes for a variable that is there
/// (UEFI 2.10, 8.2), and a non-volatile one would outlast every start.
fn announce(launch: &Launch) -> Result<(), Status> {
    let ours = VariableVendor(Guid::from_bytes(VENDOR.0));
    let name = CString16::try_from(Handoff::VARIABLE).unwrap_or_default();
    match runtime::delete_variable(&name, &ours) {
        Err(error) if error.status() != Status::NOT_FOUND => {
            super::console::line("variable RayosBoot was not deleted");
        }
        _ => {}
    }
    let attributes = VariableAttributes::from_bits_retain(Handoff::ATTRIBUTES);
    let data = launch.handoff.encode();
    runtime::set_variable(&name, &ours, attributes, &data).map_err(|error| error.status())
}

/// Sets the volatile variables of the Boot Loader Interface.
fn publish(launch: &Launch, volume: Option<&Volume>) {
    let loader = VariableVendor(Guid::from_bytes(LOADER_INTERFACE.0));
    let info = concat!("rayos-guard ", env!("CARGO_PKG_VERSION"));
    set(cstr16!("LoaderInfo"), &loader, &utf16(info));
    set(
        cstr16!("LoaderFeatures"),
        &loader,
        &LOADER_FEATURES.to_le_bytes(),
    );
    set(
        cstr16!("LoaderEntrySelected"),
        &loader,
        &utf16(launch.entry()),
    );
    if let Some(uuid) = volume.and_then(Volume::uuid) {
        set(
            cstr16!("LoaderDevicePartUUID"),
            &loader,
            &utf16(&format!("{uuid}")),
        );
    }
}

/// Sets a volatile variable. A failure is only printed.
fn set(name: &CStr16, vendor: &VariableVendor, data: &[u8]) {
    let volatile = VariableAttributes::BOOTSERVICE_ACCESS | VariableAttributes::RUNTIME_ACCESS;
    if let Err(error) = runtime::set_variable(name, vendor, volatile, data) {
        super::console::line(&format!(
            "variable {name} was not set ({:?})",
            error.status()
        ));
    }
}

/// Returns UTF-16 with a terminating zero, as the interface requires.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}
