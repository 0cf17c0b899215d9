//! The plan: from facts to the destinations of all images, or to a refusal. *Pure.*
//!
//! [`check`] tells unattended updates whether a bundle is worth applying.

pub mod check;

use bootctl::disk::Disk;
use bootctl::transition::{self, TargetSlot};
use bundle::verity::Layout;
use bundle::{ImageRole, Release, UpdaterVersion};
use record::gpt::Partitions;
use record::{Choice, Guid, PartitionName, Record, Slot};
use seal::{SEAL_LEN, VerifyError};

/// Maximum length of a guard image, which is kept in memory: a signed bundle could otherwise demand
/// any amount.
pub const MAX_GUARD: u64 = 4 * 1024 * 1024;

/// The facts of a machine that a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The boot record.
    pub record: &'a Record,
    /// The partitions of the disk.
    pub partitions: &'a Partitions,
    /// Bytes per sector.
    pub sector_size: u32,
    /// The running system; recovery if it is not a slot of this disk.
    pub booted: Choice,
    /// The images to write.
    pub scope: Scope,
}

impl<'a> Facts<'a> {
    /// Returns the facts of `disk`, with `record` as its boot record.
    #[must_use]
    pub fn of(disk: &'a Disk, record: &'a Record, booted: Choice, scope: Scope) -> Self {
        Self {
            record,
            partitions: disk.partitions(),
            sector_size: disk.device().sector_size(),
            booted,
            scope,
        }
    }
}

/// The images to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Boot and root image, into the target slot.
    Update,
    /// All images: also recovery, and the guard on the EFI system partition.
    Install,
}

/// The destination of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The boot partition of the target slot, behind the seal.
    Boot,
    /// The root partition of the target slot.
    Root,
    /// The recovery partition, behind the seal.
    Recovery,
    /// Memory, from where the installer writes it to the EFI system partition.
    Memory,
    /// None: an update does not write this image.
    Nowhere,
}

/// The plan of an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The slot to write.
    pub target: TargetSlot,
    /// The release, as the boot record will name it.
    pub release: record::Release,
    /// Its commit makes older releases unbootable.
    pub revoke: bool,
    /// The destination of each image, in the order of the bundle.
    pub destinations: Vec<Destination>,
}

/// A bundle that must not be applied. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No slot can be the target.
    #[error(transparent)]
    NoTarget(#[from] transition::Refusal),
    /// The release is for other hardware.
    #[error("release {version} is compatible with {offered}: this machine is {machine}")]
    Incompatible {
        /// The release.
        version: String,
        /// Hardware that it is compatible with.
        offered: String,
        /// Hardware of this machine.
        machine: String,
    },
    /// The rollback index of the release is below the floor of the machine.
    #[error(
        "release {version} has rollback index {offered}: this machine accepts {floor} or higher"
    )]
    BelowFloor {
        /// The release.
        version: String,
        /// Its rollback index.
        offered: u64,
        /// The floor.
        floor: u64,
    },
    /// The release requires a later updater.
    #[error("release {version} needs updater {needed} or later: this is {have}")]
    UpdaterTooOld {
        /// The release.
        version: String,
        /// Version that it needs.
        needed: UpdaterVersion,
        /// Version of this updater.
        have: UpdaterVersion,
    },
    /// Secure Boot is on, and the boot image is not signed for it.
    #[error(
        "release {version} is not signed for Secure Boot, which is on: \
         the firmware would not start it"
    )]
    Unsigned {
        /// The release.
        version: String,
    },
    /// A copy of the boot guard on the disk would not start it.
    #[error("release {version} is not accepted by the boot guard {path} of this disk: {error}")]
    Guard {
        /// The release.
        version: String,
        /// Path of the copy on the EFI system partition.
        path: &'static str,
        /// The answer of the guard's keys.
        error: VerifyError,
    },
    /// The bundle is a delta, and an installation has no base for it.
    #[error("release {version} is a delta to {base}: an installation needs a full bundle")]
    Delta {
        /// The release.
        version: String,
        /// Its base.
        base: String,
    },
    /// The other slot holds another release than the base of the delta.
    #[error("release {version} is a delta to {base}: slot {slot} holds {holds}")]
    OtherBase {
        /// The release.
        version: String,
        /// Its base.
        base: String,
        /// The slot.
        slot: Slot,
        /// Release in it.
        holds: String,
    },
    /// The other slot holds the base by version, but with other images.
    #[error(
        "release {version} is a delta to {base}: \
         slot {slot} holds another {role} image of that version"
    )]
    OtherBuild {
        /// The release.
        version: String,
        /// Its base.
        base: String,
        /// The slot.
        slot: Slot,
        /// The image.
        role: ImageRole,
    },
    /// The content of the other slot cannot be determined.
    #[error(
        "release {version} is a delta to {base}: the content of slot {slot} is unknown: {error}"
    )]
    BaseUnknown {
        /// The release.
        version: String,
        /// Its base.
        base: String,
        /// The slot.
        slot: Slot,
        /// The cause.
        error: String,
    },
    /// The slot is to be repaired with another bundle of its release, which has other images as far
    /// as can be determined.
    #[error(
        "slot {slot} holds release {version} from another bundle, and its images are not known to \
         be the same: repair it with that bundle, or apply this one"
    )]
    OtherBundle {
        /// The slot.
        slot: Slot,
        /// The release.
        version: String,
    },
    /// The slot is to be repaired with the bundle of another release.
    #[error("slot {slot} holds release {holds}: the bundle is release {offered}")]
    OtherRelease {
        /// The slot.
        slot: Slot,
        /// Its release.
        holds: String,
        /// The bundle's.
        offered: String,
    },
    /// The bundle lacks an image.
    #[error("bundle has no {0} image")]
    ImageMissing(ImageRole),
    /// An image does not fit into its partition.
    #[error("{role} image needs {needed} bytes: partition {partition} has {have}")]
    TooLarge {
        /// The image.
        role: ImageRole,
        /// The partition.
        partition: PartitionName,
        /// Bytes needed.
        needed: u64,
        /// Bytes in the partition.
        have: u64,
    },
    /// An operator marked the target slot bad while it was written.
    #[error("slot {slot} was marked bad while it was written")]
    MarkedBad {
        /// The slot.
        slot: Slot,
    },
    /// The disk lacks a partition.
    #[error("disk has no {0} partition")]
    PartitionMissing(PartitionName),
    /// A partition has another GUID than in the boot record.
    #[error("partition {0} is not the one in the boot record")]
    PartitionReplaced(PartitionName),
}

