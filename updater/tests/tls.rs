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
use updater::source::{Fetcher, HttpOptions, HttpSource, Retries, SourceError};

const FILE: &[u8] = b"fetched over TLS";
const RETRIES: Retries = Retries {
    max_failures: 3,
    seed: 0,
    first_pause: Duration::from_millis(1),
    deadline: Duration::from_secs(3600),
};

/// A TLS connection.
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

/// Creates an authority, `NAME.pem`, and a certificate that it issues for `address`,
/// `NAME-server.pem`.
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
            "x509 -req -in {name}.csr -CA {name}.pem -CAkey {name}.key -CAcreateserial -days 30 \
             -out {name}-server.pem -extfile extensions"
        ),
    );
}

/// Starts a server with the certificate that authority `name` issued.
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

/// Fetches the file from `server`. A refused certificate must not be retried.
fn fetch(server: &HostileServer, options: HttpOptions) -> Result<Vec<u8>, String> {
    let url = format!("https://{}/x", server.address());
    let source = HttpSource::new(&url, options).expect("source");
    let never = |error: &SourceError, _| panic!("retried: {error}");
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
fn only_the_given_authority_is_trusted() {
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
fn an_authority_that_serves_its_own_certificate_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    // The default of `openssl req -x509`: self-signed, and CA:TRUE.
    openssl(
        dir.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
         -keyout self-server.key -out self-server.pem -days 30 -subj /CN=self \
         -addext subjectAltName=IP:127.0.0.1",
    );
    let server = serve(dir.path(), "self", |asked| honestly(FILE, asked));
    let words = fetch(&server, options(dir.path(), "self-server.pem")).expect_err("not accepted");
    assert!(
        words.ends_with(
            "(the server presents the certificate of an authority, CA:TRUE, instead of one that \
             the authority issued)"
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
fn a_redirect_from_https_to_http_is_refused() {
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
fn a_ca_file_without_certificates_is_refused() {
    let options = HttpOptions {
        ca_pem: Some(b"nothing in here".to_vec()),
        ..HttpOptions::default()
    };
    let error = HttpSource::new("https://127.0.0.1/", options)
        .err()
        .expect("refused");
    assert_eq!(error.to_string(), "no certificate in the file given as CA");
}
