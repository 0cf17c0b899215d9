//! Checks a whole bundle, and extracts its images.

use crate::format::index::ChunkKind;
use crate::format::manifest::ImageRole;
use crate::open::error::OpenError;
use crate::open::image_digests::{ImageDigests, RepeatedChunks};
use crate::open::slot_images::{SLOT_ROLES, SlotImage, SlotImages};
use crate::parallel;
use crate::read::chunk::UncheckedChunk;
use crate::read::decoder::{Decoder, Source};
use crate::read::error::ReadError;
use crate::read::reader::BundleReader;
use crate::read::release::Release;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Checks or extracts a bundle, on several threads.
pub struct Opener<R> {
    reader: BundleReader<R>,
    workers: usize,
    base: Option<Arc<SlotImages>>,
}

/// How to read the head of a bundle.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// Accept it only if the trust accepts its signatures for the purpose.
    Verify(&'a seal::Trust, seal::Purpose),
    /// Accept any or no signatures, because the operator asked for that.
    WithoutVerifying,
}

impl<R: Read> Opener<R> {
    /// Reads the head of a bundle. *Reads* from `source`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(source: R, access: Access<'_>, workers: usize) -> Result<Self, ReadError> {
        let reader = match access {
            Access::Verify(trust, purpose) => BundleReader::open(source, trust, purpose),
            Access::WithoutVerifying => BundleReader::open_without_verifying(source),
        };
        Ok(Self {
            reader: reader?,
            workers,
            base: None,
        })
    }

    /// Returns the release.
    #[must_use]
    pub const fn release(&self) -> &Arc<Release> {
        self.reader.release()
    }

    /// Adds the base of a delta bundle, so that it can be checked and extracted like any other.
    ///
    /// # Errors
    /// [`OpenError::Base`] if the bundle is not based on it.
    pub fn with_base(self, base: Arc<SlotImages>) -> Result<Self, OpenError> {
        base.check_base_of(self.release())?;
        Ok(Self {
            base: Some(base),
            ..self
        })
    }

    /// Checks every byte: the digests of stored and of uncompressed bytes of each chunk, those of
    /// whole images, and that nothing follows. *Reads.* `progress` receives numbers of bytes of
    /// images.
    ///
    /// Without its base ([`Opener::with_base`]), a delta bundle is checked except for what needs
    /// the base. The digest of a whole image is not checked if its repeats would need more than
    /// [`MAX_KEPT`](crate::open::MAX_KEPT) bytes of memory; the digests of its chunks are.
    ///
    /// # Errors
    /// The first [`OpenError`] from the front.
    pub fn check(mut self, progress: &mut dyn FnMut(u64)) -> Result<(), OpenError> {
        let release = Arc::clone(self.release());
        let base = self.base.clone();
        let runs = RunDecoder {
            release: &release,
            base: base.as_deref(),
        };
        let mut digests = ImageDigests::new(&release);
        let mut repeated = RepeatedChunks::new(&release);
        self.for_each_run(
            |_| true,
            |decoder, run, into| runs.decode(decoder, run, into),
            |number, decoded| {
                digests.add(number, repeated.bytes_of(number, decoded))?;
                repeated.keep(number, decoded);
                Ok(())
            },
            progress,
        )?;
        Ok(self.reader.finish()?)
    }

    /// Writes the image of `role` to `out`, an empty regular file; zeroes become holes. *Reads* the
    /// whole bundle and checks the chunks of that image, its digest, and that nothing follows the
    /// bundle. *Writes*; the caller syncs.
    ///
    /// # Errors
    /// The first [`OpenError`]. The content of `out` is undefined then.
    ///
    /// # Power loss
    /// Leaves an incomplete image in `out`.
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
        let runs = RunDecoder {
            release: &release,
            base: base.as_deref(),
        };
        let mut digests = ImageDigests::new(&release);
        self.for_each_run(
            |number| image.chunks.contains(&number),
            |decoder, run, into| {
                let first = run.first().map(UncheckedChunk::number);
                runs.decode(decoder, run, into)?;
                match first.and_then(|first| release.chunk(first)) {
                    Some(entry) if !into.is_empty() => out
                        .write_all_at(into, entry.offset)
                        .map_err(OpenError::Output),
                    _ => Ok(()),
                }
            },
            |number, decoded| {
                // Chunks come in order: the chunk that a repeat refers to has been written.
                let copied = copy_repeat(&release, number, out).map_err(OpenError::Output)?;
                digests.add(number, copied.as_deref().or(decoded))
            },
            progress,
        )?;
        Ok(self.reader.finish()?)
    }

    /// Calls `work` for every run whose first chunk is `wanted`, on all workers. Then calls `done`
    /// for each chunk of the run, in order, with its bytes if `work` decoded them.
    fn for_each_run(
        &mut self,
        wanted: impl Fn(usize) -> bool,
        work: impl Fn(&mut Decoder, Run, &mut Vec<u8>) -> Result<(), OpenError> + Sync,
        mut done: impl FnMut(usize, Option<&[u8]>) -> Result<(), OpenError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), OpenError> {
        let release = Arc::clone(self.release());
        let reader = &mut self.reader;
        let buffers = Buffers::default();
        parallel::ordered(
            self.workers,
            || loop {
                match next_run(reader)? {
                    Some(run) if run.first().is_some_and(|chunk| !wanted(chunk.number())) => {}
                    run => break Ok(run),
                }
            },
            Decoder::default,
            |decoder, run: Run| {
                let chunks = run
                    .first()
                    .map_or(0..0, |chunk| release.run_of(chunk.number()));
                let mut bytes = buffers.take();
                work(decoder, run, &mut bytes).map(|()| DecodedRun { chunks, bytes })
            },
            |run: Result<DecodedRun, OpenError>| {
                let run = run?;
                let mut rest = run.bytes.as_slice();
                for number in run.chunks {
                    let len = release.chunk(number).map_or(0, |entry| entry.len);
                    let decoded = match rest.split_at_checked(len as usize) {
                        Some((decoded, after)) => {
                            rest = after;
                            Some(decoded)
                        }
                        None => {
                            rest = &[];
                            None
                        }
                    };
                    done(number, decoded)?;
                    progress(u64::from(len));
                }
                buffers.give_back(run.bytes);
                Ok(())
            },
        )
    }
}

