//! A whole bundle in one go: every chunk checked, images written out, on all cores.

use crate::base::{BaseError, Extracted};
use crate::chunk::{DecodeError, Decoder, Source};
use crate::create::hash_zeroes;
use crate::hex;
use crate::index::ChunkKind;
use crate::manifest::ImageRole;
use crate::parallel;
use crate::read::{BundleReader, ReadError, UncheckedChunk};
use crate::release::Release;
use crate::source::BlockingSource;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Why opening a bundle ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum OpenError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(
        "image {image}: digest mismatch: expected {}, got {}",
        hex(expected),
        hex(found)
    )]
    ImageDigest {
        image: ImageRole,
        expected: [u8; 32],
        found: [u8; 32],
    },
    #[error("release has no image {0}")]
    NoImage(ImageRole),
    #[error(
        "delta bundle: its chunks build upon release {0}, and cannot be opened without it (--base)"
    )]
    Delta(String),
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error("writing: {0}")]
    Output(io::Error),
}

impl OpenError {
    /// Whether the bundle is refused (true), or something around it failed (false).
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Read(error) => error.is_refusal(),
            Self::Decode(_) | Self::ImageDigest { .. } | Self::Base(_) => true,
            Self::NoImage(_) | Self::Delta(_) | Self::Output(_) => false,
        }
    }
}

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
    /// [`MAX_KEPT`] bytes of it would have to be kept for its repeats; its chunks are checked
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

/// Most bytes that are kept for the repeats of a release while it is checked.
pub const MAX_KEPT: usize = 24 << 20;

/// Chunks that will be repeated.
struct Kept<'a> {
    release: &'a Release,
    last_repeat: HashMap<usize, usize>,
    chunks: HashMap<usize, Vec<u8>>,
    len: usize,
}

impl<'a> Kept<'a> {
    fn new(release: &'a Release) -> Self {
        let repeats = release
            .chunks()
            .iter()
            .enumerate()
            .filter_map(|(number, entry)| match entry.kind {
                ChunkKind::Repeat { chunk } => Some((chunk, number)),
                _ => None,
            });
        Self {
            release,
            last_repeat: repeats.collect(),
            chunks: HashMap::new(),
            len: 0,
        }
    }

    /// The bytes of a chunk, its own or those that it repeats; `None` for zeroes and where they are
    /// not known.
    fn bytes_of<'b>(&'b self, number: usize, own: Option<&'b [u8]>) -> Option<&'b [u8]> {
        match self.release.chunk(number)?.kind {
            ChunkKind::Repeat { chunk } => self.chunks.get(&chunk).map(Vec::as_slice),
            _ => own,
        }
    }

    fn keep(&mut self, number: usize, own: Option<&[u8]>) {
        if let Some(own) = own.filter(|_| self.last_repeat.contains_key(&number))
            && self.len.saturating_add(own.len()) <= MAX_KEPT
        {
            self.len = self.len.saturating_add(own.len());
            self.chunks.insert(number, own.to_vec());
        }
        if let Some(ChunkKind::Repeat { chunk }) =
            self.release.chunk(number).map(|entry| entry.kind)
            && self.last_repeat.get(&chunk) == Some(&number)
            && let Some(bytes) = self.chunks.remove(&chunk)
        {
            self.len = self.len.saturating_sub(bytes.len());
        }
    }
}

/// Digests of whole images, as their chunks come in order.
struct WholeImages<'a> {
    release: &'a Release,
    hash: Sha256,
    known: bool,
}

impl<'a> WholeImages<'a> {
    fn new(release: &'a Release) -> Self {
        Self {
            release,
            hash: Sha256::new(),
            known: true,
        }
    }

    /// Takes the bytes of a chunk; `None` for zeroes, and where they are not known.
    fn add(&mut self, number: usize, bytes: Option<&[u8]>) -> Result<(), OpenError> {
        let Some(entry) = self.release.chunk(number) else {
            return Ok(());
        };
        let Some(image) = self.release.images().get(entry.image) else {
            return Ok(());
        };
        match bytes {
            Some(bytes) => self.hash.update(bytes),
            None if entry.kind == ChunkKind::Zero => hash_zeroes(&mut self.hash, entry.len),
            None => self.known = false,
        }
        if number.saturating_add(1) == image.chunks.end {
            let found: [u8; 32] = self.hash.finalize_reset().into();
            if std::mem::replace(&mut self.known, true) && found != image.sha256 {
                return Err(OpenError::ImageDigest {
                    image: image.role,
                    expected: image.sha256,
                    found,
                });
            }
        }
        Ok(())
    }
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
