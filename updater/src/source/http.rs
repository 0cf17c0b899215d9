//! A bundle on a web server. Any server of static files will do; one with Range makes it resumable.

mod answer;

use super::limit::Bucket;
use super::patience::{Impatient, Watch};
use super::{Patience, Rate, Source, SourceError};
use answer::{Asked, Identity, Wrong, judge};
use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, IF_RANGE, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::time::Instant;

/// Redirects that are followed.
const REDIRECTS: usize = 5;

/// How to speak to the server.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// PEM certificates that alone are trusted; `None` for those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// How long it is waited for.
    pub patience: Patience,
    /// Most bytes per second; `None` for as many as come.
    pub limit: Option<Rate>,
}

/// One URL. Proxies are those of the environment (`http_proxy`, `https_proxy`, `all_proxy`,
/// `no_proxy`).
pub struct HttpSource {
    client: Client,
    url: Url,
    patience: Patience,
    /// Over all answers since it was opened, so that a server cannot escape by giving little to
    /// each request.
    watch: Watch,
    limit: Option<Bucket>,
    /// Which version of the file the download began with.
    identity: Option<Identity>,
    /// Whether the server takes ranges; `None` before its first answer.
    ranges: Option<bool>,
    /// Where it may stop reading.
    until: Option<u64>,
    answer: Option<Answer>,
}

/// An answer that is being read.
struct Answer {
    response: Response,
    /// Where the next byte lies in the file.
    at: u64,
    /// Bytes before this one were not asked for: the server does not know ranges.
    wanted: u64,
    /// Where it ends, if it said so.
    to: Option<u64>,
}

