//! PCI Root Bridge I/O (UEFI 2.10, 14.2) as the bus of hardware watchdogs.

use super::volume::borrow;
use guard::watchdog::{Address, Bus};
use uefi::boot::{self, ScopedProtocol};
use uefi::proto::pci::PciIoAddress;
use uefi::proto::pci::root_bridge::PciRootBridgeIo;

/// Calls `act` with each root bridge.
pub(super) fn each_bridge(mut act: impl FnMut(&mut RootBridge)) {
    for handle in boot::find_handles::<PciRootBridgeIo>().unwrap_or_default() {
        if let Some(bridge) = borrow::<PciRootBridgeIo>(handle) {
            act(&mut RootBridge(bridge));
        }
    }
}

/// One root bridge.
pub(super) struct RootBridge(ScopedProtocol<PciRootBridgeIo>);

fn register(at: Address, register: u8) -> PciIoAddress {
    PciIoAddress::new(at.bus, at.device, at.function).with_register(register)
}

impl Bus for RootBridge {
    fn config(&mut self, at: Address, number: u8) -> Option<u32> {
        self.0
            .get_mut()?
            .pci()
            .read_one::<u32>(register(at, number))
            .ok()
    }

    fn set_config8(&mut self, at: Address, number: u8, value: u8) -> Option<()> {
        self.0
            .get_mut()?
            .pci()
            .write_one(register(at, number), value)
            .ok()
    }

    fn set_config16(&mut self, at: Address, number: u8, value: u16) -> Option<()> {
        self.0
            .get_mut()?
            .pci()
            .write_one(register(at, number), value)
            .ok()
    }

    fn port(&mut self, port: u16) -> Option<u16> {
        self.0.get_mut()?.io().read_one::<u16>(port.into()).ok()
    }

    fn set_port(&mut self, port: u16, value: u16) -> Option<()> {
        self.0.get_mut()?.io().write_one(port.into(), value).ok()
    }

    // Memory is accessed directly, because the root bridge of EDK2 refuses addresses outside its
    // own windows, and the registers of the chipset are outside of them.

    fn memory(&mut self, address: u64) -> Option<u32> {
        // SAFETY: UEFI maps memory one to one (UEFI 2.10, 2.3.4); the address is that of a register
        // that the chipset was found to have, or of a BAR that the firmware assigned.
        Some(unsafe { (address as *const u32).read_volatile() })
    }

    fn set_memory16(&mut self, address: u64, value: u16) -> Option<()> {
        // SAFETY: as for `memory`.
        unsafe { (address as *mut u16).write_volatile(value) };
        Some(())
    }

    fn set_memory32(&mut self, address: u64, value: u32) -> Option<()> {
        // SAFETY: as for `memory`.
        unsafe { (address as *mut u32).write_volatile(value) };
        Some(())
    }
}
