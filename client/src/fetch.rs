//! HTTP for the client: blocking, over rustls with the platform's roots.
//!
//! Nothing here is trusted: TLS only keeps others from reading along and disturbing. What
//! decides is [`crate::verify`]. So the rules here are about failing plainly: every body has a
//! limit, a connection that stops short is an error and never a short success, and an address
//! that begins with `https` is never left for `http`.

mod ask;
mod download;

use crate::fail::Fail;
pub use ask::{Answer, Ask, Hop, Lost, Through};
pub use download::Download;
use download::STALL;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, Body, http};

const CONNECT: Duration = Duration::from_secs(10);
/// For the answer's head; a log may wait for its witnesses before it answers.
const RESPONSE: Duration = Duration::from_secs(120);
/// For the head of what is only looked at.
const LOOK: Duration = Duration::from_secs(30);
/// For a whole small body (documents, tiles, bundles).
const SMALL_BODY: Duration = Duration::from_secs(120);
/// For somebody who is told something.
const TOLD: Duration = Duration::from_secs(15);
const MAX_REDIRECTS: u32 = 5;
/// Connections kept to one server: as many as an audit's threads ask over.
const IDLE: usize = 16;

/// An HTTP client.
#[derive(Debug, Clone)]
pub struct Fetcher {
    agent: Agent,
    received: Arc<AtomicU64>,
    deadline: Option<Instant>,
}

