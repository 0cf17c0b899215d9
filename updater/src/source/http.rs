//! A bundle on a web server. Any server of static files will do; one with Range makes it resumable.

use super::{Source, SourceError};
use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, Response, StatusCode};
use std::time::Duration;

/// Longest time without a byte before a connection is given up.
const STALL: Duration = Duration::from_secs(30);
/// Longest time for a connection to come about.
const CONNECT: Duration = Duration::from_secs(20);
/// Redirects that are followed.
const REDIRECTS: usize = 5;

/// How to speak to the server.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// PEM certificates that alone are trusted; `None` for those of the system.
    pub ca_pem: Option<Vec<u8>>,
}

/// One URL.
pub struct HttpSource {
    client: Client,
    url: String,
    /// What tells one version of the file from another: a strong ETag, else the date.
    validator: Option<String>,
    response: Option<Response>,
    /// Bytes to drop of an answer that begins before the offset that was asked for.
    drop: u64,
}

impl HttpSource {
    /// A source for `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SourceError::Setup`] for certificates that cannot be read or a client that cannot be set up.
    pub fn new(url: &str, options: HttpOptions) -> Result<Self, SourceError> {
        // An error only says that a provider is installed already, by an earlier source of this process.
        drop(rustls::crypto::ring::default_provider().install_default());
        let setup = |error: reqwest::Error| SourceError::Setup(format!("{url}: {}", causes(&error)));
        let mut builder = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(STALL)
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
            .user_agent(concat!("rayos-updater/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &options.ca_pem {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem).map_err(setup)?);
        } else if !url.starts_with("https:") {
            // Without TLS no certificate is needed, and a small system has none to load.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(setup)?;
        Ok(Self { client, url: url.to_owned(), validator: None, response: None, drop: 0 })
    }

    fn network(&self, error: &reqwest::Error) -> SourceError {
        if error.is_redirect() || error.is_builder() {
            return SourceError::Answer { what: self.url.clone(), message: causes(error) };
        }
        SourceError::Network { what: self.url.clone(), message: causes(error) }
    }

    fn answer(&self, message: impl Into<String>) -> SourceError {
        SourceError::Answer { what: self.url.clone(), message: message.into() }
    }

    /// Checks that an answer is of the same file as the answers before it.
    fn check_same(&mut self, headers: &HeaderMap) -> Result<(), SourceError> {
        let validator = validator(headers);
        match (&self.validator, validator) {
            (Some(first), Some(now)) if *first != now => Err(SourceError::Changed { what: self.url.clone() }),
            (None, now) => {
                self.validator = now;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Source for HttpSource {
    fn can_seek(&self) -> bool {
        true
    }

    async fn open(&mut self, offset: u64) -> Result<(), SourceError> {
        self.response = None;
        let mut request = self.client.get(&self.url).header(ACCEPT_ENCODING, "identity");
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
            if let Some(validator) = &self.validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        let response = request.send().await.map_err(|error| self.network(&error))?;
        let status = response.status();
        self.drop = match status {
            StatusCode::OK => {
                self.check_same(response.headers())?;
                // The server does not know Range: what comes before the offset is read and dropped.
                offset
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
                let range = range.unwrap_or_default().to_owned();
                if first_byte(&range) != Some(offset) {
                    return Err(self.answer(format!("range {range:?}, expected one from byte {offset}")));
                }
                self.check_same(response.headers())?;
                0
            }
            _ => return Err(SourceError::Status { what: self.url.clone(), status: status.as_u16() }),
        };
        self.response = Some(response);
        Ok(())
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            let Some(response) = &mut self.response else { return Ok(None) };
            let piece = match response.chunk().await {
                Ok(piece) => piece,
                Err(error) => {
                    self.response = None;
                    return Err(self.network(&error));
                }
            };
            let Some(mut piece) = piece else {
                self.response = None;
                return Ok(None);
            };
            let dropped = self.drop.min(piece.len() as u64);
            self.drop -= dropped;
            let piece = piece.split_off(dropped as usize);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }
}

/// A strong ETag, else the date of the last change (RFC 9110, 13.1.5: a weak ETag must not be used here).
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let strong = text(ETAG).filter(|etag| !etag.starts_with("W/"));
    strong.or_else(|| text(LAST_MODIFIED)).map(str::to_owned)
}

/// First byte of a `Content-Range: bytes FIRST-LAST/LENGTH`.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// The whole chain of causes, since the outer one only says that the request failed.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let words: Vec<String> = chain.skip(1).map(ToString::to_string).collect();
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read() {
        assert_eq!(first_byte("bytes 100-199/200"), Some(100));
        assert_eq!(first_byte("bytes */200"), None);
        assert_eq!(first_byte("items 1-2"), None);
    }

    #[test]
    fn a_weak_etag_is_no_validator() {
        let mut headers = HeaderMap::new();
        headers.insert(ETAG, "W/\"x\"".parse().expect("header"));
        assert_eq!(validator(&headers), None);
        headers.insert(LAST_MODIFIED, "Mon, 01 Jan 2026 00:00:00 GMT".parse().expect("header"));
        assert_eq!(validator(&headers).as_deref(), Some("Mon, 01 Jan 2026 00:00:00 GMT"));
        headers.insert(ETAG, "\"y\"".parse().expect("header"));
        assert_eq!(validator(&headers).as_deref(), Some("\"y\""));
    }
}
