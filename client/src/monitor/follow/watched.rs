//! Which of a log's leaves concern the projects that are watched: what is said about them, what
//! their keys sign or are listed in elsewhere, and names that look like theirs.

use super::judge::{Judge, about};
use super::kept::Kept;
use super::{Followed, evidence, finding, short};
use crate::fail::Fail;
use ledger::fold::Fold;
use ledger::leaf::{Leaf, LeafError, StatementLeaf};
use ledger::names::look_alike;
use ledger::statement::Body;
use ledger::{API_VERSION, Hash, KeyId, b64};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Leaves that cannot be read, of one poll, that are each said; the rest are counted.
const MOST_SAID: u64 = 16;

/// What is looked for.
pub(super) struct Watched<'a> {
    followed: &'a Followed,
    kept: &'a mut Kept,
    /// Keys that any of the projects lists, or the configuration.
    keys: BTreeSet<KeyId>,
    unknown: u64,
    unreadable: u64,
}

impl<'a> Watched<'a> {
    pub(super) fn new(followed: &'a Followed, kept: &'a mut Kept) -> Self {
        let mut watched = Self {
            followed,
            kept,
            keys: BTreeSet::new(),
            unknown: 0,
            unreadable: 0,
        };
        watched.list_keys();
        watched
    }

    fn list_keys(&mut self) {
        self.keys.clone_from(&self.followed.keys);
        for project in self.kept.fold.projects() {
            for version in project.versions() {
                self.keys.extend(listed(&version.project));
            }
        }
    }

    /// Looks at one leaf.
    pub(super) fn leaf(&mut self, index: u64, bytes: Vec<u8>, judge: &mut Judge<'_>) {
        let leaf = match Leaf::parse(&bytes) {
            Ok(leaf) => leaf,
            Err(e) => return self.rejected(index, &bytes, &e, judge),
        };
        match &leaf {
            Leaf::Unknown { .. } => self.unknown += 1,
            Leaf::Head(_) => {}
            Leaf::Operation(o) => {
                if let Some(name) = self.name(&o.project) {
                    let (name, subject) = (name.to_owned(), self.subject(name));
                    judge.operation(&about(("", &subject), (&name, &o.project), index), o);
                    let fold = Arc::make_mut(&mut self.kept.fold);
                    if take(fold, index, &leaf) {
                        self.kept.entry(index, bytes);
                    }
                }
            }
            Leaf::Certificate(c) => {
                let mut own = false;
                for id in self.kept.fold.about(&leaf) {
                    let Some(name) = self.name(&id) else { continue };
                    let (name, subject) = (name.to_owned(), self.subject(name));
                    judge.certificate(&about(("", &subject), (&name, &id), index), c);
                    own = true;
                }
                if own && take(Arc::make_mut(&mut self.kept.fold), index, &leaf) {
                    self.kept.entry(index, bytes);
                }
            }
            Leaf::Statement(s) => self.statement(index, s, bytes, judge),
        }
    }

    fn statement(&mut self, index: u64, s: &StatementLeaf, bytes: Vec<u8>, judge: &mut Judge<'_>) {
        let id = self.kept.fold.project_of(&s.envelope, &s.statement);
        if let Some(id) = id
            && let Some(name) = self.name(&id)
        {
            let (name, subject) = (name.to_owned(), self.subject(name));
            let leaf = Leaf::Statement(Box::new(s.clone()));
            let accepted = take(Arc::make_mut(&mut self.kept.fold), index, &leaf);
            let kind = if accepted { "" } else { "ignored-statement" };
            if accepted {
                self.kept.entry(index, bytes);
                if matches!(s.statement.body, Body::Project(_)) {
                    self.list_keys();
                }
            }
            judge.statement(&about((kind, &subject), (&name, &id), index), s);
            return;
        }
        let id = id.unwrap_or_default();
        let origin = self.followed.origin();
        if let Some(key) = self.uses(s) {
            let subject = format!("key {key} in {origin}");
            let other = match &s.statement.body {
                Body::Project(p) => p.name.as_str(),
                _ => "another project",
            };
            let about = about(("key-used-elsewhere", &subject), (other, &id), index);
            judge.statement(&about, s);
        }
        if let Body::Project(p) = &s.statement.body
            && let Some(own) = self.looks_like(&p.name)
        {
            let subject = format!("{} beside {own} in {origin}", short(&p.name));
            let about = about(("look-alike-project", &subject), (&p.name, &id), index);
            judge.statement(&about, s);
        }
    }