impl Fetcher {
    /// A client that believes the platform's certificate authorities and, where `ca_file` (PEM)
    /// is given, those in it too. Proxies are taken from the environment.
    ///
    /// # Errors
    /// Exit code 2 where `ca_file` cannot be read or has no certificate.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, Fail> {
        Self::with(ca_file, RESPONSE, IDLE)
    }

    /// The same for whoever looks at what is served: each request has a connection of its own,
    /// as those of different people have, and no answer is waited for as long as a log's.
    ///
    /// # Errors
    /// As [`Fetcher::new`].
    pub fn observer(ca_file: Option<&Path>) -> Result<Self, Fail> {
        Self::with(ca_file, LOOK, 0)
    }

    fn with(ca_file: Option<&Path>, response: Duration, idle: usize) -> Result<Self, Fail> {
        let roots = match ca_file {
            Some(path) => read_roots(path)?,
            None => RootCerts::PlatformVerifier,
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(MAX_REDIRECTS)
            .max_idle_connections(idle)
            .max_idle_connections_per_host(idle)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(response))
            .timeout_per_read(Some(STALL));
        Ok(Self {
            agent: config.build().into(),
            received: Arc::default(),
            deadline: None,
        })
    }

    /// The same client, with a count of its own of what it receives. What it gets it has whole
    /// within `time` from now, or not at all, however many documents it asks for: who answers
    /// slowly takes nobody's time for ever.
    #[must_use]
    pub fn counting(&self, time: Duration) -> Self {
        Self {
            agent: self.agent.clone(),
            received: Arc::default(),
            deadline: Instant::now().checked_add(time),
        }
    }

    /// What is left of its time.
    fn left(&self, url: &str) -> Result<Option<Duration>, Fail> {
        let left = self
            .deadline
            .map(|d| d.saturating_duration_since(Instant::now()));
        if left.is_none_or(|left| !left.is_zero()) {
            return Ok(left);
        }
        Err(Fail::unchecked(
            "too-slow",
            "cannot fetch: the answers before it took too long",
        )
        .detail("url", url)
        .hint("try again later; the server or the way to it is slow"))
    }

    /// Bytes of bodies that it and its clones received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Gets `url`, following redirects; returns the answer and the address that it came from.
    /// Not left to the agent: it reads a redirect's body to its end, and that may never come.
    fn follow(
        &self,
        url: &str,
        body: Option<Duration>,
    ) -> Result<(http::Response<Body>, String), Fail> {
        let mut from = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let request = self
                .agent
                .get(&from)
                .config()
                .https_only(is_https(url))
                .max_redirects(0)
                .timeout_recv_body(body)
                .timeout_global(self.left(&from)?)
                .build();
            let response = request.call().map_err(|e| failed(&from, &e))?;
            if !is_redirect(response.status().as_u16()) {
                return Ok((response, from));
            }
            let location = response.headers().get(http::header::LOCATION);
            let to = location.and_then(|l| l.to_str().ok()).unwrap_or_default();
            from = redirected(&from, to)?;
        }
        Err(failed(url, &ureq::Error::TooManyRedirects))
    }

    /// Gets a document of at most `max` bytes.
    ///
    /// # Errors
    /// Exit code 3 where it cannot be had, its status is not 200, or it is larger.
    pub fn get_bytes(&self, url: &str, max: usize) -> Result<Vec<u8>, Fail> {
        self.get_optional(url, max)?
            .ok_or_else(|| bad_status(url, 404, &[]))
    }

    /// Gets a document of at most `max` bytes; `None` where there is none (status 404).
    ///
    /// # Errors
    /// As [`Fetcher::get_bytes`].
    pub fn get_optional(&self, url: &str, max: usize) -> Result<Option<Vec<u8>>, Fail> {
        let (response, _) = self.follow(url, Some(SMALL_BODY))?;
        match response.status().as_u16() {
            200 => self.read_body(url, response, max).map(Some),
            404 => Ok(None),
            status => Err(bad_status(
                url,
                status,
                &self
                    .read_body(url, response, MAX_PROBLEM)
                    .unwrap_or_default(),
            )),
        }
    }

    /// Gets a document of at most `max` bytes with a bearer token, which goes to this address alone:
    /// no redirect is followed, and nothing is sent without TLS but to this machine.
    ///
    /// # Errors
    /// As [`Fetcher::get_bytes`]; exit code 2 where the address is not `https`.
    pub fn get_secret(&self, url: &str, bearer: &str, max: usize) -> Result<Vec<u8>, Fail> {
        keeps_secrets(url)?;
        let request = self.agent.get(url);
        let request = request.header("Authorization", format!("Bearer {bearer}"));
        let request = request
            .config()
            .max_redirects(0)
            .timeout_global(Some(TOLD))
            .build();
        let response = request.call().map_err(|e| failed(url, &e))?;
        match response.status().as_u16() {
            200 => self.read_body(url, response, max),
            status => Err(bad_status(url, status, &[])),
        }
    }

    /// Posts JSON that holds a token; else as [`Fetcher::post`] and [`Fetcher::get_secret`].
    ///
    /// # Errors
    /// Exit code 3 where there is no answer or it is larger, 2 where the address is not `https`.
    pub fn post_secret(&self, url: &str, body: &[u8], max: usize) -> Result<(u16, Vec<u8>), Fail> {
        keeps_secrets(url)?;
        let request = self.agent.post(url).content_type("application/json");
        let request = request
            .config()
            .max_redirects(0)
            .timeout_recv_body(Some(SMALL_BODY))
            .build();
        let response = request.send(body).map_err(|e| failed(url, &e))?;
        let status = response.status().as_u16();
        Ok((status, self.read_body(url, response, max)?))
    }

    /// Posts `body`; returns the status, whatever it is, and at most `max` bytes of answer.
    ///
    /// # Errors
    /// Exit code 3 where there is no answer or it is larger.
    pub fn post(
        &self,
        url: &str,
        content_type: &str,
        body: &[u8],
        max: usize,
    ) -> Result<(u16, Vec<u8>), Fail> {
        self.send(self.agent.post(url), url, content_type, body, max)
    }

    /// Posts JSON with further headers to a place that is told something: within seconds, and
    /// following no redirect, which would lead the message elsewhere. Returns the status.
    ///
    /// # Errors
    /// Exit code 3 where there is no answer.
    pub fn post_with(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        max: usize,
    ) -> Result<u16, Fail> {
        let mut request = self.agent.post(url).content_type("application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .config()
            .max_redirects(0)
            .timeout_global(Some(TOLD))
            .build();
        let response = request.send(body).map_err(|e| failed(url, &e))?;
        let status = response.status().as_u16();
        // What it says is of no interest; that it was read lets the connection be used again.
        let _ = self.read_body(url, response, max);
        Ok(status)
    }

    /// Puts `body`; else as [`Fetcher::post`].
    ///
    /// # Errors
    /// Exit code 3 where there is no answer or it is larger.
    pub fn put(
        &self,
        url: &str,
        content_type: &str,
        body: &[u8],
        max: usize,
    ) -> Result<(u16, Vec<u8>), Fail> {
        self.send(self.agent.put(url), url, content_type, body, max)
    }

    fn send(
        &self,
        request: ureq::RequestBuilder<ureq::typestate::WithBody>,
        url: &str,
        content_type: &str,
        body: &[u8],
        max: usize,
    ) -> Result<(u16, Vec<u8>), Fail> {
        let request = request
            .config()
            .https_only(is_https(url))
            .timeout_recv_body(Some(SMALL_BODY))
            .build();
        let response = request
            .content_type(content_type)
            .send(body)
            .map_err(|e| failed(url, &e))?;
        let status = response.status().as_u16();
        Ok((status, self.read_body(url, response, max)?))
    }

    /// Opens a download: its bytes, its announced length, and the address that it came from
    /// after redirects. There is no limit here; see [`crate::place::copy`].
    ///
    /// # Errors
    /// Exit code 3 where it cannot be had or its status is not 200.
    pub fn stream(&self, url: &str) -> Result<(Download, Option<u64>, String), Fail> {
        let (response, final_url) = self.follow(url, None)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(bad_status(url, status, &[]));
        }
        let (mut reader, length) = self.open(response);
        reader.keeps_pace();
        Ok((reader, length, final_url))
    }

    fn open(&self, response: http::Response<Body>) -> (Download, Option<u64>) {
        let length = response.body().content_length();
        let reader = response.into_body().into_reader();
        let received = Arc::clone(&self.received);
        (Download::new(reader, length, received), length)
    }

    fn read_body(
        &self,
        url: &str,
        response: http::Response<Body>,
        max: usize,
    ) -> Result<Vec<u8>, Fail> {
        let mut bytes = Vec::new();
        let (reader, _) = self.open(response);
        reader
            .take(max as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| broken(url, &e))?;
        if bytes.len() > max {
            return Err(Fail::unchecked(
                "answer-too-large",
                "the server sent more than this document can have",
            )
            .detail("url", url)
            .detail("expected", format!("at most {max} bytes"))
            .hint("check the address; something else may be served there"));
        }
        Ok(bytes)
    }
}

