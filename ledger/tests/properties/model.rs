//! The meaning of a log by its definition (docs/formats.md, "Statements" and "Fold"), computed
//! afresh from the list of its leaves, as plainly as possible and sharing no code with the fold:
//! no state is kept between two questions, and nothing is fast.

use ledger::Hash;
use ledger::KeyId;
use ledger::leaf::{Action, Leaf, StatementLeaf};
use ledger::statement::{Body, Project, Subject, Target, Withdrawn};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// The leaves so far, and which of them were accepted.
#[derive(Clone)]
pub struct Model {
    origin: String,
    pub leaves: Vec<Leaf>,
    pub accepted: Vec<bool>,
}

/// A version of a project.
#[derive(Clone)]
pub struct Version {
    pub index: u64,
    pub time: u64,
    pub pae: Hash,
    pub p: Project,
}

pub type Keys = BTreeSet<KeyId>;

pub fn h(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|p| hasher.update(p));
    hasher.finalize().into()
}

fn signers(s: &StatementLeaf) -> Keys {
    s.envelope.signatures.iter().map(|s| s.keyid).collect()
}

fn roots(p: &Project) -> Keys {
    p.roots.iter().map(|k| k.id()).collect()
}

fn release_keys(p: &Project) -> Keys {
    p.release_keys.iter().map(|k| k.id()).collect()
}

pub fn all_keys(p: &Project) -> Keys {
    roots(p).union(&release_keys(p)).copied().collect()
}

/// By the words of the specification: a byte prefix that ends in `/`, or that is followed by `/`,
/// `@`, `?` or the end.
fn covers(prefix: &str, purl: &str) -> bool {
    purl.starts_with(prefix)
        && (prefix.ends_with('/')
            || matches!(
                purl.as_bytes().get(prefix.len()),
                None | Some(b'/' | b'@' | b'?')
            ))
}

fn artifacts(subjects: &[Subject]) -> BTreeSet<(String, Hash, Option<u64>)> {
    subjects
        .iter()
        .map(|s| (s.name.clone(), s.sha256, s.size))
        .collect()
}

impl Model {
    pub fn new(origin: &str) -> Self {
        Self {
            origin: origin.into(),
            leaves: Vec::new(),
            accepted: Vec::new(),
        }
    }

    /// Adds a leaf, and says whether it is accepted.
    pub fn add(&mut self, leaf: &Leaf) -> bool {
        let ok = self.may(leaf);
        self.leaves.push(leaf.clone());
        self.accepted.push(ok);
        ok
    }

    fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The accepted statements with their indexes.
    pub fn statements(&self) -> impl DoubleEndedIterator<Item = (u64, &StatementLeaf)> {
        let all = (0..).zip(self.leaves.iter().zip(&self.accepted));
        let all: Vec<(u64, &StatementLeaf)> = all
            .filter_map(|(i, (leaf, ok))| match leaf {
                Leaf::Statement(s) if *ok => Some((i, &**s)),
                _ => None,
            })
            .collect();
        all.into_iter()
    }

    /// All accepted versions of every project, by the id of the project.
    fn every_version(&self) -> Vec<(Hash, Version)> {
        let mut all: Vec<(Hash, Version)> = Vec::new();
        for (index, s) in self.statements() {
            let Body::Project(p) = &s.statement.body else {
                continue;
            };
            let pae = s.envelope.pae_hash();
            let id = match p.previous {
                None => pae,
                Some(before) => {
                    let before = all.iter().find(|(_, v)| v.pae == before);
                    before.expect("it follows an accepted one").0
                }
            };
            let (time, p) = (s.time, p.clone());
            all.push((
                id,
                Version {
                    index,
                    time,
                    pae,
                    p,
                },
            ));
        }
        all
    }

    pub fn projects(&self) -> BTreeSet<Hash> {
        self.every_version().into_iter().map(|(id, _)| id).collect()
    }

    pub fn versions(&self, id: &Hash) -> Vec<Version> {
        let all = self.every_version().into_iter();
        all.filter(|(of, _)| of == id).map(|(_, v)| v).collect()
    }

