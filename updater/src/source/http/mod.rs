//! A bundle on a web server. Any server of static files will do; one that supports `Range` makes
//! the download resumable.

mod cause;
mod client;
mod response;

use super::byte_source::Source;
use super::error::SourceError;
use super::rate_limit::{Rate, TokenBucket};
use super::redacted::redacted;
use super::timeouts::{TimeoutError, Timeouts, TransferMonitor};
use bytes::Bytes;
use cause::{causes, is_untrusted};
use reqwest::header::{ACCEPT_ENCODING, RANGE};
use reqwest::{Client, Response, Url};
use response::{FileVersion, RangeRequest, ResponseError, ResponseHead, check, content_coding};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Options of HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// PEM certificates to trust exclusively; `None` for those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Limits of waiting.
    pub timeouts: Timeouts,
    /// Maximum speed; `None` for no limit.
    pub limit: Option<Rate>,
}

/// One URL. Proxies are those of the environment (`http_proxy`, `https_proxy`, `all_proxy`,
/// `no_proxy`).
pub struct HttpSource {
    client: Client,
    url: Url,
    timeouts: Timeouts,
    /// Covers all responses since it was opened, so that a server cannot evade the limits by
    /// sending little in each of them.
    monitor: TransferMonitor,
    limit: Option<TokenBucket>,
    /// Shared with all forks.
    file: Arc<Mutex<RemoteFile>>,
    /// The announced end of the bytes that will be read.
    until: Option<u64>,
    body: Option<Body>,
}

/// What the responses so far say about the file.
#[derive(Default)]
struct RemoteFile {
    /// The version of the file that the download began with.
    version: Option<FileVersion>,
    /// Headers of later responses that may explain wrong bytes.
    doubt: Option<Doubt>,
    /// The server supports ranges; `None` before its first response.
    ranges: Option<bool>,
}

impl RemoteFile {
    /// Notes the head of a response. Returns whether it can be of the same file: only another
    /// length rules that out.
    fn note(&mut self, version: FileVersion, head: &ResponseHead) -> bool {
        match &mut self.version {
            Some(first) if !first.has_same_length(&version) => return false,
            Some(first) => {
                if !first.may_be(&version) {
                    self.doubt = Some(Doubt::Changed);
                }
                first.complete_from(version);
            }
            None => self.version = Some(version),
        }
        self.ranges = Some(head.ranges);
        true
    }
}

/// Headers that may explain wrong bytes.
enum Doubt {
    /// Validators differ between responses.
    Changed,
    /// A response names a content coding, though the request accepted none.
    Coding(String),
}

/// A request without a response to read.
enum RequestError {
    /// The range ends beyond the end of the file, which is at `total`.
    EndsBeyond { total: u64 },
    /// Any other error.
    Failed(SourceError),
}

impl From<SourceError> for RequestError {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

/// The body of a response that is being read.
struct Body {
    response: Response,
    /// Offset in the file of the next byte.
    at: u64,
    /// Offset of the first byte that was requested. A server without ranges sends those before it,
    /// too.
    wanted: u64,
    /// Offset of the end, if the server announced it.
    end: Option<u64>,
}

impl HttpSource {
    /// Returns a source for `url`. It sends nothing yet.
    ///
    /// # Errors
    /// [`SourceError::Setup`] for a URL, certificates or a proxy that cannot be used.
    pub fn new(url: &str, options: HttpOptions) -> Result<Self, SourceError> {
        let HttpOptions {
            ca_pem,
            timeouts,
            limit,
        } = options;
        let url = client::parse(url)?;
        Ok(Self {
            client: client::build(&url, ca_pem.as_deref(), &timeouts)?,
            url,
            timeouts,
            monitor: TransferMonitor::new(timeouts),
            limit: limit.map(TokenBucket::new),
            file: Arc::default(),
            until: None,
            body: None,
        })
    }

    fn file(&self) -> MutexGuard<'_, RemoteFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the URL for messages.
    fn what(&self) -> String {
        redacted(self.url.as_str())
    }

    fn client_error(&self, error: reqwest::Error) -> SourceError {
        let error = error.without_url();
        let (what, message) = (self.what(), causes(&error));
        if error.is_redirect() || error.is_builder() {
            return SourceError::Answer { what, message };
        }
        if error.is_connect() && is_untrusted(&error) {
            // webpki reports no more than this name.
            let hint = if message.contains("CaUsedAsEndEntity") {
                " (the server presents the certificate of an authority, CA:TRUE, instead of one \
                 that the authority issued)"
            } else {
                ""
            };
            return SourceError::Untrusted {
                what,
                message: message + hint,
            };
        }
        SourceError::Network { what, message }
    }

    fn timeout_error(&self, error: &TimeoutError) -> SourceError {
        self.network_error(error.to_string())
    }

    fn network_error(&self, message: String) -> SourceError {
        SourceError::Network {
            what: self.what(),
            message,
        }
    }

    fn response_error(&self, error: ResponseError) -> SourceError {
        let what = self.what();
        match error {
            ResponseError::Status {
                status,
                retry_after,
            } => SourceError::Status {
                what,
                status,
                retry_after,
            },
            ResponseError::EndsBeyond { .. } => SourceError::Status {
                what,
                status: 416,
                retry_after: None,
            },
            ResponseError::Mismatch(message) => SourceError::Answer { what, message },
            ResponseError::Ended { total, asked } => SourceError::Ended { what, total, asked },
        }
    }

