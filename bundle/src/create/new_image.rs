//! An image on its way into a payload: split into segments, which several threads encode.

use crate::create::chunker::{Chunker, Segment};
use crate::create::error::CreateError;
use crate::create::payload::{EncodedChunk, Payload};
use crate::format::cbor::Blob;
use crate::format::manifest::{ImageInfo, ImageRole};
use crate::parallel;
use std::io::{self, Write};

/// Encodes the runs of an image.
pub(crate) trait ImageEncoder: Sync {
    /// Memory of one thread.
    type Worker;
    type Error: From<CreateError> + Send;

    /// Returns the memory of one thread.
    fn worker(&self) -> io::Result<Self::Worker>;

    /// Encodes a run.
    fn encode(
        &self,
        worker: &mut Self::Worker,
        run: &[u8],
    ) -> Result<Vec<EncodedChunk>, Self::Error>;

    /// Returns the error of an image that cannot be read.
    fn read_error(&self, error: io::Error) -> Self::Error;

    /// Returns the error of a failure in the zstd library.
    fn compress_error(&self, error: io::Error) -> Self::Error;
}

/// An image to be added to a payload.
pub(crate) struct NewImage {
    pub(crate) role: ImageRole,
    pub(crate) chunker: Chunker,
    /// True if the root hash of its hash tree is to be signed.
    pub(crate) has_tree: bool,
}

/// A segment after encoding.
enum EncodedSegment {
    Zeroes(u32),
    Run(Vec<EncodedChunk>),
}

impl<W: Write> Payload<'_, W> {
    /// Reads an image, encodes it on `workers` threads and adds its chunks. Returns its description
    /// for the manifest.
    pub(crate) fn add_image<E: ImageEncoder>(
        &mut self,
        image: NewImage,
        encoder: &E,
        workers: usize,
        progress: &mut dyn FnMut(u64),
    ) -> Result<ImageInfo, E::Error> {
        let NewImage {
            role,
            mut chunker,
            has_tree,
        } = image;
        self.begin_image(has_tree.then(|| chunker.image_size()));
        parallel::ordered(
            workers,
            || chunker.next().map_err(|error| encoder.read_error(error)),
            || encoder.worker(),
            |worker, segment| match (worker, segment) {
                (_, Segment::Zeroes(len)) => Ok(EncodedSegment::Zeroes(len)),
                (Ok(worker), Segment::Run(run)) => {
                    encoder.encode(worker, &run).map(EncodedSegment::Run)
                }
                (Err(error), _) => {
                    let error = io::Error::new(error.kind(), error.to_string());
                    Err(encoder.compress_error(error))
                }
            },
            |segment| {
                match segment? {
                    EncodedSegment::Zeroes(len) => {
                        self.add_zeroes(len);
                        progress(u64::from(len));
                    }
                    EncodedSegment::Run(chunks) => {
                        progress(chunks.iter().map(|chunk| u64::from(chunk.len)).sum());
                        self.add_run(chunks)?;
                    }
                }
                Ok(())
            },
        )?;
        let chunks = self.end_image()?;
        Ok(ImageInfo {
            role,
            size: chunker.image_size(),
            chunks,
            chunk_size: chunker.chunk_size(),
            sha256: Blob(chunker.digest()),
        })
    }
}
