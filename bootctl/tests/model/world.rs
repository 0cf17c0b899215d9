//! A machine small enough to be explored whole: firmware, guard, updater and system around the real
//! decision, transitions and reconciling. What is simulated is only what moves bytes.

use bootctl::firmware_model::{self, Start};
use bootctl::reconcile::{BootVars, Facts, next_action};
use bootctl::store::hangs_on_one_copy;
use bootctl::transition::{self, TargetSlot};
use record::gpt::{Partition, Partitions};
use record::{
    Choice, Decision, Evidence, GOOD_BUDGET, Guid, Reason, Record, Release, Request, Slot,
    SlotState, Status, Tried, decide, passed_over, rebuild,
};
use seal::{ImageDigest, Statement, Text64};

/// Tries that a release is granted here.
pub(crate) const TRIES: u8 = 2;

/// What a release does when it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Behaviour {
    /// Comes up; its checks pass.
    Works,
    /// Hangs, panics, or fails its checks: the machine resets.
    Fails,
    /// Its boot image returns to the guard.
    Returns,
}

/// The releases of this world: rollback index, behaviour, revokes older ones.
pub(crate) const RELEASES: [(u64, Behaviour, bool); 5] = [
    (1, Behaviour::Works, false),
    (2, Behaviour::Works, false),
    (3, Behaviour::Fails, false),
    (3, Behaviour::Returns, false),
    (4, Behaviour::Works, true),
];

/// What a slot's partitions really hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    /// No header: nothing, or a write that was begun.
    Open,
    /// A valid header before an image that is not whole; only a broken updater leaves that.
    Torn(u8),
    /// A whole release, which may have begun to fail after it worked.
    Whole { release: u8, behaviour: Behaviour },
}

/// Forgets what no decision looks at in a slot that is Unbootable.
fn forget(state: &mut SlotState) {
    (state.reason, state.release, state.tries_granted) = (Reason::Empty, Release::NONE, 0);
    state.revoke = false;
}

/// What the running system is doing; it is lost with the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    /// Started, not yet declared good.
    Booting,
    /// Declared good in one copy of the record, and not yet in the other.
    Settling,
    /// Bringing the entries in line.
    Reconciling,
    /// Waiting for someone.
    Idle,
    /// Applying a release; how many steps of [`Mutant::order`] are done.
    Applying { release: u8, target: Slot, done: u8 },
}

/// What the machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Off,
    /// The guard is about to decide.
    Guard {
        request: Request,
        tried: Tried,
    },
    /// The guard has written the record, and loads.
    Loading {
        choice: Choice,
        request: Request,
        tried: Tried,
    },
    Up {
        choice: Choice,
        task: Task,
    },
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The record that counts; `None` if both copies are lost.
    pub(crate) record: Option<Record>,
    /// The record in the other copy; looked at where one copy may be lost.
    pub(crate) older: Option<Record>,
    pub(crate) content: [Content; 2],
    pub(crate) vars: BootVars,
    pub(crate) phase: Phase,
    /// Firmware refuses every write for now.
    pub(crate) deaf: bool,
    /// Ghost: how often the release in the slot was started since it was activated, up to its first
    /// commit.
    pub(crate) launches: [u8; 2],
    /// Ghost: the release in the slot came up and passed its checks once, or that can no longer be
    /// known.
    pub(crate) proven: [bool; 2],
    /// Ghost: the record was lost once.
    pub(crate) rebuilt: bool,
    /// Ghost: how often the firmware worked against us.
    pub(crate) misdeeds: u8,
    /// Ghost: the newest copy of the record may be lost, once; `None` where that is not looked at.
    pub(crate) copies: Option<Copies>,
}

/// Ghost: how it stands with the two copies of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Copies {
    /// The newest one was lost once.
    pub(crate) lost: bool,
    /// The power went between the two writes of a commit, and nothing was written since: the commit
    /// hangs on one copy.
    pub(crate) cut: bool,
}

