//! Writing the damaged chunks of a slot anew, and no others.

use super::incoming::Incoming;
use super::work::{Intent, Work};
use crate::error::{ApplyError, Failure};
use crate::events::{Event, EventSink};
use crate::options::{Machine, Options, Report};
use crate::plan::{Facts, Scope, plan_repair};
use crate::slot::delta_base::Basis;
use crate::slot::equivalence::as_seen_by;
use crate::slot::writer::Sinks;
use crate::source::Source;
use crate::worker_pool::StopOnDrop;
use bootctl::device::BlockDevice;
use record::Slot;
use seal::SEAL_LEN;
use std::sync::Arc;

/// What came of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// Nothing was damaged.
    Whole(Slot),
    /// Damaged chunks were written anew; the slot is Good again.
    Mended(Report),
}

impl<S: Source> Incoming<'_, S> {
    /// Mends `slot` with the bundle of the release that it holds: what is damaged on the medium is
    /// fetched and written anew, and read back. *Writes*: durable on return. The slot must be Good,
    /// and is Good again afterwards; it does not become the default. The booted slot cannot be
    /// mended while it runs.
    ///
    /// # Errors
    /// A [`Failure`], which says whether the slot was disarmed.
    ///
    /// # Power loss
    /// The slot is Unbootable until it is whole. Doing it again goes on, and makes it Good again.
    pub async fn repair(
        self,
        slot: Slot,
        machine: &Machine<'_>,
        options: &Options<'_>,
        events: &dyn EventSink,
    ) -> Result<Repaired, Failure> {
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
        // A slot that was made by a delta to the same images is one that this bundle can mend.
        let record = as_seen_by(&record, slot, &machine.disk, options.trust, &release).await;
        let facts = Facts::of(&machine.disk, &record, machine.booted, Scope::Update);
        let plan = plan_repair(&facts, &release, slot).map_err(ApplyError::from)?;
        let basis = Basis::find(&machine.disk, slot.other(), options.trust, &release).await?;
        let sinks = Sinks::new(&machine.disk, &plan, release)
            .map_err(ApplyError::from)?
            .with_basis(basis);
        let (sinks, guard) = (Arc::new(sinks), StopOnDrop::default());
        let work = Work {
            intent: Intent::Repair,
            machine,
            options,
            events,
            plan,
            sinks,
            guard,
        };
        let scanned = work.scan(&mut fetcher).await?;
        events.event(Event::Planned {
            slot: slot.letter(),
            amounts: scanned.amounts,
        });
        let is_whole = scanned.amounts.in_place_bytes == scanned.amounts.image_bytes;
        if is_whole
            && has_seal(&work.sinks)
            && has_tree(&work.sinks).await
            && record.slot(slot).is_good()
        {
            return Ok(Repaired::Whole(slot));
        }
        work.carry_out(scanned, fetcher, full)
            .await
            .map(Repaired::Mended)
    }
}

/// Whether the hash tree over the root image is where it should be, if there should be one.
async fn has_tree(sinks: &Arc<Sinks>) -> bool {
    let sinks = Arc::clone(sinks);
    let check = move || {
        sinks
            .places()
            .tree()
            .is_none_or(|tree| tree.read_back().is_ok())
    };
    tokio::task::spawn_blocking(check).await.unwrap_or(false)
}

/// Whether the seal is where it should be.
fn has_seal(sinks: &Sinks) -> bool {
    let mut found = [0; SEAL_LEN];
    sinks.boot().read_medium_at(0, &mut found).is_ok()
        && found == *sinks.release().seal().as_bytes()
}