/// The release runs already, and is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpToDate {
    /// Its slot.
    pub slot: Slot,
}

/// Result of planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// The release is to be applied.
    Apply(Plan),
    /// There is nothing to do.
    UpToDate(UpToDate),
}

/// Returns the plan of applying `release`.
///
/// # Errors
/// The first [`Refusal`] in this order: hardware, floor, updater, target slot, base, images,
/// partitions, sizes.
pub fn plan(facts: &Facts<'_>, release: &Release) -> Result<Planned, Refusal> {
    let identity = identity(release);
    check_release(facts.record, release, &identity)?;
    let target = TargetSlot::choose(facts.record, facts.booted)?;
    if facts.scope == Scope::Update && runs_already(facts, &identity) {
        return Ok(Planned::UpToDate(UpToDate {
            slot: target.slot().other(),
        }));
    }
    check_base(facts, release, target.slot())?;
    let destinations = destinations(facts, release, target.slot())?;
    Ok(Planned::Apply(Plan {
        target,
        release: identity,
        revoke: release.statement().revoke,
        destinations,
    }))
}

/// Returns the plan of repairing `slot` with the bundle of the release that it holds.
///
/// # Errors
/// The first [`Refusal`] in this order: hardware, floor, updater, target slot, release, base,
/// images, partitions, sizes.
pub fn plan_repair(facts: &Facts<'_>, release: &Release, slot: Slot) -> Result<Plan, Refusal> {
    let identity = identity(release);
    check_release(facts.record, release, &identity)?;
    let target = TargetSlot::of(facts.record, facts.booted, slot)?;
    transition::begin_repair(facts.record, target)?;
    let holds = facts.record.slot(slot).release;
    if holds != identity {
        let (holds, offered) = (holds.version.to_string(), identity.version.to_string());
        if holds == offered {
            return Err(Refusal::OtherBundle {
                slot,
                version: offered,
            });
        }
        return Err(Refusal::OtherRelease {
            slot,
            holds,
            offered,
        });
    }
    check_base(facts, release, slot)?;
    let destinations = destinations(facts, release, slot)?;
    Ok(Plan {
        target,
        release: identity,
        revoke: false,
        destinations,
    })
}

/// Returns the destination of each image.
fn destinations(
    facts: &Facts<'_>,
    release: &Release,
    slot: Slot,
) -> Result<Vec<Destination>, Refusal> {
    for role in required(facts.scope) {
        if !release.images().iter().any(|image| image.role == *role) {
            return Err(Refusal::ImageMissing(*role));
        }
    }
    let room = Room::find(facts, slot)?;
    let mut destinations = Vec::new();
    for image in release.images() {
        let destination = destination(image.role, facts.scope);
        let size = match release.statement().root {
            Some(root) if image.role == ImageRole::Root => Layout::new(root.len).total_len(),
            _ => image.size,
        };
        room.check(image.role, size, destination)?;
        destinations.push(destination);
    }
    Ok(destinations)
}

/// Returns the release as the boot record names it.
pub(crate) fn identity(release: &Release) -> record::Release {
    let statement = release.statement();
    record::Release {
        version: statement.version,
        rollback_index: statement.rollback_index,
        manifest_sha256: statement.manifest.sha256,
    }
}

