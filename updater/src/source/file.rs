//! A bundle in a file or from a pipe.

use super::byte_source::Source;
use super::error::SourceError;
use super::local_file::LocalFile;
use bytes::{Bytes, BytesMut};
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _};

/// Maximum length of a piece, in bytes.
const PIECE: usize = 256 * 1024;

/// A file or pipe. It is opened once, so that the bytes that are verified and the bytes that are
/// written come from the same file.
pub struct FileSource {
    path: Option<PathBuf>,
    reader: Option<Reader>,
    seekable: bool,
    len: Option<u64>,
}

enum Reader {
    File(File),
    Stdin(tokio::io::Stdin),
}

impl FileSource {
    /// Returns the file at `path` as a source. *Reads* its length; it is opened later.
    #[must_use]
    pub fn path(path: &Path) -> Self {
        let file = std::fs::metadata(path)
            .ok()
            .filter(std::fs::Metadata::is_file);
        let (seekable, len) = (file.is_some(), file.map(|file| file.len()));
        Self {
            path: Some(path.to_owned()),
            reader: None,
            seekable,
            len,
        }
    }

    /// Returns standard input as a source.
    #[must_use]
    pub fn stdin() -> Self {
        Self {
            path: None,
            reader: None,
            seekable: false,
            len: None,
        }
    }

    fn what(&self) -> String {
        self.path.as_ref().map_or_else(
            || "standard input".to_owned(),
            |path| path.display().to_string(),
        )
    }

    fn error(&self, error: std::io::Error) -> SourceError {
        SourceError::Io {
            what: self.what(),
            error,
        }
    }

    async fn try_open(&mut self, offset: u64) -> std::io::Result<()> {
        if let Some(Reader::File(file)) = &mut self.reader {
            return file.seek(SeekFrom::Start(offset)).await.map(drop);
        }
        self.reader = Some(match &self.path {
            None => Reader::Stdin(tokio::io::stdin()),
            Some(path) => {
                let mut file = File::open(path).await?;
                if offset > 0 {
                    file.seek(SeekFrom::Start(offset)).await?;
                }
                Reader::File(file)
            }
        });
        Ok(())
    }

    async fn try_piece(&mut self) -> std::io::Result<Option<Bytes>> {
        let mut piece = BytesMut::with_capacity(PIECE);
        match &mut self.reader {
            Some(Reader::File(file)) => fill(file, &mut piece).await?,
            Some(Reader::Stdin(stdin)) => fill(stdin, &mut piece).await?,
            None => {}
        }
        Ok((!piece.is_empty()).then(|| piece.freeze()))
    }
}

async fn fill(reader: &mut (impl AsyncRead + Unpin), piece: &mut BytesMut) -> std::io::Result<()> {
    while piece.len() < PIECE && reader.read_buf(piece).await? > 0 {}
    Ok(())
}

impl Source for FileSource {
    fn can_seek(&self) -> bool {
        self.seekable
    }

    fn is_local(&self) -> bool {
        self.seekable
    }

    async fn local_file(&mut self) -> Option<LocalFile> {
        match &self.reader {
            Some(Reader::File(file)) if self.seekable => {
                let file = file.try_clone().await.ok()?.into_std().await;
                Some(LocalFile::new(file, self.what()))
            }
            _ => None,
        }
    }

    fn total(&self) -> Option<u64> {
        self.len
    }

    async fn open(&mut self, offset: u64) -> Result<(), SourceError> {
        self.try_open(offset)
            .await
            .map_err(|error| self.error(error))
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        self.try_piece().await.map_err(|error| self.error(error))
    }
}
