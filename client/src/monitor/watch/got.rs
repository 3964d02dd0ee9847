//! One fetch: as whom, and what came.

use super::quarantine::{Account, Quarantine};
use crate::cmd::common::now;
use crate::fail::{Fail, visible};
use crate::fetch::{Ask, Fetcher, Hop, Through};
use crate::place::{Copied, copy_part};
use crate::when::time;
use ledger::Hash;
use std::io::{self, Write};
use std::time::Duration;
use tempfile::NamedTempFile;

/// As which programs an address is fetched where the configuration does not say.
const AGENTS: [&str; 4] = [
    concat!("countersign/", env!("CARGO_PKG_VERSION")),
    "curl/8.5.0",
    "Wget/1.21.4",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
];
/// Characters of an entity tag or a date that are remembered, at most.
const MARK: usize = 1000;
/// Characters of an address or a name in a message.
const SHOWN: usize = 300;

/// What came from outside, for a message: nothing in it steers a terminal, and it ends.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = visible(text).chars().take(SHOWN).collect();
    if short.len() < text.len() && text.chars().count() > SHOWN {
        short.push('…');
    }
    short
}

/// An address for a message or a file: without the password that may stand in it.
pub(super) fn address(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return shown(url);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    shown(&format!("{scheme}://{host}{path}"))
}

/// The host of an address, with its port where it names one, in small letters.
pub(super) fn host(url: &str) -> Option<String> {
    let uri: ureq::http::Uri = url.parse().ok()?;
    let host = uri.authority()?.as_str();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// As which client something is fetched.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) agent: String,
    pub(super) through: Option<Through>,
}

impl Way {
    /// Each program, directly and through each proxy.
    pub(super) fn all(agents: &[String], proxies: &[String]) -> Result<Vec<Self>, Fail> {
        let agents: Vec<&str> = match agents {
            [] => AGENTS.to_vec(),
            given => given.iter().map(String::as_str).collect(),
        };
        let proxies: Result<Vec<Through>, Fail> =
            proxies.iter().map(|p| Through::parse(p)).collect();
        let mut through: Vec<Option<Through>> = vec![None];
        through.extend(proxies?.into_iter().map(Some));
        let of = |through: &Option<Through>| {
            let through = through.clone();
            agents.iter().map(move |agent| Self {
                agent: (*agent).to_owned(),
                through: through.clone(),
            })
        };
        Ok(through.iter().flat_map(of).collect())
    }

    /// For people, and the same in every run.
    pub(super) fn label(&self) -> String {
        match &self.through {
            None => self.agent.clone(),
            Some(t) => format!("{} through {}", self.agent, t.shown),
        }
    }

    /// What such a program sends beside.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let accept = if self.agent.starts_with("Mozilla/") {
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        } else {
            "*/*"
        };
        vec![("Accept", accept.to_owned())]
    }
}

/// What a server says about a version of what it serves, for asking whether it has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) etag: Option<String>,
    pub(super) modified: Option<String>,
}

/// Bytes that came.
pub(super) struct Bytes {
    pub(super) sha256: Hash,
    pub(super) size: u64,
    /// More would have come: these are the first.
    pub(super) over: bool,
    /// Why the rest did not come.
    pub(super) broken: Option<Fail>,
    /// The bytes, unless they could not be written.
    pub(super) file: Option<NamedTempFile>,
    pub(super) marks: Marks,
}

/// What an answer was.
pub(super) enum Came {
    Bytes(Bytes),
    /// Nothing new, says the server.
    NotModified,
    /// No answer, or one of another status.
    Nothing(Fail),
}

/// A fetch.
pub(super) struct Got {
    pub(super) label: String,
    pub(super) came: Came,
    hops: Vec<Hop>,
    /// The address that gave no answer.
    lost: Option<String>,
    account: Account,
}

impl Got {
    /// What was read from a file.
    pub(super) fn local(path: &str, bytes: Bytes, began: u64) -> Self {
        let account = Account {
            subject: path.to_owned(),
            why: String::new(),
            user_agent: String::new(),
            proxy: None,
            request: Vec::new(),
            answers: Vec::new(),
            began: time(began),
            ended: time(now()),
            size: 0,
            whole: false,
        };
        Self {
            label: "whoever reads the directory".to_owned(),
            came: Came::Bytes(bytes),
            hops: Vec::new(),
            lost: None,
            account,
        }
    }

    /// The bytes, where whole or cut off by us.
    pub(super) fn bytes(&self) -> Option<&Bytes> {
        match &self.came {
            Came::Bytes(b) if b.broken.is_none() => Some(b),
            _ => None,
        }
    }

    /// The host that was asked.
    pub(super) fn own_host(&self) -> Option<String> {
        host(&self.account.subject)
    }

    /// The hosts that it led to.
    pub(super) fn hosts(&self) -> impl Iterator<Item = String> {
        let led = self.hops.iter().map(|h| &h.url).chain(&self.lost);
        led.skip(1).filter_map(|url| host(url))
    }

    /// How it came, for the quarantine.
    pub(super) fn account(&self, why: &str) -> Account {
        let mut account = self.account.clone();
        why.clone_into(&mut account.why);
        account.answers.clone_from(&self.hops);
        if let Came::Bytes(b) = &self.came {
            account.size = b.size;
            account.whole = !b.over && b.broken.is_none();
        }
        account
    }
}

