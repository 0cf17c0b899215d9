//! The running system of the model: it commits, brings the entries in line and applies updates.

use crate::mutants::{Mutant, Rules, Step};
use crate::releases::{Behaviour, Content, RECOVERY_EPOCH, TRIES, model_release, release};
use crate::world::{Phase, Task, World, facts};
use bootctl::reconcile::{Action, next_action};
use bootctl::store::hangs_on_one_copy;
use bootctl::transition::{self, TargetSlot, Trial, TrustEpochs};
use record::{
    Choice, Decision, GOOD_BUDGET, Reason, Record, Request, Slot, SlotState, Status, Tried, decide,
};

impl World {
    /// Returns the next state without any event; `None` at rest.
    pub(crate) fn next(&self, rules: &Rules) -> Option<Self> {
        match self.phase {
            Phase::Off => Some(self.power_on()),
            Phase::Guard { request, tried } => Some(self.guard(rules, request, tried)),
            Phase::Loading {
                choice,
                request,
                tried,
            } => Some(self.load(rules, choice, request, tried)),
            Phase::Up {
                choice,
                task: Task::Booting,
            } => Some(self.boot(rules, choice)),
            Phase::Up {
                choice,
                task: Task::Settling,
            } => Some(self.settle(rules, choice)),
            Phase::Up {
                choice,
                task: Task::Reconciling,
            } => Some(self.reconcile(rules, choice)),
            Phase::Up {
                choice,
                task: Task::Applying { .. },
            } => Some(self.apply_step(rules, choice)),
            Phase::Up {
                choice,
                task: Task::Idle,
            } => self.idle(rules, choice),
        }
    }

    fn idle(&self, rules: &Rules, choice: Choice) -> Option<Self> {
        if let Some(action) = self.due(rules, choice) {
            return Some(self.with(|world| world.vars = world.vars.after(&action)));
        }
        // The health checks continue until they have passed, whatever else happened meanwhile.
        if matches!(choice, Choice::Slot(slot) if self.is_uncommitted(slot)) {
            let task = Task::Booting;
            return Some(self.with(|world| world.phase = Phase::Up { choice, task }));
        }
        // At rest if another boot would start the same.
        let is_at_rest = self.record.is_none_or(|record| {
            let again = decide(&record, Request::Plain, Tried::default());
            record.one_shot.is_none()
                && matches!(again, Decision::Launch { choice: next, .. } if next == choice)
        });
        (!is_at_rest).then(|| self.off())
    }

    /// Returns whether the slot has not committed in this boot.
    fn is_uncommitted(&self, slot: Slot) -> bool {
        let full_budget = Status::Good {
            budget_left: GOOD_BUDGET,
        };
        self.state(slot)
            .is_some_and(|state| state.status != Status::Unbootable && state.status != full_budget)
    }

    pub(crate) fn off(&self) -> Self {
        self.with(|world| world.phase = Phase::Off)
    }

    fn boot(&self, rules: &Rules, choice: Choice) -> Self {
        let works = match choice {
            Choice::Recovery => true,
            Choice::Slot(slot) => {
                matches!(
                    self.content[slot as usize],
                    Content::Whole {
                        behaviour: Behaviour::Works,
                        ..
                    }
                )
            }
        };
        if !works && !rules.has(Mutant::CommitAtLaunch) {
            return self.off();
        }
        let Some(record) = self.record else {
            return self.off();
        };
        let committed = committed(rules, &record, choice);
        self.with(|world| {
            let mut task = Task::Reconciling;
            if let (Some(after), Choice::Slot(slot)) = (committed, choice) {
                world.put(after);
                world.proven[slot as usize] |= works;
                if world.copies.is_some_and(|copies| !copies.lost) {
                    task = Task::Settling;
                }
            }
            world.phase = if works {
                Phase::Up { choice, task }
            } else {
                Phase::Off
            };
        })
    }

    /// The second write of a commit, to the other copy.
    fn settle(&self, rules: &Rules, choice: Choice) -> Self {
        self.with(|world| {
            let hangs = |newest| hangs_on_one_copy(newest, world.older.as_ref());
            if world.record.as_ref().is_some_and(hangs) && !rules.has(Mutant::CommitInOneCopy) {
                world.older = world.record;
            }
            world.phase = Phase::Up {
                choice,
                task: Task::Reconciling,
            };
        })
    }

