//! The plan: from facts to what would be written, or to the reason why nothing will be. Pure.

pub mod check;

use bootctl::disk::Disk;
use bootctl::transition::{self, TargetSlot};
use bundle::verity::Layout;
use bundle::{ImageRole, Release, UpdaterVersion};
use record::gpt::{Partition, Partitions};
use record::{Choice, Record, Slot};
use seal::SEAL_LEN;

/// Largest guard that is taken into memory: a signed bundle could otherwise ask for any amount.
pub const MAX_GUARD: u64 = 4 * 1024 * 1024;

/// What is known of the machine when the plan is made.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The boot record.
    pub record: &'a Record,
    /// The partitions of the disk.
    pub partitions: &'a Partitions,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// What runs; recovery too where nothing of this disk does.
    pub booted: Choice,
    /// What the bundle is applied for.
    pub scope: Scope,
}

impl<'a> Facts<'a> {
    /// The facts of `disk`, with `record` as its boot record. *Pure.*
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

/// What a bundle is applied for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Boot and root image into the target slot.
    Update,
    /// The same, and the recovery partition and the guard on the EFI system partition with it.
    Install,
}

/// Where an image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The target slot's boot partition, behind the seal.
    Boot,
    /// The target slot's root partition.
    Root,
    /// The recovery partition, behind the seal.
    Recovery,
    /// Into memory, for the installer to put on the EFI system partition.
    Memory,
    /// Nowhere: this machine keeps what it has.
    Nowhere,
}

/// What an apply will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The slot that is written.
    pub target: TargetSlot,
    /// The release, as the record will name it.
    pub release: record::Release,
    /// Whether committing it makes older releases unbootable.
    pub revoke: bool,
    /// Destination of each image of the bundle, in the bundle's order.
    pub destinations: Vec<Destination>,
}

/// Why a bundle is not applied. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No slot may be written.
    #[error(transparent)]
    NoTarget(#[from] transition::Refusal),
    /// The release is for other hardware.
    #[error("release {version} is for {offered}: this machine is {machine}")]
    Incompatible {
        /// The release.
        version: String,
        /// What it is compatible with.
        offered: String,
        /// What the machine is.
        machine: String,
    },
    /// The release is older than the machine accepts.
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
    /// The release asks for a later updater.
    #[error("release {version} needs updater {needed} or later: this is {have}")]
    UpdaterTooOld {
        /// The release.
        version: String,
        /// What it needs.
        needed: UpdaterVersion,
        /// What this is.
        have: UpdaterVersion,
    },
    /// The firmware starts only what is signed for Secure Boot, and the boot image is not.
    #[error(
        "release {version} is not signed for Secure Boot, which is on: the firmware would not start it"
    )]
    Unsigned {
        /// The release.
        version: String,
    },
    /// The bundle holds only what changed since another release, and there is none to start from.
    #[error("release {version} comes as a delta to {base}: an installation needs a whole bundle")]
    Delta {
        /// The release.
        version: String,
        /// What it builds upon.
        base: String,
    },
    /// The slot that does not become the target holds another release than the delta builds upon.
    #[error("release {version} comes as a delta to {base}: slot {slot} holds {holds}")]
    OtherBase {
        /// The release.
        version: String,
        /// What it builds upon.
        base: String,
        /// The slot.
        slot: Slot,
        /// What it holds.
        holds: String,
    },
    /// It holds a release of that name, but not those images.
    #[error(
        "release {version} comes as a delta to {base}: the {role} image in slot {slot} is another one"
    )]
    OtherBuild {
        /// The release.
        version: String,
        /// What it builds upon.
        base: String,
        /// The slot.
        slot: Slot,
        /// The image.
        role: ImageRole,
    },
    /// It cannot be told what it holds.
    #[error(
        "release {version} comes as a delta to {base}: what slot {slot} holds cannot be told: {error}"
    )]
    BaseUnknown {
        /// The release.
        version: String,
        /// What it builds upon.
        base: String,
        /// The slot.
        slot: Slot,
        /// Why.
        error: String,
    },
    /// The slot is to be repaired with another bundle of its release, and it cannot be told that
    /// the images are the same.
    #[error(
        "slot {slot} holds release {version}, but not by this bundle, and it cannot be told that the images are the same: the bundle it was made of can repair it, or this one can be applied"
    )]
    OtherBundle {
        /// The slot.
        slot: Slot,
        /// The release.
        version: String,
    },
    /// The slot is to be repaired with another release than it holds.
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
    /// An image does not fit.
    #[error("{role} image needs {needed} bytes: partition {partition} has {have}")]
    TooLarge {
        /// The image.
        role: ImageRole,
        /// The partition.
        partition: &'static str,
        /// Bytes that the partition must have.
        needed: u64,
        /// Bytes that it has.
        have: u64,
    },
    /// The disk lacks a partition.
    #[error("disk has no {0} partition")]
    PartitionMissing(&'static str),
    /// A partition is not the one that the boot record names.
    #[error("partition {0} is not the one in the boot record")]
    PartitionReplaced(&'static str),
}

/// The same release runs already and is committed: nothing needs to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpToDate {
    /// The slot that holds it.
    pub slot: Slot,
}

