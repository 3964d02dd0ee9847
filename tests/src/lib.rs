//! The whole, from outside: what the end-to-end tests and `cargo quickstart` share.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod archives;
pub mod attacks;
pub mod bench;
pub mod certificates;
pub mod fill;
pub mod fuzz;
pub mod hostile;
pub mod kills;
pub mod load;
pub mod oidc;
pub mod random;
pub mod replay;
pub mod serving;
pub mod wire;
pub mod witness;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server process that is killed when this is dropped.
pub struct Process {
    child: Child,
    /// `http://ADDR`, as the server said it.
    pub url: String,
}

impl Process {
    /// Starts `command`, which must print `listening on http://ADDR` to standard output or
    /// error, and waits until it does.
    ///
    /// # Errors
    /// A sentence: it could not be started, ended, or said nothing in time.
    pub fn start(mut command: Command) -> Result<Self, String> {
        let shown = format!("{command:?}");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("{shown}: {e}"))?;
        let (send, receive) = std::sync::mpsc::channel::<String>();
        let mut pipes: Vec<Box<dyn std::io::Read + Send>> = Vec::new();
        if let Some(p) = child.stdout.take() {
            pipes.push(Box::new(p));
        }
        if let Some(p) = child.stderr.take() {
            pipes.push(Box::new(p));
        }
        for pipe in pipes {
            let send = send.clone();
            // The pipe is read to its end, so that the server never blocks on a full one.
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let _ = send.send(line);
                }
            });
        }
        drop(send);
        let mut process = Self {
            child,
            url: String::new(),
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut said = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match receive.recv_timeout(left) {
                Ok(line) => {
                    if let Some((_, url)) = line.split_once("listening on ") {
                        process.url = url.split_whitespace().next().unwrap_or_default().to_owned();
                        return Ok(process);
                    }
                    said.push(line);
                }
                Err(_) => {
                    return Err(format!(
                        "{shown} did not start; it said: {}",
                        said.join("\n")
                    ));
                }
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// A sentence: it could not be asked, or did not end within 30 seconds.
    pub fn stop(mut self) -> Result<(), String> {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .map_err(|e| e.to_string())?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(e) => return Err(e.to_string()),
            }
        }
        Err("the server did not end within 30 s of SIGTERM".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of a built binary of this workspace, beside the running test's own. Cargo builds
/// the binaries of every package that has integration tests before it runs any. The directory
/// in `COUNTERSIGN_BIN_DIR` goes before, to test programs that were built otherwise.
///
/// # Errors
/// A sentence that says how to build it.
pub fn binary(name: &str) -> Result<PathBuf, String> {
    if let Some(dir) = std::env::var_os("COUNTERSIGN_BIN_DIR") {
        let path = Path::new(&dir).join(name);
        let missing = format!("COUNTERSIGN_BIN_DIR: {} is no file", path.display());
        return if path.is_file() {
            Ok(path)
        } else {
            Err(missing)
        };
    }
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let found = me
        .ancestors()
        .skip(1)
        .take(2)
        .map(|d| d.join(name))
        .find(|p| p.is_file());
    found.ok_or_else(|| format!("{name} is not built: run `cargo build --workspace` first"))
}

/// Copies a directory with all files and directories in it, and nothing else, to where there is none.
///
/// # Panics
/// Where it cannot be read, or the copy not be made.
#[allow(clippy::unwrap_used)]
pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy_directory(&entry.path(), &name),
            kind if kind.is_file() => drop(std::fs::copy(entry.path(), name).unwrap()),
            _ => (),
        }
    }
}

/// Peak of a running process's resident memory, in kB, where the system says it.
#[must_use]
pub fn peak_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error, as text.
    pub err: String,
}

/// Runs a command to its end.
///
/// # Errors
/// A sentence where it could not be started.
pub fn run(mut command: Command) -> Result<Said, String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{shown}: {e}"))?;
    Ok(Said {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A server of files on loopback, as a project's storage is: it serves what lies in a
/// directory, whoever put it there.
pub struct Storage {
    /// `http://ADDR`.
    pub url: String,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Storage {
    /// Serves `directory` on a free loopback port until it is dropped.
    ///
    /// # Errors
    /// Where no port can be had.
    pub fn serve(directory: &Path) -> std::io::Result<Self> {
        use std::io::Write as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let directory = directory.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let directory = directory.clone();
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(&stream);
                    let mut request = String::new();
                    let _ = reader.read_line(&mut request);
                    let mut line = String::new();
                    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                        line.clear();
                    }
                    let name = request
                        .split(' ')
                        .nth(1)
                        .and_then(|p| p.strip_prefix('/'))
                        .unwrap_or_default();
                    let name = decode(name);
                    let plain =
                        !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.');
                    let body = plain
                        .then(|| std::fs::read(directory.join(&name)).ok())
                        .flatten();
                    let (status, body) =
                        body.map_or(("404 Not Found", Vec::new()), |b| ("200 OK", b));
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let mut out = &stream;
                    let _ = out
                        .write_all(head.as_bytes())
                        .and_then(|()| out.write_all(&body));
                });
            }
        });
        Ok(Self { url, stop })
    }
}

/// A URL segment's percent-encoding undone.
fn decode(name: &str) -> String {
    let mut out = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail
            .get(..2)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
