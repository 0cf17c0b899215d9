//! Scan: determines the origin of each chunk.

use super::stages::Scanned;
use crate::apply::operation::{Intent, Operation};
use crate::batch::hints::Hints;
use crate::batch::total_len;
use crate::error::ApplyError;
use crate::events::{Amounts, Event, Phase};
use crate::scan::InPlaceScan;
use crate::scan::seeds::Seeds;
use crate::slot::image_location::ReadFrom;
use crate::source::{Fetcher, Source};
use record::Slot;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Operation<'_> {
    /// Finds the chunks that are in place, for example after an interruption, and those that the
    /// other slot has the blocks of. Reports the amounts. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::Fetch`], [`ApplyError::Bundle`] for block hints that are not as signed.
    pub(crate) async fn scan<S: Source>(
        &self,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<Scanned, ApplyError> {
        let start = Instant::now();
        let release = self.release();
        let hints = self.hints(fetcher).await?.map(Arc::new);
        let wants = |chunk: usize| self.writer.wants(chunk);
        let wanted = (0..release.chunks().len()).filter(|chunk| wants(*chunk));
        let mut progress = self.progress(Phase::Scan, total_len(release, wanted));
        let in_place = InPlaceScan {
            locations: Arc::clone(self.writer.locations()),
            read_from: match self.intent {
                Intent::Repair => ReadFrom::Medium,
                Intent::Trial(_) => ReadFrom::Anywhere,
            },
            hints: hints.clone(),
            pool: self.pool.clone(),
        };
        let mut scan = in_place.run(wants, &mut progress).await?;
        if let Some(hints) = hints {
            let seeds = Seeds::of(self.context.sealed(self.slot().other()));
            scan.find_seeds(seeds, &hints, release, &self.pool).await?;
        }
        let bundle_len = release.statement().bundle_len;
        let download = fetcher.will_fetch(&scan.stored_ranges(release), bundle_len);
        let amounts = Amounts {
            fetch_bytes: download.bytes,
            requests: download.requests,
            is_whole: download.is_whole,
            ..scan.amounts(release)
        };
        self.report(Event::Planned {
            slot: self.slot().letter(),
            amounts,
        });
        Ok(Scanned {
            scan,
            amounts,
            took: start.elapsed(),
            verify_took: Duration::ZERO,
            first_batch: None,
        })
    }

    /// Fetches the block hints, if they may be of use. They are behind the payload, so a pipe
    /// cannot give them in time.
    async fn hints<S: Source>(
        &self,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<Option<Hints>, ApplyError> {
        let release = self.release();
        let is_usable = self.intent != Intent::Repair
            && self.context.options.adaptive
            && fetcher.can_skip()
            && Hints::are_in(release);
        if !is_usable || !(fetcher.is_local() || self.has_written_slot()?) {
            return Ok(None);
        }
        let range = release.hints_range();
        fetcher.expect([range.clone()]);
        let len = (range.end - range.start) as usize;
        let bytes = fetcher.range(range.start, len).await?;
        fetcher.seek_back(release.payload_range().start);
        Ok(Some(Hints::check(release, &bytes)?))
    }

    /// Returns whether a release was ever written to a slot.
    fn has_written_slot(&self) -> Result<bool, ApplyError> {
        let record = self.context.machine.store.read()?;
        let is_written = |slot| record.slot(slot).reason != record::Reason::Empty;
        Ok(Slot::ALL.into_iter().any(is_written))
    }
}