    /// Counts, and says the rest. Gives how many were of an unknown kind.
    pub(super) fn end(self, judge: &mut Judge<'_>) -> u64 {
        self.kept.unknown += self.unknown;
        if self.unreadable > MOST_SAID {
            let more = self.unreadable - MOST_SAID;
            let what = format!("{more} more leaves of this log cannot be read");
            let fail = Fail::untrusted("unreadable-leaf", what).hint(READ_HINT);
            judge
                .poll
                .findings
                .push(finding(fail, self.followed.origin()).key("more"));
        }
        self.unknown
    }

    /// The log has committed to something that cannot be read: it may be anything, for others.
    fn rejected(&mut self, index: u64, bytes: &[u8], error: &LeafError, judge: &mut Judge<'_>) {
        self.unreadable += 1;
        if self.unreadable > MOST_SAID {
            return;
        }
        let what = format!(
            "leaf {index} of this log cannot be read: {}",
            short(&error.to_string())
        );
        let document = json!({
            "apiVersion": API_VERSION, "finding": "unreadable-leaf", "index": index, "leaf": b64(bytes),
            "log": self.followed.origin(), "message": what,
        });
        let fail = Fail::untrusted("unreadable-leaf", what)
            .detail("index", index.to_string())
            .detail("reason", error.kind())
            .hint(READ_HINT);
        let fail = evidence::keep(&self.followed.state, "leaf", &document, fail);
        let found = finding(fail, self.followed.origin());
        judge.poll.findings.push(found.key(index.to_string()));
    }

    fn name(&self, id: &Hash) -> Option<&'a str> {
        let mut projects = self.followed.policy.projects.iter();
        projects.find(|p| p.id == *id).map(|p| p.name.as_str())
    }

    fn subject(&self, name: &str) -> String {
        format!("{name} in {}", self.followed.origin())
    }

    /// A watched key that signed a statement, or that it lists or is about.
    fn uses(&self, s: &StatementLeaf) -> Option<KeyId> {
        let signed = s.envelope.signatures.iter().map(|s| s.keyid);
        let body: Vec<KeyId> = match &s.statement.body {
            Body::Project(p) => listed(p).collect(),
            Body::KeyNote(n) => vec![KeyId(n.key)],
            Body::Release(_) | Body::Revocation(_) | Body::Withdrawal(_) => Vec::new(),
        };
        signed.chain(body).find(|key| self.keys.contains(key))
    }

    /// The watched project whose name another's looks like.
    fn looks_like(&self, name: &str) -> Option<&'a str> {
        let mut projects = self.followed.policy.projects.iter();
        let own = projects.find(|p| look_alike(&p.name, name))?;
        Some(&own.name)
    }
}

const READ_HINT: &str = "an honest log commits to nothing that cannot be read; a newer version of this program may read it: see whether there is one, and else keep the leaf as evidence";

fn listed(project: &ledger::statement::Project) -> impl Iterator<Item = KeyId> {
    let keys = project.roots.iter().chain(&project.release_keys);
    keys.map(keys::PublicKey::id)
}

/// Whether the rules accept a leaf of a watched project; then it is followed.
fn take(fold: &mut Fold, index: u64, leaf: &Leaf) -> bool {
    fold.skip_to(index);
    let accepted = fold.check_logged(leaf, None).is_ok();
    if accepted {
        fold.follow(leaf, true);
    }
    accepted
}
