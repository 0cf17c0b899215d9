//! A bundle on a web server. Any server of static files will do; one with Range makes it resumable.

mod answer;

use super::byte_source::Source;
use super::error::SourceError;
use super::rate_limit::{Bucket, Rate};
use super::redacted::redacted;
use super::timeouts::{Impatient, Patience, Watch};
use answer::{Asked, Identity, Wrong, coding, judge};
use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, Url};
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

/// Variables of the environment that name a proxy, with the schemes of URLs that they are for.
const PROXY_VARIABLES: [(&str, &[&str]); 6] = [
    ("http_proxy", &["http"]),
    ("https_proxy", &["https"]),
    ("HTTPS_PROXY", &["https"]),
    ("HTTP_PROXY", &["http"]),
    ("all_proxy", &["http", "https"]),
    ("ALL_PROXY", &["http", "https"]),
];

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
    /// What the headers of later answers say that may explain wrong bytes.
    doubt: Option<Doubt>,
    /// Whether the server takes ranges; `None` before its first answer.
    ranges: Option<bool>,
    /// Where it may stop reading.
    until: Option<u64>,
    answer: Option<Answer>,
}

/// What headers say that may explain wrong bytes.
enum Doubt {
    /// Validators differ between answers.
    Changed,
    /// An answer names a content coding, though none was accepted.
    Coding(String),
}

/// Why a request brought no answer to read.
enum Unanswered {
    /// The range ends behind the file of this length.
    EndsBehind { total: u64 },
    /// Anything else.
    Failed(SourceError),
}

impl From<SourceError> for Unanswered {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
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
        let shown = redacted(url);
        let setup = |error: reqwest::Error| {
            SourceError::Setup(format!("{shown}: {}", causes(&error.without_url())))
        };
        let parsed = parse(url, &shown)?;
        refuse_socks(&parsed)?;
        let HttpOptions {
            ca_pem,
            patience,
            limit,
        } = options;
        let mut builder = client_builder(&patience);
        if let Some(pem) = &ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(setup)?;
            if certificates.is_empty() {
                return Err(SourceError::Setup(
                    "no certificate in the file given as CA".to_owned(),
                ));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let client = match builder.build() {
            // Without TLS no certificate is needed, and a small system has none to load. Where it
            // has some they serve a redirect to https.
            Err(_) if ca_pem.is_none() && parsed.scheme() == "http" => client_builder(&patience)
                .tls_certs_only([])
                .build()
                .map_err(setup)?,
            built => built.map_err(setup)?,
        };
        let limit = limit.map(Bucket::new);
        Ok(Self {
            client,
            url: parsed,
            patience,
            watch: Watch::new(patience),
            limit,
            identity: None,
            doubt: None,
            ranges: None,
            until: None,
            answer: None,
        })
    }

    /// Returns the URL for messages.
    fn what(&self) -> String {
        redacted(self.url.as_str())
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
            Wrong::EndsBehind { .. } => SourceError::Status {
                what,
                status: 416,
                retry_after: None,
            },
            Wrong::Contradiction(message) => SourceError::Answer { what, message },
            Wrong::Ended { total, asked } => SourceError::Ended { what, total, asked },
        }
    }

    /// Asks for a range. A server that refuses it only because it ends behind the file is asked
    /// again, up to the file's end.
    async fn ask(&mut self, asked: Asked) -> Result<(), SourceError> {
        match self.ask_once(asked).await {
            Err(Unanswered::EndsBehind { total }) => {
                let to = Some(total);
                self.ask_once(Asked { to, ..asked }).await
            }
            answered => answered,
        }
        .map_err(|unanswered| match unanswered {
            Unanswered::Failed(error) => error,
            Unanswered::EndsBehind { .. } => self.wrong(Wrong::Status {
                status: 416,
                retry_after: None,
            }),
        })
    }

    async fn ask_once(&mut self, asked: Asked) -> Result<(), Unanswered> {
        self.answer = None;
        // From the first byte on a range is asked for: the answer tells whether the server knows
        // ranges. No `If-Range`: nodes behind one name give the same bytes different validators,
        // and every chunk is verified.
        let request = self
            .client
            .get(self.url.clone())
            .header(ACCEPT_ENCODING, "identity")
            .header(RANGE, asked.range());
        let began = Instant::now();
        let answered = tokio::time::timeout(self.patience.answer, request.send()).await;
        self.watch.waited(began.elapsed());
        let answered =
            answered.map_err(|_| self.impatient(&Impatient::Stalled(self.patience.answer)))?;
        let response = answered.map_err(|error| self.network(&error.without_url()))?;
        let promised = match judge(response.status(), response.headers(), asked) {
            Err(Wrong::EndsBehind { total }) => return Err(Unanswered::EndsBehind { total }),
            judged => judged.map_err(|wrong| self.wrong(wrong))?,
        };
        if let Some(coding) = coding(response.headers()) {
            self.doubt = Some(Doubt::Coding(coding));
        }
        let identity = Identity::new(response.headers(), &promised);
        match &mut self.identity {
            Some(first) if !first.has_same_length(&identity) => {
                return Err(SourceError::Changed { what: self.what() }.into());
            }
            Some(first) => {
                if !first.fits(&identity) {
                    self.doubt = Some(Doubt::Changed);
                }
                first.learn(identity);
            }
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
            let Some(mut piece) = piece.map_err(|error| self.network(&error.without_url()))? else {
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

    fn doubt(&self) -> Option<SourceError> {
        let what = self.what();
        self.doubt.as_ref().map(|doubt| match doubt {
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

fn client_builder(patience: &Patience) -> ClientBuilder {
    Client::builder()
        .connect_timeout(patience.connect)
        .redirect(redirects())
        .user_agent(concat!("rayos-updater/", env!("CARGO_PKG_VERSION")))
}

fn parse(url: &str, shown: &str) -> Result<Url, SourceError> {
    let has_zone = || {
        let host = shown
            .split_once("://[")
            .and_then(|(_, rest)| rest.split_once(']'));
        host.is_some_and(|(host, _)| host.contains('%'))
    };
    Url::parse(url).map_err(|error| {
        let hint = if has_zone() {
            " with a zone: give the interface's link a route, or use a name or global address"
        } else {
            ""
        };
        SourceError::Setup(format!("{shown}: {error}{hint}"))
    })
}

/// Refuses a SOCKS proxy by name, before anything is sent: it would be passed over silently.
fn refuse_socks(url: &Url) -> Result<(), SourceError> {
    for (variable, schemes) in PROXY_VARIABLES {
        let value = std::env::var(variable).unwrap_or_default();
        let is_socks = value
            .get(..5)
            .is_some_and(|start| start.eq_ignore_ascii_case("socks"));
        if is_socks && schemes.contains(&url.scheme()) {
            return Err(SourceError::Setup(format!(
                "{variable} names a SOCKS proxy, {}: expected an HTTP proxy",
                redacted(&value)
            )));
        }
    }
    Ok(())
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
            let url = redacted(attempt.url().as_str());
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
