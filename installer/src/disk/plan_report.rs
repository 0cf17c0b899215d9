//! The plan as JSON: every disk, every reason against it, how the chosen one would be divided, and
//! a hash of that.
//! Its schema is docs/schemas/rayos-installer.plan-1.json.

use crate::disk::choose::Target;
use crate::disk::choose::{Candidate, choose};
use crate::disk::layout::PlannedDisk;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

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
    /// SHA-256 of the chosen disk, its content and `plan`, in hexadecimal digits. It differs if any
    /// of them changes.
    pub hash: Option<String>,
}

impl PlanReport {
    /// Returns the report for `target` among `candidates`. *Pure.*
    #[must_use]
    pub fn new(candidates: Vec<Candidate>, target: &Target, sample: bool) -> Self {
        let (target, reason, plan, hash) = match choose(&candidates, target) {
            Ok(chosen) => {
                let path = chosen.disk.path.clone();
                (Some(path), None, chosen.plan.clone(), hash(chosen))
            }
            Err(error) => (None, Some(error.to_string()), None, None),
        };
        Self {
            schema: "rayos-installer.plan/1",
            sample,
            blockdevices: candidates,
            target,
            reason,
            plan,
            hash,
        }
    }
}

/// Returns the hash of a disk and its plan; `None` without a plan. The plan has no random part: the
/// GUIDs of the partitions are chosen when it is applied.
fn hash(chosen: &Candidate) -> Option<String> {
    let plan = chosen.plan.as_ref()?;
    let text = serde_json::to_vec(&("rayos-installer.plan/1", chosen, plan)).ok()?;
    let digest = Sha256::digest(text);
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::disk_facts::DiskFacts;
    use crate::disk::layout::{Layout, Size};
    use crate::disk::safety::DiskRequest;

    fn report(layout: &Layout, facts: &[DiskFacts]) -> PlanReport {
        let request = DiskRequest {
            layout,
            beside: false,
            recovery_key_at_hand: false,
            media_disks: &["sda".to_owned()],
            erase: None,
        };
        PlanReport::new(
            DiskFacts::assess(facts, &request),
            &Target::OnlyBlankDisk,
            true,
        )
    }

    #[test]
    fn the_hash_changes_with_the_disk_and_with_the_sizes() {
        let (layout, mut facts) = (Layout::default(), DiskFacts::sample());
        let first = report(&layout, &facts).hash.expect("hash");
        assert_eq!(first.len(), 64);
        assert_eq!(report(&layout, &facts).hash.as_ref(), Some(&first));
        let larger = Layout {
            root: Size(3 << 30),
            ..layout
        };
        assert_ne!(report(&larger, &facts).hash.as_ref(), Some(&first));
        facts[0].disk.serial = Some("ANOTHER-DISK".to_owned());
        assert_ne!(report(&layout, &facts).hash.as_ref(), Some(&first));
    }

    #[test]
    fn the_plan_for_people_has_a_table_reasons_and_both_drawings() {
        let facts = DiskFacts::sample();
        let text = crate::disk::plan_text::plan_text(&report(&Layout::default(), &facts), &facts);
        for words in [
            "/dev/nvme0n1    238.47 GiB  SAMPLE-NVME-0001       blank",
            "    no: it contains the installation medium",
            "Target: /dev/nvme0n1, Sample NVMe, 238.47 GiB, id SAMPLE-NVME-0001",
            "\n|free....",
            "RayOS slot A, boot image (new)",
            "Nothing was written.",
        ] {
            assert!(text.contains(words), "{words:?} is missing in:\n{text}");
        }
    }
}
