//! HTTPS against a real TLS server, with certificates made by openssl.

use fixtures::hostile::{Asked, HostileServer, Step, Stream, Wrap, head, honestly};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use updater::source::{Fetcher, Retries};
use updater::source::{HttpOptions, HttpSource, SourceError};

const FILE: &[u8] = b"what came over TLS";
const RETRIES: Retries = Retries {
    max_failures: 3,
    seed: 0,
    first_pause: Duration::from_millis(1),
};

/// A connection under TLS.
struct Tls(StreamOwned<ServerConnection, TcpStream>);

impl Read for Tls {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Stream for Tls {
    fn socket(&self) -> &TcpStream {
        &self.0.sock
    }
}

fn openssl(dir: &Path, arguments: &str) {
    let done = Command::new("openssl")
        .current_dir(dir)
        .args(arguments.split(' '))
        .output()
        .expect("openssl");
    assert!(
        done.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// An authority `NAME.pem`, and a certificate of it for `address`, `NAME-server.pem`.
fn authority(dir: &Path, name: &str, address: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        dir,
        &format!("req -x509 {key} -keyout {name}.key -out {name}.pem -days 30 -subj /CN={name}"),
    );
    openssl(
        dir,
        &format!("req {key} -keyout {name}-server.key -out {name}.csr -subj /CN=server"),
    );
    std::fs::write(
        dir.join("extensions"),
        format!("subjectAltName=IP:{address}\n"),
    )
    .expect("extensions");
    openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA {name}.pem -CAkey {name}.key -CAcreateserial -days 30 -out {name}-server.pem -extfile extensions"
        ),
    );
}

/// A server with the certificate that authority `name` made.
fn serve(
    dir: &Path,
    name: &str,
    script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
) -> HostileServer {
    let certificate =
        CertificateDer::from_pem_file(dir.join(format!("{name}-server.pem"))).expect("certificate");
    let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}-server.key"))).expect("key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("configuration");
    let config = Arc::new(config);
    let wrap: Wrap = Arc::new(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).expect("connection");
        Box::new(Tls(StreamOwned::new(connection, stream)))
    });
    HostileServer::start_wrapped(wrap, script).expect("server")
}

fn options(dir: &Path, ca: &str) -> HttpOptions {
    let ca_pem = Some(std::fs::read(dir.join(ca)).expect("CA"));
    HttpOptions {
        ca_pem,
        ..HttpOptions::default()
    }
}

/// What comes from `server` if only the certificates in `ca` are trusted. A certificate is accepted
/// or not: it is never asked for again.
fn fetch(server: &HostileServer, options: HttpOptions) -> Result<Vec<u8>, String> {
    let url = format!("https://{}/x", server.address());
    let source = HttpSource::new(&url, options).expect("source");
    let never = |error: &SourceError, _| panic!("asked again: {error}");
    let mut fetcher = Fetcher::new(source, RETRIES, &never);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let got = runtime.block_on(fetcher.range(0, FILE.len()));
    got.map(|bytes| bytes.to_vec())
        .map_err(|error| error.to_string().replace(&url, "URL"))
}

#[test]
fn the_authority_that_is_given_is_trusted_and_no_other() {
    let dir = tempfile::tempdir().expect("directory");
    authority(dir.path(), "ours", "127.0.0.1");
    authority(dir.path(), "other", "127.0.0.1");
    let server = serve(dir.path(), "ours", |asked| honestly(FILE, asked));
    assert_eq!(
        fetch(&server, options(dir.path(), "ours.pem")).expect("trusted"),
        FILE
    );
    let words = fetch(&server, options(dir.path(), "other.pem")).expect_err("not trusted");
    assert_eq!(
        words,
        "URL: client error (Connect): invalid peer certificate: UnknownIssuer"
    );
}

#[test]
fn an_authority_that_serves_its_own_certificate_is_told_what_is_wrong() {
    let dir = tempfile::tempdir().expect("directory");
    // What `openssl req -x509` makes without more words: signed by itself, and CA:TRUE.
    openssl(
        dir.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout self-server.key -out self-server.pem -days 30 -subj /CN=self -addext subjectAltName=IP:127.0.0.1",
    );
    let server = serve(dir.path(), "self", |asked| honestly(FILE, asked));
    let words = fetch(&server, options(dir.path(), "self-server.pem")).expect_err("not accepted");
    assert!(
        words.ends_with(
            "(the server shows an authority's own certificate, CA:TRUE, and not one that was issued by it)"
        ),
        "{words}"
    );
}

#[test]
fn a_certificate_for_another_address_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    authority(dir.path(), "ours", "127.0.0.2");
    let server = serve(dir.path(), "ours", |asked| honestly(FILE, asked));
    let words = fetch(&server, options(dir.path(), "ours.pem")).expect_err("another address");
    assert!(
        words.contains("certificate not valid for name \"127.0.0.1\""),
        "{words}"
    );
}

#[test]
fn no_redirect_leads_out_of_tls() {
    let dir = tempfile::tempdir().expect("directory");
    authority(dir.path(), "ours", "127.0.0.1");
    let plain = HostileServer::start(|asked| honestly(FILE, asked)).expect("server");
    let to = plain.url("x");
    let server = serve(dir.path(), "ours", move |_| {
        vec![Step::Send(head(
            "302 Found",
            &[("Location", &to), ("Content-Length", "0")],
        ))]
    });
    let words = fetch(&server, options(dir.path(), "ours.pem")).expect_err("a redirect");
    assert!(words.contains("redirect from https to http://"), "{words}");
    assert_eq!(plain.asked(), []);
}

#[test]
fn a_file_without_certificates_is_no_authority() {
    let options = HttpOptions {
        ca_pem: Some(b"nothing in here".to_vec()),
        ..HttpOptions::default()
    };
    let error = HttpSource::new("https://127.0.0.1/", options)
        .err()
        .expect("refused");
    assert_eq!(error.to_string(), "no certificate in the file given as CA");
}
