//! Hardware watchdogs, armed before a slot is started. If a release hangs before its own watchdog
//! service runs, the machine is reset and the try is spent. Two kinds are supported.

/// Seconds from the start of the image until the reset, unless the started system feeds or stops
/// the watchdog. The drivers of Linux stop it when they load. A system without such a driver is
/// reset before it can commit.
pub const SECONDS: u16 = 180;

/// A PCI function: bus, device, function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Bus.
    pub bus: u8,
    /// Device.
    pub device: u8,
    /// Function.
    pub function: u8,
}

/// Access to PCI configuration, I/O ports and memory-mapped registers. `None` means that the
/// firmware refused.
pub trait Bus {
    /// Reads 32 bits of configuration space; all ones if there is no such function.
    fn config(&mut self, at: Address, register: u8) -> Option<u32>;
    /// Writes 8 bits of configuration space.
    fn set_config8(&mut self, at: Address, register: u8, value: u8) -> Option<()>;
    /// Writes 16 bits of configuration space.
    fn set_config16(&mut self, at: Address, register: u8, value: u16) -> Option<()>;
    /// Reads a 16-bit I/O port.
    fn port(&mut self, port: u16) -> Option<u16>;
    /// Writes a 16-bit I/O port.
    fn set_port(&mut self, port: u16, value: u16) -> Option<()>;
    /// Reads 32 bits of memory.
    fn memory(&mut self, address: u64) -> Option<u32>;
    /// Writes 16 bits of memory.
    fn set_memory16(&mut self, address: u64, value: u16) -> Option<()>;
    /// Writes 32 bits of memory.
    fn set_memory32(&mut self, address: u64, value: u32) -> Option<()>;
}

/// Vendor and device in the first register of configuration space, as one number.
const I6300ESB: u32 = 0x25ab_8086;
const ICH9_LPC: u32 = 0x2918_8086;

/// Arms each supported watchdog to reset the machine after [`SECONDS`]. *Writes registers.* Returns
/// their number.
pub fn arm<B: Bus>(bus: &mut B) -> usize {
    each(bus, |bus, at, id| match id {
        I6300ESB => i6300esb::arm(bus, at),
        ICH9_LPC => tco::arm(bus, at),
        _ => None,
    })
}

/// Stops each supported watchdog. *Writes registers.* Returns their number.
pub fn disarm<B: Bus>(bus: &mut B) -> usize {
    each(bus, |bus, at, id| match id {
        I6300ESB => i6300esb::disarm(bus, at),
        ICH9_LPC => tco::disarm(bus, at),
        _ => None,
    })
}

/// Calls `act` with each PCI function that is a supported watchdog. Returns the number of calls
/// that succeeded.
fn each<B: Bus>(bus: &mut B, mut act: impl FnMut(&mut B, Address, u32) -> Option<()>) -> usize {
    let mut done: usize = 0;
    for (number, device) in (0..=u8::MAX).flat_map(|bus| (0..32).map(move |device| (bus, device))) {
        let first = Address {
            bus: number,
            device,
            function: 0,
        };
        for function in 0..functions(bus, first) {
            let at = Address { function, ..first };
            if let Some(id) = bus
                .config(at, 0)
                .filter(|id| [I6300ESB, ICH9_LPC].contains(id))
            {
                done = done.saturating_add(usize::from(act(bus, at, id).is_some()));
            }
        }
    }
    done
}

/// Returns the maximum number of functions of the device: 0 if it is missing.
fn functions<B: Bus>(bus: &mut B, first: Address) -> u8 {
    const HEADER_TYPE: u8 = 0x0c;
    const MULTIFUNCTION: u32 = 1 << 23;
    match bus.config(first, 0) {
        None | Some(u32::MAX) => 0,
        Some(_)
            if bus
                .config(first, HEADER_TYPE)
                .is_some_and(|header| header & MULTIFUNCTION != 0) =>
        {
            8
        }
        Some(_) => 1,
    }
}

/// Intel 6300ESB, a PCI device of its own (datasheet 300641, chapter 16; QEMU's `i6300esb`). Two
/// timers run one after the other; the end of the second one resets the machine.
mod i6300esb {
    use super::{Address, Bus, SECONDS};

