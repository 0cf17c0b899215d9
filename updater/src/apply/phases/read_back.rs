//! Reading back what was not read back while more was written.

use super::stages::{Proven, Written};
use crate::error::ApplyError;
use crate::events::Phase;
use crate::pipeline::read_back::{check_tree, check_wholes};
use crate::pipeline::verify_written::compare_due;
use std::time::Instant;

impl<'w> Written<'w> {
    /// Compares what is on the medium with what was signed.
    pub(crate) async fn read_back(mut self) -> Result<Proven<'w>, ApplyError> {
        let began = Instant::now();
        let work = self.disarmed.work;
        let mut progress =
            work.progress(Phase::ReadBack, self.disarmed.scanned.amounts.image_bytes);
        progress.add(self.ledger.proven_bytes());
        let wholes = check_wholes(&work.sinks, work.workers());
        let tree = check_tree(&work.sinks, work.workers());
        let told = |bytes| progress.add(bytes);
        let rest = compare_due(
            &work.sinks,
            &mut self.ledger,
            self.flushed,
            work.workers(),
            told,
        );
        let (wholes, rest, tree) = tokio::join!(wholes, rest, tree);
        rest.and(wholes).and(tree)?;
        Ok(Proven {
            written: self,
            took: began.elapsed(),
        })
    }
}
