//! `rayos-updater status`.

use super::target_args::Place;
use crate::exit_code::Ending;
use crate::output;
use anyhow::Result;
use bootctl::device::Access;
use bootctl::machine::Machine;
use clap::Args;
use record::{Choice, Handoff, Record, Status as SlotStatus, Why};
use updater::status::Status;

/// Show the slots, the last update and what came of it, and what comes next
#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print nothing: exit code 0 if a release waits for its first boot, 7 if none does
    #[arg(long, help_heading = "Output", conflicts_with = "json")]
    waiting: bool,
}

impl Show {
    pub(super) fn run(self) -> Ending {
        match self.show() {
            Ok(ending) => ending,
            Err(error) => output::error(&error),
        }
    }

    fn show(&self) -> Result<Ending> {
        let machine = self.place.open(Access::Read)?;
        let mut found = machine.status();
        if let (Some(booted), Some(record)) = (self.place.taken_as_booted(), &found.record) {
            found.handoff = Some(as_if(booted, record, &machine));
        }
        let known = found.record.is_some();
        let status = Status::new(found);
        if self.waiting && known {
            return Ok(if status.is_waiting() {
                Ending::Done
            } else {
                Ending::NothingToDo
            });
        }
        for warning in status.warnings() {
            output::warning(warning);
        }
        if self.json {
            output::print(&(serde_json::to_string_pretty(&status.json())? + "\n"))?;
        } else {
            output::print(&status.text())?;
        }
        Ok(if known {
            Ending::Done
        } else {
            Ending::NO_RECORD
        })
    }
}

/// What the guard would have said, had it started `booted`.
fn as_if(booted: Choice, record: &Record, machine: &Machine) -> Handoff {
    let (why, left, boot_uuid, root_uuid) = match booted {
        Choice::Slot(slot) => {
            let state = record.slot(slot);
            let (why, left) = match state.status {
                SlotStatus::Pending { tries_left } => (Why::Trial, tries_left),
                SlotStatus::Good { budget_left } => (Why::Default, budget_left),
                SlotStatus::Unbootable => (Why::Default, 0),
            };
            (why, left, state.boot_uuid, state.root_uuid)
        }
        Choice::Recovery => (Why::Requested, 0, record.recovery_uuid, record::Guid::ZERO),
    };
    let state_uuid = machine
        .disk
        .partitions()
        .state
        .map_or(record::Guid::ZERO, |state| state.uuid);
    Handoff {
        verified_root: None,
        choice: booted,
        why,
        left,
        seq: record.seq,
        disk_guid: record.disk_guid,
        boot_uuid,
        root_uuid,
        state_uuid,
    }
}
