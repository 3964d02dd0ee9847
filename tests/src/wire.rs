//! HTTP/1.1 as far as these tools need it: requests built once, answers read from bytes, one
//! keep-alive connection. What measures a server must cost little beside it, and what is
//! killed together with its server must say whether an answer came whole.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// Largest head of an answer in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Largest body of an answer in bytes: a bundle, or an entry bundle of the largest leaves.
const MAX_BODY: usize = 256 * 65_537;

/// An answer that came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The log index in `Location: /api/v1/entries/INDEX`.
    pub index: Option<u64>,
    /// Whether the server closes the connection after it.
    pub close: bool,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The last word of a problem's `type`, such as `busy`; else `http-STATUS`.
    #[must_use]
    pub fn kind(&self) -> String {
        let value: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let kind = value.get("type").and_then(serde_json::Value::as_str);
        let kind = kind.and_then(|t| t.rsplit(':').next());
        kind.map_or_else(|| format!("http-{}", self.status), str::to_owned)
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A whole answer at the front of `bytes` with the bytes that it takes; `None` where more are
/// to come.
///
/// # Errors
/// A sentence: this is no answer that we read. Answers without a length are not among them.
pub fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>, String> {
    let Some(head_end) = find(bytes, b"\r\n\r\n") else {
        if bytes.len() > MAX_HEAD {
            return Err(format!("the answer's head is over {MAX_HEAD} bytes"));
        }
        return Ok(None);
    };
    let head = bytes.get(..head_end).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| "the answer's head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|l| l.strip_prefix("HTTP/1.1 "))
        .and_then(|l| l.get(..3))
        .and_then(|s| s.parse().ok())
        .ok_or("not an HTTP/1.1 answer")?;
    let (mut length, mut index, mut close) = (None, None, false);
    for (name, value) in lines.filter_map(|l| l.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("location") {
            index = value
                .strip_prefix("/api/v1/entries/")
                .and_then(|i| i.parse().ok());
        } else if name.eq_ignore_ascii_case("connection") {
            close = value.eq_ignore_ascii_case("close");
        }
    }
    let length = match length {
        Some(length) => length,
        None if status == 204 => 0,
        None => return Err("the answer states no length".into()),
    };
    if length > MAX_BODY {
        return Err(format!("the answer is over {MAX_BODY} bytes"));
    }
    let start = head_end + 4;
    let Some(body) = bytes.get(start..start + length) else {
        return Ok(None);
    };
    let answer = Answer {
        status,
        index,
        close,
        body: body.to_vec(),
    };
    Ok(Some((answer, start + length)))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// A `GET` as it goes over the wire.
#[must_use]
pub fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes()
}

/// A `POST` as it goes over the wire.
#[must_use]
pub fn post(host: &str, path: &str, media: &str, body: &[u8]) -> Vec<u8> {
    let mut request = String::with_capacity(body.len() + 160);
    // Writing to a string never fails.
    let _ = write!(
        request,
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

/// A submission of an envelope's JSON as it goes over the wire.
#[must_use]
pub fn submission(host: &str, envelope: &str) -> Vec<u8> {
    post(
        host,
        "/api/v1/entries",
        "application/json",
        envelope.as_bytes(),
    )
}

/// A log's question to a witness as it goes over the wire.
#[must_use]
pub fn add_checkpoint(host: &str, body: &[u8]) -> Vec<u8> {
    post(host, "/add-checkpoint", "text/plain; charset=utf-8", body)
}

/// Where a log is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `HOST:PORT`, as it stands in requests.
    pub host: String,
    /// Its address.
    pub addr: SocketAddr,
}

impl Place {
    /// Reads `http://HOST[:PORT]`.
    ///
    /// # Errors
    /// A sentence: another scheme, a path, or no such host.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            format!("{url}: want http://HOST:PORT; the server itself speaks plain HTTP")
        })?;
        let host = rest.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '?', '#', '@']) {
            return Err(format!("{url}: want http://HOST:PORT and nothing after it"));
        }
        let named = host
            .rsplit_once(':')
            .is_some_and(|(_, p)| p.parse::<u16>().is_ok());
        let full = if named {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let mut found = full.to_socket_addrs().map_err(|e| format!("{url}: {e}"))?;
        let addr = found.next().ok_or_else(|| format!("{url}: no address"))?;
        Ok(Self {
            host: host.to_owned(),
            addr,
        })
    }
}

