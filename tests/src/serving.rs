//! A storage on loopback that can be turned against some of its clients.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// What a client asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The path, with its slash.
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(n, _)| n == name);
        found.next().map_or("", |(_, value)| value.as_str())
    }

    /// As which program it came.
    #[must_use]
    pub fn agent(&self) -> &str {
        self.header("user-agent")
    }
}

/// Answers a request in its own way, and says whether it did; else the files are served.
pub type Rule = dyn Fn(&Request, &mut dyn Write) -> std::io::Result<bool> + Send + Sync;

/// The storage.
pub struct Serving {
    /// `http://ADDR`.
    pub url: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    rule: Arc<Mutex<Option<Arc<Rule>>>>,
    asked: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Serving {
    /// Serves nothing yet.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let serving = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            files: Arc::default(),
            rule: Arc::default(),
            asked: Arc::default(),
            stop: Arc::default(),
        };
        let (files, rule) = (serving.files.clone(), serving.rule.clone());
        let (asked, stop) = (serving.asked.clone(), serving.stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Relaxed) {
                    return;
                }
                let (files, rule, asked) = (files.clone(), rule.clone(), asked.clone());
                std::thread::spawn(move || {
                    let _ = one(stream, &files, &rule, &asked);
                });
            }
        });
        serving
    }

    /// Puts a file there.
    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref().to_vec();
        self.files.lock().unwrap().insert(path.to_owned(), bytes);
    }

    /// Takes it away.
    pub fn remove(&self, path: &str) {
        self.files.lock().unwrap().remove(path);
    }

    /// From now on `rule` is asked first.
    pub fn turn(
        &self,
        rule: impl Fn(&Request, &mut dyn Write) -> std::io::Result<bool> + Send + Sync + 'static,
    ) {
        *self.rule.lock().unwrap() = Some(Arc::new(rule));
    }

    /// The files are served to all alike again.
    pub fn turn_back(&self) {
        *self.rule.lock().unwrap() = None;
    }

    /// What was asked for since the last time.
    pub fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = TcpStream::connect(self.url.rsplit('/').next().unwrap());
    }
}

fn one(
    mut stream: TcpStream,
    files: &Mutex<BTreeMap<String, Vec<u8>>>,
    rule: &Mutex<Option<Arc<Rule>>>,
    asked: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut headers, mut line) = (String::new(), Vec::new(), String::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let request = Request { path, headers };
    asked.lock().unwrap().push(request.clone());
    let rule = rule.lock().unwrap().clone();
    if let Some(rule) = rule
        && rule(&request, &mut stream)?
    {
        return Ok(());
    }
    let found = files.lock().unwrap().get(&request.path).cloned();
    match found {
        Some(bytes) => answer(&mut stream, "200 OK", &[], &bytes),
        None => answer(&mut stream, "404 Not Found", &[], b"nothing"),
    }
}

/// A whole answer, with these header lines.
///
/// # Errors
/// The other side went away.
pub fn answer(
    out: &mut dyn Write,
    status: &str,
    headers: &[&str],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    out.write_all(head.as_bytes())?;
    out.write_all(b"\r\n")?;
    out.write_all(body)
}