/// Most bytes of an error's explanation that are read.
const MAX_PROBLEM: usize = 16 * 1024;

/// Whether a token may be sent to `url`: over TLS, or to this machine.
fn keeps_secrets(url: &str) -> Result<(), Fail> {
    let uri = url.parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let here = ["127.0.0.1", "[::1]", "localhost"].contains(&host);
    if is_https(url) || here {
        return Ok(());
    }
    Err(Fail::usage(
        "not-https",
        "a token is sent over https only, or to this machine",
    )
    .detail("url", url))
}

fn is_https(url: &str) -> bool {
    url.get(..6)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

/// Where a redirect from `from` to `location` leads (RFC 3986, section 5.2, without the removal
/// of dot segments, which is the server's to do); `None` where that is no http or https address.
fn resolve(from: &str, location: &str) -> Option<String> {
    let scheme_end = location.find(':').unwrap_or(location.len());
    let absolute = scheme_end < location.find(['/', '?', '#']).unwrap_or(location.len());
    let (scheme, rest) = from.split_once("://")?;
    let end = |s: &str, stops: &[char]| s.find(stops).unwrap_or(s.len());
    let host = rest.get(..end(rest, &['/', '?', '#']))?;
    let path = rest.get(..end(rest, &['?', '#']))?;
    let to = if location.is_empty() {
        return None;
    } else if absolute {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{path}{location}")
    } else {
        let directory = path.rfind('/').and_then(|i| path.get(..i)).unwrap_or(host);
        format!("{scheme}://{directory}/{location}")
    };
    is_web(&to).then_some(to)
}

/// Whether this is an http or https address with a host.
pub(crate) fn is_web(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else {
        return false;
    };
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    web && uri.host().is_some_and(|host| !host.is_empty())
}

/// Whether an answer of this status leads elsewhere.
fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads, unless that is no such address, or an insecure one from a secure one.
fn redirected(from: &str, to: &str) -> Result<String, Fail> {
    let next = resolve(from, to).ok_or_else(|| {
        Fail::unchecked(
            "bad-redirect",
            "the server redirects to no http or https address",
        )
        .detail("url", from)
        .detail("redirect", to.chars().take(400).collect::<String>())
        .hint("check the address; something else may be served there")
    })?;
    if is_https(from) && !is_https(&next) {
        return Err(failed(from, &ureq::Error::RequireHttpsOnly(next)));
    }
    Ok(next)
}

/// A read that failed in the middle, as a failure.
#[must_use]
pub fn broken(url: &str, error: &std::io::Error) -> Fail {
    Fail::unchecked(
        "download-broken",
        format!("the download broke off: {error}"),
    )
    .detail("url", url)
    .hint("try again; nothing was kept")
}

fn failed(url: &str, error: &ureq::Error) -> Fail {
    let fail = match error {
        ureq::Error::RequireHttpsOnly(to) => Fail::unchecked(
            "insecure-redirect",
            "the server redirects from https to http, which is refused",
        )
        .detail("redirect", to),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            return Fail::usage("bad-url", format!("not an http or https address: {error}"))
                .detail("url", url);
        }
        _ => Fail::unchecked("unreachable", format!("cannot fetch: {error}")),
    };
    fail.detail("url", url)
        .hint("check the address, the network and the proxy, then try again")
}

fn bad_status(url: &str, status: u16, body: &[u8]) -> Fail {
    let message = match status {
        404 => "not found (HTTP status 404)".to_owned(),
        _ => format!("the server answered with HTTP status {status}"),
    };
    let kind = if status == 404 {
        "not-found"
    } else {
        "http-status"
    };
    let mut fail = Fail::unchecked(kind, message)
        .detail("url", url)
        .detail("status", status.to_string());
    // Servers of ours say why (RFC 9457).
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    if let Some(why) = problem
        .as_ref()
        .and_then(|p| p.get("detail"))
        .and_then(serde_json::Value::as_str)
    {
        fail = fail.detail("server", why.chars().take(400).collect::<String>());
    }
    fail.hint(if status == 404 {
        "check the address"
    } else {
        "try again later, or ask whoever runs the server"
    })
}