    const COMMAND: u8 = 0x04;
    const COMMAND_MEMORY: u16 = 1 << 1;
    const BAR0: u8 = 0x10;
    const CONFIG: u8 = 0x60;
    /// Reset at the end, ticks of 2^15 PCI clocks (about 1 kHz), no interrupt after the first
    /// timer.
    const CONFIG_RESET: u16 = 0x0003;
    const LOCK: u8 = 0x68;
    const LOCK_ENABLE: u8 = 1 << 1;
    const TIMERS: [u64; 2] = [0x00, 0x04];
    const RELOAD: u64 = 0x0c;
    const RELOAD_NOW: u16 = 1 << 8;
    const UNLOCK: [u16; 2] = [0x80, 0x86];

    pub(super) fn arm<B: Bus>(bus: &mut B, at: Address) -> Option<()> {
        bus.set_config8(at, LOCK, 0)?;
        let command = bus.config(at, COMMAND)? as u16;
        bus.set_config16(at, COMMAND, command | COMMAND_MEMORY)?;
        let base = u64::from(bus.config(at, BAR0)? & !0xf);
        if base == 0 {
            return None;
        }
        bus.set_config16(at, CONFIG, CONFIG_RESET)?;
        // Half of the time for each timer: 512 of about 1024 ticks a second.
        let ticks = u32::from(SECONDS) << 9;
        for timer in TIMERS {
            unlock(bus, base)?;
            bus.set_memory32(base.saturating_add(timer), ticks)?;
        }
        unlock(bus, base)?;
        bus.set_memory16(base.saturating_add(RELOAD), RELOAD_NOW)?;
        bus.set_config8(at, LOCK, LOCK_ENABLE)
    }

    pub(super) fn disarm<B: Bus>(bus: &mut B, at: Address) -> Option<()> {
        bus.set_config8(at, LOCK, 0)
    }

    fn unlock<B: Bus>(bus: &mut B, base: u64) -> Option<()> {
        UNLOCK
            .into_iter()
            .try_for_each(|word| bus.set_memory16(base.saturating_add(RELOAD), word))
    }
}

/// The TCO timer of Intel's ICH9 (datasheet 316972, 13.9; QEMU's `q35`). It runs out twice; the
/// second time resets the machine, unless a strap of the board forbids it.
mod tco {
    use super::{Address, Bus, SECONDS};

    const PMBASE: u8 = 0x40;
    const ACPI_CNTL: u8 = 0x44;
    const ACPI_ENABLE: u32 = 1 << 7;
    const RCBA: u8 = 0xf0;
    const GCS: u64 = 0x3410;
    const GCS_NO_REBOOT: u32 = 1 << 5;
    const TCO: u16 = 0x60;
    const RLD: u16 = 0x00;
    const STS1: u16 = 0x04;
    const STS2: u16 = 0x06;
    const CNT1: u16 = 0x08;
    const CNT1_HALT: u16 = 1 << 11;
    const TMR: u16 = 0x12;
    const TMR_MASK: u16 = 0x03ff;
    /// Written to clear: first time-out; second time-out and its flag for a reset.
    const CLEAR: [(u16, u16); 2] = [(STS1, 1 << 3), (STS2, 1 << 1 | 1 << 2)];
    /// 0.6 s each, twice.
    const TICKS: u16 = SECONDS * 5 / 6;

    pub(super) fn arm<B: Bus>(bus: &mut B, at: Address) -> Option<()> {
        let base = base(bus, at)?;
        disarm(bus, at)?;
        let rcba = bus.config(at, RCBA)?;
        if rcba & 1 == 1 {
            let gcs = u64::from(rcba & !0x3fff).saturating_add(GCS);
            let value = bus.memory(gcs)?;
            bus.set_memory32(gcs, value & !GCS_NO_REBOOT)?;
        }
        for (register, bits) in CLEAR {
            bus.set_port(base.saturating_add(register), bits)?;
        }
        let timer = bus.port(base.saturating_add(TMR))? & !TMR_MASK;
        bus.set_port(base.saturating_add(TMR), timer | TICKS)?;
        bus.set_port(base.saturating_add(RLD), 1)?;
        let control = bus.port(base.saturating_add(CNT1))?;
        bus.set_port(base.saturating_add(CNT1), control & !CNT1_HALT)
    }

    pub(super) fn disarm<B: Bus>(bus: &mut B, at: Address) -> Option<()> {
        let base = base(bus, at)?;
        let control = bus.port(base.saturating_add(CNT1))?;
        bus.set_port(base.saturating_add(CNT1), control | CNT1_HALT)
    }

