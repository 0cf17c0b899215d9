//! The choice of a disk: one of all, or every reason why none fits.

use crate::disk::disks::Disk;
use crate::disk::layout::PlannedDisk;
use crate::disk::safety::{DiskContent, DiskFindings, DiskRequest, Problem};
use serde::{Deserialize, Serialize};

/// The disk to install to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The only disk that is blank and large enough, or has room beside its other systems. Several
    /// of them are an error.
    #[default]
    OnlyBlankDisk,
    /// The disk with this id: serial number, world-wide name, or kernel name if it has neither.
    Disk(String),
}

/// A disk, its content, and every reason against installing to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The disk.
    #[serde(flatten)]
    pub disk: Disk,
    /// Its content; `None` if it cannot be read.
    pub content: Option<DiskContent>,
    /// Reasons against it; empty if it can be written.
    pub problems: Vec<String>,
    /// How it would be divided, if it can be.
    #[serde(skip)]
    pub plan: Option<PlannedDisk>,
}

/// Why no disk was chosen. Each names the disks and the reasons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// There is no disk at all.
    #[error("this machine has no disk")]
    NoDisk,
    /// No disk has the requested id.
    #[error("no disk has the id {wanted}: there are {there}")]
    NotThere {
        /// The requested id.
        wanted: String,
        /// Ids and paths of all disks.
        there: String,
    },
    /// Several disks have the requested id.
    #[error("{0} disks have the id {1}")]
    Ambiguous(usize, String),
    /// There is a reason against every disk.
    #[error("no disk can be installed to:\n{0}")]
    NoneFit(String),
    /// Several disks fit.
    #[error("more than one disk can be installed to: {0}: name one as the target")]
    Several(String),
}

/// Assesses every disk. *Pure*, except for `inspect`, which reads a disk or returns why it cannot be
/// read.
pub fn candidates(
    disks: Vec<Disk>,
    wanted: &DiskRequest<'_>,
    inspect: impl Fn(&Disk) -> Result<DiskFindings, String>,
) -> Vec<Candidate> {
    // An id that several disks share confirms none of them.
    let named = |id: &&str| disks.iter().filter(|disk| disk.answers_to(id)).count();
    let shared = wanted.erase.filter(|id| named(id) > 1);
    let wanted = &DiskRequest {
        erase: wanted.erase.filter(|_| shared.is_none()),
        ..*wanted
    };
    let assess = |disk: Disk| {
        let findings = inspect(&disk);
        let (plan, mut problems) = wanted.assess(&disk, findings.as_ref().map_err(String::as_str));
        if let Some(id) = shared.filter(|id| disk.answers_to(id)) {
            problems.push(Problem::SharedId { id: id.to_owned() });
        }
        let problems = problems.iter().map(Problem::to_string).collect();
        Candidate {
            content: findings.ok().map(|findings| findings.content),
            disk,
            problems,
            plan,
        }
    };
    disks.into_iter().map(assess).collect()
}

/// Chooses one of `candidates`. *Pure.*
///
/// # Errors
/// [`ChoiceError`].
pub fn choose<'a>(
    candidates: &'a [Candidate],
    target: &Target,
) -> Result<&'a Candidate, ChoiceError> {
    let fit = |candidate: &&Candidate| candidate.problems.is_empty();
    match target {
        _ if candidates.is_empty() => Err(ChoiceError::NoDisk),
        Target::Disk(wanted) => {
            let named: Vec<_> = candidates
                .iter()
                .filter(|candidate| candidate.disk.answers_to(wanted))
                .collect();
            match named[..] {
                [one] if one.problems.is_empty() => Ok(one),
                [one] => Err(ChoiceError::NoneFit(reasons(std::slice::from_ref(one)))),
                [] => Err(ChoiceError::NotThere {
                    wanted: wanted.clone(),
                    there: names(candidates.iter()),
                }),
                _ => Err(ChoiceError::Ambiguous(named.len(), wanted.clone())),
            }
        }
        Target::OnlyBlankDisk => {
            // A stick or card that was left in the machine is chosen only by name.
            let kept = |candidate: &&Candidate| !candidate.disk.is_removable();
            let fitting: Vec<_> = candidates.iter().filter(fit).filter(kept).collect();
            match fitting[..] {
                [one] => Ok(one),
                [] => Err(ChoiceError::NoneFit(reasons(candidates))),
                _ => Err(ChoiceError::Several(names(fitting.into_iter()))),
            }
        }
    }
}

fn names<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> String {
    let names: Vec<String> = candidates
        .map(|candidate| {
            format!(
                "{} ({})",
                candidate.disk.id(),
                candidate.disk.path.display()
            )
        })
        .collect();
    names.join(", ")
}

