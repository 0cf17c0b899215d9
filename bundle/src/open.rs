//! A whole bundle in one go: every frame checked, images written out, on all cores.

use crate::frame::{DecodeError, Decoder, Source};
use crate::index::FrameKind;
use crate::manifest::ImageRole;
use crate::parallel;
use crate::read::{BundleReader, ReadError, UncheckedFrame};
use crate::release::Release;
use crate::source::BlockingSource;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Why opening a bundle ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum OpenError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("release has no image {0}")]
    NoImage(ImageRole),
    #[error("delta bundle: its frames build upon release {0}, and cannot be opened without it")]
    Delta(String),
    #[error("writing: {0}")]
    Output(io::Error),
}

impl OpenError {
    /// Whether the bundle is refused (true), or something around it failed (false).
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Read(error) => error.is_refusal(),
            Self::Decode(_) => true,
            Self::NoImage(_) | Self::Delta(_) | Self::Output(_) => false,
        }
    }
}

/// A reader over a blocking source, and the workers to use.
pub struct Opener<R> {
    reader: BundleReader<BlockingSource<R>>,
    workers: usize,
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
        Ok(Self { reader: reader?, workers })
    }

    /// The release.
    #[must_use]
    pub const fn release(&self) -> &Arc<Release> {
        self.reader.release()
    }

    /// Checks everything to the last byte: the digests of stored and of uncompressed bytes of every frame, and that nothing
    /// follows. *Reads*; `progress` is told bytes of images. The uncompressed bytes of delta frames are not looked at: they need the base release.
    ///
    /// # Errors
    /// The first [`OpenError`] from the front.
    pub fn check(mut self, progress: &mut dyn FnMut(u64)) -> Result<(), OpenError> {
        let release = Arc::clone(self.release());
        self.frames(
            |_| true,
            |decoder, frame, into| {
                let frame = frame.check(&release)?;
                // Zeroes were checked with the index, repeats are as their first frame, which is checked.
                let kind = release.frame(frame.number()).map(|entry| entry.kind);
                match kind {
                    Some(FrameKind::Zstd | FrameKind::Raw) => {
                        Ok(decoder.decode(&release, &frame, into, nothing)?)
                    }
                    _ => Ok(()),
                }
            },
            progress,
        )?;
        Ok(wait(self.reader.finish())?)
    }

    /// Writes the image of `role` into `out`, an empty regular file; zeroes become holes. *Reads* the whole bundle and checks the frames
    /// of that image, and that nothing follows the end.
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
        if let Some(base) = &release.manifest().base {
            return Err(OpenError::Delta(base.version.clone()));
        }
        out.set_len(image.size).map_err(OpenError::Output)?;
        self.frames(
            |number| image.frames.contains(&number),
            |decoder, frame, into| {
                let number = frame.number();
                let Some(entry) = release.frame(number) else { return Ok(()) };
                let frame = frame.check(&release)?;
                if matches!(entry.kind, FrameKind::Zstd | FrameKind::Raw) {
                    decoder.decode(&release, &frame, into, nothing)?;
                    out.write_all_at(into, entry.offset).map_err(OpenError::Output)?;
                }
                Ok(())
            },
            progress,
        )?;
        copy_repeats(&release, image.frames.clone(), out)?;
        Ok(wait(self.reader.finish())?)
    }

    /// Calls `work` for every frame that is `wanted`, on all workers.
    fn frames(
        &mut self,
        wanted: impl Fn(usize) -> bool,
        work: impl Fn(&mut Decoder, UncheckedFrame, &mut Vec<u8>) -> Result<(), OpenError> + Sync,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), OpenError> {
        let release = Arc::clone(self.release());
        let reader = &mut self.reader;
        parallel::ordered(
            self.workers,
            || loop {
                match wait(reader.next_unchecked())? {
                    Some(frame) if !wanted(frame.number()) => {}
                    frame => break Ok(frame),
                }
            },
            || (Decoder::default(), Vec::new()),
            |(decoder, into), frame: UncheckedFrame| {
                let len = release.frame(frame.number()).map_or(0, |entry| entry.len);
                work(decoder, frame, into).map(|()| len)
            },
            |len| {
                progress(u64::from(len?));
                Ok(())
            },
        )
    }
}

/// Repeats are copied last, from where their first frame was written.
fn copy_repeats(release: &Release, frames: std::ops::Range<usize>, out: &File) -> Result<(), OpenError> {
    let mut bytes = Vec::new();
    for entry in release.frames().get(frames).unwrap_or_default() {
        if let FrameKind::Repeat { frame } = entry.kind {
            let Some(earlier) = release.frame(frame) else { continue };
            bytes.resize(earlier.len as usize, 0);
            out.read_exact_at(&mut bytes, earlier.offset).map_err(OpenError::Output)?;
            out.write_all_at(&bytes, entry.offset).map_err(OpenError::Output)?;
        }
    }
    Ok(())
}

fn nothing(_: Source, _: &mut [u8]) -> io::Result<()> {
    Err(io::ErrorKind::NotFound.into())
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
