//! The stages of an apply, as types.

use crate::apply::incoming::Unopened;
use crate::apply::work::Work;
use crate::error::Failure;
use crate::events::Amounts;
use crate::options::Report;
use crate::pipeline::verify_written::Ledger;
use crate::scan::Survey;
use crate::source::{Fetcher, Source};
use std::time::{Duration, Instant};

/// It is known where every chunk will come from.
pub(crate) struct Scanned {
    pub(super) survey: Survey,
    /// What it comes to.
    pub(crate) amounts: Amounts,
    pub(super) took: Duration,
    /// How long it took to verify the bundle, if that was done.
    pub(super) verifying: Duration,
}

/// The target slot cannot be started any more, durably.
pub(crate) struct Disarmed<'w> {
    pub(super) work: &'w Work<'w>,
    pub(super) scanned: Scanned,
}

/// Everything was written and flushed, and some of it read back.
pub(crate) struct Written<'w> {
    pub(super) disarmed: Disarmed<'w>,
    /// What of it was read back.
    pub(super) ledger: Ledger,
    /// The flush that made all of it durable.
    pub(super) flushed: u32,
    pub(super) fetched: u64,
    pub(super) took: Duration,
}

/// Everything reads back as it was signed.
pub(crate) struct Proven<'w> {
    pub(super) written: Written<'w>,
    pub(super) took: Duration,
}

impl Work<'_> {
    /// All that changes anything, in its order.
    ///
    /// # Errors
    /// A [`Failure`], which says whether the target slot was disarmed.
    pub(crate) async fn carry_out<S: Source>(
        &self,
        mut scanned: Scanned,
        mut fetcher: Fetcher<'_, S>,
        full: Unopened<'_, S>,
    ) -> Result<Report, Failure> {
        if fetcher.is_local() {
            let began = Instant::now();
            self.verify(&scanned, &mut fetcher).await?;
            scanned.verifying = began.elapsed();
        }
        // A disk that takes no write at all leaves the slot as it was.
        let untouched = |error| Failure {
            error,
            disarmed: self.is_disarmed().then(|| self.slot()),
        };
        let disarmed = self.disarm(scanned).map_err(untouched)?;
        let done = async {
            let written = disarmed.write(fetcher, full).await?;
            let proven = written.read_back().await?;
            proven.activate()
        };
        done.await.map_err(|error| Failure {
            error,
            disarmed: Some(self.slot()),
        })
    }
}