    /// Returns the change of the boot entries that is due, if the firmware accepts writes.
    fn due(&self, rules: &Rules, choice: Choice) -> Option<Action> {
        if self.refuses_writes || rules.has(Mutant::EntriesNotRepaired) {
            return None;
        }
        let action = next_action(self.record.as_ref()?, &self.vars, &facts(), Some(choice))?;
        match action {
            Action::DeleteNext if rules.has(Mutant::BootNextKept) => None,
            Action::SetOrder(order) if rules.has(Mutant::ForeignDropped) => {
                let ours = order.into_iter().take(3).collect();
                (self.vars.order != ours).then_some(Action::SetOrder(ours))
            }
            action => Some(action),
        }
    }

    fn reconcile(&self, rules: &Rules, choice: Choice) -> Self {
        match self.due(rules, choice) {
            Some(action) => self.with(|world| world.vars = world.vars.after(&action)),
            None => self.with(|world| {
                world.phase = Phase::Up {
                    choice,
                    task: Task::Idle,
                }
            }),
        }
    }

    fn apply_step(&self, rules: &Rules, choice: Choice) -> Self {
        let Phase::Up {
            task:
                Task::Applying {
                    release: number,
                    target,
                    done,
                },
            ..
        } = self.phase
        else {
            return self.clone();
        };
        let order = rules.order();
        let Some(step) = order.get(usize::from(done)) else {
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
        self.with(|world| {
            let task = Task::Applying {
                release: number,
                target,
                done: done + 1,
            };
            world.phase = Phase::Up { choice, task };
            match step {
                Step::Disarm => world.disarm(rules, &record, choice, target),
                Step::Open => world.content[target as usize] = Content::Open,
                Step::Header if rules.has(Mutant::HeaderFirst) => {
                    world.content[target as usize] = Content::Torn(number);
                }
                Step::Body if !rules.has(Mutant::HeaderFirst) => {}
                Step::Header | Step::Body => {
                    world.content[target as usize] = Content::Whole {
                        release: number,
                        behaviour: model_release(number).behaviour,
                    };
                }
                Step::Activate => world.activate(rules, &record, choice, target, number),
            }
        })
    }

    fn disarm(&mut self, rules: &Rules, record: &Record, choice: Choice, slot: Slot) {
        if let Ok(target) = TargetSlot::of(record, choice, slot) {
            self.put(transition::disarm(record, target));
        } else if rules.has(Mutant::FallbackOverwritten) {
            let state = record.slot(slot).unbootable(Reason::Updating);
            self.put(record.with_slot(slot, state));
        }
    }

    fn activate(&mut self, rules: &Rules, record: &Record, choice: Choice, slot: Slot, number: u8) {
        let revokes = model_release(number).revokes;
        let armed = TargetSlot::of(record, choice, slot).and_then(|target| {
            let trial = Trial {
                release: release(number),
                revoke: revokes,
                epochs: TrustEpochs {
                    target: model_release(number).epoch,
                    other: None,
                    recovery: Some(RECOVERY_EPOCH),
                },
                tries: TRIES,
            };
            transition::activate(record, target, trial)
        });
        // A mutant activates a slot that the real transition refuses.
        let mut armed = armed.unwrap_or_else(|_| {
            let state = SlotState {
                status: Status::Pending { tries_left: TRIES },
                release: release(number),
                tries_granted: TRIES,
                trust_epoch: model_release(number).epoch,
                ..*record.slot(slot)
            };
            record.with_slot(slot, state)
        });
        if rules.has(Mutant::FloorAtActivate) {
            armed.floor = armed.floor.max(release(number).rollback_index);
        }
        if rules.has(Mutant::TrustFloorAtActivate) {
            armed.trust_floor = armed.trust_floor.max(model_release(number).epoch);
        }
        if rules.has(Mutant::DefaultAtActivate) {
            armed.default = slot;
        }
        self.put(armed);
        self.launches[slot as usize] = 0;
        self.proven[slot as usize] = false;
    }
}

/// Returns the record after a commit with the faults of the mutants; `None` if it is refused.
fn committed(rules: &Rules, record: &Record, choice: Choice) -> Option<Record> {
    let mut after = transition::commit(record, choice).ok()?;
    let Choice::Slot(slot) = choice else {
        return Some(after);
    };
    if rules.has(Mutant::BudgetNeverRefilled) && record.slot(slot).is_good() {
        after = *record;
    }
    if rules.has(Mutant::DefaultNotRepaired) && record.slot(slot).is_good() {
        after.default = record.default;
    }
    if rules.has(Mutant::FloorAtOwnIndex) {
        after.floor = after.floor.max(after.slot(slot).release.rollback_index);
    }
    if rules.has(Mutant::TrustFloorAtOwnEpoch) {
        after.trust_floor = after.trust_floor.max(after.slot(slot).trust_epoch);
    }
    Some(after)
}