    /// The project that a statement is about, if it stands.
    pub fn about(&self, s: &StatementLeaf) -> Option<Hash> {
        match &s.statement.body {
            Body::Project(p) => match p.previous {
                None => Some(s.envelope.pae_hash()).filter(|id| self.projects().contains(id)),
                Some(before) => {
                    let all = self.every_version();
                    all.iter().find(|(_, v)| v.pae == before).map(|(id, _)| *id)
                }
            },
            Body::Release(r) => Some(r.package_id),
            Body::Revocation(r) => Some(r.project),
            Body::Withdrawal(w) => Some(w.project),
            Body::KeyNote(n) => Some(n.project),
        }
        .filter(|id| self.projects().contains(id))
    }

    /// Index, window and statement of each accepted revocation of a target in a project.
    pub fn revocations(&self, id: &Hash, target: &Target) -> Vec<(u64, Option<u64>, Hash)> {
        let mut all = Vec::new();
        for (index, s) in self.statements() {
            if let Body::Revocation(r) = &s.statement.body
                && r.project == *id
                && r.target == *target
            {
                all.push((index, r.compromised_since, s.envelope.pae_hash()));
            }
        }
        all
    }

    pub fn revoked(&self, id: &Hash, key: &KeyId) -> bool {
        !self.revocations(id, &Target::Key(key.0)).is_empty()
    }

    /// Whether a signature of `key` at index i counts: i < first revocation, and i < every window.
    fn counts(&self, id: &Hash, key: &KeyId, i: u64) -> bool {
        let all = self.revocations(id, &Target::Key(key.0));
        all.iter()
            .all(|(at, since, _)| i < *at && since.is_none_or(|since| i < since))
    }

    /// The second pass for one accepted release or withdrawal: whether too few of its signatures
    /// count now for the threshold that was in force at its index.
    pub fn void(&self, i: u64, s: &StatementLeaf) -> bool {
        let Some(id) = self.about(s) else { return true };
        let versions = self.versions(&id);
        let in_force = &versions
            .iter()
            .rfind(|v| v.index < i)
            .expect("it was accepted")
            .p;
        let signed = signers(s);
        let by_roots = signed
            .iter()
            .all(|k| versions.iter().any(|v| roots(&v.p).contains(k)));
        let want = if by_roots {
            in_force.root_threshold
        } else {
            in_force.release_threshold
        };
        let good = signed.iter().filter(|k| self.counts(&id, k, i)).count() as u64;
        good < want
    }

    /// The first pass: whether a leaf is accepted in the state that the leaves so far make.
    fn may(&self, leaf: &Leaf) -> bool {
        match leaf {
            Leaf::Unknown { .. } => false,
            // Stories have none: their projects list keys.
            Leaf::Certificate(_) => true,
            Leaf::Head(head) => head.entries == self.size() && head.map == self.map(),
            Leaf::Operation(o) => {
                o.action == Action::Refused || self.projects().contains(&o.project)
            }
            Leaf::Statement(s) => {
                let again = self
                    .statements()
                    .any(|(_, t)| t.envelope.pae_hash() == s.envelope.pae_hash());
                !again && self.may_say(s).is_some()
            }
        }
    }

