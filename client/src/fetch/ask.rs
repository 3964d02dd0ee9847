//! Fetching as another client would, and telling all of what was answered: for whoever watches
//! what is served, and must be able to show it.

use super::{Download, Fetcher, MAX_REDIRECTS, failed, is_https, is_redirect, redirected};
use crate::fail::Fail;
use std::time::{Duration, Instant};
use ureq::http::{HeaderMap, header};

/// Header lines of an answer that are told, at most, and characters of each.
const HEADERS: usize = 100;
const HEADER: usize = 2000;

/// A proxy that requests go through.
#[derive(Debug, Clone)]
pub struct Through {
    proxy: ureq::Proxy,
    /// Its address, without the password in it.
    pub shown: String,
}

impl Through {
    /// Reads `http://[USER:PASSWORD@]HOST:PORT`.
    ///
    /// # Errors
    /// Exit code 2 where it is none.
    pub fn parse(text: &str) -> Result<Self, Fail> {
        let bad = |why: String| {
            Fail::usage(
                "bad-proxy",
                format!("a proxy's address is of no use: {why}"),
            )
            .hint("proxies are written http://HOST:PORT or https://HOST:PORT")
        };
        let proxy = ureq::Proxy::new(text).map_err(|e| bad(e.to_string()))?;
        let scheme = match proxy.protocol() {
            ureq::ProxyProtocol::Http => "http",
            ureq::ProxyProtocol::Https => "https",
            // One that is not spoken would be left out in silence.
            _ => return Err(bad("only http and https proxies are spoken".into())),
        };
        let shown = format!("{scheme}://{}:{}", proxy.host(), proxy.port());
        Ok(Self { proxy, shown })
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Where.
    pub url: &'a str,
    /// As which program.
    pub user_agent: &'a str,
    /// Through which proxy; else as the environment says.
    pub through: Option<&'a Through>,
    /// Further header lines.
    pub headers: &'a [(&'a str, String)],
    /// Time for all of it, redirects and body.
    pub within: Duration,
}

/// A redirect that was followed, or the last answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Hop {
    /// The address that was asked.
    pub url: String,
    /// The status that it answered with.
    pub status: u16,
    /// Its headers, shortened.
    pub headers: Vec<(String, String)>,
}

/// An answer, whatever its status.
pub struct Answer {
    /// The last answer's status.
    pub status: u16,
    /// Every answer up to it, the last one included.
    pub hops: Vec<Hop>,
    /// The announced length.
    pub length: Option<u64>,
    /// The body.
    pub body: Download,
}

impl Answer {
    /// A header of the last answer.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = &self.hops.last()?.headers;
        let found = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer, and the redirects up to there.
#[derive(Debug)]
pub struct Lost {
    /// Why: exit code 3, or 2 for what is no address.
    pub fail: Fail,
    /// The address that gave none.
    pub url: String,
    /// The answers before.
    pub hops: Vec<Hop>,
}

impl Fetcher {
    /// Asks, and follows redirects; never from https to http.
    ///
    /// # Errors
    /// [`Lost`], where there is no answer at all.
    pub fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Box<Lost>> {
        let deadline = Instant::now() + ask.within;
        let mut hops: Vec<Hop> = Vec::new();
        let mut from = ask.url.to_owned();
        loop {
            let response = match self.one(ask, &from, deadline) {
                Ok(response) => response,
                Err(fail) => {
                    return Err(Box::new(Lost {
                        fail,
                        url: from,
                        hops,
                    }));
                }
            };
            let status = response.status().as_u16();
            let location = response.headers().get(header::LOCATION);
            let to = location.and_then(|l| l.to_str().ok()).map(str::to_owned);
            hops.push(Hop {
                url: from.clone(),
                status,
                headers: told(response.headers()),
            });
            if !is_redirect(status) {
                let (body, length) = self.open(response);
                return Ok(Answer {
                    status,
                    hops,
                    length,
                    body,
                });
            }
            match next(&from, &to.unwrap_or_default(), hops.len()) {
                Ok(to) => from = to,
                Err(fail) => {
                    return Err(Box::new(Lost {
                        fail,
                        url: from,
                        hops,
                    }));
                }
            }
        }
    }

