//! Read back: compares the chunks that were not read back while more was written.

use super::stages::{Verified, Written};
use crate::error::ApplyError;
use crate::events::Phase;
use crate::pipeline::read_back::{compare_guarded_images, compare_tree};
use crate::pipeline::verify_written::compare_due;
use std::time::Instant;

impl<'o> Written<'o> {
    /// Compares the medium with what was written, and the images that the guard verifies with their
    /// signed digests. *Reads.*
    ///
    /// # Errors
    /// [`ApplyError::ReadBack`], [`ApplyError::ImageDigest`], [`ApplyError::Stopped`].
    pub(crate) async fn read_back(mut self) -> Result<Verified<'o>, ApplyError> {
        let start = Instant::now();
        let operation = self.disarmed.operation;
        let total = self.disarmed.scanned.amounts.image_bytes;
        let mut progress = operation.progress(Phase::ReadBack, total);
        progress.add(self.ledger.verified_bytes());
        let images = compare_guarded_images(&operation.writer, &operation.pool);
        let tree = compare_tree(&operation.writer);
        let rest = compare_due(
            &operation.writer,
            &mut self.ledger,
            self.last_flush,
            &operation.pool,
            |bytes| progress.add(bytes),
        );
        let (images, rest, tree) = tokio::join!(images, rest, tree);
        rest.and(images).and(tree)?;
        Ok(Verified {
            written: self,
            took: start.elapsed(),
        })
    }
}