/// One keep-alive connection that waits for each answer, opened again where the server closed
/// it between two requests.
#[derive(Debug)]
pub struct Connection {
    place: Place,
    patience: Duration,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// A connection to `place`, opened at the first request. No read or write waits longer
    /// than `patience`.
    #[must_use]
    pub fn new(place: &Place, patience: Duration) -> Self {
        Self {
            place: place.clone(),
            patience,
            stream: None,
            buffer: Vec::new(),
        }
    }

    /// Gets `path`.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn get(&mut self, path: &str) -> Result<Answer, String> {
        let request = get(&self.place.host, path);
        self.send(&request)
    }

    /// The body at `path`, where the status is 200.
    ///
    /// # Errors
    /// As [`Connection::send`]; any other status.
    pub fn body(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let answer = self.get(path)?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            let (status, kind) = (answer.status, answer.kind());
            Err(format!("GET {path}: {status} {kind}"))
        }
    }

    /// Submits an envelope's JSON.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn submit(&mut self, envelope: &str) -> Result<Answer, String> {
        let request = submission(&self.place.host, envelope);
        self.send(&request)
    }

    /// Sends a request and waits for its whole answer.
    ///
    /// # Errors
    /// A sentence; then nothing is known about what the server did.
    pub fn send(&mut self, request: &[u8]) -> Result<Answer, String> {
        let kept = self.stream.is_some();
        match self.exchange(request) {
            // Closed while nothing was asked: every request of ours can be repeated.
            Err(Broken::Closed) if kept => self.exchange(request),
            other => other,
        }
        .map_err(|e| match e {
            Broken::Closed => "the server closed the connection".to_owned(),
            Broken::Other(why) => why,
        })
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Answer, Broken> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open()?,
        };
        self.buffer.clear();
        stream.write_all(request).map_err(|e| broken(&e))?;
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some((answer, taken)) = parse(&self.buffer).map_err(Broken::Other)? {
                if !answer.close && taken == self.buffer.len() {
                    self.stream = Some(stream);
                }
                return Ok(answer);
            }
            match stream.read(&mut chunk) {
                Ok(0) if self.buffer.is_empty() => return Err(Broken::Closed),
                Ok(0) => return Err(Broken::Other("the answer ended half-way".into())),
                Ok(n) => self
                    .buffer
                    .extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if self.buffer.is_empty() => return Err(broken(&e)),
                Err(e) => return Err(Broken::Other(e.to_string())),
            }
        }
    }

    fn open(&self) -> Result<TcpStream, Broken> {
        let other = |e: std::io::Error| Broken::Other(e.to_string());
        let stream = TcpStream::connect_timeout(&self.place.addr, self.patience).map_err(other)?;
        stream.set_nodelay(true).map_err(other)?;
        stream
            .set_read_timeout(Some(self.patience))
            .map_err(other)?;
        stream
            .set_write_timeout(Some(self.patience))
            .map_err(other)?;
        Ok(stream)
    }
}

enum Broken {
    /// Before a byte of the answer.
    Closed,
    Other(String),
}

fn broken(e: &std::io::Error) -> Broken {
    match e.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            Broken::Closed
        }
        _ => Broken::Other(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_more_is_to_come() {
        let whole =
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nLocation: /api/v1/entries/17\r\n\r\nabcHTTP";
        let end = whole.len() - 4;
        for n in 0..end {
            assert_eq!(parse(&whole[..n]), Ok(None), "{n}");
        }
        let (answer, taken) = parse(whole)
            .ok()
            .flatten()
            .unwrap_or_else(|| panic!("whole"));
        assert_eq!((answer.status, answer.index, taken), (200, Some(17), end));
        assert_eq!((answer.body, answer.close), (b"abc".to_vec(), false));
        let said = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(said.is_err(), "without a length");
        assert!(parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
    }

    #[test]
    fn places_are_plain_http_without_a_path() {
        let place = Place::parse("http://127.0.0.1:8080/");
        assert_eq!(place.map(|p| p.host), Ok("127.0.0.1:8080".into()));
        for bad in [
            "https://127.0.0.1",
            "127.0.0.1:80",
            "http://127.0.0.1/log",
            "http://",
        ] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }
}