    fn base<B: Bus>(bus: &mut B, at: Address) -> Option<u16> {
        let enabled = bus.config(at, ACPI_CNTL)? & ACPI_ENABLE != 0;
        let pm = (bus.config(at, PMBASE)? & 0xff80) as u16;
        (enabled && pm != 0).then(|| pm.saturating_add(TCO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::vec;
    use std::vec::Vec;

    /// One function. Registers keep their values, and each write is recorded in order.
    struct Model {
        id: u32,
        registers: BTreeMap<(char, u64), u32>,
        writes: Vec<(char, u64, u32)>,
    }

    impl Model {
        fn new(id: u32, registers: &[((char, u64), u32)]) -> Self {
            Self {
                id,
                registers: registers.iter().copied().collect(),
                writes: Vec::new(),
            }
        }

        fn set(&mut self, space: char, at: u64, value: u32) -> Option<()> {
            self.registers.insert((space, at), value);
            self.writes.push((space, at, value));
            Some(())
        }
    }

    impl Bus for Model {
        fn config(&mut self, at: Address, register: u8) -> Option<u32> {
            if (at.bus, at.device, at.function) != (0, 31, 0) {
                return Some(u32::MAX);
            }
            if register == 0 {
                return Some(self.id);
            }
            Some(
                self.registers
                    .get(&('c', register.into()))
                    .copied()
                    .unwrap_or(0),
            )
        }
        fn set_config8(&mut self, _: Address, register: u8, value: u8) -> Option<()> {
            self.set('c', register.into(), value.into())
        }
        fn set_config16(&mut self, _: Address, register: u8, value: u16) -> Option<()> {
            self.set('c', register.into(), value.into())
        }
        fn port(&mut self, port: u16) -> Option<u16> {
            Some(
                self.registers
                    .get(&('p', port.into()))
                    .copied()
                    .unwrap_or(0) as u16,
            )
        }
        fn set_port(&mut self, port: u16, value: u16) -> Option<()> {
            self.set('p', port.into(), value.into())
        }
        fn memory(&mut self, address: u64) -> Option<u32> {
            self.registers.get(&('m', address)).copied()
        }
        fn set_memory16(&mut self, address: u64, value: u16) -> Option<()> {
            self.set('m', address, value.into())
        }
        fn set_memory32(&mut self, address: u64, value: u32) -> Option<()> {
            self.set('m', address, value)
        }
    }

    #[test]
    fn i6300esb_is_unlocked_before_every_timer_and_enabled_last() {
        let mut model = Model::new(I6300ESB, &[(('c', 0x10), 0xfe00_0000), (('c', 4), 1)]);
        assert_eq!(arm(&mut model), 1);
        let base = 0xfe00_0000;
        let unlock = [('m', base + 12, 0x80), ('m', base + 12, 0x86)];
        let mut expected = vec![('c', 0x68, 0), ('c', 4, 3), ('c', 0x60, 3)];
        for (at, value) in [(base, 180 << 9), (base + 4, 180 << 9), (base + 12, 0x100)] {
            expected.extend(unlock);
            expected.push(('m', at, value));
        }
        expected.push(('c', 0x68, 2));
        assert_eq!(model.writes, expected);
        assert_eq!(disarm(&mut model), 1);
        assert_eq!(model.writes.last(), Some(&('c', 0x68, 0)));
    }

    #[test]
    fn tco_is_allowed_to_reset_and_runs_for_the_whole_time() {
        let registers = [
            (('c', 0x40), 0x601),
            (('c', 0x44), 0x80),
            (('c', 0xf0), 0xfed1_c001),
            (('m', 0xfed1_f410), 0x20),
        ];
        let mut model = Model::new(ICH9_LPC, &registers);
        assert_eq!(arm(&mut model), 1);
        let expected = [
            ('p', 0x668, 0x800),
            ('m', 0xfed1_f410, 0),
            ('p', 0x664, 8),
            ('p', 0x666, 6),
            ('p', 0x672, 150),
            ('p', 0x660, 1),
            ('p', 0x668, 0),
        ];
        assert_eq!(model.writes, expected);
    }

    #[test]
    fn unknown_and_unconfigured_devices_are_not_changed() {
        for (id, registers) in [
            (0x1111_1111, vec![]),
            (ICH9_LPC, vec![]),
            (u32::MAX, vec![]),
        ] {
            let mut model = Model::new(id, &registers);
            assert_eq!((arm(&mut model), disarm(&mut model)), (0, 0), "{id:x}");
            assert!(model.writes.is_empty());
        }
        let mut without_memory = Model::new(I6300ESB, &[]);
        assert_eq!(arm(&mut without_memory), 0);
        assert!(
            without_memory
                .writes
                .iter()
                .all(|(space, at, value)| (*space, *at, *value) != ('c', 0x68, 2))
        );
    }
}