fn reasons(candidates: &[Candidate]) -> String {
    let lines: Vec<String> = candidates
        .iter()
        .map(|candidate| {
            let mut problems = candidate.problems.clone();
            if problems.is_empty() && candidate.disk.is_removable() {
                problems.push("it is removable: name it as the target".to_owned());
            }
            format!(
                "  {}: {}",
                candidate.disk.path.display(),
                problems.join("; ")
            )
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::disks::sample;
    use crate::disk::layout::Layout;

    fn assessed(erase: Option<&str>, content: DiskContent) -> Vec<Candidate> {
        let media_disks = ["sda".to_owned()];
        let wanted = DiskRequest {
            layout: &Layout::default(),
            beside: false,
            recovery_key_at_hand: false,
            media_disks: &media_disks,
            erase,
        };
        candidates(sample(), &wanted, |_| {
            Ok(DiskFindings {
                content: content.clone(),
                ..DiskFindings::blank()
            })
        })
    }

    #[test]
    fn the_only_blank_disk_is_chosen_and_the_medium_never() {
        let assessed = assessed(None, DiskContent::Blank);
        assert_eq!(
            assessed[1].problems,
            ["it contains the installation medium"]
        );
        let chosen =
            choose(&assessed, &Target::OnlyBlankDisk).map(|chosen| chosen.disk.name.as_str());
        assert_eq!(chosen, Ok("nvme0n1"));
    }

    #[test]
    fn a_disk_with_content_is_refused_until_its_own_id_confirms_it() {
        let content = DiskContent::Installed {
            version: "1.0.0".to_owned(),
        };
        let refused = assessed(Some("SAMPLE-USB-0002"), content.clone());
        let error = choose(&refused, &Target::OnlyBlankDisk)
            .expect_err("refused")
            .to_string();
        assert!(error.contains("RayOS 1.0.0 is installed on it"), "{error}");
        let allowed = assessed(Some("SAMPLE-NVME-0001"), content);
        assert!(choose(&allowed, &Target::Disk("SAMPLE-NVME-0001".to_owned())).is_ok());
    }

    #[test]
    fn a_disk_that_cannot_be_read_is_not_erased_whatever_confirms_it() {
        let wanted = DiskRequest {
            layout: &Layout::default(),
            beside: false,
            recovery_key_at_hand: false,
            media_disks: &[],
            erase: Some("SAMPLE-NVME-0001"),
        };
        let assessed = candidates(sample(), &wanted, |_| Err("input/output error".to_owned()));
        let target = Target::Disk("SAMPLE-NVME-0001".to_owned());
        let error = choose(&assessed, &target).expect_err("unreadable");
        assert_eq!(
            error.to_string(),
            "no disk can be installed to:\n  \
             /dev/nvme0n1: it cannot be read: input/output error"
        );
    }

    #[test]
    fn an_interrupted_installation_does_not_permit_erasing_the_other_system() {
        let refused = assessed(None, DiskContent::UnfinishedBeside);
        assert!(
            refused[0].problems[0].contains("it has another system"),
            "{:?}",
            refused[0].problems
        );
        assert!(
            assessed(None, DiskContent::Unfinished)[0]
                .problems
                .is_empty()
        );
        assert!(
            assessed(None, DiskContent::Remains)[0].problems[0]
                .contains("it has partitions of RayOS")
        );
    }

    #[test]
    fn an_unknown_id_is_refused_with_the_known_ones() {
        let error = choose(
            &assessed(None, DiskContent::Blank),
            &Target::Disk("sdz".to_owned()),
        )
        .expect_err("none");
        assert_eq!(
            error.to_string(),
            "no disk has the id sdz: there are SAMPLE-NVME-0001 (/dev/nvme0n1), \
             SAMPLE-USB-0002 (/dev/sda)"
        );
    }

    fn same_serial() -> Vec<Disk> {
        let mut disks = sample();
        for disk in &mut disks {
            disk.serial = Some("00000000".to_owned());
        }
        disks[1].rm = false;
        disks
    }

    #[test]
    fn an_id_that_two_disks_share_confirms_neither() {
        let wanted = DiskRequest {
            layout: &Layout::default(),
            beside: false,
            recovery_key_at_hand: false,
            media_disks: &[],
            erase: Some("00000000"),
        };
        let look = |_: &Disk| {
            Ok(DiskFindings {
                content: DiskContent::Other("it has a GPT"),
                ..DiskFindings::blank()
            })
        };
        let assessed = candidates(same_serial(), &wanted, look);
        for candidate in &assessed {
            let reasons = candidate.problems.join("; ");
            assert!(
                reasons.contains("00000000 names more than one disk"),
                "{reasons}"
            );
            assert!(reasons.contains("it is not empty"), "{reasons}");
        }
        let target = Target::Disk("00000000".to_owned());
        let error = choose(&assessed, &target).expect_err("two");
        assert_eq!(error, ChoiceError::Ambiguous(2, "00000000".to_owned()));
    }

    #[test]
    fn a_removable_disk_is_chosen_only_by_name() {
        let wanted = DiskRequest {
            layout: &Layout::default(),
            beside: false,
            recovery_key_at_hand: false,
            media_disks: &["nvme0n1".to_owned()],
            erase: None,
        };
        let assessed = candidates(sample(), &wanted, |_| Ok(DiskFindings::blank()));
        let error = choose(&assessed, &Target::OnlyBlankDisk).expect_err("removable");
        assert!(
            error.to_string().contains("/dev/sda: it is removable"),
            "{error}"
        );
        let named = Target::Disk("SAMPLE-USB-0002".to_owned());
        assert!(choose(&assessed, &named).is_ok());
    }
}
