//! A whole bundle in one go: every chunk checked, images written out, on all cores.

use crate::format::index::ChunkKind;
use crate::format::manifest::ImageRole;
use crate::open::delta_base::{Extracted, SLOT_ROLES};
use crate::open::error::OpenError;
use crate::open::whole_images::{Kept, WholeImages};
use crate::parallel;
use crate::read::chunk::UncheckedChunk;
use crate::read::decoder::{Decoder, Source};
use crate::read::error::ReadError;
use crate::read::reader::BundleReader;
use crate::read::release::Release;
use crate::read::source::BlockingSource;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// A reader over a blocking source, and the workers to use.
pub struct Opener<R> {
    reader: BundleReader<BlockingSource<R>>,
    workers: usize,
    base: Option<Arc<Extracted>>,
}

/// How the head of a bundle is read.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// Only if it is signed as the trust asks for the purpose.
    Verify(&'a seal::Trust, seal::Purpose),
    /// Whatever its signatures: a person asked for that.
    WithoutVerifying,
}

impl<R: Read + Unpin> Opener<R> {
    /// Reads the head of a bundle. *Reads* from `source`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(source: R, access: Access<'_>, workers: usize) -> Result<Self, ReadError> {
        let source = BlockingSource(source);
        let reader = match access {
            Access::Verify(trust, purpose) => wait(BundleReader::open(source, trust, purpose)),
            Access::WithoutVerifying => wait(BundleReader::open_without_verifying(source)),
        };
        Ok(Self {
            reader: reader?,
            workers,
            base: None,
        })
    }

    /// The release.
    #[must_use]
    pub const fn release(&self) -> &Arc<Release> {
        self.reader.release()
    }

    /// Gives a delta bundle the images that it builds upon, so that it can be checked and extracted
    /// like any other.
    ///
    /// # Errors
    /// [`OpenError::Base`] if they are others.
    pub fn with_base(self, base: Arc<Extracted>) -> Result<Self, OpenError> {
        base.check_base_of(self.release())?;
        Ok(Self {
            base: Some(base),
            ..self
        })
    }

    /// Checks everything to the last byte: the digests of stored and of uncompressed bytes of every
    /// chunk, those of whole images, and that nothing follows. *Reads*; `progress` is told bytes of
    /// images.
    ///
    /// Images with delta chunks are checked as far as that is possible without the base release
    /// ([`Opener::with_base`]). The digest of a whole image is passed over if more than
    /// [`MAX_KEPT`](crate::open::MAX_KEPT) bytes of it would have to be kept for its repeats; its chunks are checked
    /// nevertheless.
    ///
    /// # Errors
    /// The first [`OpenError`] from the front.
    pub fn check(mut self, progress: &mut dyn FnMut(u64)) -> Result<(), OpenError> {
        let release = Arc::clone(self.release());
        let mut images = WholeImages::new(&release);
        let mut kept = Kept::new(&release);
        let base = self.base.clone();
        self.runs(
            |_| true,
            |decoder, run, into| decode_run(&release, base.as_deref(), decoder, run, into),
            |number, bytes| {
                let whole = kept.bytes_of(number, bytes);
                images.add(number, whole)?;
                kept.keep(number, bytes);
                Ok(())
            },
            progress,
        )?;
        Ok(wait(self.reader.finish())?)
    }

    /// Writes the image of `role` into `out`, an empty regular file; zeroes become holes. *Reads*
    /// the whole bundle and checks the chunks of that image and their digest as a whole, and that
    /// nothing follows the end.
    ///
    /// # Errors
    /// The first [`OpenError`]; what is in `out` then is not the image.
    pub fn extract(
        mut self,
        role: ImageRole,
        out: &File,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), OpenError> {
        let release = Arc::clone(self.release());
        let image = release.image(role).ok_or(OpenError::NoImage(role))?;
        let base = self.base.clone();
        if let (Some(needed), None) = (&release.manifest().base, &base) {
            return Err(OpenError::Delta(needed.version.clone()));
        }
        out.set_len(image.size).map_err(OpenError::Output)?;
        let mut images = WholeImages::new(&release);
        self.runs(
            |number| image.chunks.contains(&number),
            |decoder, run, into| {
                let first = run.first().map(UncheckedChunk::number);
                decode_run(&release, base.as_deref(), decoder, run, into)?;
                match first.and_then(|first| release.chunk(first)) {
                    Some(entry) if !into.is_empty() => out
                        .write_all_at(into, entry.offset)
                        .map_err(OpenError::Output),
                    _ => Ok(()),
                }
            },
            |number, bytes| {
                // Chunks come here in order: what a repeat repeats has been written.
                let repeated = copy_repeat(&release, number, out).map_err(OpenError::Output)?;
                images.add(number, repeated.as_deref().or(bytes))
            },
            progress,
        )?;
        Ok(wait(self.reader.finish())?)
    }

    /// Calls `work` for every run that is `wanted`, on all workers, and then `done` for each of its
    /// chunks, in order, with its bytes as far as `work` knows them.
    fn runs(
        &mut self,
        wanted: impl Fn(usize) -> bool,
        work: impl Fn(&mut Decoder, Vec<UncheckedChunk>, &mut Vec<u8>) -> Result<(), OpenError> + Sync,
        mut done: impl FnMut(usize, Option<&[u8]>) -> Result<(), OpenError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), OpenError> {
        let release = Arc::clone(self.release());
        let reader = &mut self.reader;
        let buffers = Mutex::new(Vec::new());
        let buffers = || buffers.lock().unwrap_or_else(PoisonError::into_inner);
        parallel::ordered(
            self.workers,
            || loop {
                match next_run(reader)? {
                    Some(run) if run.first().is_some_and(|chunk| !wanted(chunk.number())) => {}
                    run => break Ok(run),
                }
            },
            Decoder::default,
            |decoder, run: Vec<UncheckedChunk>| {
                let chunks = run
                    .first()
                    .map_or(0..0, |chunk| release.run_of(chunk.number()));
                let mut bytes = buffers().pop().unwrap_or_default();
                work(decoder, run, &mut bytes).map(|()| (chunks, bytes))
            },
            |result: Result<(Range<usize>, Vec<u8>), OpenError>| {
                let (chunks, bytes) = result?;
                let mut rest = bytes.as_slice();
                for number in chunks {
                    let len = release.chunk(number).map_or(0, |entry| entry.len);
                    let own = rest.split_at_checked(len as usize);
                    rest = own.map_or(&[], |(_, rest)| rest);
                    done(number, own.map(|(own, _)| own))?;
                    progress(u64::from(len));
                }
                buffers().push(bytes);
                Ok(())
            },
        )
    }
}

