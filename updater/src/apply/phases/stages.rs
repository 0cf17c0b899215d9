//! The state after each phase, and the order of the phases.

use crate::apply::incoming::LazyBundle;
use crate::apply::operation::Operation;
use crate::error::{ApplyError, ApplyFailure};
use crate::events::Amounts;
use crate::options::Report;
use crate::pipeline::chunk_source::FetchedBatch;
use crate::pipeline::verify_written::ReadBackLedger;
use crate::scan::Scan;
use crate::source::{Download, Fetcher, Source};
use std::time::{Duration, Instant};

/// The origin of every chunk is known.
pub(crate) struct Scanned {
    pub(super) scan: Scan,
    pub(crate) amounts: Amounts,
    pub(super) took: Duration,
    /// Duration of verifying a local file; zero for any other source.
    pub(super) verify_took: Duration,
    /// The first batch with stored bytes, fetched and verified before anything is changed; `None`
    /// for a local file.
    pub(super) first_batch: Option<FetchedBatch>,
}

/// The target slot is Unbootable, durably.
pub(crate) struct Disarmed<'o> {
    pub(super) operation: &'o Operation<'o>,
    pub(super) scanned: Scanned,
}

/// All chunks are written and flushed, and some of them read back.
pub(crate) struct Written<'o> {
    pub(super) disarmed: Disarmed<'o>,
    pub(super) ledger: ReadBackLedger,
    /// The number of the flush that made all chunks durable.
    pub(super) last_flush: u32,
    pub(super) fetched: Download,
    pub(super) took: Duration,
}

/// All chunks were read back, and the images that the guard verifies have their signed digests.
pub(crate) struct Verified<'o> {
    pub(super) written: Written<'o>,
    pub(super) took: Duration,
}

impl Operation<'_> {
    /// Runs all phases that change anything. *Writes*: durable on return.
    ///
    /// # Errors
    /// An [`ApplyFailure`], which says whether the target slot was disarmed.
    ///
    /// # Power loss
    /// The target slot is unchanged, Unbootable, or complete and activated.
    pub(crate) async fn carry_out<S: Source>(
        &self,
        mut scanned: Scanned,
        mut fetcher: Fetcher<'_, S>,
        full: Option<LazyBundle<'_, S>>,
    ) -> Result<Report, ApplyFailure> {
        // An installation verified the payload before it prepared the disk.
        let is_verified = self.context.options.place_guard.is_some();
        if fetcher.is_local() && !is_verified {
            let start = Instant::now();
            self.verify(&scanned, &mut fetcher).await?;
            scanned.verify_took = start.elapsed();
        } else {
            scanned.first_batch = self.fetch_first(&scanned, &mut fetcher).await?;
        }
        // A disk that accepts no write at all leaves the slot unchanged.
        let disarmed = self.disarm(scanned).map_err(|error| ApplyFailure {
            error,
            disarmed: self.is_disarmed().then(|| self.slot()),
        })?;
        self.fill(disarmed, fetcher, full)
            .await
            .map_err(|error| ApplyFailure {
                error,
                disarmed: Some(self.slot()),
            })
    }

    async fn fill<S: Source>(
        &self,
        disarmed: Disarmed<'_>,
        fetcher: Fetcher<'_, S>,
        full: Option<LazyBundle<'_, S>>,
    ) -> Result<Report, ApplyError> {
        let written = disarmed.write(fetcher, full).await?;
        let verified = written.read_back().await?;
        verified.activate()
    }
}
