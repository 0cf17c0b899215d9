//! Writing a bundle into the target slot.

use super::incoming::Incoming;
use super::secure_boot;
use super::work::{Intent, Work};
use crate::error::{ApplyError, Failure};
use crate::events::{Event, EventSink};
use crate::options::{Machine, Options, Outcome};
use crate::plan::{Facts, Planned, Scope, plan};
use crate::slot::delta_base::Basis;
use crate::slot::equivalence::as_seen_by;
use crate::slot::writer::Sinks;
use crate::source::Source;
use crate::worker_pool::StopOnDrop;
use bundle::Release;
use record::{Choice, Record};
use std::sync::Arc;

impl<S: Source> Incoming<'_, S> {
    /// Applies the bundle to `machine`. *Writes*: durable on return.
    ///
    /// # Errors
    /// A [`Failure`], which says whether the target slot was disarmed. The booted slot and what it
    /// could fall back to are never touched.
    ///
    /// # Power loss
    /// At any instant the boot record says either that the target slot is Unbootable, or, at the
    /// very end, that it is Pending; by then everything in it was read back. Doing it again goes on
    /// with what is right already. Dropping the future has the same effect as a power cut, without
    /// the loss of what was written.
    pub async fn apply(
        self,
        machine: &Machine<'_>,
        options: &Options<'_>,
        events: &dyn EventSink,
    ) -> Result<Outcome, Failure> {
        let Self {
            mut fetcher,
            release,
            full,
        } = self;
        let statement = release.statement();
        events.event(Event::Release {
            version: statement.version.to_string(),
            rollback_index: statement.rollback_index,
        });
        let record = machine.store.read().map_err(ApplyError::from)?;
        let plan = match make_plan(machine, options, &record, &release).await? {
            Planned::UpToDate(up_to_date) => return Ok(Outcome::UpToDate(up_to_date)),
            Planned::Apply(plan) => plan,
        };
        secure_boot::check_offered(machine.vars, &release, &mut fetcher).await?;
        let basis = Basis::find(
            &machine.disk,
            plan.target.slot().other(),
            options.trust,
            &release,
        )
        .await?;
        let sinks = Sinks::new(&machine.disk, &plan, release)
            .map_err(ApplyError::from)?
            .with_basis(basis);
        let intent = Intent::Trial(options.tries);
        let (sinks, guard) = (Arc::new(sinks), StopOnDrop::default());
        let work = Work {
            intent,
            machine,
            options,
            events,
            plan,
            sinks,
            guard,
        };
        let slot = work.slot();
        let scanned = work.scan(&mut fetcher).await?;
        events.event(Event::Planned {
            slot: slot.letter(),
            amounts: scanned.amounts,
        });
        if options.plan_only {
            return Ok(Outcome::Planned(work.plan, scanned.amounts));
        }
        work.carry_out(scanned, fetcher, full)
            .await
            .map(Outcome::Activated)
    }
}

async fn make_plan(
    machine: &Machine<'_>,
    options: &Options<'_>,
    record: &Record,
    release: &Release,
) -> Result<Planned, ApplyError> {
    let scope = if options.place_guard.is_some() {
        Scope::Install
    } else {
        Scope::Update
    };
    let seen = match machine.booted {
        Choice::Slot(slot) => as_seen_by(record, slot, &machine.disk, options.trust, release).await,
        Choice::Recovery => *record,
    };
    Ok(plan(
        &Facts::of(&machine.disk, &seen, machine.booted, scope),
        release,
    )?)
}
