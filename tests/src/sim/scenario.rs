//! What is done to a machine while the power fails: one line each.

use super::disk::Bad;
use super::firmware::Demand;
use super::image::Image;
use super::journal::Op;
use super::other::{self, Other};
use super::place::{DISK_LEN, Place};
use super::releases::Releases;
use super::state::{State, Vars, Witness};
use super::trouble::Trouble;
use super::world::{End, Life, Wish, World};
use anyhow::{Context as _, bail, ensure};
use record::Choice;
use std::sync::Arc;

/// How a machine stands before a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A blank disk.
    Blank,
    /// A disk with somebody else's partitions and data on it.
    Foreign,
    /// A disk that another system has the end of.
    Other,
    /// The same, and an installation beside it that was cut off while the first release was
    /// written.
    OtherUnfinished,
    /// The same with an installation beside it, as [`Start::Installed`].
    Beside(&'static [&'static str]),
    /// An installation: these releases were installed, then applied and committed, in this order.
    Installed(&'static [&'static str]),
}

/// What is wrong with the machine at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    None,
    /// Firmware has lost all variables.
    NoVariables,
    /// The primary partition table is damaged.
    PrimaryTable,
    /// The backup partition table is damaged.
    BackupTable,
    /// One copy of the boot record is damaged.
    OneRecord(u8),
    /// Both copies are.
    BothRecords,
    /// The boot image in slot A is.
    BootImage,
    /// Boot and root image in slot A are.
    BothImages,
    /// A place of the root image in slot A cannot be read any more.
    RootUnreadable,
    /// A place of the root image in slot A is read as something else than it is.
    RootLies,
    /// The store of variables is full.
    StoreFull,
    /// The release in slot B works no longer, though all of it is as it was.
    Worn,
}

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name, for command lines.
    pub name: &'static str,
    /// How the machine stands before it.
    pub start: Start,
    /// What is wrong with it.
    pub damage: Damage,
    /// What its owner wants.
    pub wish: Wish,
    /// The version that runs at its end.
    pub ends_with: &'static str,
    /// Other ends, where a cut costs a trial that is not repeated, and how many cuts it takes to
    /// come there. No others may be.
    pub or_ends: &'static [(usize, End)],
}

const fn scenario(
    name: &'static str,
    start: Start,
    damage: Damage,
    wish: Wish,
    ends_with: &'static str,
) -> Scenario {
    Scenario {
        name,
        start,
        damage,
        wish,
        ends_with,
        or_ends: &[],
    }
}

const ONE: Start = Start::Installed(&["1.0.0"]);
const TWO: Start = Start::Installed(&["1.0.0", "1.1.0"]);

/// The newer release is given up, and the older one runs.
const BACK_TO_FIRST: End = End {
    running: Some((Choice::Slot(record::Slot::A), "1.0.0")),
    slots: [2, 0],
    floor: 1,
};

/// No release is left.
const RECOVERY_ALONE: End = End {
    running: Some((Choice::Recovery, "1.0.0")),
    slots: [0, 0],
    floor: 1,
};

