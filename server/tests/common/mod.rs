//! A real server process, spoken to over plain sockets by code that is not the server's.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

pub mod wire;

use countersign_server::vkeys;
use keys::{SecretKey, Signer as _};
use ledger::envelope::Envelope;
use ledger::statement::{Project, Subject, release_payload};
use ledger::{Hash, hex32, sha256};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub const ORIGIN: &str = "log.example.org";
pub const DSSE: &str = "application/vnd.dsse.envelope.v1+json";

pub fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign-server"))
        .args(args)
        .output()
        .unwrap()
}

pub fn init(dir: &Path) -> Vec<String> {
    let out = program(&["init", "--data", dir.to_str().unwrap(), "--origin", ORIGIN]);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let lines: Vec<String> = String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(lines, vkeys(dir).unwrap());
    lines
}

/// A running `countersign-server serve`; killed when dropped.
pub struct Running {
    child: Child,
    pub addr: String,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
    pub fn kind(&self) -> String {
        assert!(
            self.head.contains("application/problem+json"),
            "{}",
            self.head
        );
        let kind = self.json()["type"].as_str().unwrap().to_owned();
        kind.strip_prefix("urn:countersign:error:")
            .unwrap()
            .to_owned()
    }
}

impl Running {
    pub fn start(dir: &Path, more: &[&str]) -> Self {
        Self::begin(
            Command::new(env!("CARGO_BIN_EXE_countersign-server")),
            dir,
            more,
        )
    }

    /// As [`Running::start`], with so many file descriptors and no more.
    pub fn start_limited(dir: &Path, descriptors: u32, more: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("ulimit -n {descriptors}; exec \"$@\""), "sh"])
            .arg(env!("CARGO_BIN_EXE_countersign-server"));
        Self::begin(shell, dir, more)
    }

    /// As [`Running::start`], or the exit code and what was said where it does not start.
    pub fn try_start(dir: &Path, more: &[&str]) -> Result<Self, (Option<i32>, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-server"));
        command.stderr(Stdio::piped());
        let (mut child, addr) = Self::spawn(command, dir, more);
        let mut stderr = child.stderr.take().unwrap();
        if let Some(addr) = addr {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
            return Ok(Self { child, addr });
        }
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        Err((child.wait().unwrap().code(), said))
    }

    /// As [`Running::start`], by a command of one's own.
    pub fn begin(command: Command, dir: &Path, more: &[&str]) -> Self {
        let (child, addr) = Self::spawn(command, dir, more);
        let addr = addr.expect("the server did not start");
        Self { child, addr }
    }

    fn spawn(mut command: Command, dir: &Path, more: &[&str]) -> (Child, Option<String>) {
        let mut child = command
            .args([
                "serve",
                "--data",
                dir.to_str().unwrap(),
                "--listen",
                "127.0.0.1:0",
            ])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addr = line.trim().strip_prefix("listening on http://");
        (child, addr.map(str::to_owned))
    }

    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.addr).unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let split = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("no answer");
        let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head,
            body: bytes[split + 4..].to_vec(),
        }
    }

    pub fn send(&self, method: &str, path: &str, media: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: log\r\nConnection: close\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.raw(
            format!("GET {path} HTTP/1.1\r\nHost: log\r\nConnection: close\r\n\r\n").as_bytes(),
        )
    }

    pub fn submit(&self, envelope: &Envelope) -> Answer {
        self.send(
            "POST",
            "/api/v1/entries",
            DSSE,
            envelope.to_json().to_string().as_bytes(),
        )
    }

    /// As [`Running::submit`], or `None` where the server goes away before its answer.
    pub fn try_submit(&self, envelope: &Envelope) -> Option<Answer> {
        let body = envelope.to_json().to_string();
        let mut stream = TcpStream::connect(&self.addr).ok()?;
        let head = "POST /api/v1/entries HTTP/1.1\r\nHost: log\r\nConnection: close\r\nContent-Type: application/json";
        write!(
            stream,
            "{head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        let split = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..split].to_vec()).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length: usize = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))?
            .parse()
            .ok()?;
        let body = bytes[split + 4..].to_vec();
        (body.len() == length).then_some(Answer { status, head, body })
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// The value of a row of `/metrics`.
    pub fn metric(&self, row: &str) -> f64 {
        let page = String::from_utf8(self.get("/metrics").body).unwrap();
        let value = page
            .lines()
            .find_map(|l| l.strip_prefix(row)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {row} in {page}"))
            .parse()
            .unwrap()
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(path).unwrap();
        let row = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .unwrap();
        row.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits for its end; the exit code.
    pub fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// SIGKILL, without waiting.
    pub fn kill_now(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    /// SIGTERM, and wait.
    pub fn stop(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().success()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A project with one root and one release key.
pub struct Publisher {
    pub root: SecretKey,
    pub release: SecretKey,
    pub project: Project,
    pub first: Envelope,
    pub id: Hash,
}

pub fn publisher(name: &str, prefix: &str) -> Publisher {
    let (root, release) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let project = Project {
        name: name.into(),
        log: ORIGIN.into(),
        version: 1,
        previous: None,
        roots: vec![root.public_key().clone()],
        root_threshold: 1,
        release_keys: vec![release.public_key().clone()],
        release_threshold: 1,
        authorities: Vec::new(),
        purl_prefixes: vec![prefix.into()],
        contact: "security@example.org".into(),
        max_key_age: None,
        policy: None,
    };
    let first = Envelope::sign(project.to_payload().unwrap(), &[&root, &release]).unwrap();
    let id = first.pae_hash();
    Publisher {
        root,
        release,
        project,
        first,
        id,
    }
}

pub fn artifact(name: &str, content: &[u8]) -> Subject {
    Subject {
        name: name.into(),
        sha256: sha256(content),
        size: Some(content.len() as u64),
        digests: Default::default(),
        download_location: None,
    }
}

impl Publisher {
    pub fn envelope(&self, purl: &str, subjects: &[Subject]) -> Envelope {
        let payload = release_payload(&self.id, purl, subjects, None).unwrap();
        Envelope::sign(payload, &[&self.release]).unwrap()
    }
    pub fn hex(&self) -> String {
        hex32(&self.id)
    }
}

/// Copies the files and directories below `from`; not sockets.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(item.file_name());
        match item.file_type().unwrap() {
            kind if kind.is_dir() => copy(&item.path(), &target),
            kind if kind.is_file() => drop(std::fs::copy(item.path(), target).unwrap()),
            _ => {}
        }
    }
}
