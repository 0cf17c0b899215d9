//! The plan as JSON: every disk, what speaks against it, and how the chosen one would be divided.

use crate::disk::choose::Target;
use crate::disk::choose::{Candidate, choose};
use crate::disk::layout::PlannedDisk;
use serde::Serialize;

/// What `rayos-installer plan` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// `rayos-installer.plan/1`.
    pub schema: &'static str,
    /// Whether the disks are made up.
    pub sample: bool,
    /// All disks.
    pub blockdevices: Vec<Candidate>,
    /// Path of the disk that would be installed to.
    pub target: Option<std::path::PathBuf>,
    /// Why there is none.
    pub reason: Option<String>,
    /// How it would be divided.
    pub plan: Option<PlannedDisk>,
}

impl PlanReport {
    /// The plan for `target` among `candidates`. *Pure.*
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
