//! Scanning: where each chunk will come from.

use super::stages::Scanned;
use crate::apply::work::{Intent, Work};
use crate::batch::hints::Hints;
use crate::error::ApplyError;
use crate::events::{Amounts, Phase};
use crate::scan::Survey;
use crate::scan::seeds::Seeds;
use crate::slot::image_location::Reading;
use crate::source::{Fetcher, Source};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Work<'_> {
    /// Finds what lies in its place already, after a cut what was written before it, and what the
    /// other slot has. *Reads.*
    pub(crate) async fn scan<S: Source>(
        &self,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<Scanned, ApplyError> {
        let began = Instant::now();
        let release = self.sinks.release();
        let hints = self.hints(fetcher).await?.map(Arc::new);
        let wanted = release
            .chunks()
            .iter()
            .enumerate()
            .filter(|(number, _)| self.sinks.wants(*number));
        let mut progress = self.progress(
            Phase::Scan,
            wanted.map(|(_, chunk)| u64::from(chunk.len)).sum(),
        );
        let reading = if self.intent == Intent::Repair {
            Reading::Medium
        } else {
            Reading::Anywhere
        };
        let places = (self.sinks.places(), reading);
        let wants = |chunk| self.sinks.wants(chunk);
        let mut survey =
            Survey::in_place(places, wants, hints.as_ref(), self.workers(), &mut progress).await?;
        if let Some(hints) = hints.filter(|_| fetcher.can_skip()) {
            let seeds = Seeds::of(&self.machine.disk, self.slot().other(), self.options.trust);
            survey
                .find_seeds(seeds, &hints, release, self.workers())
                .await?;
        }
        let fetch_bytes =
            fetcher.will_fetch(survey.stored(release), release.statement().bundle_len);
        let amounts = Amounts {
            fetch_bytes,
            ..survey.amounts(release)
        };
        Ok(Scanned {
            survey,
            amounts,
            took: began.elapsed(),
            verifying: Duration::ZERO,
        })
    }

    /// The block hints, if they can be had and may be of use. They lie behind the payload: a pipe
    /// cannot give them in time.
    async fn hints<S: Source>(
        &self,
        fetcher: &mut Fetcher<'_, S>,
    ) -> Result<Option<Hints>, ApplyError> {
        let release = self.sinks.release();
        let record = self.machine.store.read()?;
        let written = |slot| record.slot(slot).reason != record::Reason::Empty;
        let useful = fetcher.is_local() || record::Slot::ALL.into_iter().any(written);
        if self.intent == Intent::Repair
            || !self.options.adaptive
            || !fetcher.can_skip()
            || !useful
            || !Hints::are_in(release)
        {
            return Ok(None);
        }
        let range = release.hints_range();
        fetcher.expect([range.clone()]);
        let bytes = fetcher
            .range(range.start, (range.end - range.start) as usize)
            .await?;
        fetcher.seek_back(release.payload_range().start);
        Ok(Some(Hints::check(release, &bytes)?))
    }
}
