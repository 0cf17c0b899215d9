//! The plan as JSON: every disk, every reason against it, and how the chosen one would be divided.
//! Its schema is docs/schemas/rayos-installer.plan-1.json.

use crate::disk::choose::Target;
use crate::disk::choose::{Candidate, choose};
use crate::disk::layout::PlannedDisk;
use serde::Serialize;

/// Output of `rayos-installer plan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// `rayos-installer.plan/1`.
    pub schema: &'static str,
    /// Whether the disks are those of a sample machine.
    pub sample: bool,
    /// All disks.
    pub blockdevices: Vec<Candidate>,
    /// Path of the disk that would be written.
    pub target: Option<std::path::PathBuf>,
    /// Why there is no such disk.
    pub reason: Option<String>,
    /// How it would be divided.
    pub plan: Option<PlannedDisk>,
}

impl PlanReport {
    /// Returns the report for `target` among `candidates`. *Pure.*
    #[must_use]
    pub fn new(candidates: Vec<Candidate>, target: &Target, sample: bool) -> Self {
        let (target, reason, plan) = match choose(&candidates, target) {
            Ok(chosen) => (Some(chosen.disk.path.clone()), None, chosen.plan.clone()),
            Err(error) => (None, Some(error.to_string()), None),
        };
        Self {
            schema: "rayos-installer.plan/1",
            sample,
            blockdevices: candidates,
            target,
            reason,
            plan,
        }
    }
}
