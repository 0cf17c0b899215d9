//! A web server for bundles: files of one folder, over HTTP/1.1, with `Range`. It records the
//! requests.

use qemu::Failure;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A request that was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path, with its slash.
    pub path: String,
    /// The `Range` header, if there was one.
    pub range: Option<String>,
    /// The status of the response.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub sent: u64,
}

/// A web server on 127.0.0.1, on a free port. It runs until the process ends.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl WebServer {
    /// Starts a server of the files in `folder`, without its subfolders.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(folder: impl Into<PathBuf>) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .map_err(Failure::of("start a web server"))?;
        let address = listener
            .local_addr()
            .map_err(Failure::of("start a web server"))?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (folder, log) = (folder.into(), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, log) = (folder.clone(), Arc::clone(&log));
                // A client may close the connection at any time.
                std::thread::spawn(move || serve(&stream, &folder, &log).ok());
            }
        });
        Ok(Self { address, requests })
    }

    /// The URL of `file` for a guest on QEMU's user network. *Pure.*
    #[must_use]
    pub fn guest_url(&self, file: &str) -> String {
        format!("http://10.0.2.2:{}/{file}", self.address.port())
    }

    /// The URL of `file` on the host. *Pure.*
    #[must_use]
    pub fn url(&self, file: &str) -> String {
        format!("http://{}/{file}", self.address)
    }

    /// The requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Bytes of body sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.requests().iter().map(|request| request.sent).sum()
    }
}

/// Serves one connection until the client closes it.
fn serve(stream: &TcpStream, folder: &Path, log: &Mutex<Vec<Request>>) -> io::Result<()> {
    let mut lines = BufReader::new(stream);
    while let Some((method, path, range)) = request(&mut lines)? {
        let mut served = Request {
            method,
            path,
            range,
            status: 0,
            sent: 0,
        };
        let result = answer(stream, folder, &mut served);
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(served);
        result?;
    }
    Ok(())
}

/// Reads one request: method, path, range.
fn request(lines: &mut impl BufRead) -> io::Result<Option<(String, String, Option<String>)>> {
    let mut first = String::new();
    if lines.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or("/").to_owned(),
    );
    let mut range = None;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some((method, path, range)));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("range")
        {
            range = Some(value.trim().to_owned());
        }
    }
}

/// Answers one request and records the response in it.
fn answer(mut stream: &TcpStream, folder: &Path, request: &mut Request) -> io::Result<()> {
    let name = request
        .path
        .trim_start_matches('/')
        .split('?')
        .next()
        .unwrap_or_default();
    // A name without folders, so that no file outside of `folder` is served.
    let file = if name.contains('/') || name.starts_with('.') {
        None
    } else {
        File::open(folder.join(name)).ok()
    };
    let Some(mut file) = file else {
        request.status = 404;
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let metadata = file.metadata()?;
    let len = metadata.len();
    let changed = metadata
        .modified()?
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let common = format!("Accept-Ranges: bytes\r\nETag: \"{len:x}-{changed:x}\"\r\n");
    let (begin, end) = match request
        .range
        .as_deref()
        .map(|range| parse_range(range, len))
    {
        None => {
            request.status = 200;
            write!(
                stream,
                "HTTP/1.1 200 OK\r\n{common}Content-Length: {len}\r\n\r\n"
            )?;
            (0, len)
        }
        Some(Some((begin, end))) => {
            request.status = 206;
            write!(
                stream,
                "HTTP/1.1 206 Partial Content\r\n{common}Content-Range: bytes {begin}-{}/{len}\r\nContent-Length: {}\r\n\r\n",
                end - 1,
                end - begin
            )?;
            (begin, end)
        }
        Some(None) => {
            request.status = 416;
            return write!(
                stream,
                "HTTP/1.1 416 Range Not Satisfiable\r\n{common}Content-Range: bytes */{len}\r\nContent-Length: 0\r\n\r\n"
            );
        }
    };
    if request.method != "HEAD" {
        file.seek(SeekFrom::Start(begin))?;
        let mut body = file.take(end - begin);
        let mut piece = vec![0; 1 << 16];
        loop {
            let count = body.read(&mut piece)?;
            if count == 0 {
                break;
            }
            stream.write_all(&piece[..count])?;
            request.sent += count as u64;
        }
    }
    stream.flush()
}

/// `bytes=A-B`, `bytes=A-` or `bytes=-N` for a file of `len` bytes: begin and end (not included).
/// *Pure.*
fn parse_range(range: &str, len: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (begin, end) = match (first.trim(), last.trim()) {
        ("", count) => (len.saturating_sub(count.parse().ok()?), len),
        (first, "") => (first.parse().ok()?, len),
        (first, last) => (
            first.parse().ok()?,
            last.parse::<u64>().ok()?.checked_add(1)?.min(len),
        ),
    };
    (begin < end).then_some((begin, end))
}

#[cfg(test)]
mod tests {
    use super::{WebServer, parse_range};
    use qemu::Failure;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    #[test]
    fn ranges_as_rfc_9110_has_them() {
        assert_eq!(parse_range("bytes=0-9", 100), Some((0, 10)));
        assert_eq!(parse_range("bytes=90-", 100), Some((90, 100)));
        assert_eq!(parse_range("bytes=-5", 100), Some((95, 100)));
        assert_eq!(parse_range("bytes=90-1000", 100), Some((90, 100)));
        assert_eq!(parse_range("bytes=100-", 100), None);
        assert_eq!(parse_range("bytes=9-3", 100), None);
        assert_eq!(parse_range("bytes=0-18446744073709551615", 100), None);
        assert_eq!(parse_range("lines=1-2", 100), None);
    }

    fn ask(server: &WebServer, request: &str) -> Result<String, Failure> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(server.address)?;
            stream.write_all(request.as_bytes())?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().map_err(Failure::of("ask the web server"))
    }

    #[test]
    fn a_file_is_served_whole_in_parts_and_not_beside_its_folder() -> Result<(), Failure> {
        let folder = tempfile::tempdir().map_err(Failure::of("make a folder"))?;
        std::fs::write(folder.path().join("a.bundle"), b"0123456789")
            .map_err(Failure::of("write"))?;
        let server = WebServer::start(folder.path())?;
        assert!(ask(&server, "GET /a.bundle HTTP/1.1\r\n\r\n")?.ends_with("\r\n\r\n0123456789"));
        let part = ask(
            &server,
            "GET /a.bundle HTTP/1.1\r\nrange: bytes=3-5\r\n\r\n",
        )?;
        assert!(
            part.starts_with("HTTP/1.1 206")
                && part.contains("bytes 3-5/10")
                && part.ends_with("345"),
            "{part}"
        );
        assert!(
            ask(
                &server,
                "GET /a.bundle HTTP/1.1\r\nRange: bytes=10-\r\n\r\n"
            )?
            .starts_with("HTTP/1.1 416")
        );
        assert!(ask(&server, "GET /../secret HTTP/1.1\r\n\r\n")?.starts_with("HTTP/1.1 404"));
        let statuses: Vec<_> = server
            .requests()
            .iter()
            .map(|request| request.status)
            .collect();
        assert_eq!(statuses, [200, 206, 416, 404]);
        assert_eq!(server.sent(), 13);
        Ok(())
    }
}
