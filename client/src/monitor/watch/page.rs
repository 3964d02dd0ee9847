//! Scripts and pages that are no artifacts themselves, and say where artifacts are and which: what
//! they embed is watched, and every change of theirs is told.

use super::artifact::{Fetching, NOT_RUN};
use super::got::{Bytes, Came, Got, shown};
use super::known::Verdict;
use super::progress::{HOSTS, Page, Seen};
use super::round::Round;
use super::say::Say;
use super::{Context, Target};
use crate::monitor::alert::{Class, Finding};
use crate::monitor::task::Poll;
use ledger::{Hash, from_hex32, hex32, sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

/// Bytes of a page that are read, at most.
const PAGE: u64 = 4 << 20;
/// Addresses and digests of one page that are looked at, at most.
const EMBEDS: usize = 2000;

/// What a page embeds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Embeds {
    urls: BTreeSet<String>,
    hosts: BTreeSet<String>,
    digests: BTreeSet<Hash>,
}

impl Embeds {
    fn find(text: &str) -> Self {
        let mut embeds = Self::default();
        let lower = text.to_ascii_lowercase();
        for scheme in ["http://", "https://"] {
            for (at, _) in lower.match_indices(scheme).take(EMBEDS) {
                let rest = text.get(at + scheme.len()..).unwrap_or_default();
                let ends = |c: char| {
                    c.is_whitespace() || c.is_control() || "\"'`<>()[]{}|\\;,^".contains(c)
                };
                let rest = rest.get(..rest.find(ends).unwrap_or(rest.len()));
                let rest = rest.unwrap_or_default();
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                // What a variable stands for cannot be seen: then the variable is the host.
                let host = host.trim_end_matches(['.', ':']).to_ascii_lowercase();
                embeds.hosts.insert(shown(&host));
                embeds.urls.insert(format!("{scheme}{rest}"));
            }
        }
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let digests = words.filter(|w| w.len() == 64);
        let digests = digests.filter_map(|w| from_hex32(&w.to_ascii_lowercase()));
        embeds.digests.extend(digests.take(EMBEDS));
        embeds
    }

    /// One value for all of it.
    fn hash(&self) -> String {
        let digests = self.digests.iter().map(hex32);
        let all: Vec<String> = self.urls.iter().cloned().chain(digests).collect();
        hex32(&sha256(all.join("\n").as_bytes()))
    }
}

/// What one client was served.
struct Served<'a> {
    got: &'a Got,
    bytes: &'a Bytes,
    embeds: Embeds,
}

fn served(round: &Round) -> BTreeMap<&str, Served<'_>> {
    let mut all = BTreeMap::new();
    for got in &round.got {
        let Some(bytes) = got.bytes().filter(|b| !b.over) else {
            continue;
        };
        // The bytes of a group are held once: by whoever had them first.
        let held = round.got.iter().find_map(|g| match &g.came {
            Came::Bytes(b) if b.sha256 == bytes.sha256 => b.file.as_ref(),
            _ => None,
        });
        let mut text = Vec::new();
        if let Some(file) = held.and_then(|f| std::fs::File::open(f.path()).ok()) {
            let _ = file.take(PAGE).read_to_end(&mut text);
        }
        let embeds = Embeds::find(&String::from_utf8_lossy(&text));
        all.insert(&*got.label, Served { got, bytes, embeds });
    }
    all
}

