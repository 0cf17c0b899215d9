//! All scenarios.

use super::{Damage, InitialDisk, Scenario};
use crate::sim::machine::FinalState;
use crate::sim::machine::workload::Workload;
use record::Choice;

const fn scenario(
    name: &'static str,
    disk: InitialDisk,
    damage: Damage,
    workload: Workload,
    expected_version: &'static str,
) -> Scenario {
    Scenario {
        name,
        disk,
        damage,
        workload,
        expected_version,
        accepted: &[],
    }
}

const ONE: InitialDisk = InitialDisk::Installed(&["1.0.0"]);
const TWO: InitialDisk = InitialDisk::Installed(&["1.0.0", "1.1.0"]);

/// The newer release has failed, and the older one runs.
const BACK_TO_FIRST: FinalState = FinalState {
    running: Some((Choice::Slot(record::Slot::A), "1.0.0")),
    slots: [2, 0],
    floor: 1,
};

/// Both slots are Unbootable, and recovery runs.
const RECOVERY_ALONE: FinalState = FinalState {
    running: Some((Choice::Recovery, "1.0.0")),
    slots: [0, 0],
    floor: 1,
};

/// Scenarios that end as expected without a fault, and that a power cut or a faulty disk can still
/// break: the open points of docs/threat-model.md. `scripts/prove one` repeats them.
pub const OPEN: [Scenario; 2] = [
    scenario(
        "rotate-keys-twice-at-once",
        ONE,
        Damage::None,
        Workload::Update("2.1.0"),
        "2.1.0",
    ),
    scenario(
        "rotate-keys-and-revoke",
        InitialDisk::Installed(&["1.0.0", "2.0.0"]),
        Damage::None,
        Workload::Update("2.2.0"),
        "2.2.0",
    ),
];

