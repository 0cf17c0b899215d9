//! The firmware and the guard of the model, around the real decision.

use crate::mutants::{Mutant, Rules};
use crate::releases::{Behaviour, Content, RECOVERY_EPOCH, TRIES, release};
use crate::world::{Phase, Task, World, partitions};
use bootctl::firmware_model::{self, Start};
use record::{
    Choice, Decision, Evidence, GOOD_BUDGET, Reason, Record, Release, Request, SlotState, Status,
    Tried, decide, passed_over, rebuild,
};

impl World {
    /// The firmware tries `BootNext`, then `BootOrder`, then the removable path. A foreign entry
    /// starts nothing.
    pub(crate) fn power_on(&self) -> Self {
        let mut taken = Request::Plain;
        let boot = firmware_model::boot(&self.vars, &[], |_, option| match option.starts() {
            None => Start::NotThere,
            Some(choice) => {
                taken = if choice == Choice::Recovery {
                    Request::Recovery
                } else {
                    Request::Plain
                };
                Start::TookOver
            }
        });
        self.with(|world| {
            world.vars = boot.vars;
            world.phase = Phase::Guard {
                request: taken,
                tried: Tried::default(),
            };
        })
    }

    pub(crate) fn guard(&self, rules: &Rules, request: Request, tried: Tried) -> Self {
        let Some(record) = self.record else {
            // Without evidence for a record, the guard starts recovery.
            return self.rebuild(rules).unwrap_or_else(|| {
                let choice = Choice::Recovery;
                self.with(|world| {
                    world.phase = Phase::Loading {
                        choice,
                        request,
                        tried,
                    };
                })
            });
        };
        match decide(&record, request, tried) {
            Decision::Launch {
                choice,
                record: spent,
                ..
            } => {
                let spent = mutate(rules, choice, &record, spent);
                self.with(|world| {
                    world.put(spent);
                    world.phase = Phase::Loading {
                        choice,
                        request,
                        tried,
                    };
                })
            }
            Decision::GiveUp { record } => self.with(|world| {
                world.put(record);
                world.phase = Phase::Off;
            }),
        }
    }

    fn rebuild(&self, rules: &Rules) -> Option<Self> {
        if rules.has(Mutant::LostRecordMeansGood) {
            return Some(self.with(|world| world.record = Some(good_record(world.content[0]))));
        }
        let evidence = Evidence {
            sealed: self.content.map(Content::sealed),
            recovery_epoch: Some(RECOVERY_EPOCH),
            seq_seen: 0,
        };
        let record = rebuild(&partitions(), &evidence)?;
        Some(self.with(|world| {
            world.record = Some(record);
            world.launches = [0; 2];
            world.proven = record.slots.map(|state| state.is_good());
        }))
    }

    pub(crate) fn load(
        &self,
        rules: &Rules,
        choice: Choice,
        request: Request,
        tried: Tried,
    ) -> Self {
        let Choice::Slot(slot) = choice else {
            return self.with(|world| {
                world.phase = Phase::Up {
                    choice,
                    task: Task::Reconciling,
                }
            });
        };
        let Some(record) = self.record else {
            return self.off();
        };
        let again = |reason| {
            let after = passed_over(&record, slot, reason);
            self.with(|world| {
                world.put(after);
                world.phase = Phase::Guard {
                    request,
                    tried: tried.with(choice),
                };
            })
        };
        let unverified = rules.has(Mutant::NoVerify);
        let (held, behaviour) = match self.content[slot as usize] {
            Content::Open if !unverified => return again(Reason::HeaderDamaged),
            Content::Torn(_) if !unverified && !rules.has(Mutant::HeaderOnlyVerified) => {
                return again(Reason::ImageDamaged);
            }
            Content::Open => (None, Behaviour::Fails),
            Content::Torn(number) => (Some(number), Behaviour::Fails),
            Content::Whole { release, behaviour } => (Some(release), behaviour),
        };
        let expected = record.slot(slot).release;
        if !unverified && held.map(release) != Some(expected) {
            return again(Reason::OtherRelease);
        }
        if expected.rollback_index < record.floor {
            return again(Reason::BelowFloor);
        }
        if record.slot(slot).trust_epoch < record.trust_floor {
            return again(Reason::Withdrawn);
        }
        let started = self.with(|world| {
            world.launches[slot as usize] = world.launches[slot as usize].saturating_add(1);
            world.phase = Phase::Up {
                choice,
                task: Task::Booting,
            };
        });
        if behaviour == Behaviour::Returns {
            return started.with(|world| {
                world.phase = Phase::Guard {
                    request,
                    tried: tried.with(choice),
                }
            });
        }
        started
    }
}

/// Returns the record before a launch with the faults of the mutants.
fn mutate(rules: &Rules, choice: Choice, before: &Record, spent: Record) -> Record {
    let mut spent = if rules.has(Mutant::NoSpend) {
        *before
    } else {
        spent
    };
    if rules.has(Mutant::OneShotSticks) {
        spent.one_shot = before.one_shot;
    }
    let Choice::Slot(slot) = choice else {
        return spent;
    };
    let status = before.slot(slot).status;
    let mut state = *spent.slot(slot);
    if rules.has(Mutant::BudgetNeverSpent) && before.slot(slot).is_good() {
        state.status = status;
    }
    if rules.has(Mutant::TriesRefilled) && matches!(status, Status::Pending { .. }) {
        state.status = Status::Pending { tries_left: TRIES };
    }
    spent.with_slot(slot, state)
}

/// Returns the record of a mutant that declares slot A Good without evidence.
fn good_record(content: Content) -> Record {
    let held = content.sealed().map_or(Release::NONE, |found| Release {
        version: found.statement.version,
        rollback_index: found.statement.rollback_index,
        manifest_sha256: found.statement.manifest.sha256,
    });
    let mut record = Record::unused(&partitions());
    record.slots[0] = SlotState {
        status: Status::Good {
            budget_left: GOOD_BUDGET,
        },
        release: held,
        ..record.slots[0]
    };
    record
}