impl Extracted {
    /// Verifies `bundle` as `access` says and extracts the images of its slot into files that
    /// `scratch` makes. *Reads* the bundle once for each image, from its beginning, and *writes*
    /// the files. `progress` is told bytes of images.
    ///
    /// # Errors
    /// [`OpenError`]; also for a delta bundle, which has no images of its own.
    pub fn open(
        bundle: &File,
        access: Access<'_>,
        workers: usize,
        scratch: impl Fn() -> io::Result<File>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, OpenError> {
        let open = || {
            let mut file = bundle;
            file.rewind()?;
            Opener::open(file, access, workers)
        };
        let release = Arc::clone(open()?.release());
        let mut images = Vec::new();
        for role in SLOT_ROLES
            .into_iter()
            .filter(|role| release.image(*role).is_some())
        {
            let file = scratch().map_err(OpenError::Output)?;
            open()?.extract(role, &file, progress)?;
            images.push((role, file));
        }
        Ok(Self { release, images })
    }
}

/// The chunks of the next run, as they come.
fn next_run<R: Read + Unpin>(
    reader: &mut BundleReader<BlockingSource<R>>,
) -> Result<Option<Vec<UncheckedChunk>>, ReadError> {
    let Some(first) = wait(reader.next_unchecked())? else {
        return Ok(None);
    };
    let more = reader
        .release()
        .run_of(first.number())
        .len()
        .saturating_sub(1);
    let mut run = vec![first];
    for _ in 0..more {
        run.extend(wait(reader.next_unchecked())?);
    }
    Ok(Some(run))
}

/// Checks the chunks of a run; leaves their bytes in `into`, one behind the other, but not those of
/// zeroes and repeats, nor, without the base, of deltas and what builds upon them.
fn decode_run(
    release: &Release,
    base: Option<&Extracted>,
    decoder: &mut Decoder,
    run: Vec<UncheckedChunk>,
    into: &mut Vec<u8>,
) -> Result<(), OpenError> {
    let lengths = run.iter().filter_map(|chunk| release.chunk(chunk.number()));
    let stored = lengths
        .filter(|entry| entry.stored_len > 0)
        .map(|entry| entry.len as usize);
    // A buffer that held a run as long before is neither allocated nor cleared again.
    into.resize(stored.sum(), 0);
    let (mut known, mut at) = (true, 0);
    for chunk in run {
        let chunk = chunk.check(release)?;
        let Some(entry) = release.chunk(chunk.number()) else {
            continue;
        };
        // Zeroes were checked with the index, repeats are as their first chunk, which is checked.
        known = known
            && match entry.kind {
                ChunkKind::Zstd | ChunkKind::Raw => true,
                ChunkKind::Delta { .. } => base.is_some(),
                ChunkKind::Zero | ChunkKind::Repeat { .. } => false,
            };
        if known {
            let (before, rest) = into.split_at_mut(at);
            let before = before
                .get(at.saturating_sub(entry.before as usize)..)
                .unwrap_or_default();
            let own = rest.get_mut(..entry.len as usize).unwrap_or_default();
            decoder.decode_slice(release, &chunk, before, own, |what, into| {
                from_base(base, what, into)
            })?;
            at = at.saturating_add(entry.len as usize);
        }
    }
    into.truncate(at);
    Ok(())
}

/// Copies a repeat from where its first chunk was written, and returns its bytes; `None` for chunks
/// of other kinds.
fn copy_repeat(release: &Release, number: usize, out: &File) -> io::Result<Option<Vec<u8>>> {
    let Some(entry) = release.chunk(number) else {
        return Ok(None);
    };
    let ChunkKind::Repeat { chunk } = entry.kind else {
        return Ok(None);
    };
    let Some(earlier) = release.chunk(chunk) else {
        return Ok(None);
    };
    let mut bytes = vec![0; earlier.len as usize];
    out.read_exact_at(&mut bytes, earlier.offset)?;
    out.write_all_at(&bytes, entry.offset)?;
    Ok(Some(bytes))
}

fn from_base(base: Option<&Extracted>, what: Source, into: &mut [u8]) -> io::Result<()> {
    match (base, what) {
        (Some(base), Source::Base(range)) => base.read(range, into),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Runs a future whose source blocks in place, so that it never has to wait for anything else.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
