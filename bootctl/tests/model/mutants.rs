//! Mutants: barriers of the protocol that can be taken away.

/// One barrier of the protocol that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mutant {
    NoSpend,
    NoVerify,
    HeaderOnlyVerified,
    NoDisarm,
    ActivateFirst,
    HeaderFirst,
    CommitAtLaunch,
    FloorAtActivate,
    FloorAtOwnIndex,
    TrustFloorAtActivate,
    TrustFloorAtOwnEpoch,
    DefaultAtActivate,
    FallbackOverwritten,
    BudgetNeverSpent,
    BudgetNeverRefilled,
    OneShotSticks,
    TriesRefilled,
    LostRecordMeansGood,
    DefaultNotRepaired,
    EntriesNotRepaired,
    BootNextKept,
    ForeignDropped,
    CommitInOneCopy,
}

/// A step of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Disarm,
    Open,
    Header,
    Body,
    Activate,
}

/// The barriers that are taken away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(pub(crate) Vec<Mutant>);

impl Rules {
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.0.contains(&mutant)
    }

    /// Returns the steps of an update in order.
    pub(crate) fn order(&self) -> Vec<Step> {
        let mut order = vec![
            Step::Disarm,
            Step::Open,
            Step::Body,
            Step::Header,
            Step::Activate,
        ];
        if self.has(Mutant::HeaderFirst) {
            order.swap(2, 3);
        }
        if self.has(Mutant::ActivateFirst) {
            order = vec![
                Step::Disarm,
                Step::Activate,
                Step::Open,
                Step::Body,
                Step::Header,
            ];
        }
        if self.has(Mutant::NoDisarm) {
            order.remove(0);
        }
        order
    }
}
