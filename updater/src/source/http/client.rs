//! The HTTP client: certificates, proxies, redirects.

use crate::source::error::SourceError;
use crate::source::http::cause::causes;
use crate::source::redacted::redacted;
use crate::source::timeouts::Timeouts;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Url};

/// Maximum number of redirects.
const MAX_REDIRECTS: usize = 5;

/// Environment variables that name a proxy, with the URL schemes that they apply to.
const PROXY_VARIABLES: [(&str, &[&str]); 6] = [
    ("http_proxy", &["http"]),
    ("https_proxy", &["https"]),
    ("HTTPS_PROXY", &["https"]),
    ("HTTP_PROXY", &["http"]),
    ("all_proxy", &["http", "https"]),
    ("ALL_PROXY", &["http", "https"]),
];

/// Returns a client for `url`. *Reads* the environment and, without `ca_pem`, the system's
/// certificates.
///
/// # Errors
/// [`SourceError::Setup`] for certificates that cannot be read, and for a SOCKS proxy.
pub(super) fn build(
    url: &Url,
    ca_pem: Option<&[u8]>,
    timeouts: &Timeouts,
) -> Result<Client, SourceError> {
    // Fails only if an earlier source of this process installed the provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    refuse_socks(url)?;
    let shown = redacted(url.as_str());
    let setup = |error: reqwest::Error| {
        SourceError::Setup(format!("{shown}: {}", causes(&error.without_url())))
    };
    let mut builder = builder(timeouts);
    if let Some(pem) = ca_pem {
        let certificates = Certificate::from_pem_bundle(pem).map_err(setup)?;
        if certificates.is_empty() {
            let message = "no certificate in the file given as CA";
            return Err(SourceError::Setup(message.to_owned()));
        }
        builder = builder.tls_certs_only(certificates);
    }
    match builder.build() {
        // A small system may have no certificates, and plain HTTP needs none. Where there are some,
        // they serve a redirect to https.
        Err(_) if ca_pem.is_none() && url.scheme() == "http" => self::builder(timeouts)
            .tls_certs_only([])
            .build()
            .map_err(setup),
        built => built.map_err(setup),
    }
}

/// Parses a URL. *Pure.*
///
/// # Errors
/// [`SourceError::Setup`].
pub(super) fn parse(url: &str) -> Result<Url, SourceError> {
    let shown = redacted(url);
    Url::parse(url).map_err(|error| {
        let hint = if has_zone(&shown) {
            " with a zone: give the interface's link a route, or use a name or global address"
        } else {
            ""
        };
        SourceError::Setup(format!("{shown}: {error}{hint}"))
    })
}

/// Returns whether the host is an IPv6 address with a zone (`[fe80::1%eth0]`).
fn has_zone(url: &str) -> bool {
    let host = url
        .split_once("://[")
        .and_then(|(_, rest)| rest.split_once(']'));
    host.is_some_and(|(host, _)| host.contains('%'))
}

fn builder(timeouts: &Timeouts) -> ClientBuilder {
    Client::builder()
        .connect_timeout(timeouts.connect)
        .redirect(redirects())
        .user_agent(concat!("rayos-updater/", env!("CARGO_PKG_VERSION")))
}

/// Refuses a SOCKS proxy before anything is sent: the client would bypass it silently.
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

/// Follows a few redirects, and none from https to http, which would show an eavesdropper the name
/// of the file.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let was_secure = attempt
            .previous()
            .last()
            .is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error(format!("more than {MAX_REDIRECTS} redirects"))
        } else if was_secure && attempt.url().scheme() != "https" {
            let url = redacted(attempt.url().as_str());
            attempt.error(format!("redirect from https to {url}"))
        } else {
            attempt.follow()
        }
    })
}