/// All scenarios.
pub const SCENARIOS: [Scenario; 40] = {
    use Damage::{
        BackupTable, BootImage, BothImages, BothRecords, NoVariables, None, OneRecord,
        PrimaryTable, RootLies, RootUnreadable, StoreFull, Worn,
    };
    use record::Slot;
    [
        scenario(
            "install-blank",
            Start::Blank,
            None,
            Wish::Install("1.0.0"),
            "1.0.0",
        ),
        scenario(
            "install-over-foreign",
            Start::Foreign,
            None,
            Wish::Install("1.0.0"),
            "1.0.0",
        ),
        scenario(
            "install-over-ours",
            TWO,
            None,
            Wish::Install("1.2.0"),
            "1.2.0",
        ),
        scenario(
            "install-beside",
            Start::Other,
            None,
            Wish::Install("1.0.0"),
            "1.0.0",
        ),
        scenario(
            "install-beside-again",
            Start::OtherUnfinished,
            None,
            Wish::Install("1.0.0"),
            "1.0.0",
        ),
        scenario(
            "install-beside-on-backup-table",
            Start::Other,
            PrimaryTable,
            Wish::Install("1.0.0"),
            "1.0.0",
        ),
        scenario(
            "update-beside",
            Start::Beside(&["1.0.0"]),
            None,
            Wish::Run("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "rollback-beside",
            Start::Beside(&["1.0.0", "1.1.0"]),
            None,
            Wish::RollBack(Slot::A),
            "1.0.0",
        ),
        scenario("update-a-to-b", ONE, None, Wish::Run("1.1.0"), "1.1.0"),
        scenario("update-b-to-a", TWO, None, Wish::Run("1.2.0"), "1.2.0"),
        scenario(
            "update-hangs",
            ONE,
            None,
            Wish::Run("1.1.1-restarts"),
            "1.0.0",
        ),
        scenario(
            "update-returns",
            ONE,
            None,
            Wish::Run("1.1.2-returns"),
            "1.0.0",
        ),
        scenario(
            "update-not-loaded",
            ONE,
            None,
            Wish::Run("1.1.3-refused"),
            "1.0.0",
        ),
        scenario(
            "update-hangs-over-good",
            TWO,
            None,
            Wish::Run("1.1.1-restarts"),
            "1.1.0",
        ),
        scenario(
            "update-damaged",
            ONE,
            None,
            Wish::RunDamaged("1.1.0"),
            "1.0.0",
        ),
        scenario(
            "update-interrupted",
            ONE,
            None,
            Wish::RunInterrupted("1.1.0"),
            "1.1.0",
        ),
        scenario("update-revokes", TWO, None, Wish::Run("1.3.0"), "1.3.0"),
        scenario("update-new-key", ONE, None, Wish::Run("1.4.0"), "1.4.0"),
        scenario(
            "update-store-full",
            ONE,
            StoreFull,
            Wish::Run("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "update-no-variables",
            ONE,
            NoVariables,
            Wish::Run("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "update-on-backup-table",
            ONE,
            PrimaryTable,
            Wish::Run("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "update-without-backup-table",
            ONE,
            BackupTable,
            Wish::Run("1.1.0"),
            "1.1.0",
        ),
        scenario("rollback", TWO, None, Wish::RollBack(Slot::A), "1.0.0"),
        scenario("mark-bad", TWO, None, Wish::MarkBad(Slot::A), "1.1.0"),
        scenario("recovery-once", ONE, None, Wish::RecoveryOnce, "1.0.0"),
        scenario("repair-variables", TWO, NoVariables, Wish::Nothing, "1.1.0"),
        scenario("repair-record-0", TWO, OneRecord(0), Wish::Nothing, "1.1.0"),
        scenario("repair-record-1", TWO, OneRecord(1), Wish::Nothing, "1.1.0"),
        Scenario {
            // By evidence alone a release gets one launch: a cut in it costs the release, and two
            // cost both.
            or_ends: &[(1, BACK_TO_FIRST), (2, RECOVERY_ALONE)],
            ..scenario("rebuild-record", TWO, BothRecords, Wish::Nothing, "1.1.0")
        },
        Scenario {
            // By evidence alone a release gets one launch: a cut in it costs the release, and the
            // slot that is free then is another one. The floor stays, since 1.0.0 runs and stays as
            // the fallback. Two cuts cost both releases, and recovery applies the new one: it is
            // the only one, so the floor is its own index.
            or_ends: &[
                (
                    1,
                    End {
                        running: Some((Choice::Slot(Slot::B), "1.2.0")),
                        slots: [2, 2],
                        floor: 1,
                    },
                ),
                (
                    2,
                    End {
                        running: Some((Choice::Slot(Slot::A), "1.2.0")),
                        slots: [2, 0],
                        floor: 3,
                    },
                ),
            ],
            ..scenario(
                "update-after-loss",
                TWO,
                BothRecords,
                Wish::Run("1.2.0"),
                "1.2.0",
            )
        },
        scenario("good-release-wears-out", TWO, Worn, Wish::Nothing, "1.0.0"),
        scenario(
            "update-from-recovery",
            ONE,
            BootImage,
            Wish::Run("1.1.0"),
            "1.1.0",
        ),
        scenario("update-large", ONE, None, Wish::Run("1.5.0"), "1.5.0"),
        scenario(
            "update-by-delta",
            ONE,
            None,
            Wish::RunDelta("1.6.0"),
            "1.6.0",
        ),
        scenario(
            "update-by-delta-base-unreadable",
            ONE,
            RootUnreadable,
            Wish::RunDelta("1.6.0"),
            "1.6.0",
        ),
        scenario(
            "update-by-delta-base-lies",
            ONE,
            RootLies,
            Wish::RunDelta("1.6.0"),
            "1.6.0",
        ),
        scenario(
            "repair-slot",
            TWO,
            BothImages,
            Wish::Repair(Slot::A, "1.0.0"),
            "1.1.0",
        ),
        scenario(
            "repair-slot-in-vain",
            TWO,
            None,
            Wish::Repair(Slot::A, "1.0.0"),
            "1.1.0",
        ),
        scenario("compare-slots", TWO, BothImages, Wish::Compare, "1.1.0"),
        scenario(
            "boot-image-rots",
            TWO,
            BootImage,
            Wish::RollBack(Slot::A),
            "1.1.0",
        ),
    ]
};

/// The scenario with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// Everything that a run needs besides a machine.
pub struct Lab {
    /// Everything that was ever released.
    pub releases: Releases,
    /// What the updater's threads and timers live in.
    pub runtime: tokio::runtime::Runtime,
    /// The other system, on a disk with sectors of 512 and of 4096 bytes, and those disks.
    others: [(Other, State); 2],
}

impl Lab {
    /// Makes the releases.
    ///
    /// # Errors
    /// What making a bundle, or starting a thread, says.
    pub fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            .enable_time()
            .build()?;
        let other = |sector_size| {
            let mut state = blank();
            Ok::<_, anyhow::Error>((Other::put(&mut state, sector_size)?, state))
        };
        let others = [other(512)?, other(4096)?];
        Ok(Self {
            releases: Releases::make()?,
            runtime,
            others,
        })
    }

    fn other_disk(&self, sector_size: u32) -> anyhow::Result<&(Other, State)> {
        let size = u64::from(sector_size);
        self.others
            .iter()
            .find(|(other, _)| other.sector() == size)
            .context("no such sectors")
    }

    /// The other system as it is on disks with sectors of this size.
    #[must_use]
    pub fn other(&self, sector_size: u32) -> Option<&Other> {
        self.other_disk(sector_size).ok().map(|(other, _)| other)
    }

    /// A machine in this state.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn world(
        &self,
        state: &State,
        sector_size: u32,
        wish: Wish,
        demand: Demand,
    ) -> anyhow::Result<World<'_>> {
        let other = self.other(sector_size).filter(|_| state.witness.other);
        World::new(
            (&self.releases, &self.runtime),
            other,
            state,
            sector_size,
            wish,
            demand,
        )
    }

    /// The machine as it stands before `scenario`.
    ///
    /// # Errors
    /// If it cannot be brought there.
    pub fn start(&self, scenario: &Scenario, sector_size: u32) -> anyhow::Result<State> {
        let mut state = match scenario.start {
            Start::Blank => blank(),
            Start::Foreign => foreign(sector_size),
            Start::Other => self.other_disk(sector_size)?.1.clone(),
            Start::OtherUnfinished => self.cut_off(sector_size)?,
            Start::Beside(versions) => self.installed(
                self.other_disk(sector_size)?.1.clone(),
                versions,
                sector_size,
            )?,
            Start::Installed(versions) => self.installed(blank(), versions, sector_size)?,
        };
        state.witness.stick = matches!(scenario.wish, Wish::Install(_));
        state.witness.recovery = false;
        damage(&mut state, scenario.damage, sector_size);
        Ok(state)
    }

    /// An installation beside the other system, cut off when the root image has been begun.
    fn cut_off(&self, sector_size: u32) -> anyhow::Result<State> {
        let mut state = self.other_disk(sector_size)?.1.clone();
        let mut world = self.world(
            &state,
            sector_size,
            Wish::Install("1.0.0"),
            Demand::Everything,
        )?;
        let life = world.live();
        ensure!(life.violation.is_none(), "{:?}", life.violation);
        let root = Place::Root(record::Slot::A);
        let root = root.start()..root.end();
        for op in world.journal().take() {
            state.apply(&op);
            if matches!(op, Op::Write { at, .. } if root.contains(&at)) {
                return Ok(state);
            }
        }
        bail!("no root image was written")
    }

    fn installed(
        &self,
        mut state: State,
        versions: &[&'static str],
        sector_size: u32,
    ) -> anyhow::Result<State> {
        for (version, number) in versions.iter().zip(0..) {
            let wish = if number == 0 {
                Wish::Install(version)
            } else {
                Wish::Run(version)
            };
            let life = self
                .world(&state, sector_size, wish, Demand::Everything)?
                .live();
            ensure!(life.violation.is_none(), "{version}: {:?}", life.violation);
            let (_, running) = life.end.running.context("nothing runs")?;
            ensure!(running == *version, "{running} runs instead of {version}");
            state = life.state;
        }
        // Somebody's data, which nothing may touch.
        state
            .image
            .write(Place::Data.start() + 5 * 4096, b"somebody's data");
        Ok(state)
    }

    /// Runs `scenario` without a cut.
    ///
    /// # Errors
    /// As [`Lab::world`].
    pub fn run(
        &self,
        scenario: &Scenario,
        start: &State,
        sector_size: u32,
    ) -> anyhow::Result<World<'_>> {
        let mut world = self.world(start, sector_size, scenario.wish, Demand::Everything)?;
        world.trouble(&scenario.trouble());
        Ok(world)
    }

    /// Lets a machine live on from `state`, as `scenario` has it.
    ///
    /// # Errors
    /// As [`Lab::world`].
    pub fn live_on(
        &self,
        scenario: &Scenario,
        state: &State,
        sector_size: u32,
        demand: Demand,
    ) -> anyhow::Result<Life> {
        let mut world = self.world(state, sector_size, scenario.wish, demand)?;
        world.trouble(&scenario.trouble());
        Ok(world.live())
    }
}

impl Scenario {
    /// Whether a disk is installed to.
    #[must_use]
    pub const fn installs(&self) -> bool {
        matches!(self.wish, Wish::Install(_))
    }

    /// What goes wrong during all of it.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        let full_after = (self.damage == Damage::StoreFull).then_some(0);
        let start = Place::Root(record::Slot::A).start() + 14_000;
        let bad = |lies| {
            Some(Bad {
                start,
                end: start + 512,
                lies,
            })
        };
        let bad = match self.damage {
            Damage::RootUnreadable => bad(false),
            Damage::RootLies => bad(true),
            _ => None,
        };
        Trouble {
            full_after,
            bad,
            ..Trouble::default()
        }
    }
}

