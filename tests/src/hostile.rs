//! Servers that do what no honest server does, on loopback sockets.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Answers one request, by its path, however it likes.
pub type Answer = dyn Fn(&str, &mut dyn Write) -> std::io::Result<()> + Send + Sync;

/// A server on loopback that answers by a function; over TLS where it has a configuration.
pub struct Hostile {
    /// `http://ADDR`, or `https://ADDR`.
    pub url: String,
    stop: Arc<AtomicBool>,
    /// Bytes that were handed to the socket, over all answers.
    pub sent: Arc<AtomicU64>,
    /// Requests so far.
    pub requests: Arc<AtomicU64>,
}

struct Counted<S>(S, Arc<AtomicU64>);

impl<S: Write> Write for Counted<S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.0.write(bytes)?;
        self.1.fetch_add(n as u64, Relaxed);
        Ok(n)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Hostile {
    /// Answers over plain HTTP.
    pub fn new(
        answer: impl Fn(&str, &mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::with(None, Arc::new(answer))
    }

    /// Answers over TLS, where it has a configuration.
    pub fn with(tls: Option<Arc<rustls::ServerConfig>>, answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let (sent, requests) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter, asked) = (stop.clone(), sent.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Relaxed) {
                    return;
                }
                let (tls, answer, counter, asked) =
                    (tls.clone(), answer.clone(), counter.clone(), asked.clone());
                std::thread::spawn(move || {
                    let _ = match tls {
                        None => one(stream, &answer, counter, &asked),
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).unwrap();
                            let stream = rustls::StreamOwned::new(session, stream);
                            one(stream, &answer, counter, &asked)
                        }
                    };
                });
            }
        });
        Self {
            url,
            stop,
            sent,
            requests,
        }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // So that the accepting thread looks up.
        let _ = TcpStream::connect(self.url.rsplit('/').next().unwrap());
    }
}

fn one(
    stream: impl Read + Write,
    answer: &Arc<Answer>,
    sent: Arc<AtomicU64>,
    asked: &AtomicU64,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut request, mut line) = (String::new(), String::new());
    reader.read_line(&mut request)?;
    let mut length = 0;
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    // A socket that is closed over unread bytes resets the connection, and the answer may be lost
    // with it: that is another fault than the one that the test asks for.
    std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
    asked.fetch_add(1, Relaxed);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let mut out = Counted(reader.into_inner(), sent);
    answer(path, &mut out)?;
    out.flush()
}

/// A whole answer.
///
/// # Errors
/// The other side went away; so for all below.
pub fn whole(out: &mut dyn Write, body: &[u8]) -> std::io::Result<()> {
    announced(out, body.len() as u64, body)
}

/// A body under a Content-Length that may be a lie.
///
/// # Errors
/// As [`whole`].
pub fn announced(out: &mut dyn Write, length: u64, body: &[u8]) -> std::io::Result<()> {
    write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    out.write_all(body)
}

/// To another address.
///
/// # Errors
/// As [`whole`].
pub fn redirect(out: &mut dyn Write, to: &str) -> std::io::Result<()> {
    write!(
        out,
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

/// Bytes until the other side has had enough.
///
/// # Errors
/// As [`whole`]; it never ends otherwise.
pub fn endless(out: &mut dyn Write, head: &str) -> std::io::Result<()> {
    out.write_all(head.as_bytes())?;
    let bytes = if head.contains("chunked") {
        [b"10000\r\n".as_slice(), &[b'#'; 0x10000], b"\r\n"].concat()
    } else {
        vec![b'#'; 0x10000]
    };
    loop {
        out.write_all(&bytes)?;
    }
}

/// The three ways to announce a body that does not end.
pub const ENDLESS: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
];

/// A server with a certificate for 127.0.0.1, `tls.pem` in `dir`, made by the `openssl` command;
/// `None` where there is none.
#[must_use]
pub fn certificate(dir: &std::path::Path) -> Option<Arc<rustls::ServerConfig>> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let config = "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=test\n\
        [ext]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1\n";
    std::fs::write(dir.join("openssl.cnf"), config).unwrap();
    let line = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -config openssl.cnf -keyout tls.key -out tls.pem";
    let mut command = std::process::Command::new("openssl");
    command.args(line.split_whitespace()).current_dir(dir);
    let Ok(said) = crate::run(command) else {
        eprintln!("skipped: the openssl command is not installed");
        return None;
    };
    assert_eq!(said.code, 0, "{}", said.err);
    let certificate = CertificateDer::from_pem_file(dir.join("tls.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("tls.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Some(Arc::new(config))
}
