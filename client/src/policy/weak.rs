//! What is weak about a policy, though it can be used.

use super::Policy;
use std::collections::BTreeSet;
use tlog::policy::Witness;

/// A weakness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weak {
    /// A stable word for it.
    pub kind: &'static str,
    /// What it allows, for a person.
    pub why: String,
}

/// A year, after which an old answer is said to be one.
const LONG: u64 = 366 * 86_400;

fn weak(kind: &'static str, why: impl Into<String>) -> Weak {
    let why = why.into();
    Weak { kind, why }
}

/// All that is weak in what the policy says.
#[must_use]
pub fn weaknesses(policy: &Policy) -> Vec<Weak> {
    let mut found = quorum(policy);
    if let [only] = policy.log.vkeys.as_slice() {
        let id = hex::encode(only.key_id());
        found.push(weak(
            "one-log-key",
            format!("one stolen key, {id}, suffices to sign as the log"),
        ));
    }
    // With a project that has an age of its own the policy's does not matter.
    let all = || policy.projects.iter();
    if all().any(|p| policy.min_age_of(p).unwrap_or(0) == 0) {
        found.push(weak(
            "no-min-age",
            "no min-age: a release may be used at once, before anybody can have noticed that it is not genuine",
        ));
    }
    match all().map(|p| policy.max_age_of(p).unwrap_or(u64::MAX)).max() {
        Some(u64::MAX) => found.push(weak(
            "no-max-age",
            "no max-age: whoever serves old answers can hide revocations and withdrawals for ever",
        )),
        Some(most) if most > LONG => found.push(weak(
            "long-max-age",
            format!(
                "max-age is {} days: for so long whoever serves old answers can hide revocations and withdrawals",
                most / 86_400
            ),
        )),
        _ => {}
    }
    found
}

fn quorum(policy: &Policy) -> Vec<Weak> {
    let witnesses = &policy.witnesses;
    if witnesses.quorum_none() {
        return vec![weak(
            "quorum-none",
            "quorum none: the log alone could show you another history than others see",
        )];
    }
    let list = witnesses.witnesses();
    let meet = |who: &dyn Fn(&Witness) -> bool| {
        witnesses.met(&|name| list.iter().any(|w| w.name == name && who(w)))
    };
    let mut found = Vec::new();
    match list.iter().find(|w| meet(&|other| other.name == w.name)) {
        Some(one) => found.push(weak(
            "one-witness",
            format!("the witness {} meets the quorum alone", one.name),
        )),
        None => {
            let operators: Vec<BTreeSet<&str>> = operators(list);
            if let Some(one) = operators.iter().find(|o| meet(&|w| o.contains(&*w.name))) {
                let names: Vec<&str> = one.iter().copied().collect();
                found.push(weak(
                    "one-operator",
                    format!(
                        "the witnesses {} are under one host name and meet the quorum alone",
                        names.join(", ")
                    ),
                ));
            }
        }
    }
    let domain = domain(host(&policy.log.origin));
    let of_log = |w: &Witness| hosts(w).iter().any(|h| under(h, &domain));
    if meet(&of_log) {
        found.push(weak(
            "log-operator-meets-quorum",
            format!("witnesses under {domain}, as the log is, meet the quorum alone"),
        ));
    }
    found
}

/// The host that a name or URL begins with, in lower case, without scheme, user, port and path.
fn host(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let rest = rest.rsplit('@').next().unwrap_or(rest);
    match rest.strip_prefix('[').and_then(|v6| v6.split(']').next()) {
        Some(v6) => v6,
        None => rest.split(':').next().unwrap_or(rest),
    }
}

/// Under which hosts a witness is: that of its key's name, and that of its URL.
fn hosts(witness: &Witness) -> Vec<String> {
    let own = Some(witness.key.name());
    let both = own.into_iter().chain(witness.url.as_deref());
    both.map(|text| host(text).to_ascii_lowercase()).collect()
}

/// Witnesses that share a host, or a witness between them does, are one operator's.
fn operators(list: &[Witness]) -> Vec<BTreeSet<&str>> {
    let mut found: Vec<(BTreeSet<String>, BTreeSet<&str>)> = Vec::new();
    for witness in list {
        let mut hosts: BTreeSet<String> = hosts(witness).into_iter().collect();
        let mut names = BTreeSet::from([witness.name.as_str()]);
        found.retain(|(other, members)| {
            let apart = other.is_disjoint(&hosts);
            if !apart {
                hosts.extend(other.iter().cloned());
                names.extend(members);
            }
            apart
        });
        found.push((hosts, names));
    }
    found.into_iter().map(|(_, names)| names).collect()
}

