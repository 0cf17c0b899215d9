//! `rayos-updater status`.

use super::target_args::TargetArgs;
use crate::output;
use anyhow::Result;
use bootctl::device::Access;
use bootctl::machine::Machine;
use clap::Args;
use cli::ExitStatus;
use cli::output::print;
use record::{Choice, Guid, Handoff, Record, Status as SlotStatus, Why};
use updater::status::UpdateStatus;

/// Show the slots, the last update and its result, and the next boot
#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    target: TargetArgs,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print nothing: exit code 0 if a release waits for its first boot, else 7
    #[arg(long, help_heading = "Output", conflicts_with = "json")]
    waiting: bool,
}

impl Show {
    pub(super) fn run(self) -> ExitStatus {
        match self.show() {
            Ok(status) => status,
            Err(error) => output::failed(&error),
        }
    }

    fn show(&self) -> Result<ExitStatus> {
        let machine = self.target.open(Access::Read)?;
        let mut found = machine.status();
        if let (Some(booted), Some(record)) = (self.target.booted_argument(), &found.record) {
            found.handoff = Some(handoff_to(booted, record, &machine));
        }
        let has_record = found.record.is_some();
        let status = UpdateStatus::new(found);
        if self.waiting && has_record {
            return Ok(if status.is_waiting() {
                ExitStatus::Success
            } else {
                ExitStatus::NothingToDo
            });
        }
        for warning in status.warnings() {
            output::warn(warning);
        }
        if self.json {
            print(&serde_json::to_string_pretty(&status.json())?)?;
        } else {
            print(&status.text())?;
        }
        Ok(if has_record {
            ExitStatus::Success
        } else {
            ExitStatus::Failed
        })
    }
}

/// Returns the handoff that the guard would have made if it had started `booted`.
fn handoff_to(booted: Choice, record: &Record, machine: &Machine) -> Handoff {
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
        Choice::Recovery => (Why::Requested, 0, record.recovery_uuid, Guid::ZERO),
    };
    let state_partition = machine.disk.partitions().state;
    Handoff {
        verified_root: None,
        choice: booted,
        why,
        left,
        seq: record.seq,
        disk_guid: record.disk_guid,
        boot_uuid,
        root_uuid,
        state_uuid: state_partition.map_or(Guid::ZERO, |state| state.uuid),
    }
}