impl SlotImages {
    /// Verifies `bundle` as `access` says and extracts the images of its slot into files that
    /// `new_file` creates. *Reads* the bundle once for each image, from its beginning, and *writes*
    /// the files. `progress` receives numbers of bytes of images.
    ///
    /// # Errors
    /// [`OpenError`]; a delta bundle is refused too.
    ///
    /// # Power loss
    /// Leaves incomplete files, if `new_file` gives them names.
    pub fn extract(
        bundle: &File,
        access: Access<'_>,
        workers: usize,
        new_file: impl Fn() -> io::Result<File>,
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
            let file = new_file().map_err(OpenError::Output)?;
            open()?.extract(role, &file, progress)?;
            images.push(SlotImage { role, file });
        }
        Ok(Self { release, images })
    }
}

/// The chunks of a run, as they were read.
type Run = Vec<UncheckedChunk>;

/// The chunks of a run, and their bytes as far as they were decoded.
struct DecodedRun {
    chunks: Range<usize>,
    bytes: Vec<u8>,
}

/// Buffers to be used again. One that held a run of the same length before is neither allocated nor
/// cleared.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    fn take(&self) -> Vec<u8> {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.push(buffer);
    }
}

/// Reads the chunks of the next run.
fn next_run<R: Read>(reader: &mut BundleReader<R>) -> Result<Option<Run>, ReadError> {
    let Some(first) = reader.next_unchecked()? else {
        return Ok(None);
    };
    let len = reader.release().run_of(first.number()).len();
    let mut run = vec![first];
    for _ in 1..len {
        run.extend(reader.next_unchecked()?);
    }
    Ok(Some(run))
}

/// Checks and decodes the chunks of a run.
struct RunDecoder<'a> {
    release: &'a Release,
    base: Option<&'a SlotImages>,
}

impl RunDecoder<'_> {
    /// Checks the chunks of `run` and leaves their bytes in `into`, one after the other. Bytes of
    /// zeroes and repeats are left out; without the base, those of deltas and of the rest of their
    /// run too.
    fn decode(&self, decoder: &mut Decoder, run: Run, into: &mut Vec<u8>) -> Result<(), OpenError> {
        let stored = run
            .iter()
            .filter_map(|chunk| self.release.chunk(chunk.number()))
            .filter(|entry| entry.stored_len > 0);
        into.resize(stored.map(|entry| entry.len as usize).sum(), 0);
        let mut at = 0_usize;
        let mut decodable = true;
        for chunk in run {
            let chunk = chunk.check(self.release)?;
            let Some(entry) = self.release.chunk(chunk.number()) else {
                continue;
            };
            decodable &= match entry.kind {
                ChunkKind::Zstd | ChunkKind::Raw => true,
                ChunkKind::Delta { .. } => self.base.is_some(),
                // Zeroes were checked with the index; a repeat equals its first chunk.
                ChunkKind::Zero | ChunkKind::Repeat { .. } => false,
            };
            if decodable {
                let (before, rest) = into.split_at_mut(at);
                let before = before
                    .get(at.saturating_sub(entry.before as usize)..)
                    .unwrap_or_default();
                let own = rest.get_mut(..entry.len as usize).unwrap_or_default();
                let fetch = |source, into: &mut [u8]| self.fetch(source, into);
                decoder.decode_slice(self.release, &chunk, before, own, fetch)?;
                at = at.saturating_add(entry.len as usize);
            }
        }
        into.truncate(at);
        Ok(())
    }

    fn fetch(&self, source: Source, into: &mut [u8]) -> io::Result<()> {
        match (self.base, source) {
            (Some(base), Source::Base(range)) => base.read(range, into),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
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
