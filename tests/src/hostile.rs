//! A web server that misbehaves on request, for whoever must not be harmed by one. It speaks HTTP/1.1 by hand: no
//! well-made server would send what this one sends.

use crate::Failure;
use rustix::net::sockopt::set_socket_linger;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which request of this server it is, from 0 on.
    pub number: usize,
    /// Which connection it came by, from 0 on.
    pub connection: usize,
    /// Its first line.
    pub line: String,
    /// First byte, and the one after the last, of `Range: bytes=`.
    pub range: Option<(u64, Option<u64>)>,
    /// `If-Range`.
    pub if_range: Option<String>,
}

impl Asked {
    /// The path (for a proxy: the URL).
    #[must_use]
    pub fn path(&self) -> &str {
        self.line.split_whitespace().nth(1).unwrap_or_default()
    }
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes over and over, until the client goes away.
    Endless(Vec<u8>),
    /// Sends bytes one by one, with a pause before each.
    Drip(Vec<u8>, Duration),
    /// Does nothing more, until the client goes away.
    Stall,
    /// Ends the connection.
    Close,
    /// Ends the connection by a reset.
    Reset,
}

/// What is sent for a request.
pub type Script = Arc<dyn Fn(&Asked) -> Vec<Step> + Send + Sync>;

/// A connection, plain or encrypted.
pub trait Stream: Read + Write + Send {
    /// Its socket.
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

/// How a connection that was accepted is spoken over.
pub type Wrap = Arc<dyn Fn(TcpStream) -> Box<dyn Stream> + Send + Sync>;

/// A server on 127.0.0.1 that answers as its script says. It runs until the process ends.
#[derive(Clone, Debug)]
pub struct HostileServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl HostileServer {
    /// A server that answers each request as `script` says.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> Result<Self, Failure> {
        Self::start_wrapped(Arc::new(|stream| Box::new(stream)), script)
    }

    /// The same, with every connection wrapped, as TLS does.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start_wrapped(
        wrap: Wrap,
        script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let failed = Failure::of::<io::Error>("start a web server");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(Failure::of("start a web server"))?;
        let server = Self { address, asked: Arc::default() };
        let (asked, script) = (Arc::clone(&server.asked), Arc::new(script) as Script);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (asked, script, wrap) = (Arc::clone(&asked), Arc::clone(&script), Arc::clone(&wrap));
                // A client that goes away in the middle is the client's affair.
                std::thread::spawn(move || converse(wrap(stream), connection, &asked, script.as_ref()).ok());
            }
        });
        Ok(server)
    }

    /// The address of `path` on this machine. *Pure.*
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The address of `path` for a guest on QEMU's user network. *Pure.*
    #[must_use]
    pub fn guest_url(&self, path: &str) -> String {
        format!("http://10.0.2.2:{}/{path}", self.address.port())
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn converse(
    stream: Box<dyn Stream>,
    connection: usize,
    log: &Mutex<Vec<Asked>>,
    script: &(dyn Fn(&Asked) -> Vec<Step> + Send + Sync),
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(mut asked) = request(&mut reader, connection)? {
        {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            asked.number = log.len();
            log.push(asked.clone());
        }
        for step in script(&asked) {
            let stream = reader.get_mut();
            match step {
                Step::Send(bytes) => stream.write_all(&bytes)?,
                Step::Endless(bytes) => loop {
                    stream.write_all(&bytes)?;
                },
                Step::Drip(bytes, pause) => {
                    for byte in bytes {
                        std::thread::sleep(pause);
                        stream.write_all(&[byte])?;
                        stream.flush()?;
                    }
                }
                Step::Stall => {
                    stream.flush()?;
                    return io::copy(stream, &mut io::sink()).map(drop);
                }
                Step::Close => return stream.flush(),
                Step::Reset => {
                    stream.flush()?;
                    set_socket_linger(stream.socket(), Some(Duration::ZERO))?;
                    return Ok(());
                }
            }
        }
        reader.get_mut().flush()?;
    }
    Ok(())
}

/// Reads the head of a request; `None` when the client has nothing more to ask.
fn request(reader: &mut BufReader<Box<dyn Stream>>, connection: usize) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut asked =
        Asked { number: 0, connection, line: line.trim().to_owned(), range: None, if_range: None };
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            return Ok(Some(asked));
        }
        let Some((name, value)) = header.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "range" => asked.range = range(value.trim()),
            "if-range" => asked.if_range = Some(value.trim().to_owned()),
            _ => {}
        }
    }
}

fn range(text: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse::<u64>().ok().map(|last| last + 1)))
}

/// The head of an answer.
#[must_use]
pub fn head(status: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    (text + "\r\n").into_bytes()
}

/// What a well-made server answers for a file with these bytes: head, and the part that was asked for.
#[must_use]
pub fn honest(file: &[u8], asked: &Asked) -> (Vec<u8>, Vec<u8>) {
    let total = file.len();
    let common = ("ETag", "\"sound\"");
    let Some((from, to)) = asked.range else {
        return (head("200 OK", &[common, ("Content-Length", &total.to_string())]), file.to_vec());
    };
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let to = to.and_then(|to| usize::try_from(to).ok()).unwrap_or(total).min(total);
    if from >= to {
        let range = format!("bytes */{total}");
        let headers = [common, ("Content-Range", &range), ("Content-Length", "0")];
        return (head("416 Range Not Satisfiable", &headers), Vec::new());
    }
    let (range, len) = (format!("bytes {from}-{}/{total}", to - 1), (to - from).to_string());
    let headers = [common, ("Content-Range", &range), ("Content-Length", &len)];
    (head("206 Partial Content", &headers), file[from..to].to_vec())
}

/// [`honest`], as steps.
#[must_use]
pub fn honestly(file: &[u8], asked: &Asked) -> Vec<Step> {
    let (head, body) = honest(file, asked);
    vec![Step::Send(head), Step::Send(body)]
}

/// [`honest`] until so many bytes of the body, and then `end`.
#[must_use]
pub fn cut(file: &[u8], asked: &Asked, after: usize, end: Step) -> Vec<Step> {
    let (head, mut body) = honest(file, asked);
    body.truncate(after);
    vec![Step::Send(head), Step::Send(body), end]
}