    /// Requests a range. If the server refuses it only because it ends beyond the end of the file,
    /// requests it up to the end of the file.
    async fn request(&mut self, range: RangeRequest) -> Result<(), SourceError> {
        let requested = match self.request_once(range).await {
            Err(RequestError::EndsBeyond { total }) => {
                let end = Some(total);
                self.request_once(RangeRequest { end, ..range }).await
            }
            requested => requested,
        };
        requested.map_err(|error| match error {
            RequestError::Failed(error) => error,
            RequestError::EndsBeyond { total } => {
                self.response_error(ResponseError::EndsBeyond { total })
            }
        })
    }

    async fn request_once(&mut self, range: RangeRequest) -> Result<(), RequestError> {
        self.body = None;
        // Also the first request has a range: the response tells whether the server supports
        // ranges. No `If-Range`: nodes behind one name give the same bytes different validators,
        // and every chunk is verified.
        let request = self
            .client
            .get(self.url.clone())
            .header(ACCEPT_ENCODING, "identity")
            .header(RANGE, range.to_header());
        let start = Instant::now();
        let response = tokio::time::timeout(self.timeouts.response, request.send()).await;
        self.monitor.add_wait(start.elapsed());
        let response = response
            .map_err(|_| self.timeout_error(&TimeoutError::Stalled(self.timeouts.response)))?
            .map_err(|error| self.client_error(error))?;
        self.accept(response, range)
    }

    /// Checks the head of a response, and makes its body the one that is read.
    fn accept(&mut self, response: Response, range: RangeRequest) -> Result<(), RequestError> {
        let head = match check(response.status(), response.headers(), range) {
            Err(ResponseError::EndsBeyond { total }) => {
                return Err(RequestError::EndsBeyond { total });
            }
            checked => checked.map_err(|error| self.response_error(error))?,
        };
        let version = FileVersion::new(response.headers(), &head);
        if let Some(coding) = content_coding(response.headers()) {
            self.file().doubt = Some(Doubt::Coding(coding));
        }
        if !self.file().note(version, &head) {
            return Err(SourceError::Changed { what: self.what() }.into());
        }
        self.body = Some(Body {
            response,
            at: head.start,
            wanted: range.start,
            end: head.end,
        });
        Ok(())
    }

    /// Returns the next requested bytes of the body; `None` at its end.
    async fn read(&mut self) -> Result<Option<Bytes>, SourceError> {
        while let Some(body) = &mut self.body {
            let received = self
                .monitor
                .wait_for(body.response.chunk(), received_len)
                .await
                .map_err(|error| self.timeout_error(&error))?
                .map_err(|error| self.client_error(error))?;
            let Some(mut received) = received else {
                return Ok(None);
            };
            if let Some(bucket) = &self.limit {
                bucket.take(received.len()).await;
            }
            let Some(body) = &mut self.body else {
                break;
            };
            let unwanted = body.wanted.saturating_sub(body.at);
            body.at += received.len() as u64;
            let piece = received.split_off(unwanted.min(received.len() as u64) as usize);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// Handles the end of `body`: requests more if the server sent less than was asked for. Returns
    /// whether there is more to read.
    async fn continue_after(&mut self, body: Body) -> Result<bool, SourceError> {
        let Body {
            at, end, wanted, ..
        } = body;
        if let Some(end) = end.filter(|end| at < *end) {
            return Err(self.network_error(format!("answer ended at byte {at}, expected {end}")));
        }
        let wanted_end = [self.until, self.total()].into_iter().flatten().min();
        if self.file().ranges == Some(false)
            || wanted_end.is_none_or(|end| at >= end)
            || at < wanted
        {
            return Ok(false);
        }
        if at == wanted {
            return Err(self.network_error(format!("empty answer at byte {at}")));
        }
        // A server may send less than it was asked for (RFC 9110, 15.3.7).
        self.request(RangeRequest {
            start: at,
            end: self.until,
        })
        .await?;
        Ok(true)
    }
}

fn received_len(received: &reqwest::Result<Option<Bytes>>) -> usize {
    match received {
        Ok(Some(bytes)) => bytes.len(),
        Ok(None) | Err(_) => 0,
    }
}

impl Source for HttpSource {
    fn can_reopen(&self) -> bool {
        true
    }

    fn can_seek(&self) -> bool {
        self.file().ranges != Some(false)
    }

    fn fork(&self) -> Option<Self> {
        Some(Self {
            client: self.client.clone(),
            url: self.url.clone(),
            timeouts: self.timeouts,
            monitor: TransferMonitor::new(self.timeouts),
            limit: self.limit.clone(),
            file: Arc::clone(&self.file),
            until: None,
            body: None,
        })
    }

    fn total(&self) -> Option<u64> {
        self.file().version.as_ref().and_then(FileVersion::total)
    }

    fn doubt(&self) -> Option<SourceError> {
        let what = self.what();
        self.file().doubt.as_ref().map(|doubt| match doubt {
            Doubt::Changed => SourceError::Changed { what },
            Doubt::Coding(coding) => SourceError::Answer {
                what,
                message: format!("content coding {coding}, expected none"),
            },
        })
    }

    fn until(&mut self, end: Option<u64>) {
        self.until = end;
    }

    async fn open(&mut self, offset: u64) -> Result<(), SourceError> {
        self.monitor = TransferMonitor::new(self.timeouts);
        if self.total() == Some(offset) {
            // A server would refuse a range that begins at the end of the file.
            self.body = None;
            return Ok(());
        }
        self.request(RangeRequest {
            start: offset,
            end: self.until.filter(|until| *until > offset),
        })
        .await
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            match self.read().await {
                Ok(Some(piece)) => return Ok(Some(piece)),
                Ok(None) => {}
                Err(error) => {
                    self.body = None;
                    return Err(error);
                }
            }
            let Some(body) = self.body.take() else {
                return Ok(None);
            };
            if !self.continue_after(body).await? {
                return Ok(None);
            }
        }
    }
}