    fn may_say(&self, s: &StatementLeaf) -> Option<()> {
        let require = |holds: bool| holds.then_some(());
        let signed = signers(s);
        if let Body::Project(p) = &s.statement.body {
            return self.may_govern(s, p);
        }
        let id = self.about(s)?;
        let versions = self.versions(&id);
        let now = &versions.last()?.p;
        // Nobody signs who is revoked, or is not in force.
        let live =
            |keys: Keys| -> Keys { keys.into_iter().filter(|k| !self.revoked(&id, k)).collect() };
        let agree = |keys: Keys, want: u64| {
            require(signed.is_subset(&live(keys)) && signed.len() as u64 >= want)
        };
        match &s.statement.body {
            Body::Project(_) => None,
            Body::Release(r) => {
                require(now.purl_prefixes.iter().any(|p| covers(p, &r.purl)))?;
                agree(release_keys(now), now.release_threshold)?;
                for key in &signed {
                    let first = versions.iter().find(|v| all_keys(&v.p).contains(key))?;
                    let max = now.max_key_age.unwrap_or(u64::MAX);
                    require(s.time.saturating_sub(first.time) <= max)?;
                }
                let of_purl = self.statements().rfind(
                    |(_, t)| matches!(&t.statement.body, Body::Release(o) if o.purl == r.purl),
                );
                match (r.restates, of_purl) {
                    (None, before) => require(before.is_none()),
                    (Some(_), None) => None,
                    (Some(named), Some((i, last))) => {
                        let same =
                            artifacts(&last.statement.subject) == artifacts(&s.statement.subject);
                        let named = last.envelope.pae_hash() == named;
                        require(same && named && self.about(last) == Some(id) && self.void(i, last))
                    }
                }
            }
            Body::Revocation(r) => {
                let Target::Key(target) = r.target else {
                    return None;
                };
                let target = KeyId(target);
                agree(roots(now), now.root_threshold)?;
                require(versions.iter().any(|v| all_keys(&v.p).contains(&target)))?;
                if let Some(since) = r.compromised_since {
                    let before = self.revocations(&id, &r.target);
                    require(since < self.size())?;
                    require(before.iter().all(|(_, w, _)| w.is_none_or(|w| since < w)))?;
                }
                let mut left = live(roots(now));
                left.remove(&target);
                require(left.len() as u64 >= now.root_threshold)
            }
            Body::Withdrawal(w) => match &w.what {
                Withdrawn::Prefix(prefix) => {
                    agree(roots(now), now.root_threshold)?;
                    require(now.purl_prefixes.iter().any(|p| covers(p, prefix)))
                }
                Withdrawn::Release(pae) => {
                    agree(roots(now), now.root_threshold)
                        .or(agree(release_keys(now), now.release_threshold))?;
                    let (_, release) = self
                        .statements()
                        .find(|(_, t)| t.envelope.pae_hash() == *pae)?;
                    require(
                        matches!(&release.statement.body, Body::Release(r) if r.package_id == id),
                    )?;
                    let listed: BTreeSet<Hash> =
                        release.statement.subject.iter().map(|a| a.sha256).collect();
                    require(
                        s.statement
                            .subject
                            .iter()
                            .all(|a| listed.contains(&a.sha256)),
                    )
                }
            },
            Body::KeyNote(_) => agree(all_keys(now), 1),
        }
    }

    fn may_govern(&self, s: &StatementLeaf, p: &Project) -> Option<()> {
        let require = |holds: bool| holds.then_some(());
        let (signed, all) = (signers(s), self.every_version());
        require(p.log == self.origin)?;
        let id = match p.previous {
            None => s.envelope.pae_hash(),
            Some(before) => all.iter().find(|(_, v)| v.pae == before)?.0,
        };
        // Names and prefixes that others have, or have had, are theirs.
        for (_, other) in all.iter().filter(|(of, _)| *of != id) {
            require(other.p.name != p.name)?;
            for (a, b) in other
                .p
                .purl_prefixes
                .iter()
                .flat_map(|a| p.purl_prefixes.iter().map(move |b| (a, b)))
            {
                require(!covers(a, b) && !covers(b, a))?;
            }
        }
        let versions = self.versions(&id);
        let Some(before) = versions.last() else {
            return require(p.version == 1 && signed == all_keys(p));
        };
        require(p.previous == Some(before.pae) && p.version == before.p.version + 1)?;
        require(p.name == before.p.name)?;
        for v in &versions {
            require(roots(&v.p).is_disjoint(&release_keys(p)))?;
            require(release_keys(&v.p).is_disjoint(&roots(p)))?;
        }
        require(all_keys(p).iter().all(|k| !self.revoked(&id, k)))?;
        let old: Keys = roots(&before.p)
            .into_iter()
            .filter(|k| !self.revoked(&id, k))
            .collect();
        let fresh: Keys = all_keys(p)
            .difference(&all_keys(&before.p))
            .copied()
            .collect();
        let own = roots(p);
        require(
            signed
                .iter()
                .all(|k| old.contains(k) || own.contains(k) || fresh.contains(k)),
        )?;
        require(fresh.is_subset(&signed))?;
        require(signed.intersection(&old).count() as u64 >= before.p.root_threshold)?;
        require(signed.intersection(&own).count() as u64 >= p.root_threshold)
    }
}
