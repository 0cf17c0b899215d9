//! A server of bundles that fails at one request on command.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use updater::source::{MemorySource, Source, SourceError};

/// Bytes that arrive before a connection breaks in the middle of a chunk, if the length of the
/// request is not known.
const UNTIL_RESET: usize = 1000;
/// Bytes that arrive at a time.
const PIECE: usize = 4096;

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFaultKind {
    /// The server is too busy to answer.
    Busy,
    /// The connection is lost before the first byte.
    Drop,
    /// The connection is lost in the middle of a chunk.
    Reset,
    /// The server ends its answer in the middle of a chunk without an error.
    Ends,
    /// The file was deleted.
    Gone,
    /// The ETag of the file has changed.
    Changed,
    /// The server sends other bytes from now on, without an error.
    OtherBytes,
}

impl RequestFaultKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Busy,
        Self::Drop,
        Self::Reset,
        Self::Ends,
        Self::Gone,
        Self::Changed,
        Self::OtherBytes,
    ];

    /// Returns true if the update must recover by itself, without a new start.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Busy | Self::Drop | Self::Reset | Self::Ends)
    }
}

/// A fault of one request, numbered from 0 over all downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFault {
    /// Number of the request.
    pub at: usize,
    /// How it fails.
    pub kind: RequestFaultKind,
}

/// The network of a machine.
#[derive(Clone, Debug, Default)]
pub struct SimNetwork {
    fault: Option<RequestFault>,
    requests: Arc<AtomicUsize>,
}

impl SimNetwork {
    /// Sets the fault, and counts requests from 0 again.
    pub fn set_fault(&mut self, fault: Option<RequestFault>) {
        *self = Self {
            fault,
            requests: Arc::default(),
        };
    }

    /// The fault, if one is set.
    #[must_use]
    pub const fn fault(&self) -> Option<RequestFault> {
        self.fault
    }

    /// Number of requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// A file on a server.
    #[must_use]
    pub fn file(&self, bytes: impl Into<Bytes>) -> SimSource {
        let file = MemorySource::new(bytes, PIECE);
        SimSource {
            file,
            network: self.clone(),
            end: None,
            broken: None,
            left: 0,
            is_other: false,
        }
    }
}

/// A file on a server, as the updater asks for it.
pub struct SimSource {
    file: MemorySource,
    network: SimNetwork,
    /// Where the present request ends.
    end: Option<u64>,
    /// What is wrong with the present answer.
    broken: Option<RequestFaultKind>,
    /// Bytes that come before that shows.
    left: usize,
    is_other: bool,
}

fn failed(status: u16) -> SourceError {
    SourceError::Status {
        what: "simulated".to_owned(),
        status,
        retry_after: None,
    }
}

impl Source for SimSource {
    fn can_seek(&self) -> bool {
        self.file.can_seek()
    }

    fn total(&self) -> Option<u64> {
        self.file.total()
    }

    fn until(&mut self, end: Option<u64>) {
        self.end = end;
        self.file.until(end);
    }

    async fn open(&mut self, offset: u64) -> Result<(), SourceError> {
        let number = self.network.requests.fetch_add(1, Ordering::Relaxed);
        self.broken = self
            .network
            .fault
            .filter(|fault| fault.at == number)
            .map(|fault| fault.kind);
        let half = self.end.map(|end| end.saturating_sub(offset) as usize / 2);
        self.left = half.unwrap_or(UNTIL_RESET);
        match self.broken {
            Some(RequestFaultKind::Busy) => return Err(failed(503)),
            Some(RequestFaultKind::Gone) => return Err(failed(404)),
            Some(RequestFaultKind::Changed) => {
                return Err(SourceError::Changed {
                    what: "simulated".to_owned(),
                });
            }
            Some(RequestFaultKind::Drop) => self.left = 0,
            Some(RequestFaultKind::OtherBytes) => self.is_other = true,
            Some(RequestFaultKind::Reset | RequestFaultKind::Ends) | None => {}
        }
        self.file.open(offset).await
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        let breaks = match self.broken {
            Some(RequestFaultKind::Drop | RequestFaultKind::Reset) => true,
            Some(RequestFaultKind::Ends) if self.left == 0 => return Ok(None),
            kind => kind == Some(RequestFaultKind::Ends),
        };
        if breaks && self.left == 0 {
            let message = "connection lost".to_owned();
            return Err(SourceError::Network {
                what: "simulated".to_owned(),
                message,
            });
        }
        let Some(mut piece) = self.file.piece().await? else {
            return Ok(None);
        };
        if breaks {
            piece.truncate(self.left);
            self.left -= piece.len();
        }
        if self.is_other {
            piece = piece.iter().map(|byte| !byte).collect();
        }
        Ok(Some(piece))
    }
}
