//! A witness in a directory of its own, and requests to it.

use crate::played::Played;
use countersign_server::witness::logs::{Logs, log_key};
use countersign_server::witness::{self, Config, Handle, origin_hash};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tlog::note::{Note, parse_signatures};
use tlog::vkey::VerifierKey;

pub const NAME: &str = "example.com/witness";
pub const START: u64 = 1_800_000_000;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The last word of a problem's type; else nothing.
    pub fn kind(&self) -> String {
        let value: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let kind = value["type"].as_str().unwrap_or_default();
        kind.rsplit(':').next().unwrap_or_default().to_owned()
    }

    pub fn said(&self) -> (u16, String) {
        (self.status, self.kind())
    }
}

pub fn ask(addr: SocketAddr, method: &str, path: &str, body: &[u8]) -> Answer {
    raw(addr, &posted(method, path, body))
}

pub fn raw(addr: SocketAddr, request: &[u8]) -> Answer {
    raw_maybe(addr, request).expect("an answer")
}

/// Asks for a cosignature where the witness may end before it answers.
pub fn ask_maybe(addr: SocketAddr, body: &[u8]) -> Option<Answer> {
    raw_maybe(addr, &posted("POST", "/add-checkpoint", body))
}

fn posted(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn raw_maybe(addr: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // It may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(Answer {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

/// A witness in this process, by a clock of the test's.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub vkey: VerifierKey,
    pub clock: Arc<AtomicU64>,
    /// Seconds since the machine was started.
    pub uptime: Arc<AtomicU64>,
    pub handle: Option<Handle>,
}

pub fn trust(dir: &Path, vkeys: &[String]) {
    let path = dir.join("logs.json");
    let mut logs = Logs::load(&path).unwrap();
    for vkey in vkeys {
        logs.add(log_key(vkey).unwrap()).unwrap();
    }
    logs.save(&path).unwrap();
}

impl Bench {
    pub fn new(logs: &[&Played]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vkey = witness::init(dir.path(), NAME).unwrap();
        for log in logs {
            trust(dir.path(), &log.vkeys());
        }
        let mut bench = Self {
            dir,
            vkey,
            clock: Arc::new(AtomicU64::new(START)),
            uptime: Arc::new(AtomicU64::new(1000)),
            handle: None,
        };
        bench.start();
        bench
    }

    pub fn config(&self) -> Config {
        let (clock, uptime) = (Arc::clone(&self.clock), Arc::clone(&self.uptime));
        Config {
            clock: Arc::new(move || clock.load(Ordering::SeqCst)),
            uptime: Arc::new(move || uptime.load(Ordering::SeqCst)),
            ..Config::new(self.dir.path())
        }
    }

    pub fn start(&mut self) {
        self.handle = None;
        self.handle = Some(witness::start(&self.config()).unwrap());
    }

    pub fn addr(&self) -> SocketAddr {
        self.handle.as_ref().unwrap().addr()
    }

    pub fn get(&self, path: &str) -> Answer {
        ask(self.addr(), "GET", path, b"")
    }

    pub fn post(&self, body: &[u8]) -> Answer {
        ask(self.addr(), "POST", "/add-checkpoint", body)
    }

    /// The time of the one cosignature in an answer, which is verified.
    pub fn cosigned(&self, answer: &Answer, note: &Note) -> u64 {
        assert_eq!(answer.status, 200, "{answer:?}");
        let note = Note {
            text: note.text.clone(),
            signatures: parse_signatures(&answer.body).unwrap(),
        };
        let signed = note.verify(std::slice::from_ref(&self.vkey)).unwrap();
        assert_eq!((signed.len(), note.signatures.len()), (1, 1));
        signed[0].timestamp.unwrap()
    }

    /// Asks for a cosignature that must be given; its time.
    pub fn grow(&self, log: &Played, old: u64, size: u64) -> u64 {
        let answer = self.post(&log.body(old, size));
        self.cosigned(&answer, &log.note(size))
    }

    /// What it shows to have cosigned last.
    pub fn latest(&self, origin: &str) -> Option<Note> {
        let path = format!("/{}/checkpoint", hex::encode(origin_hash(origin)));
        let answer = self.get(&path);
        match answer.status {
            200 => Some(Note::parse(answer.body.as_bytes()).unwrap()),
            404 => {
                assert_eq!(answer.kind(), "never-cosigned");
                None
            }
            _ => panic!("{answer:?}"),
        }
    }

    /// The files under `evidence/`, by name.
    pub fn evidence(&self) -> Vec<(String, Vec<u8>)> {
        let items = std::fs::read_dir(self.dir.path().join("evidence")).unwrap();
        let mut all: Vec<(String, Vec<u8>)> = items
            .map(|item| {
                let item = item.unwrap();
                let bytes = std::fs::read(item.path()).unwrap();
                (item.file_name().into_string().unwrap(), bytes)
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// A log of `size` leaves with both keys.
pub fn log(origin: &str, size: u64) -> Played {
    let mut log = Played::new(origin, true).unwrap();
    log.grow(size, 0);
    log
}