impl HttpSource {
    /// A source for `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SourceError::Setup`] for a URL or certificates that cannot be read, or a client that
    /// cannot be set up.
    pub fn new(url: &str, options: HttpOptions) -> Result<Self, SourceError> {
        // An error only says that a provider is installed already, by an earlier source of this
        // process.
        drop(rustls::crypto::ring::default_provider().install_default());
        let setup =
            |error: reqwest::Error| SourceError::Setup(format!("{url}: {}", causes(&error)));
        let parsed =
            Url::parse(url).map_err(|error| SourceError::Setup(format!("{url}: {error}")))?;
        let HttpOptions {
            ca_pem,
            patience,
            limit,
        } = options;
        let mut builder = Client::builder()
            .connect_timeout(patience.connect)
            .redirect(redirects())
            .user_agent(concat!("rayos-updater/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(setup)?;
            if certificates.is_empty() {
                return Err(SourceError::Setup(
                    "no certificate in the file given as CA".to_owned(),
                ));
            }
            builder = builder.tls_certs_only(certificates);
        } else if parsed.scheme() != "https" {
            // Without TLS no certificate is needed, and a small system has none to load.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(setup)?;
        let limit = limit.map(Bucket::new);
        Ok(Self {
            client,
            url: parsed,
            patience,
            watch: Watch::new(patience),
            limit,
            identity: None,
            ranges: None,
            until: None,
            answer: None,
        })
    }

    /// The URL for messages: without the password that may be in it.
    fn what(&self) -> String {
        let mut url = self.url.clone();
        if url.password().is_some() && url.set_password(Some("...")).is_err() {
            return "(URL)".to_owned();
        }
        url.to_string()
    }

    fn network(&self, error: &reqwest::Error) -> SourceError {
        let (what, message) = (self.what(), causes(error));
        if error.is_redirect() || error.is_builder() {
            return SourceError::Answer { what, message };
        }
        if error.is_connect() && is_untrusted(error) {
            // What webpki says is no more than this name.
            let hint = if message.contains("CaUsedAsEndEntity") {
                " (the server shows an authority's own certificate, CA:TRUE, and not one that was issued by it)"
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

    fn impatient(&self, impatient: &Impatient) -> SourceError {
        SourceError::Network {
            what: self.what(),
            message: impatient.to_string(),
        }
    }

    fn wrong(&self, wrong: Wrong) -> SourceError {
        let what = self.what();
        match wrong {
            Wrong::Status {
                status,
                retry_after,
            } => SourceError::Status {
                what,
                status,
                retry_after,
            },
            Wrong::Contradiction(message) => SourceError::Answer { what, message },
            Wrong::Ended { total, asked } => SourceError::Ended { what, total, asked },
        }
    }

    async fn ask(&mut self, asked: Asked) -> Result<(), SourceError> {
        self.answer = None;
        let mut request = self
            .client
            .get(self.url.clone())
            .header(ACCEPT_ENCODING, "identity");
        // From the first byte on a range is asked for: the answer tells whether the server knows
        // ranges.
        request = request.header(RANGE, asked.range());
        if let Some(validator) = self.identity.as_ref().and_then(Identity::validator) {
            request = request.header(IF_RANGE, validator);
        }
        let began = Instant::now();
        let answered = tokio::time::timeout(self.patience.answer, request.send()).await;
        self.watch.waited(began.elapsed());
        let answered =
            answered.map_err(|_| self.impatient(&Impatient::Stalled(self.patience.answer)))?;
        let response = answered.map_err(|error| self.network(&error))?;
        let promised = judge(response.status(), response.headers(), asked)
            .map_err(|wrong| self.wrong(wrong))?;
        let identity = Identity::new(response.headers(), &promised);
        match &mut self.identity {
            Some(first) if !first.fits(&identity) => {
                return Err(SourceError::Changed { what: self.what() });
            }
            Some(first) => first.learn(identity),
            None => self.identity = Some(identity),
        }
        self.ranges = Some(promised.ranges);
        self.answer = Some(Answer {
            response,
            at: promised.from,
            wanted: asked.from,
            to: promised.to,
        });
        Ok(())
    }

    /// The next bytes that were asked for out of the present answer; `None` at its end.
    async fn read(&mut self) -> Result<Option<Bytes>, SourceError> {
        while let Some(answer) = &mut self.answer {
            let len = |piece: &reqwest::Result<Option<Bytes>>| {
                piece
                    .as_ref()
                    .map_or(0, |piece| piece.as_ref().map_or(0, Bytes::len))
            };
            let piece = self.watch.piece(answer.response.chunk(), len).await;
            let piece = piece.map_err(|impatient| self.impatient(&impatient))?;
            let Some(mut piece) = piece.map_err(|error| self.network(&error))? else {
                return Ok(None);
            };
            if let Some(bucket) = &mut self.limit {
                bucket.take(piece.len()).await;
            }
            let Some(answer) = &mut self.answer else {
                break;
            };
            let before = answer
                .wanted
                .saturating_sub(answer.at)
                .min(piece.len() as u64);
            answer.at += piece.len() as u64;
            let piece = piece.split_off(before as usize);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

impl Source for HttpSource {
    fn can_reopen(&self) -> bool {
        true
    }

    fn can_seek(&self) -> bool {
        self.ranges != Some(false)
    }

    fn total(&self) -> Option<u64> {
        self.identity.as_ref().and_then(Identity::total)
    }

    fn until(&mut self, end: Option<u64>) {
        self.until = end;
    }

    async fn open(&mut self, offset: u64) -> Result<(), SourceError> {
        self.watch = Watch::new(self.patience);
        if self.total() == Some(offset) {
            // There is nothing to ask for, and a server would answer that there is not.
            self.answer = None;
            return Ok(());
        }
        self.ask(Asked {
            from: offset,
            to: self.until.filter(|until| *until > offset),
        })
        .await
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            match self.read().await {
                Ok(Some(piece)) => return Ok(Some(piece)),
                Ok(None) => {}
                Err(error) => {
                    self.answer = None;
                    return Err(error);
                }
            }
            let Some(Answer { at, to, wanted, .. }) = self.answer.take() else {
                return Ok(None);
            };
            let early = |message: String| SourceError::Network {
                what: self.what(),
                message,
            };
            if let Some(to) = to.filter(|to| at < *to) {
                return Err(early(format!("answer ended at byte {at}, expected {to}")));
            }
            let end = [self.until, self.total()].into_iter().flatten().min();
            if self.ranges == Some(false) || end.is_none_or(|end| at >= end) || at < wanted {
                return Ok(None);
            }
            if at == wanted {
                return Err(early(format!("empty answer at byte {at}")));
            }
            // A server may give less than it was asked for (RFC 9110, 15.3.7).
            self.ask(Asked {
                from: at,
                to: self.until,
            })
            .await?;
        }
    }
}

/// A few redirects, and none from https to http: who listens on the line would learn what is
/// fetched.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let was_secure = attempt
            .previous()
            .last()
            .is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTS {
            attempt.error(format!("more than {REDIRECTS} redirects"))
        } else if was_secure && attempt.url().scheme() != "https" {
            let url = attempt.url().to_string();
            attempt.error(format!("redirect from https to {url}"))
        } else {
            attempt.follow()
        }
    })
}

/// Whether TLS failed since the server's certificate is not accepted: trying again would not help.
fn is_untrusted(error: &reqwest::Error) -> bool {
    chain(error).any(|cause| {
        matches!(
            innermost(cause).downcast_ref(),
            Some(rustls::Error::InvalidCertificate(_))
        )
    })
}

/// What lies in I/O errors that lie in each other: they do not name it as their source.
fn innermost<'e>(
    mut error: &'e (dyn std::error::Error + 'static),
) -> &'e (dyn std::error::Error + 'static) {
    while let Some(inner) = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        error = inner;
    }
    error
}

fn chain<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The whole chain of causes, since the outer one only says that the request failed; each once.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = chain(error).skip(1).map(ToString::to_string).collect();
    words.dedup();
    if words.is_empty() {
        error.to_string()
    } else {
        words.join(": ")
    }
}