fn blank() -> State {
    let witness = Witness {
        stick: true,
        ..Witness::default()
    };
    State {
        image: Image::new(DISK_LEN),
        vars: Arc::new(Vars::new()),
        witness,
    }
}

/// A disk full of somebody else's bytes, with a valid table of theirs: one partition over all of
/// it.
fn foreign(sector_size: u32) -> State {
    let mut state = blank();
    let sector = u64::from(sector_size);
    let last = DISK_LEN / sector - 1;
    let mut entry = [0; 128];
    entry[..16].copy_from_slice(&[0xaf; 16]);
    entry[16..32].copy_from_slice(&[0x17; 16]);
    entry[32..40].copy_from_slice(&(1024 * 1024 / sector).to_le_bytes());
    entry[40..48].copy_from_slice(&(last - 40).to_le_bytes());
    other::table(&mut state, sector, [0x33; 16], &entry);
    other::old_bytes(&mut state);
    state
}

fn damage(state: &mut State, damage: Damage, sector_size: u32) {
    let copy = |copy: u8| Place::State.start() + u64::from(copy) * 1020 * 1024;
    let boot_a = Place::Boot(record::Slot::A).start() + 8000;
    match damage {
        // These two wear out at every read, not once.
        Damage::RootUnreadable | Damage::RootLies | Damage::None | Damage::StoreFull => {}
        Damage::Worn => state.witness.worn = Some(record::Slot::B),
        Damage::NoVariables => state.vars = Arc::new(Vars::new()),
        Damage::PrimaryTable => state.image.write(u64::from(sector_size) + 24, &[0xff; 8]),
        Damage::BackupTable => {
            state.image.write(
                DISK_LEN - u64::from(sector_size),
                &vec![0; sector_size as usize],
            );
        }
        Damage::OneRecord(number) => state.image.write(copy(number) + 100, &[0xff; 64]),
        Damage::BothRecords => {
            state.image.write(copy(0) + 100, &[0xff; 64]);
            state.image.write(copy(1) + 100, &[0xff; 64]);
        }
        Damage::BootImage => state.image.write(boot_a, &[0xff; 64]),
        Damage::BothImages => {
            state.image.write(boot_a, &[0xff; 64]);
            state
                .image
                .write(Place::Root(record::Slot::A).start() + 20_000, &[0xff; 64]);
        }
    }
}