/// What is fetched.
#[derive(Clone, Copy)]
pub(super) struct Fetch<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) quarantine: &'a Quarantine,
    pub(super) url: &'a str,
    /// Bytes that are read at most.
    pub(super) limit: u64,
    pub(super) within: Duration,
}

impl Fetch<'_> {
    /// Fetches as `way`; with `marks` only what has changed since.
    pub(super) fn run(&self, way: &Way, marks: Option<&Marks>) -> Got {
        let mut headers = way.headers();
        if let Some(marks) = marks {
            let both = [
                ("If-None-Match", &marks.etag),
                ("If-Modified-Since", &marks.modified),
            ];
            headers.extend(both.into_iter().filter_map(|(n, v)| Some((n, v.clone()?))));
        }
        let began = now();
        let answer = self.fetcher.ask(&Ask {
            url: self.url,
            user_agent: &way.agent,
            through: way.through.as_ref(),
            headers: &headers,
            within: self.within,
        });
        let mut lost = None;
        let (came, hops) = match answer {
            Err(no) => {
                lost = Some(no.url);
                (Came::Nothing(no.fail), no.hops)
            }
            Ok(answer) if answer.status == 304 && marks.is_some() => {
                (Came::NotModified, answer.hops)
            }
            Ok(answer) if answer.status != 200 => {
                (Came::Nothing(status(self.url, answer.status)), answer.hops)
            }
            Ok(mut answer) => {
                let mark = |name| {
                    let value = answer.header(name)?;
                    let plain = value.chars().all(|c| matches!(c, ' '..='~'));
                    (plain && value.len() < MARK).then(|| value.to_owned())
                };
                let marks = Marks {
                    etag: mark("etag"),
                    modified: mark("last-modified"),
                };
                let bytes = self.read(&mut answer.body, marks);
                (Came::Bytes(bytes), answer.hops)
            }
        };
        let label = match marks {
            Some(_) => format!("{}, conditional", way.label()),
            None => way.label(),
        };
        let account = Account {
            subject: self.url.to_owned(),
            why: String::new(),
            user_agent: way.agent.clone(),
            proxy: way.through.as_ref().map(|t| t.shown.clone()),
            request: headers
                .into_iter()
                .map(|(n, v)| (n.to_owned(), v))
                .collect(),
            answers: Vec::new(),
            began: time(began),
            ended: time(now()),
            size: 0,
            whole: false,
        };
        Got {
            label,
            came,
            hops,
            lost,
            account,
        }
    }

    fn read(&self, body: &mut impl io::Read, marks: Marks) -> Bytes {
        let file = self.quarantine.incoming().ok();
        let bytes = Bytes::read(body, self.limit, file);
        Bytes { marks, ..bytes }
    }
}

impl Bytes {
    /// Reads and hashes at most `limit` bytes, and writes them to `file`.
    pub(super) fn read(body: &mut impl io::Read, limit: u64, file: Option<NamedTempFile>) -> Self {
        let mut spill = Spill { file };
        // Of what broke off, the part that came counts: a shell would have run it.
        let (Copied { sha256, size, over }, broken) = copy_part(body, &mut spill, limit);
        Self {
            sha256,
            size,
            over,
            broken,
            file: spill.file,
            marks: Marks::default(),
        }
    }
}

/// Writes to a file while it can, and goes on without: that the disk is full must not keep
/// anybody from seeing what is served.
struct Spill {
    file: Option<NamedTempFile>,
}

impl Write for Spill {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_err()
        {
            self.file = None;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn status(url: &str, status: u16) -> Fail {
    let fail = match status {
        404 | 410 => Fail::unchecked("not-found", format!("not found (HTTP status {status})")),
        _ => Fail::unchecked(
            "http-status",
            format!("the server answered with HTTP status {status}"),
        ),
    };
    fail.detail("url", address(url))
        .detail("status", status.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ways_are_each_program_directly_and_through_each_proxy() {
        let given = |agents: &[&str], proxies: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
            let ways = Way::all(&own(agents), &own(proxies)).unwrap();
            ways.iter().map(Way::label).collect::<Vec<_>>()
        };
        assert_eq!(given(&[], &[]), AGENTS);
        assert_eq!(
            given(&["a", "b"], &["http://u:secret@p:8080"]),
            [
                "a",
                "b",
                "a through http://p:8080",
                "b through http://p:8080"
            ]
        );
        assert!(Way::all(&[], &["p:x:y".to_owned()]).is_err());
    }

    #[test]
    fn what_is_shown_has_no_password_no_control_character_and_an_end() {
        assert_eq!(
            address("https://me:secret@h/a@b?c"),
            "https://h/a@b?c".to_owned()
        );
        let long = address(&format!("http://h/{}\u{1b}[2J", "x".repeat(1000)));
        assert!(long.chars().count() <= SHOWN + 1 && !long.contains('\u{1b}'));
        assert_eq!(shown("a\u{1b}b"), "a\u{fffd}b");
        assert_eq!(host("https://me@H.example:8/x").unwrap(), "h.example:8");
        assert_eq!(host("no address"), None);
    }
}
