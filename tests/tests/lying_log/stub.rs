//! A server on loopback that answers by a function, such as one that asks a real server and
//! changes what it says.

use countersign_tests::wire::{Connection, Place};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// What a client asks.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    pub body: Vec<u8>,
}

impl Request {
    #[allow(dead_code, reason = "not all that share this server look at it")]
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// Status and body.
pub type Answer = (u16, Vec<u8>);

pub struct Stub {
    pub url: String,
    stop: Arc<AtomicBool>,
}

impl Stub {
    pub fn serve(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, answer) = (stop.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Relaxed) {
                    return;
                }
                let answer = answer.clone();
                // Whoever has read enough goes away: that is for the test to judge.
                std::thread::spawn(move || one(&stream, &*answer));
            }
        });
        Self { url, stop }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // So that the accepting thread looks up.
        let _ = TcpStream::connect(self.url.rsplit('/').next().unwrap());
    }
}

fn one(stream: &TcpStream, answer: &dyn Fn(&Request) -> Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split(' ').map(str::to_owned);
    let request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        body,
    };
    let (status, body) = answer(&request);
    let mut out = stream;
    write!(
        out,
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    out.write_all(&body)
}

/// What the server at `url` answers to the request.
pub fn forward(url: &str, request: &Request) -> Answer {
    let place = Place::parse(url).unwrap();
    let mut bytes = format!(
        "{} {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        request.method,
        request.path,
        place.host,
        request.body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&request.body);
    let mut connection = Connection::new(&place, Duration::from_secs(60));
    let answer = connection.send(&bytes).unwrap();
    (answer.status, answer.body)
}

pub fn get(url: &str, path: &str) -> Vec<u8> {
    let request = Request {
        method: "GET".into(),
        path: path.into(),
        body: Vec::new(),
    };
    let (status, body) = forward(url, &request);
    assert_eq!(status, 200, "{path}");
    body
}