/// Looks at one page once.
pub(super) fn poll(
    (context, target): (&Context, &Target),
    seen: &mut Seen,
    out: &mut Poll,
    now: u64,
    fetching: Fetching<'_>,
) {
    let first_time = *seen == Seen::default();
    let marks = seen.marks();
    let limit = context.watch.max_bytes.min(PAGE);
    let round = fetching(limit, marks.as_ref().map(|(m, _)| m));
    let looked = context.look(None);
    let verdict = |looked: &super::Looked, digest: &Hash| {
        let known = looked.known.as_ref();
        known.map(|k| k.verdict(&target.name, target.version(), digest))
    };
    let all = served(&round);
    let unknown = |looked: &super::Looked| {
        let known = looked.known.clone();
        all.values().any(|s| {
            let named = |d: &Hash| known.as_ref().is_some_and(|k| k.named(d).is_ok());
            !matches!(
                verdict(looked, &s.bytes.sha256),
                Some(Verdict::Stands { .. })
            ) && !s.embeds.digests.iter().all(named)
        })
    };
    let looked = match unknown(&looked) {
        true => context.look(Some(round.ended)),
        false => looked,
    };
    // Pages may be made anew for each request: what differs between two fetches of one client
    // is no change.
    let changes = |s: &Served<'_>, label: &str| {
        let before = seen.pages.get(base(label));
        before.is_none_or(|p| p.digest != hex32(&s.bytes.sha256))
    };
    let again = all.iter().any(|(label, s)| changes(s, label));
    let second = again.then(|| fetching(limit, None));
    let second = second.as_ref().map(served).unwrap_or_default();
    let nonce = |label: &str, s: &Served<'_>| {
        let other = second.get(base(label));
        other.is_some_and(|o| o.bytes.sha256 != s.bytes.sha256)
    };
    let mut say = Say {
        context,
        subject: target.subject(),
        seen,
        out,
        now,
    };
    say.looked(&looked);
    say.failures(&round);
    say.redirects(&round, first_time);
    say.not_modified(&round, marks.as_ref().map(|(_, d)| d));
    if round.got.iter().any(|g| g.bytes().is_some_and(|b| b.over)) {
        say.out.whole = false;
        say.find(
            Class::Degraded,
            "too-large",
            "",
            format!("the page is larger than the {limit} bytes that are read of one"),
            "watch what it embeds by itself, or set max-bytes higher (a page is read up to 4 MiB)",
        );
    }
    let before = say.seen.pages.clone();
    for (label, served) in &all {
        match verdict(&looked, &served.bytes.sha256) {
            // Signed, so all that it embeds is.
            Some(Verdict::Stands { .. }) => {}
            Some(Verdict::Fallen { why, .. }) => {
                let message = format!("the page was released, and no longer stands: {why}");
                let finding = Finding::new(
                    Class::Tampering,
                    "withdrawn-served",
                    say.subject.clone(),
                    message,
                );
                let key = hex32(&served.bytes.sha256);
                say.keep(finding.hint(NOT_RUN), key, served.bytes, &[served.got]);
            }
            _ => {
                let old = before.get(base(label));
                changed(&mut say, label, served, old, nonce(label, served));
                embedded(&mut say, served, first_time);
                if let Some(known) = looked.known.as_ref().filter(|_| looked.fail.is_none()) {
                    digests(&mut say, served, known);
                }
            }
        }
        let page = Page {
            digest: hex32(&served.bytes.sha256),
            embeds: served.embeds.hash(),
        };
        say.seen.pages.insert(base(label).to_owned(), page);
        for host in &served.embeds.hosts {
            if say.seen.named.len() < HOSTS {
                say.seen.named.insert(host.clone());
            }
        }
    }
    differences(&mut say, &all);
    if let Some(b) = round.first() {
        say.seen.mark(&b.marks, &b.sha256);
    }
}

/// A client, whether it asked what has changed or not.
fn base(label: &str) -> &str {
    label.strip_suffix(", conditional").unwrap_or(label)
}

fn changed(say: &mut Say<'_>, label: &str, served: &Served<'_>, old: Option<&Page>, nonce: bool) {
    let digest = hex32(&served.bytes.sha256);
    let Some(old) = old else {
        // The first of them is what later ones are compared with, so it is kept.
        if !nonce {
            keep_first(say, served);
        }
        let message = format!(
            "the page is watched from here on, as {} is served it",
            shown(label)
        );
        let details = vec![
            ("sha256".to_owned(), digest),
            ("hosts".to_owned(), shown(&list(&served.embeds.hosts))),
        ];
        say.record("page", message, details);
        return;
    };
    let same = match nonce {
        true => old.embeds == served.embeds.hash(),
        false => old.digest == digest,
    };
    if same {
        return;
    }
    let finding = Finding::new(
        Class::Unexpected,
        "page-changed",
        say.subject.clone(),
        "the page has changed, and what it says is in no release",
    )
    .detail("before", format!("sha256 {}", old.digest))
    .detail("got", format!("sha256 {digest}"))
    .detail("served to", shown(label))
    .hint("if it was you, acknowledge it; else find out who can write to this storage: both versions are in the quarantine");
    let key = match nonce {
        true => served.embeds.hash(),
        false => digest,
    };
    say.keep(finding, key, served.bytes, &[served.got]);
}

