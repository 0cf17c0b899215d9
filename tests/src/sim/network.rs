//! A network with a bundle at its other end, that goes wrong at one request on command.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use updater::source::{MemorySource, Source, SourceError};

/// Bytes that still come before a connection breaks in the middle of a chunk, where it is not known
/// how many are wanted.
const UNTIL_RESET: usize = 1000;
/// Bytes that come at a time.
const PIECE: usize = 4096;

/// How a request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetFaultKind {
    /// The server is too busy to answer.
    Busy,
    /// The connection is lost before the first byte.
    Drop,
    /// It is lost in the middle of a chunk.
    Reset,
    /// The server ends its answer in the middle of a chunk, as if that were all.
    Ends,
    /// The file is gone.
    Gone,
    /// The file has another ETag than before.
    Changed,
    /// From here on the server sends other bytes, and says nothing.
    OtherBytes,
}

impl NetFaultKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Busy,
        Self::Drop,
        Self::Reset,
        Self::Ends,
        Self::Gone,
        Self::Changed,
        Self::OtherBytes,
    ];

    /// Whether the update must get over it by itself, without being started again.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::Drop | Self::Reset)
    }
}

/// What goes wrong at one request, counted from 0 over everything that is downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetFault {
    /// The request.
    pub at: usize,
    /// How.
    pub kind: NetFaultKind,
}

/// The network of a machine.
#[derive(Clone, Debug, Default)]
pub struct SimNetwork {
    fault: Option<NetFault>,
    requests: Arc<AtomicUsize>,
}

impl SimNetwork {
    /// From now on this fault happens; requests are counted anew.
    pub fn fail(&mut self, fault: Option<NetFault>) {
        *self = Self {
            fault,
            requests: Arc::default(),
        };
    }

    /// What goes wrong.
    #[must_use]
    pub const fn fault(&self) -> Option<NetFault> {
        self.fault
    }

    /// Requests so far.
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
    broken: Option<NetFaultKind>,
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
            Some(NetFaultKind::Busy) => return Err(failed(503)),
            Some(NetFaultKind::Gone) => return Err(failed(404)),
            Some(NetFaultKind::Changed) => {
                return Err(SourceError::Changed {
                    what: "simulated".to_owned(),
                });
            }
            Some(NetFaultKind::Drop) => self.left = 0,
            Some(NetFaultKind::OtherBytes) => self.is_other = true,
            Some(NetFaultKind::Reset | NetFaultKind::Ends) | None => {}
        }
        self.file.open(offset).await
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        let breaks = match self.broken {
            Some(NetFaultKind::Drop | NetFaultKind::Reset) => true,
            Some(NetFaultKind::Ends) if self.left == 0 => return Ok(None),
            kind => kind == Some(NetFaultKind::Ends),
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
