//! Connections that are kept open, from a loopback address of one's choice.

use super::Answer;
use ledger::envelope::Envelope;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

/// Longest wait for an answer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connection from 127.0.0.`host`.
pub fn stream(host: u8, addr: &str) -> io::Result<TcpStream> {
    let to: SocketAddr = addr.parse().unwrap();
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&fd, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0))?;
    connect(&fd, &to)?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub struct Wire(pub BufReader<TcpStream>);

impl Wire {
    pub fn new(host: u8, addr: &str) -> Self {
        Self(BufReader::new(stream(host, addr).unwrap()))
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The next answer; `None` where there is none.
    pub fn answer(&mut self) -> Option<Answer> {
        let (mut head, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))?;
        let mut body = vec![0; length.parse().ok()?];
        self.0.read_exact(&mut body).ok()?;
        Some(Answer { status, head, body })
    }

    pub fn get(&mut self, path: &str) -> Option<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: log\r\n\r\n").as_bytes())
            .ok()?;
        self.answer()
    }

    /// Posts a submission, with more header lines.
    pub fn post(&mut self, body: &str, more: &str) -> Option<Answer> {
        let length = body.len();
        let request = format!(
            "POST /api/v1/entries HTTP/1.1\r\nHost: log\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n{body}"
        );
        self.send(request.as_bytes()).ok()?;
        self.answer()
    }

    pub fn submit(&mut self, envelope: &Envelope) -> Option<Answer> {
        self.post(&envelope.to_json().to_string(), "")
    }
}

/// `Retry-After` in seconds.
pub fn retry_after(answer: &Answer) -> Option<u64> {
    let row = answer
        .head
        .lines()
        .find_map(|l| l.strip_prefix("retry-after: "));
    row?.trim().parse().ok()
}

/// Waits until `holds`, at most so long; whether it did.
pub fn within(seconds: u64, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