fn required(scope: Scope) -> &'static [ImageRole] {
    match scope {
        Scope::Update => &[ImageRole::Boot, ImageRole::Root],
        Scope::Install => &[
            ImageRole::Boot,
            ImageRole::Root,
            ImageRole::Recovery,
            ImageRole::Guard,
        ],
    }
}

fn check_release(
    record: &Record,
    release: &Release,
    identity: &record::Release,
) -> Result<(), Refusal> {
    let version = identity.version.to_string();
    let compatible = &release.manifest().compatible;
    if !compatible
        .iter()
        .any(|name| name == record.compatible.as_str())
    {
        let offered = compatible.join(", ");
        return Err(Refusal::Incompatible {
            version,
            offered,
            machine: record.compatible.to_string(),
        });
    }
    if identity.rollback_index < record.floor {
        return Err(Refusal::BelowFloor {
            version,
            offered: identity.rollback_index,
            floor: record.floor,
        });
    }
    // The version of the package always parses. If it did not, every release with a minimum would
    // be refused.
    let have: UpdaterVersion = env!("CARGO_PKG_VERSION").parse().unwrap_or_default();
    match release.manifest().min_updater {
        Some(needed) if needed > have => Err(Refusal::UpdaterTooOld {
            version,
            needed,
            have,
        }),
        _ => Ok(()),
    }
}

/// Checks by the boot record that the other slot holds the base of a delta. The slot itself is read
/// later.
fn check_base(facts: &Facts<'_>, release: &Release, target: Slot) -> Result<(), Refusal> {
    let Some(base) = &release.manifest().base else {
        return Ok(());
    };
    let (version, base) = (release.manifest().version.clone(), base.version.clone());
    if facts.scope == Scope::Install {
        return Err(Refusal::Delta { version, base });
    }
    let slot = target.other();
    let state = facts.record.slot(slot);
    if state.release.version.as_str() == base {
        return Ok(());
    }
    let holds = match state.release.version.as_str() {
        "" => "nothing".to_owned(),
        version => version.to_owned(),
    };
    Err(Refusal::OtherBase {
        version,
        base,
        slot,
        holds,
    })
}

fn runs_already(facts: &Facts<'_>, identity: &record::Release) -> bool {
    let Choice::Slot(running) = facts.booted else {
        return false;
    };
    let state = facts.record.slot(running);
    state.is_good() && state.release == *identity && facts.record.default == running
}

fn destination(role: ImageRole, scope: Scope) -> Destination {
    match (role, scope) {
        (ImageRole::Boot, _) => Destination::Boot,
        (ImageRole::Root, _) => Destination::Root,
        (ImageRole::Recovery, Scope::Install) => Destination::Recovery,
        (ImageRole::Guard, Scope::Install) => Destination::Memory,
        (ImageRole::Recovery | ImageRole::Guard, Scope::Update) => Destination::Nowhere,
    }
}

/// The sizes of the partitions that images go to, in bytes.
struct Room {
    boot: PartitionSize,
    root: PartitionSize,
    recovery: PartitionSize,
}

#[derive(Clone, Copy)]
struct PartitionSize {
    partition: PartitionName,
    bytes: u64,
}

impl Room {
    fn find(facts: &Facts<'_>, slot: Slot) -> Result<Self, Refusal> {
        let state = facts.record.slot(slot);
        let size = |partition: PartitionName, uuid: Guid| {
            let found = facts
                .partitions
                .get(partition)
                .ok_or(Refusal::PartitionMissing(partition))?;
            if found.uuid != uuid {
                return Err(Refusal::PartitionReplaced(partition));
            }
            let bytes = found.sectors().saturating_mul(facts.sector_size.into());
            Ok(PartitionSize { partition, bytes })
        };
        Ok(Self {
            boot: size(PartitionName::boot(slot), state.boot_uuid)?,
            root: size(PartitionName::root(slot), state.root_uuid)?,
            recovery: size(PartitionName::Recovery, facts.record.recovery_uuid)?,
        })
    }

    fn check(&self, role: ImageRole, size: u64, destination: Destination) -> Result<(), Refusal> {
        let (room, header) = match destination {
            Destination::Boot => (self.boot, SEAL_LEN as u64),
            Destination::Root => (self.root, 0),
            Destination::Recovery => (self.recovery, SEAL_LEN as u64),
            Destination::Memory => (
                PartitionSize {
                    partition: PartitionName::Esp,
                    bytes: MAX_GUARD,
                },
                0,
            ),
            Destination::Nowhere => return Ok(()),
        };
        let needed = size.saturating_add(header);
        if needed > room.bytes {
            return Err(Refusal::TooLarge {
                role,
                partition: room.partition,
                needed,
                have: room.bytes,
            });
        }
        Ok(())
    }
}