/// The domain that a log's operator has, as far as its name tells: `log.example.org` is under
/// `example.org`, but `log.co.uk` and `log.example` are domains themselves.
fn domain(host: &str) -> String {
    let labels: Vec<&str> = host.split('.').collect();
    let second = labels.iter().rev().nth(1).map_or(0, |l| l.len());
    let country = labels.last().is_some_and(|l| l.len() == 2) && second <= 3;
    let keep = if country { 3 } else { 2 };
    let from = labels.len().saturating_sub(keep);
    let kept = labels.get(from..).unwrap_or_default();
    match host.parse::<std::net::IpAddr>() {
        Ok(_) => host.to_owned(),
        Err(_) => kept.join(".").to_ascii_lowercase(),
    }
}

fn under(host: &str, domain: &str) -> bool {
    host == domain
        || host
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The kinds for a log and witnesses with these key names, of which `k` must cosign.
    fn kinds(origin: &str, names: &[&str], k: usize) -> Vec<&'static str> {
        use tlog::vkey::VerifierKey;
        let key = || keys::Ed25519Secret::generate().unwrap().public_bytes();
        let mut text = String::new();
        let mut group = format!("group Q {k}");
        for (nth, name) in names.iter().enumerate() {
            let vkey = VerifierKey::cosignature(name, &key()).unwrap();
            text.push_str(&format!("witness W{nth} {vkey}\n"));
            group.push_str(&format!(" W{nth}"));
        }
        let witnesses = format!("{text}{group}\nquorum Q\n");
        let log = |_| VerifierKey::ed25519(origin, &key()).unwrap().to_string();
        let vkeys = (0..2).map(log).collect();
        let document =
            ledger::trust::TrustDocument::new(origin, vkeys, [7; 32], "acme/x", &witnesses);
        let mut policy = Policy::from_trust(&document, None).unwrap();
        (policy.min_age, policy.max_age) = (Some(1), Some(1));
        weaknesses(&policy).iter().map(|w| w.kind).collect()
    }

    #[test]
    fn who_can_meet_the_quorum_alone() {
        let none: [&str; 0] = [];
        let three = ["a.example/1", "b.example", "c.example"];
        assert_eq!(kinds("log.test", &three, 2), none);
        assert_eq!(kinds("log.test", &three, 1), ["one-witness"]);
        let two_of_one = ["a.example/1", "A.example/2", "c.example"];
        assert_eq!(kinds("log.test", &two_of_one, 2), ["one-operator"]);
        assert_eq!(kinds("log.test", &two_of_one, 3), none);
        let own = ["w1.acme.test", "w2.acme.test", "c.example"];
        let alone = ["log-operator-meets-quorum"];
        assert_eq!(kinds("log.acme.test", &own, 2), alone);
        assert_eq!(kinds("log.acme.test", &own, 3), none);
        assert_eq!(kinds("log.notacme.test", &own, 2), none);
    }

    #[test]
    fn ages_that_say_nothing_are_none() {
        let golden = include_str!("../../../tests/vectors/countersign/golden-log.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let text = golden["trust"]["canonical"].as_str().unwrap();
        let document = ledger::trust::TrustDocument::parse(text.as_bytes()).unwrap();
        let policy = Policy::from_trust(&document, None).unwrap();
        let ages = |min, max, own: Option<u64>| {
            let mut policy = policy.clone();
            (policy.min_age, policy.max_age) = (min, max);
            policy.projects[0].min_age = own;
            let found = weaknesses(&policy);
            let kinds = found.iter().map(|w| w.kind);
            kinds.filter(|k| k.ends_with("-age")).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(ages(Some(1), Some(1), None), none);
        assert_eq!(ages(None, None, None), ["no-min-age", "no-max-age"]);
        assert_eq!(ages(Some(0), Some(LONG), None), ["no-min-age"]);
        assert_eq!(ages(Some(1), Some(1), Some(0)), ["no-min-age"]);
        assert_eq!(ages(Some(1), Some(LONG + 1), None), ["long-max-age"]);
    }

    #[test]
    fn hosts_and_domains() {
        for (text, want) in [
            ("https://u@w.example:8443/a?b", "w.example"),
            ("w.example/a", "w.example"),
            ("http://[::1]:80/", "::1"),
        ] {
            assert_eq!(host(text), want);
        }
        assert_eq!(domain("log.co.uk"), "log.co.uk");
        assert_eq!(domain("a.log.example.org"), "example.org");
        assert_eq!(domain("127.0.0.1"), "127.0.0.1");
        assert!(!under("notacme.test", "acme.test"));
    }
}
