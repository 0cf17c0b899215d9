//! Applying a bundle to the target slot.

use super::incoming::Incoming;
use super::operation::{Context, Intent, Operation};
use super::secure_boot;
use crate::error::{ApplyError, ApplyFailure};
use crate::events::{Event, EventSink};
use crate::guard_keys::GuardKeys;
use crate::options::{Options, Outcome, TargetMachine};
use crate::plan::check::{Comparison, Verdict};
use crate::plan::{Facts, Planned, Scope, plan};
use crate::slot::equivalence::rebased_on;
use crate::slot::stored_metadata::SealedSlot;
use crate::source::Source;
use bootctl::disk::Disk;
use bundle::Release;
use record::{Choice, Record, Slot};
use seal::TrustChain;

impl<S: Source> Incoming<'_, S> {
    /// Applies the bundle to `machine`. *Writes*: durable on return. Never writes the booted slot.
    ///
    /// # Errors
    /// An [`ApplyFailure`], which says whether the target slot was disarmed.
    ///
    /// # Power loss
    /// At any instant the target slot is unchanged, Unbootable, or, at the end, Pending; then
    /// all of it was read back. The same call continues with what is in place. Dropping the future
    /// is like a power cut, except that no write is lost.
    pub async fn apply(
        self,
        machine: &TargetMachine<'_>,
        options: &Options<'_>,
        events: &dyn EventSink,
    ) -> Result<Outcome, ApplyFailure> {
        let Self {
            mut fetcher,
            release,
            full,
        } = self;
        let context = Context {
            machine,
            options,
            events,
        };
        context.report_release(&release);
        if options.if_newer {
            let comparison = context.compare(&release).await?;
            match comparison.verdict {
                Verdict::Newer => {}
                Verdict::Refused(refusal) => return Err(ApplyError::from(refusal).into()),
                _ => return Ok(Outcome::NotNewer(comparison)),
            }
        }
        let plan = match make_plan(context, &release).await? {
            Planned::UpToDate(up_to_date) => return Ok(Outcome::UpToDate(up_to_date)),
            Planned::Apply(plan) => plan,
        };
        if options.place_guard.is_none() {
            context.check_guards(&release, &machine.store.read().map_err(ApplyError::from)?)?;
        }
        secure_boot::check_offered(machine.vars, &release, &mut fetcher).await?;
        let intent = Intent::Trial(options.tries);
        let operation = Operation::new(context, intent, plan, release).await?;
        let scanned = operation.scan(&mut fetcher).await?;
        if options.plan_only {
            return Ok(Outcome::Planned(operation.plan, scanned.amounts));
        }
        let report = operation.carry_out(scanned, fetcher, full).await?;
        Ok(Outcome::Activated(report))
    }
}

impl Context<'_> {
    /// Refuses a release that a guard on the disk would refuse. *Reads* the guards.
    pub(crate) fn check_guards(self, release: &Release, record: &Record) -> Result<(), ApplyError> {
        let guards = GuardKeys::read(&self.machine.disk, record);
        for message in guards.warnings() {
            self.events.event(Event::Warning {
                message: message.clone(),
            });
        }
        Ok(guards.check(release)?)
    }

    /// Compares `release` with the releases of the machine. *Reads.*
    async fn compare(self, release: &Release) -> Result<Comparison, ApplyError> {
        let Self {
            machine, options, ..
        } = self;
        let record = machine.store.read()?;
        Ok(compare(
            &machine.disk,
            record,
            machine.booted,
            options.trust,
            release,
        )
        .await)
    }
}

/// Compares `release` with those on `disk`, whichever bundles they came by. *Reads.*
pub async fn compare(
    disk: &Disk,
    mut record: Record,
    booted: Choice,
    trust: &TrustChain,
    release: &Release,
) -> Comparison {
    for slot in Slot::ALL {
        let sealed = SealedSlot { disk, slot, trust };
        record = rebased_on(release, &record, sealed).await;
    }
    Comparison::of(&Facts::of(disk, &record, booted, Scope::Update), release)
}

async fn make_plan(context: Context<'_>, release: &Release) -> Result<Planned, ApplyError> {
    let Context {
        machine, options, ..
    } = context;
    let scope = if options.place_guard.is_some() {
        Scope::Install
    } else {
        Scope::Update
    };
    let mut record = machine.store.read()?;
    if let Choice::Slot(booted) = machine.booted {
        record = rebased_on(release, &record, context.sealed(booted)).await;
    }
    let facts = Facts::of(&machine.disk, &record, machine.booted, scope);
    Ok(plan(&facts, release)?)
}