/// What comes of planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// There is something to do.
    Apply(Plan),
    /// There is not.
    UpToDate(UpToDate),
}

/// Plans the application of `release`. *Pure.*
///
/// # Errors
/// A [`Refusal`], in this order: hardware, floor, updater, target slot, base, images, partitions,
/// sizes.
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

/// Plans the repair of `slot` with the bundle of the release that it holds. *Pure.*
///
/// # Errors
/// A [`Refusal`]: hardware, floor, updater, target slot, release, base, images, partitions, sizes.
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

/// Where each image goes, if all that is required is there and fits.
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

/// What the boot record will call the release.
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
    // The package's own version always parses; were it not to, nothing newer than 0.0.0 would be
    // applied.
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

/// Whether a delta can build upon the slot beside the target, as far as the record tells; the slot
/// itself is asked later.
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

/// Bytes that each partition has for an image.
struct Room {
    boot: (&'static str, u64),
    root: (&'static str, u64),
    recovery: (&'static str, u64),
}

impl Room {
    fn find(facts: &Facts<'_>, slot: Slot) -> Result<Self, Refusal> {
        let (boot, root) = match slot {
            Slot::A => ("boot-a", "root-a"),
            Slot::B => ("boot-b", "root-b"),
        };
        let state = facts.record.slot(slot);
        let bytes = |partition: Option<Partition>, uuid, name| {
            let partition = partition.ok_or(Refusal::PartitionMissing(name))?;
            if partition.uuid != uuid {
                return Err(Refusal::PartitionReplaced(name));
            }
            Ok((
                name,
                partition
                    .sectors()
                    .saturating_mul(u64::from(facts.sector_size)),
            ))
        };
        let partitions = facts.partitions;
        Ok(Self {
            boot: bytes(partitions.boot(slot), state.boot_uuid, boot)?,
            root: bytes(partitions.root(slot), state.root_uuid, root)?,
            recovery: bytes(partitions.recovery, facts.record.recovery_uuid, "recovery")?,
        })
    }

    fn check(&self, role: ImageRole, size: u64, destination: Destination) -> Result<(), Refusal> {
        let ((partition, have), header) = match destination {
            Destination::Boot => (self.boot, SEAL_LEN as u64),
            Destination::Root => (self.root, 0),
            Destination::Recovery => (self.recovery, SEAL_LEN as u64),
            Destination::Memory if size > MAX_GUARD => {
                return Err(Refusal::TooLarge {
                    role,
                    partition: "esp",
                    needed: size,
                    have: MAX_GUARD,
                });
            }
            Destination::Memory | Destination::Nowhere => return Ok(()),
        };
        let needed = size.saturating_add(header);
        if needed > have {
            Err(Refusal::TooLarge {
                role,
                partition,
                needed,
                have,
            })
        } else {
            Ok(())
        }
    }
}