fn keep_first(say: &mut Say<'_>, served: &Served<'_>) {
    let quarantine = &say.context.shared.quarantine;
    if !quarantine.path(&served.bytes.sha256).exists() && say.seen.may_keep(say.now) {
        let account = served.got.account("page");
        let _ = quarantine.keep(served.bytes.file.as_ref(), &served.bytes.sha256, &account);
    }
}

/// Hosts that it did not name before.
fn embedded(say: &mut Say<'_>, served: &Served<'_>, first_time: bool) {
    if first_time {
        return;
    }
    let named = say.seen.named.clone();
    for host in served.embeds.hosts.difference(&named).take(20) {
        let url = served.embeds.urls.iter().find(|u| {
            let lower = u.to_ascii_lowercase();
            lower
                .split_once("://")
                .is_some_and(|(_, r)| r.contains(host.as_str()))
        });
        let finding = Finding::new(
            Class::Unexpected,
            "page-new-url",
            say.subject.clone(),
            format!("the page names a host that it did not name before: {host}"),
        )
        .detail("address", shown(url.map_or("", String::as_str)))
        .detail("served to", shown(&served.got.label))
        .hint(
            "if it was you, acknowledge it; else whoever follows the page is sent to somebody else",
        );
        say.keep(finding, host.clone(), served.bytes, &[served.got]);
    }
}

/// Digests that are of no release that stands.
fn digests(say: &mut Say<'_>, served: &Served<'_>, known: &super::known::Known) {
    for digest in served.embeds.digests.iter().take(100) {
        let Err(why) = known.named(digest) else {
            continue;
        };
        let digest = hex32(digest);
        let finding = Finding::new(
            Class::Unexpected,
            "page-unknown-digest",
            say.subject.clone(),
            format!("the page names a SHA-256 that is not of a release: {why}"),
        )
        .detail("digest", digest.clone())
        .detail("served to", shown(&served.got.label))
        .hint("whoever compares a download with it is told to trust bytes that the log does not have; acknowledge it if it is of something else");
        say.keep(finding, digest, served.bytes, &[served.got]);
    }
}

/// Whether all are sent to the same places, with the same digests.
fn differences(say: &mut Say<'_>, all: &BTreeMap<&str, Served<'_>>) {
    let mut groups: BTreeMap<(Vec<&String>, Vec<&Hash>), Vec<&str>> = BTreeMap::new();
    for (label, served) in all {
        let e = &served.embeds;
        let key = (e.hosts.iter().collect(), e.digests.iter().collect());
        groups.entry(key).or_default().push(label);
    }
    if groups.len() < 2 {
        return;
    }
    let text: Vec<String> = groups
        .keys()
        .map(|(hosts, digests)| {
            let digests = digests.iter().map(|d| hex32(d));
            hosts
                .iter()
                .map(|h| (*h).clone())
                .chain(digests)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let mut finding = Finding::new(
        Class::Tampering,
        "served-differently",
        say.subject.clone(),
        "different clients are sent to different hosts, or told different digests",
    )
    .key(hex32(&sha256(text.join("\n").as_bytes())))
    .hint("if the page is made to differ, watch it with user-agents of one sort only; else find out who can write to this storage");
    for ((hosts, _), labels) in groups.iter().take(8) {
        let hosts: Vec<&str> = hosts.iter().map(|h| h.as_str()).collect();
        finding = finding.detail(shown(&labels.join("; ")), shown(&hosts.join(", ")));
    }
    say.out.findings.push(finding);
}

fn list(hosts: &BTreeSet<String>) -> String {
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    hosts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_embeds_is_found_however_it_is_written() {
        let digest = "ab".repeat(32);
        let text = format!(
            "curl -s \"https://Dl.example.org/x/$OS/tool\" | HTTP://192.0.2.1:8080;\n\
             <a href='https://me@cdn.example?q'>(see https://docs.example.)</a> https://$HOST/y\n\
             echo '{digest}  tool' {}{digest} SHA256:{}",
            "0",
            digest.to_uppercase()
        );
        let embeds = Embeds::find(&text);
        let hosts = [
            "$host",
            "192.0.2.1:8080",
            "cdn.example",
            "dl.example.org",
            "docs.example",
        ];
        assert_eq!(list(&embeds.hosts), hosts.join(", "));
        assert_eq!(embeds.digests, BTreeSet::from([[0xab; 32]]));
        assert_ne!(embeds.hash(), Embeds::find("https://docs.example").hash());
        assert_eq!(Embeds::find("no address, 1234"), Embeds::default());
    }
}