fn read_roots(path: &Path) -> Result<RootCerts, Fail> {
    let bad =
        |why: String| Fail::usage("bad-ca-file", format!("CA file {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(c) = item.map_err(|e| bad(e.to_string()))? {
            certificates.push(c);
        }
    }
    if certificates.is_empty() {
        return Err(bad("no PEM certificate in it".into()));
    }
    // Where the platform's own cannot all be read, fewer servers are believed: no reason to stop.
    let platform = rustls_native_certs::load_native_certs().certs;
    certificates.extend(
        platform
            .iter()
            .map(|c| Certificate::from_der(c.as_ref()).to_owned()),
    );
    Ok(certificates.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;
    use std::net::TcpListener;

    /// Serves each of `answers` to one connection, byte for byte, then closes it.
    fn serve(answers: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/f", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut seen = Vec::new();
                let mut byte = [0; 1];
                while !seen.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    seen.push(byte[0]);
                }
                // Whoever has read enough goes away: that is for the test to judge.
                let _ = stream.write_all(&answer);
            }
        });
        url
    }

    fn get(answer: &[u8], max: usize) -> Result<Vec<u8>, Fail> {
        let url = serve(vec![answer.to_vec()]);
        Fetcher::new(None).unwrap().get_bytes(&url, max)
    }

    #[test]
    fn a_whole_answer_and_its_limit() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(get(answer, 5).unwrap(), b"hello");
        let fail = get(answer, 4).unwrap_err();
        assert_eq!((fail.code, fail.kind.as_str()), (3, "answer-too-large"));
    }

    #[test]
    fn an_endless_answer_is_cut_off() {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(1 << 20, b'x');
        assert_eq!(get(&answer, 1000).unwrap_err().kind, "answer-too-large");
    }

    #[test]
    fn an_answer_that_stops_half_way_is_never_a_short_success() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
        ] {
            let fail = get(answer, 100).unwrap_err();
            assert_eq!((fail.code, fail.kind.as_str()), (3, "download-broken"));
        }
        assert_eq!(get(b"HTTP/1.1 200 O", 100).unwrap_err().code, 3);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let fail = get(b"HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n", 9).unwrap_err();
        assert_eq!((fail.code, fail.kind.as_str()), (3, "not-found"));
        let problem = br#"{"detail":"disk full"}"#;
        let mut answer = format!(
            "HTTP/1.1 503 No\r\nContent-Length: {}\r\n\r\n",
            problem.len()
        )
        .into_bytes();
        answer.extend(problem);
        let fail = get(&answer, 9).unwrap_err();
        assert_eq!(fail.kind, "http-status");
        assert!(
            fail.details
                .contains(&("server".into(), "disk full".into()))
        );
    }

    #[test]
    fn who_answers_slowly_has_so_much_time_in_all_and_what_came_is_counted() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        // The second answer never becomes whole, and the connection stays.
        let url = serve(vec![answer.to_vec()]);
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let mute = format!("http://{}/f", held.local_addr().unwrap());
        let base = Fetcher::new(None).unwrap();
        let fetcher = base.counting(Duration::from_millis(700));
        assert_eq!(fetcher.get_bytes(&url, 9).unwrap(), b"hello");
        assert_eq!((fetcher.received(), base.received()), (5, 0));
        let begun = Instant::now();
        assert_eq!(fetcher.get_bytes(&mute, 9).unwrap_err().code, 3);
        assert!(begun.elapsed() < Duration::from_secs(10));
        // Its time is over.
        let fail = fetcher.get_bytes(&url, 9).unwrap_err();
        assert_eq!((fail.code, fail.kind.as_str()), (3, "too-slow"));
    }

    #[test]
    fn redirects_end() {
        let again =
            b"HTTP/1.1 302 Found\r\nLocation: /f\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let url = serve(vec![again.to_vec(); 10]);
        let fail = Fetcher::new(None).unwrap().get_bytes(&url, 9).unwrap_err();
        assert_eq!(fail.code, 3, "{fail:?}");
    }

    #[test]
    fn addresses_and_ca_files_that_are_none() {
        let fetcher = Fetcher::new(None).unwrap();
        assert_eq!(fetcher.get_bytes("no address", 9).unwrap_err().code, 2);
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("ca.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        assert_eq!(Fetcher::new(Some(&empty)).unwrap_err().kind, "bad-ca-file");
    }
}
