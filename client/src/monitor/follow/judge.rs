//! Whether something new was announced: then it is only recorded; else somebody is told.

use super::statement::{self, About};
use crate::monitor::alert::Finding;
use crate::monitor::announced::{Announced, Answer, Said};
use crate::monitor::task::{Poll, Record};
use ledger::leaf::{Action, CertificateLeaf, Leaf, OperationLeaf, StatementLeaf};
use ledger::{Hash, KeyId, b64, from_b64, from_hex32, hex32};
use serde::{Deserialize, Serialize};

/// Statements that are held back at most, and bytes of them.
const MOST_PENDING: usize = 1000;
const MOST_BYTES: usize = 16 << 20;
/// What no source could decide becomes an alert of its own after this, in seconds.
const UNDECIDED: u64 = 3600;
/// A release follows its certificate within seconds: no certificate waits longer for one, in
/// seconds, than this and the grace that announcements have.
const UNUSED: u64 = 60;

/// A statement that is held back: it may be announced yet, or a source has not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending {
    index: u64,
    /// The leaf, base64.
    leaf: String,
    kind: String,
    subject: String,
    project: String,
    id: String,
    since: u64,
}

/// A poll's judgement.
pub(super) struct Judge<'a> {
    pub(super) origin: &'a str,
    pub(super) announced: &'a mut Announced,
    pub(super) pending: &'a mut Vec<Pending>,
    pub(super) poll: &'a mut Poll,
    pub(super) now: u64,
}

