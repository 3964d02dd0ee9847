//! What a poll has to say about one address or file.

use super::Context;
use super::got::{Bytes, Got, shown};
use super::history::Looked;
use super::progress::{HOSTS, Seen};
use super::quarantine::Kept;
use super::round::Round;
use crate::fail::{Fail, UNTRUSTED, USAGE};
use crate::monitor::alert::{Class, Finding};
use crate::monitor::task::{Poll, Record};
use std::collections::{BTreeMap, BTreeSet};

/// About whom, where it is remembered, and where it is said.
pub(super) struct Say<'a> {
    pub(super) context: &'a Context,
    pub(super) subject: String,
    pub(super) seen: &'a mut Seen,
    pub(super) out: &'a mut Poll,
    pub(super) now: u64,
}

/// A failure as a finding.
pub(super) fn from_fail(fail: &Fail, class: Class, kind: &str, subject: String) -> Finding {
    let mut finding = Finding::new(class, kind, subject, shown(&fail.message));
    if fail.kind != kind {
        finding = finding.detail("reason", fail.kind.clone());
    }
    for (name, value) in &fail.details {
        finding = finding.detail(shown(name), shown(value));
    }
    match &fail.hint {
        Some(hint) => finding.hint(shown(hint)),
        None => finding,
    }
}

impl Say<'_> {
    pub(super) fn find(
        &mut self,
        class: Class,
        kind: &str,
        key: &str,
        message: impl Into<String>,
        hint: &str,
    ) {
        let finding = Finding::new(class, kind, self.subject.clone(), message);
        self.out.findings.push(finding.key(key).hint(hint));
    }

    pub(super) fn record(&mut self, kind: &str, message: String, details: Vec<(String, String)>) {
        self.out.records.push(Record {
            kind: kind.to_owned(),
            subject: self.subject.clone(),
            message,
            details,
        });
    }

    /// What is wrong with the log itself: said once for all that is compared with it.
    pub(super) fn looked(&mut self, looked: &Looked) {
        let Some(fail) = &looked.fail else { return };
        self.out.whole = false;
        let finding = self.context.log_fails(fail);
        if !self.out.findings.contains(&finding) {
            self.out.findings.push(finding);
        }
    }

    /// Keeps the bytes of a finding in the quarantine, with how they came to whom, and says so.
    pub(super) fn keep(&mut self, finding: Finding, key: String, bytes: &Bytes, got: &[&Got]) {
        let quarantine = &self.context.shared.quarantine;
        // Who serves other bytes each time shall neither fill the quarantine nor hide among alerts.
        let known = quarantine.path(&bytes.sha256).exists();
        if !known && !self.seen.may_keep(self.now) {
            let finding = finding.key("more").detail(
                "kept",
                "not these: others of the day are, and these are too many",
            );
            if !self.out.findings.contains(&finding) {
                self.out.findings.push(finding);
            }
            return;
        }
        let mut kept = Kept::AccountOnly(String::new());
        for (n, one) in got.iter().enumerate() {
            let file = bytes.file.as_ref().filter(|_| n == 0);
            let mut account = one.account(&finding.kind);
            account.subject.clone_from(&self.subject);
            let one = quarantine.keep(file, &bytes.sha256, &account);
            if n == 0 {
                kept = one;
            }
        }
        let finding = match &kept {
            Kept::At(path) => finding.detail("kept", path.display().to_string()),
            Kept::AccountOnly(why) => {
                let finding = finding.detail("kept", format!("only how they came: {why}"));
                let full = Finding::new(
                    Class::Operational,
                    "quarantine",
                    self.context.shared.state.display().to_string(),
                    format!("bytes that should be kept are not, only how they came: {why}"),
                )
                .hint("make room, or move what is there to where it is examined; nothing there is overwritten");
                self.out.findings.push(full);
                finding
            }
        };
        self.out.findings.push(finding.key(key));
    }

    /// Answers that were none.
    pub(super) fn failures(&mut self, round: &Round) {
        let mut by_kind: BTreeMap<&str, (Vec<&str>, &Fail)> = BTreeMap::new();
        for (got, fail) in round.failures() {
            let entry = by_kind
                .entry(&fail.kind)
                .or_insert_with(|| (Vec::new(), fail));
            entry.0.push(&got.label);
        }
        for (kind, (labels, fail)) in by_kind {
            self.out.whole = false;
            let class = match kind {
                // It is refused here, and followed elsewhere: somebody should look.
                "insecure-redirect" => Class::Unexpected,
                _ if fail.code == USAGE => Class::Operational,
                _ => Class::Degraded,
            };
            let all = labels.len() == round.got.len();
            let who = if all {
                "every client".to_owned()
            } else {
                shown(&labels.join("; "))
            };
            let finding = from_fail(fail, class, kind, self.subject.clone());
            let finding = finding.detail("as", who);
            let hint =
                "find out whether it is there for others; what was not fetched was not checked";
            self.out.findings.push(finding.hint(hint));
        }
    }

    /// A server that says "as before" to whoever has the bytes of `before`, and gives others to
    /// whoever has none.
    pub(super) fn not_modified(&mut self, round: &Round, before: Option<&ledger::Hash>) {
        let other = round.first().is_some_and(|b| Some(&b.sha256) != before);
        if before.is_some() && other && round.not_modified() {
            self.find(
                Class::Degraded,
                "wrong-not-modified",
                "",
                "the server tells clients that have the bytes from before that nothing is new (HTTP status 304), and serves others to new ones",
                "clients and caches keep the old bytes: purge the caches before this storage",
            );
        }
    }

    /// Hosts that it leads to for the first time. The first poll only records them.
    pub(super) fn redirects(&mut self, round: &Round, first_time: bool) {
        let led: BTreeSet<String> = round.got.iter().flat_map(Got::hosts).collect();
        let own = round.got.first().and_then(Got::own_host);
        let allowed = &self.context.watch.redirect_hosts;
        for host in led {
            let known = own.as_ref() == Some(&host)
                || allowed.iter().any(|a| a.eq_ignore_ascii_case(&host))
                || self.seen.hosts.contains(&host);
            if known {
                continue;
            }
            if first_time {
                let message = format!("it redirects to {}", shown(&host));
                self.record("redirect", message, Vec::new());
            } else {
                // Not an outage, so it must not pass by itself; and the bytes may still be right.
                self.find(
                    Class::Unexpected,
                    "redirect-new-host",
                    &shown(&host),
                    format!("it redirects to {}, where it did not before", shown(&host)),
                    "add the host to redirect-hosts of this [[watch]] if it is yours; else find out who set the redirect",
                );
            }
            // One that was told of stays unknown: it is told anew when it comes back.
            if first_time && self.seen.hosts.len() < HOSTS {
                self.seen.hosts.insert(host);
            }
        }
    }
}

impl Context {
    /// A log that cannot be compared with, about the project and not about an address: it is one
    /// alert for all that is watched.
    pub(super) fn log_fails(&self, fail: &Fail) -> Finding {
        let subject = format!("{} in {}", self.project.name, self.trust.policy.log.origin);
        let (class, kind) = match fail.code {
            UNTRUSTED => (Class::Tampering, fail.kind.as_str()),
            USAGE => (Class::Operational, "log-not-asked"),
            _ => (Class::Degraded, "log-not-asked"),
        };
        from_fail(fail, class, kind, subject)
    }
}