/// One barrier of the protocol taken away.
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
    DefaultAtActivate,
    FallbackOverwritten,
    BudgetNeverSpent,
    BudgetNeverRefilled,
    OneShotSticks,
    TriesRefilled,
    LostRecordMeansGood,
    DefaultNotMended,
    EntriesNotRepaired,
    BootNextKept,
    ForeignDropped,
    CommitInOneCopy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Disarm,
    Open,
    Header,
    Body,
    Activate,
}

/// What is broken on purpose.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(pub(crate) Vec<Mutant>);

impl Rules {
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.0.contains(&mutant)
    }

    fn order(&self) -> Vec<Step> {
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

const fn at(slot: Slot) -> usize {
    slot as usize
}

pub(crate) fn facts() -> Facts {
    let esp = Partition {
        uuid: Guid([9; 16]),
        number: 1,
        first_lba: 2048,
        last_lba: 4095,
    };
    Facts {
        esp,
        retired: Vec::new(),
    }
}

fn release(number: u8) -> Release {
    let version = Text64::new(["r0", "r1", "r2", "r3", "r4"][usize::from(number)]).unwrap();
    Release {
        version,
        rollback_index: RELEASES[usize::from(number)].0,
        manifest_sha256: [number; 32],
    }
}

impl World {
    /// A machine in recovery, with empty slots: what the installer leaves before its first apply.
    pub(crate) fn installing() -> Self {
        let partitions = Partitions {
            disk_guid: Guid([1; 16]),
            ..Partitions::default()
        };
        Self {
            record: Some(Record::unused(&partitions)),
            older: None,
            content: [Content::Open; 2],
            vars: BootVars::default(),
            phase: Phase::Up {
                choice: Choice::Recovery,
                task: Task::Idle,
            },
            deaf: false,
            launches: [0; 2],
            proven: [false; 2],
            rebuilt: false,
            misdeeds: 0,
            copies: None,
        }
    }

    /// Writes a record: into the copy that does not count, so that the one that counted until now
    /// is the older one.
    pub(crate) fn put(&mut self, record: Record) {
        if self.record == Some(record) {
            return;
        }
        self.older = self.record.replace(record);
        if let Some(copies) = &mut self.copies {
            copies.cut = false;
        }
    }

    pub(crate) fn state(&self, slot: Slot) -> Option<&SlotState> {
        self.record.as_ref().map(|record| record.slot(slot))
    }

    /// The state on one line.
    pub(crate) fn line(&self) -> String {
        let Self {
            phase,
            content,
            vars,
            launches,
            ..
        } = self;
        let record = self.record.map(|record| {
            let [a, b] = record
                .slots
                .map(|slot| (slot.status, slot.release.rollback_index));
            (record.default, a, b, record.floor, record.one_shot)
        });
        format!(
            "{phase:?} {record:?} {content:?} order {:?} next {:?} launches {launches:?}\n",
            vars.order, vars.next
        )
    }

    pub(crate) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut world = self.clone();
        change(&mut world);
        world.normalise();
        world
    }

    /// Forgets what no decision looks at, so that equal situations are equal states.
    fn normalise(&mut self) {
        self.vars.current = None;
        if self.copies.is_none_or(|copies| copies.lost) {
            self.older = None;
        }
        if let Some(older) = &mut self.older {
            older.seq = 0;
            older
                .slots
                .iter_mut()
                .filter(|state| state.status == Status::Unbootable)
                .for_each(forget);
        }
        let Some(record) = &mut self.record else {
            return;
        };
        record.seq = 0;
        for (state, place) in record.slots.iter_mut().zip(0..) {
            if state.status == Status::Unbootable {
                forget(state);
                self.launches[place] = 0;
                self.proven[place] = false;
            }
            if self.proven[place] {
                self.launches[place] = 0;
            }
        }
    }

    /// What the machine does next by itself; `None` at rest, with nothing left to do.
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
            } => {
                if let Some(action) = self.due(rules, choice).filter(|_| !self.deaf) {
                    return Some(self.with(|world| world.vars = world.vars.after(&action)));
                }
                // Health checks go on until they have their answer, whatever else was done
                // meanwhile.
                let unanswered = |slot| {
                    self.state(slot).is_some_and(|state| {
                        let full = Status::Good {
                            budget_left: GOOD_BUDGET,
                        };
                        state.status != Status::Unbootable && state.status != full
                    })
                };
                if matches!(choice, Choice::Slot(slot) if unanswered(slot)) {
                    return Some(self.with(|world| {
                        world.phase = Phase::Up {
                            choice,
                            task: Task::Booting,
                        }
                    }));
                }
                // At rest when another boot would start the same.
                let rests = self.record.is_none_or(|record| {
                    let again = decide(&record, Request::Plain, Tried::default());
                    record.one_shot.is_none()
                        && matches!(again, Decision::Launch { choice: next, .. } if next == choice)
                });
                (!rests).then(|| self.with(|world| world.phase = Phase::Off))
            }
        }
    }

    /// Firmware: `BootNext`, then `BootOrder`, then the removable path. A foreign entry starts
    /// nothing.
    fn power_on(&self) -> Self {
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

    fn guard(&self, rules: &Rules, request: Request, tried: Tried) -> Self {
        let record = match self.record {
            Some(record) => record,
            None => match self.rebuild(rules) {
                Some(rebuilt) => return rebuilt,
                // Nothing to go by: recovery.
                None => {
                    let choice = Choice::Recovery;
                    return self.with(|world| {
                        world.phase = Phase::Loading {
                            choice,
                            request,
                            tried,
                        }
                    });
                }
            },
        };
        match decide(&record, request, tried) {
            Decision::Launch {
                choice,
                record: mut spent,
                ..
            } => {
                if rules.has(Mutant::NoSpend) {
                    spent = record;
                }
                if rules.has(Mutant::OneShotSticks) {
                    spent.one_shot = record.one_shot;
                }
                if let Choice::Slot(slot) = choice {
                    let before = record.slot(slot).status;
                    let mut state = *spent.slot(slot);
                    if rules.has(Mutant::BudgetNeverSpent) && record.slot(slot).is_good() {
                        state.status = before;
                    }
                    if rules.has(Mutant::TriesRefilled) && matches!(before, Status::Pending { .. })
                    {
                        state.status = Status::Pending { tries_left: TRIES };
                    }
                    spent = spent.with_slot(slot, state);
                }
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
        let statement = |content: &Content| match content {
            Content::Whole {
                release: number, ..
            } => Ok(Statement {
                version: release(*number).version,
                rollback_index: release(*number).rollback_index,
                key_epoch: 1,
                revoke: RELEASES[usize::from(*number)].2,
                watchdog: false,
                manifest: ImageDigest {
                    len: 1,
                    sha256: [*number; 32],
                },
                boot: ImageDigest {
                    len: 1,
                    sha256: [0; 32],
                },
                recovery: ImageDigest::NONE,
                root: None,
                bundle_len: 8192,
            }),
            Content::Open | Content::Torn(_) => Err(Reason::HeaderDamaged),
        };
        let sealed = [statement(&self.content[0]), statement(&self.content[1])];
        if rules.has(Mutant::LostRecordMeansGood) {
            return Some(self.with(|world| {
                let mut record = Self::installing().record.unwrap();
                let status = Status::Good {
                    budget_left: GOOD_BUDGET,
                };
                let held = sealed[0].as_ref().map_or(Release::NONE, |found| Release {
                    version: found.version,
                    rollback_index: found.rollback_index,
                    manifest_sha256: found.manifest.sha256,
                });
                record.slots[0] = SlotState {
                    status,
                    release: held,
                    ..record.slots[0]
                };
                world.record = Some(record);
            }));
        }
        let partitions = Partitions {
            disk_guid: Guid([1; 16]),
            ..Partitions::default()
        };
        let record = rebuild(
            &partitions,
            &Evidence {
                sealed,
                seq_seen: 0,
            },
        )?;
        Some(self.with(|world| {
            world.record = Some(record);
            world.launches = [0; 2];
            world.proven = [0, 1].map(|place| record.slots[place].is_good());
        }))
    }

    fn load(&self, rules: &Rules, choice: Choice, request: Request, tried: Tried) -> Self {
        let Choice::Slot(slot) = choice else {
            return self.with(|world| {
                world.phase = Phase::Up {
                    choice,
                    task: Task::Reconciling,
                }
            });
        };
        let Some(record) = self.record else {
            return self.with(|world| world.phase = Phase::Off);
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
        let (held, behaviour) = match self.content[at(slot)] {
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
        let started = self.with(|world| {
            world.launches[at(slot)] = world.launches[at(slot)].saturating_add(1);
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

    fn boot(&self, rules: &Rules, choice: Choice) -> Self {
        let works = match choice {
            Choice::Recovery => true,
            Choice::Slot(slot) => {
                matches!(
                    self.content[at(slot)],
                    Content::Whole {
                        behaviour: Behaviour::Works,
                        ..
                    }
                )
            }
        };
        if !works && !rules.has(Mutant::CommitAtLaunch) {
            return self.with(|world| world.phase = Phase::Off);
        }
        let Some(record) = self.record else {
            return self.with(|world| world.phase = Phase::Off);
        };
        let committed = transition::commit(&record, choice).ok().map(|mut after| {
            let Choice::Slot(slot) = choice else {
                return after;
            };
            if rules.has(Mutant::BudgetNeverRefilled) && record.slot(slot).is_good() {
                after = record;
            }
            if rules.has(Mutant::DefaultNotMended) && record.slot(slot).is_good() {
                after.default = record.default;
            }
            if rules.has(Mutant::FloorAtOwnIndex) {
                after.floor = after.floor.max(after.slot(slot).release.rollback_index);
            }
            after
        });
        self.with(|world| {
            let mut task = Task::Reconciling;
            if let (Some(after), Choice::Slot(slot)) = (committed, choice) {
                world.put(after);
                world.proven[at(slot)] |= works;
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

    /// The second write of a commit: the other copy gets to say it, too.
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

    /// The change to the entries that is due.
    fn due(&self, rules: &Rules, choice: Choice) -> Option<bootctl::reconcile::Action> {
        use bootctl::reconcile::Action;
        if rules.has(Mutant::EntriesNotRepaired) {
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
        match self.due(rules, choice).filter(|_| !self.deaf) {
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
            return self.with(|world| world.phase = Phase::Off);
        };
        let (index, behaviour, revoke) = RELEASES[usize::from(number)];
        let header_first = rules.has(Mutant::HeaderFirst);
        self.with(|world| {
            world.phase = Phase::Up {
                choice,
                task: Task::Applying {
                    release: number,
                    target,
                    done: done + 1,
                },
            };
            match step {
                Step::Disarm => {
                    if let Ok(target) = TargetSlot::of(&record, choice, target) {
                        world.put(transition::disarm(&record, target));
                    } else if rules.has(Mutant::FallbackOverwritten) {
                        let state = record.slot(target).unbootable(Reason::Updating);
                        world.put(record.with_slot(target, state));
                    }
                }
                Step::Open => world.content[at(target)] = Content::Open,
                Step::Header if header_first => world.content[at(target)] = Content::Torn(number),
                Step::Body if !header_first => {}
                Step::Header | Step::Body => {
                    world.content[at(target)] = Content::Whole {
                        release: number,
                        behaviour,
                    };
                }
                Step::Activate => {
                    let tries = Status::Pending { tries_left: TRIES };
                    let armed = TargetSlot::of(&record, choice, target).and_then(|target| {
                        transition::activate(&record, target, release(number), revoke, TRIES)
                    });
                    let broken = SlotState {
                        status: tries,
                        release: release(number),
                        tries_granted: TRIES,
                        ..*record.slot(target)
                    };
                    let mut armed = armed.unwrap_or_else(|_| record.with_slot(target, broken));
                    if rules.has(Mutant::FloorAtActivate) {
                        armed.floor = armed.floor.max(index);
                    }
                    if rules.has(Mutant::DefaultAtActivate) {
                        armed.default = target;
                    }
                    world.put(armed);
                    world.launches[at(target)] = 0;
                    world.proven[at(target)] = false;
                }
            }
        })
    }
}