impl Judge<'_> {
    /// Asks again about all that was held back.
    pub(super) fn again(&mut self) {
        for mut held in std::mem::take(self.pending) {
            let bytes = from_b64(&held.leaf).unwrap_or_default();
            let id = from_hex32(&held.id).unwrap_or_default();
            // A clock that was set back holds nothing back for longer.
            held.since = held.since.min(self.now);
            let about = About {
                kind: &held.kind,
                subject: &held.subject,
                project: &held.project,
                id: &id,
                index: held.index,
            };
            let decided = match Leaf::parse(&bytes) {
                Ok(Leaf::Statement(leaf)) => self.decided(&about, &leaf, held.since),
                Ok(Leaf::Certificate(leaf)) => self.unused(&about, &leaf, held.since),
                _ => continue,
            };
            if !decided {
                self.pending.push(held);
            }
        }
    }

    /// Judges a statement that is new.
    pub(super) fn statement(&mut self, about: &About<'_>, leaf: &StatementLeaf) {
        if let Some(chain) = &leaf.envelope.chain {
            self.used(about, &chain.end().key.id());
        }
        // Who pinned a project announced it by that.
        if about.kind.is_empty() && leaf.envelope.pae_hash() == *about.id {
            self.record(about, leaf, "policy");
            return;
        }
        if self.decided(about, leaf, self.now) {
            return;
        }
        if !self.hold(about, &Leaf::Statement(Box::new(leaf.clone()))) {
            let note = "too many statements are held back to wait for an announcement of this";
            self.unexpected(about, leaf, Some(note));
        }
    }

    /// Holds a leaf back, where there is room.
    fn hold(&mut self, about: &About<'_>, leaf: &Leaf) -> bool {
        let bytes: usize = self.pending.iter().map(|p| p.leaf.len()).sum();
        match leaf.to_bytes() {
            Ok(logged) if self.pending.len() < MOST_PENDING && bytes < MOST_BYTES => {
                self.pending.push(Pending {
                    index: about.index,
                    leaf: b64(&logged),
                    kind: about.kind.to_owned(),
                    subject: about.subject.to_owned(),
                    project: about.project.to_owned(),
                    id: hex32(about.id),
                    since: self.now,
                });
                true
            }
            _ => false,
        }
    }

    /// Judges a certificate that the log's issuer gave out for an identity of the project: what
    /// is signed with it is judged by itself, so it waits for that.
    pub(super) fn certificate(&mut self, about: &About<'_>, leaf: &CertificateLeaf) {
        if !self.hold(about, &Leaf::Certificate(Box::new(leaf.clone()))) {
            let found = statement::certificate(about, leaf);
            self.poll.findings.push(found);
        }
    }

    /// Something was signed with this certificate's key: that decides.
    fn used(&mut self, about: &About<'_>, key: &KeyId) {
        let (project, poll) = (hex32(about.id), &mut *self.poll);
        self.pending.retain(|held| {
            let bytes = from_b64(&held.leaf).unwrap_or_default();
            let Ok(Leaf::Certificate(c)) = Leaf::parse(&bytes) else {
                return true;
            };
            if held.id != project || c.chain.end().key.id() != *key {
                return true;
            }
            poll.records.push(Record {
                kind: "certificate".to_owned(),
                subject: held.subject.clone(),
                message: format!(
                    "entry {} is signed with a certificate that was issued for it",
                    about.index
                ),
                details: statement::certificate_details(held.index, &c),
            });
            false
        });
    }

    /// Whether a certificate has waited long enough, and somebody was told.
    fn unused(&mut self, about: &About<'_>, leaf: &CertificateLeaf, since: u64) -> bool {
        let waited = self.now.saturating_sub(since);
        if waited < self.announced.grace.max(UNUSED) {
            return false;
        }
        self.poll.findings.push(statement::certificate(about, leaf));
        true
    }

    /// Judges what the log's operator did.
    pub(super) fn operation(&mut self, about: &About<'_>, leaf: &OperationLeaf) {
        if leaf.action == Action::Admitted {
            self.poll.records.push(Record {
                kind: "operation".to_owned(),
                subject: about.subject.to_owned(),
                message: "the log's operator admitted the project".to_owned(),
                details: vec![("index".to_owned(), about.index.to_string())],
            });
        } else {
            self.poll.findings.push(statement::operation(about, leaf));
        }
    }

    /// Whether it is recorded or alerted, so that nothing is left to wait for.
    fn decided(&mut self, about: &About<'_>, leaf: &StatementLeaf, since: u64) -> bool {
        let said = Said {
            origin: self.origin,
            project: about.project,
            id: about.id,
            index: about.index,
            leaf,
        };
        let waited = self.now.saturating_sub(since);
        let grace = self.announced.grace;
        match self.announced.ask(&said) {
            Answer::Expected(by) => self.record(about, leaf, by),
            Answer::Unexpected(_) if waited < grace => return false,
            Answer::Unexpected(note) => self.unexpected(about, leaf, note.as_deref()),
            Answer::Unclear(why) => {
                self.trouble(*why);
                if waited < grace.max(UNDECIDED) {
                    return false;
                }
                let note = "no source could decide within an hour";
                self.unexpected(about, leaf, Some(note));
            }
        }
        true
    }

    /// Says what is wrong with a source, once a poll.
    fn trouble(&mut self, finding: Finding) {
        if !self.poll.findings.contains(&finding) {
            self.poll.findings.push(finding);
        }
    }

    fn unexpected(&mut self, about: &About<'_>, leaf: &StatementLeaf, note: Option<&str>) {
        let finding = statement::unexpected(about, leaf);
        let finding = match note {
            Some(note) => finding.detail("announced", super::short(note)),
            None => finding,
        };
        self.poll.findings.push(finding);
    }

    fn record(&mut self, about: &About<'_>, leaf: &StatementLeaf, by: &str) {
        let mut details = statement::details(about, leaf);
        details.push(("announced".to_owned(), by.to_owned()));
        self.poll.records.push(Record {
            kind: leaf.statement.body.kind().to_owned(),
            subject: about.subject.to_owned(),
            message: statement::says(leaf),
            details,
        });
    }
}

/// What is said about a statement of a project.
pub(super) fn about<'a>(
    (kind, subject): (&'a str, &'a str),
    (project, id): (&'a str, &'a Hash),
    index: u64,
) -> About<'a> {
    About {
        kind,
        subject,
        project,
        id,
        index,
    }
}