/// All scenarios that hold.
pub const SCENARIOS: [Scenario; 43] = {
    use Damage::{
        BackupTable, BootImage, BothImages, BothRecords, NoVariables, None, OneRecord,
        PrimaryTable, ReleaseFails, RootCorrupt, RootUnreadable, StoreFull,
    };
    use record::Slot;
    [
        scenario(
            "install-blank",
            InitialDisk::Blank,
            None,
            Workload::Install("1.0.0"),
            "1.0.0",
        ),
        scenario(
            "install-over-foreign",
            InitialDisk::Foreign,
            None,
            Workload::Install("1.0.0"),
            "1.0.0",
        ),
        scenario(
            "install-over-ours",
            TWO,
            None,
            Workload::Install("1.2.0"),
            "1.2.0",
        ),
        scenario(
            "install-beside",
            InitialDisk::OtherSystem,
            None,
            Workload::Install("1.0.0"),
            "1.0.0",
        ),
        scenario(
            "install-beside-again",
            InitialDisk::UnfinishedBesideOtherSystem,
            None,
            Workload::Install("1.0.0"),
            "1.0.0",
        ),
        scenario(
            "install-beside-on-backup-table",
            InitialDisk::OtherSystem,
            PrimaryTable,
            Workload::Install("1.0.0"),
            "1.0.0",
        ),
        scenario(
            "update-beside",
            InitialDisk::BesideOtherSystem(&["1.0.0"]),
            None,
            Workload::Update("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "rollback-beside",
            InitialDisk::BesideOtherSystem(&["1.0.0", "1.1.0"]),
            None,
            Workload::RollBack(Slot::A),
            "1.0.0",
        ),
        scenario(
            "update-a-to-b",
            ONE,
            None,
            Workload::Update("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "update-b-to-a",
            TWO,
            None,
            Workload::Update("1.2.0"),
            "1.2.0",
        ),
        scenario(
            "update-hangs",
            ONE,
            None,
            Workload::Update("1.1.1-restarts"),
            "1.0.0",
        ),
        scenario(
            "update-returns",
            ONE,
            None,
            Workload::Update("1.1.2-returns"),
            "1.0.0",
        ),
        scenario(
            "update-not-loaded",
            ONE,
            None,
            Workload::Update("1.1.3-refused"),
            "1.0.0",
        ),
        scenario(
            "update-hangs-over-good",
            TWO,
            None,
            Workload::Update("1.1.1-restarts"),
            "1.1.0",
        ),
        scenario(
            "update-damaged",
            ONE,
            None,
            Workload::UpdateDamaged("1.1.0"),
            "1.0.0",
        ),
        scenario(
            "update-interrupted",
            ONE,
            None,
            Workload::UpdateInterrupted("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "update-revokes",
            TWO,
            None,
            Workload::Update("1.3.0"),
            "1.3.0",
        ),
        scenario(
            "update-new-key",
            ONE,
            None,
            Workload::Update("1.4.0"),
            "1.4.0",
        ),
        scenario("rotate-keys", ONE, None, Workload::Update("2.0.0"), "2.0.0"),
        scenario(
            "rotate-keys-and-fail",
            ONE,
            None,
            Workload::Update("2.0.1-restarts"),
            "1.0.0",
        ),
        scenario(
            "rotate-keys-again",
            InitialDisk::Installed(&["1.0.0", "2.0.0"]),
            None,
            Workload::Update("2.1.0"),
            "2.1.0",
        ),
        scenario(
            "update-store-full",
            ONE,
            StoreFull,
            Workload::Update("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "update-no-variables",
            ONE,
            NoVariables,
            Workload::Update("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "update-on-backup-table",
            ONE,
            PrimaryTable,
            Workload::Update("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "update-without-backup-table",
            ONE,
            BackupTable,
            Workload::Update("1.1.0"),
            "1.1.0",
        ),
        scenario("rollback", TWO, None, Workload::RollBack(Slot::A), "1.0.0"),
        scenario("mark-bad", TWO, None, Workload::MarkBad(Slot::A), "1.1.0"),
        scenario(
            "recovery-once",
            ONE,
            None,
            Workload::BootRecoveryOnce,
            "1.0.0",
        ),
        scenario(
            "repair-variables",
            TWO,
            NoVariables,
            Workload::Idle,
            "1.1.0",
        ),
        scenario(
            "repair-record-0",
            TWO,
            OneRecord(0),
            Workload::Idle,
            "1.1.0",
        ),
        scenario(
            "repair-record-1",
            TWO,
            OneRecord(1),
            Workload::Idle,
            "1.1.0",
        ),
        Scenario {
            // After the loss of the record each release gets one start: a power cut in it costs the
            // release, and two power cuts cost both.
            accepted: &[(1, BACK_TO_FIRST), (2, RECOVERY_ALONE)],
            ..scenario("rebuild-record", TWO, BothRecords, Workload::Idle, "1.1.0")
        },
        Scenario {
            // After the loss of the record each release gets one start: a power cut in it costs the
            // release, and the update goes to the other slot. The floor does not change, because
            // 1.0.0 runs and remains the fallback. Two power cuts cost both releases, and recovery
            // applies the new one: the floor is its index, because it is the only release.
            accepted: &[
                (
                    1,
                    FinalState {
                        running: Some((Choice::Slot(Slot::B), "1.2.0")),
                        slots: [2, 2],
                        floor: 1,
                    },
                ),
                (
                    2,
                    FinalState {
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
                Workload::Update("1.2.0"),
                "1.2.0",
            )
        },
        scenario(
            "good-release-starts-to-fail",
            TWO,
            ReleaseFails,
            Workload::Idle,
            "1.0.0",
        ),
        scenario(
            "update-from-recovery",
            ONE,
            BootImage,
            Workload::Update("1.1.0"),
            "1.1.0",
        ),
        scenario(
            "update-large",
            ONE,
            None,
            Workload::Update("1.5.0"),
            "1.5.0",
        ),
        scenario(
            "update-by-delta",
            ONE,
            None,
            Workload::UpdateByDelta("1.6.0"),
            "1.6.0",
        ),
        scenario(
            "update-by-delta-base-unreadable",
            ONE,
            RootUnreadable,
            Workload::UpdateByDelta("1.6.0"),
            "1.6.0",
        ),
        scenario(
            "update-by-delta-base-corrupt",
            ONE,
            RootCorrupt,
            Workload::UpdateByDelta("1.6.0"),
            "1.6.0",
        ),
        scenario(
            "repair-slot",
            TWO,
            BothImages,
            Workload::RepairSlot(Slot::A, "1.0.0"),
            "1.1.0",
        ),
        scenario(
            "repair-intact-slot",
            TWO,
            None,
            Workload::RepairSlot(Slot::A, "1.0.0"),
            "1.1.0",
        ),
        scenario(
            "verify-slots",
            TWO,
            BothImages,
            Workload::VerifySlots,
            "1.1.0",
        ),
        scenario(
            "rollback-to-damaged-boot-image",
            TWO,
            BootImage,
            Workload::RollBack(Slot::A),
            "1.1.0",
        ),
    ]
};

/// Returns the scenario with this name. *Pure.*
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    let mut all = SCENARIOS.iter().chain(&OPEN);
    all.find(|scenario| scenario.name == name)
}
