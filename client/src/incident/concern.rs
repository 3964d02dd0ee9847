//! Which entries, releases and keys a question is about.

use super::document::Question;
use crate::cmd::complete::{Complete, Release};
use ledger::leaf::StatementLeaf;
use ledger::statement::{Body, Target, Withdrawn};
use ledger::{Hash, KeyId, hex32, names};
use std::collections::{BTreeMap, BTreeSet};

/// What a question concerns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Concern {
    /// Log indexes of statements: the lines of the timeline.
    pub(super) entries: BTreeSet<u64>,
    /// Those of them that are releases which are asked about, or are stated again by one of these.
    pub(super) releases: BTreeSet<u64>,
    /// Of all releases those that state another again, and which.
    pub(super) restates: BTreeMap<u64, Hash>,
    /// The key that is asked about, or those that signed what is.
    pub(super) keys: BTreeSet<KeyId>,
    /// Those that a thief may have: of a key or a window that is asked about.
    pub(super) suspects: BTreeSet<KeyId>,
}

fn signed_by(leaf: &StatementLeaf, key: &KeyId) -> bool {
    leaf.envelope.signatures.iter().any(|s| s.keyid == *key)
}

impl Concern {
    /// Of a proven history.
    pub(super) fn new(complete: &Complete, releases: &[Release], question: &Question) -> Self {
        let mut concern = Self::default();
        concern.asked(complete, releases, question);
        concern.stated_again(complete);
        concern.about_releases(complete, releases);
        concern.about_keys(complete);
        concern
    }

    fn asked(&mut self, complete: &Complete, releases: &[Release], question: &Question) {
        let chosen = |r: &&Release| match question {
            Question::Key(id) => r.keys.iter().any(|k| k.to_string() == *id),
            Question::Digest(digest) => r.artifacts.iter().any(|a| hex32(&a.sha256) == *digest),
            Question::Version(v) => names::purl_version(&r.purl).as_ref() == Some(v),
            Question::Window { since, until } => (*since..=*until).contains(&r.time),
        };
        for release in releases.iter().filter(chosen) {
            self.releases.insert(release.index);
            self.keys.extend(&release.keys);
        }
        match question {
            Question::Key(id) => {
                let known = complete.statements();
                let signers = known.flat_map(|(_, s)| s.envelope.signatures.iter());
                let listed = complete.leaves.iter().filter_map(|(_, leaf)| match leaf {
                    ledger::leaf::Leaf::Statement(s) => match &s.statement.body {
                        Body::Project(p) => Some(p.roots.iter().chain(&p.release_keys)),
                        _ => None,
                    },
                    _ => None,
                });
                let mut all = listed.flatten().map(::keys::PublicKey::id);
                let key = all.find(|k| k.to_string() == *id);
                let key = key.or_else(|| signers.map(|s| s.keyid).find(|k| k.to_string() == *id));
                self.keys = key.into_iter().collect();
                self.suspects.clone_from(&self.keys);
                for (index, leaf) in complete.statements() {
                    if key.is_some_and(|k| signed_by(leaf, &k)) {
                        self.entries.insert(index);
                    }
                }
            }
            Question::Window { since, until } => {
                self.suspects.clone_from(&self.keys);
                for (index, leaf) in complete.statements() {
                    if (*since..=*until).contains(&leaf.time) {
                        self.entries.insert(index);
                        self.keys
                            .extend(leaf.envelope.signatures.iter().map(|s| s.keyid));
                    }
                }
            }
            Question::Digest(_) | Question::Version(_) => {}
        }
    }

    /// What states a release again that is concerned, and what such a one states again.
    fn stated_again(&mut self, complete: &Complete) {
        let known: Vec<(u64, Hash, Option<Hash>)> = complete
            .statements()
            .filter_map(|(index, leaf)| match &leaf.statement.body {
                Body::Release(r) => Some((index, leaf.envelope.pae_hash(), r.restates)),
                _ => None,
            })
            .collect();
        let restates = known
            .iter()
            .filter_map(|(index, _, of)| Some((*index, (*of)?)));
        self.restates = restates.collect();
        loop {
            let before = self.releases.len();
            let own = known.iter().filter(|r| self.releases.contains(&r.0));
            let (mut paes, mut restated): (BTreeSet<Hash>, BTreeSet<Hash>) = Default::default();
            for (_, pae, of) in own {
                paes.insert(*pae);
                restated.extend(of);
            }
            for (index, pae, of) in &known {
                if of.is_some_and(|r| paes.contains(&r)) || restated.contains(pae) {
                    self.releases.insert(*index);
                }
            }
            if self.releases.len() == before {
                return;
            }
        }
    }

    /// What takes a concerned release back, or shares its bytes and is taken back.
    fn about_releases(&mut self, complete: &Complete, releases: &[Release]) {
        let of: Vec<&Release> = releases
            .iter()
            .filter(|r| self.releases.contains(&r.index))
            .collect();
        self.entries.extend(of.iter().map(|r| r.index));
        for (index, leaf) in complete.statements() {
            let Body::Withdrawal(w) = &leaf.statement.body else {
                continue;
            };
            let digest = |d: &Hash| leaf.statement.subject.iter().any(|s| s.sha256 == *d);
            let takes = |r: &&Release| match &w.what {
                Withdrawn::Prefix(prefix) => names::prefix_covers(prefix, &r.purl),
                Withdrawn::Release(pae) => {
                    *pae == r.statement || r.artifacts.iter().any(|a| digest(&a.sha256))
                }
            };
            if of.iter().any(takes) {
                self.entries.insert(index);
            }
        }
    }

    /// What lists a concerned key, leaves it out, revokes it, or is noted about it; and the first
    /// and the newest version of the project, which say who may speak.
    fn about_keys(&mut self, complete: &Complete) {
        let mut listed: BTreeSet<KeyId> = BTreeSet::new();
        let mut versions = Vec::new();
        for (index, leaf) in complete.statements() {
            let about = match &leaf.statement.body {
                Body::Project(p) => {
                    versions.push(index);
                    let keys = p.roots.iter().chain(&p.release_keys).map(|k| k.id());
                    let now: BTreeSet<KeyId> = keys.filter(|k| self.keys.contains(k)).collect();
                    std::mem::replace(&mut listed, now.clone()) != now
                }
                Body::Revocation(r) => self.keys.iter().any(|k| r.target == Target::key(k)),
                Body::KeyNote(n) => self.keys.iter().any(|k| k.0 == n.key),
                Body::Release(_) | Body::Withdrawal(_) => false,
            };
            if about {
                self.entries.insert(index);
            }
        }
        self.entries.extend(versions.first());
        self.entries.extend(versions.last());
    }
}