    fn one(
        &self,
        ask: &Ask<'_>,
        url: &str,
        deadline: Instant,
    ) -> Result<ureq::http::Response<ureq::Body>, Fail> {
        let mut request = self.agent.get(url);
        for (name, value) in ask.headers {
            request = request.header(*name, value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let config = request
            .config()
            .https_only(is_https(ask.url))
            .max_redirects(0)
            .user_agent(ask.user_agent)
            .timeout_global(Some(left));
        let config = match ask.through {
            Some(through) => config.proxy(Some(through.proxy.clone())),
            None => config,
        };
        config.build().call().map_err(|e| match e {
            // Others may read what is refused here: it is no outage.
            ureq::Error::Protocol(_) => {
                let message = format!("the answer is no valid HTTP: {e}");
                Fail::unchecked("malformed-answer", message).detail("url", url)
            }
            e => failed(url, &e),
        })
    }
}

/// Where a redirect leads, unless it is one too many, or to where none is followed.
fn next(from: &str, to: &str, nth: usize) -> Result<String, Fail> {
    if nth > MAX_REDIRECTS as usize {
        return Err(failed(from, &ureq::Error::TooManyRedirects));
    }
    redirected(from, to)
}

fn told(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.chars().take(HEADER).collect::<String>()
    };
    let lines = headers.iter().take(HEADERS);
    lines
        .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};

    /// Answers one connection after the other; gives what each was asked.
    fn serve(answers: Vec<&'static str>) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (send, receive) = channel();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut seen, mut byte) = (Vec::new(), [0; 1]);
                while !seen.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    seen.push(byte[0]);
                }
                send.send(String::from_utf8(seen).unwrap()).unwrap();
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        (url, receive)
    }

    fn ask<'a>(url: &'a str, headers: &'a [(&'a str, String)]) -> Ask<'a> {
        Ask {
            url,
            user_agent: "curl/8.5.0",
            through: None,
            headers,
            within: Duration::from_secs(5),
        }
    }

    #[test]
    fn asks_as_another_program_and_tells_every_answer() {
        let (url, asked) = serve(vec![
            "HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nETag: \"b\"\r\n\r\n",
        ]);
        let headers = [("If-None-Match", "\"a\"".to_owned())];
        let fetcher = Fetcher::observer(None).unwrap();
        let answer = fetcher.ask(&ask(&url, &headers)).ok().unwrap();
        assert_eq!((answer.status, answer.header("etag")), (304, Some("\"b\"")));
        let hops: Vec<(&str, u16)> = answer.hops.iter().map(|h| (&*h.url, h.status)).collect();
        assert_eq!(hops, [(&*url, 302), (&*format!("{url}/next"), 304)]);
        for _ in 0..2 {
            let asked = asked.recv().unwrap().to_lowercase();
            assert!(asked.contains("user-agent: curl/8.5.0\r\n"), "{asked}");
            assert!(asked.contains("if-none-match: \"a\"\r\n"), "{asked}");
        }
    }

    #[test]
    fn an_answer_that_others_may_read_is_no_outage() {
        let (url, _asked) = serve(vec!["HTTP/1.1 200 OK\r\nX: \u{1b}[2J\r\n\r\n"]);
        let fetcher = Fetcher::observer(None).unwrap();
        let lost = fetcher.ask(&ask(&url, &[])).err().unwrap();
        assert_eq!(lost.fail.kind, "malformed-answer");
    }

    #[test]
    fn a_proxy_is_asked_to_connect_and_others_than_http_are_refused() {
        let (proxy, asked) = serve(vec!["HTTP/1.1 502 No\r\n\r\n"]);
        let through = Through::parse(&proxy.replace("http://", "http://me:secret@")).unwrap();
        assert_eq!(through.shown, proxy);
        let mut ask = ask("http://storage.example/f", &[]);
        ask.through = Some(&through);
        let lost = Fetcher::observer(None).unwrap().ask(&ask).err().unwrap();
        assert_eq!(lost.fail.kind, "unreachable");
        let asked = asked.recv().unwrap();
        assert!(asked.starts_with("CONNECT storage.example:80 "), "{asked}");
        for bad in ["socks5://h:1", "ftp://h", "http://"] {
            assert_eq!(Through::parse(bad).unwrap_err().kind, "bad-proxy", "{bad}");
        }
    }

    #[test]
    fn what_drips_ends_when_its_time_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(b"#").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut ask = ask(&url, &[]);
        ask.within = Duration::from_millis(500);
        let began = Instant::now();
        let mut answer = Fetcher::observer(None).unwrap().ask(&ask).ok().unwrap();
        assert!(answer.body.read_to_end(&mut Vec::new()).is_err());
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn redirects_end_and_lead_nowhere_strange() {
        for (to, kind) in [
            ("file:///etc/passwd", "bad-redirect"),
            ("", "bad-redirect"),
            ("/again", "unreachable"),
        ] {
            let nth = if to == "/again" { 6 } else { 1 };
            assert_eq!(next("http://h/a", to, nth).unwrap_err().kind, kind);
        }
        let down = next("https://h/a", "http://h/b", 1).unwrap_err();
        assert_eq!(down.kind, "insecure-redirect");
        assert_eq!(next("https://h/a", "b", 1).unwrap(), "https://h/b");
    }
}
