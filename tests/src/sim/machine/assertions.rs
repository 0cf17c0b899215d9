//! Assertions about a machine: at each start about the other system, and at rest about the disk.

use super::SimMachine;
use super::firmware::{Assertions, Firmware, StartResult};
use super::workload::Workload;
use crate::sim::hardware::disk::SimDisk;
use crate::sim::hardware::image::Image;
use crate::sim::hardware::layout::Region;
use crate::sim::hardware::operation::OperationLog;
use crate::sim::hardware::state::MachineState;
use crate::sim::hardware::variables::SimVariables;
use crate::sim::oracle::DiskReader;
use crate::sim::other_system::OtherSystem;
use record::{Choice, Slot};
use seal::SEAL_LEN;

impl SimMachine<'_> {
    /// The other system is unchanged, and without the stick the machine starts it or ours.
    pub(super) fn check_other_system(&mut self) {
        let Some(other) = self.other.filter(|_| self.assertions == Assertions::All) else {
            return;
        };
        let image = self.disk.medium();
        let reader = DiskReader {
            image: &image,
            sector: other.sector(),
        };
        let found = other
            .check_disk(&reader)
            .and_then(|()| other.check_vars(&self.vars.all()));
        if let Err(words) = found.and_then(|()| self.check_start_without_stick(other, &image)) {
            self.violate(words);
        }
    }

    /// The machine can be started without the stick.
    fn check_start_without_stick(&self, other: &OtherSystem, image: &Image) -> Result<(), String> {
        let operation_log = OperationLog::after(self.operation_log.history());
        let disk = SimDisk::new(image.clone(), other.sector() as u32, operation_log.clone());
        let vars = SimVariables::new(&self.vars.all(), operation_log.clone())
            .map_err(|error| error.to_string())?;
        let mut firmware =
            Firmware::new(self.releases, &disk, &vars, &operation_log, self.assertions);
        let started = firmware.start_machine();
        match firmware.violation.take() {
            Some(words) => Err(format!("without the stick: {words}")),
            None if started == StartResult::Nothing => {
                Err("without the stick nothing can be started".to_owned())
            }
            None => Ok(()),
        }
    }

    /// Assertions about a machine at rest.
    pub(super) fn check_rest(
        &self,
        running: Option<(Choice, &'static str)>,
        state: &MachineState,
        reader: &DiskReader<'_>,
    ) -> Result<(), String> {
        let installs = matches!(self.workload, Workload::Install(_));
        let data = state
            .image
            .hash_of(Region::Data.start()..Region::Data.end());
        if !installs && data != self.data {
            return Err("the user's data have changed".to_owned());
        }
        if let Some(other) = self.other {
            other.check_disk(reader)?;
            other.check_vars(&state.vars)?;
        }
        let Some((choice, _)) = running else {
            return if installs && !state.history.stick {
                Err("nothing can be started after an installation".to_owned())
            } else if installs {
                Ok(())
            } else {
                Err("nothing can be started".to_owned())
            };
        };
        let Some(record) = reader.record() else {
            return Ok(());
        };
        if let Choice::Slot(slot) = choice {
            let view = record.slots[slot as usize];
            if view.status != 2 {
                return Err(format!("slot {slot} runs but is not Good"));
            }
            let marked = matches!(self.workload, Workload::Idle);
            if u8::from(slot == Slot::B) + 1 != record.default && !marked {
                return Err(format!("slot {slot} runs but is not the default"));
            }
        }
        for (slot, view) in Slot::ALL.iter().zip(record.slots) {
            if view.status == 2 && view.index < record.floor {
                return Err(format!("slot {slot} is Good but below the floor"));
            }
        }
        if record.one_shot != 0 {
            return Err("a one-shot request is left".to_owned());
        }
        match self.workload {
            Workload::RepairSlot(slot, held) => self.check_repaired_slot(slot, held, state),
            _ => Ok(()),
        }
    }

    /// A repaired slot has every signed byte and the seal.
    fn check_repaired_slot(
        &self,
        slot: Slot,
        held: &str,
        state: &MachineState,
    ) -> Result<(), String> {
        let release = self.releases.get(held);
        let boot = Region::Boot(slot).start();
        let pieces = [
            ("seal", boot, &release.bundle[..SEAL_LEN]),
            ("boot image", boot + SEAL_LEN as u64, &release.boot),
            ("root image", Region::Root(slot).start(), &release.root),
        ];
        match pieces
            .into_iter()
            .find(|(_, at, bytes)| !state.image.equals(*at, bytes))
        {
            Some((what, ..)) => Err(format!(
                "slot {slot} was repaired but its {what} is not that of {held}"
            )),
            None => Ok(()),
        }
    }
}
