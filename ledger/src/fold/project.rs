//! What the log says of one project: its versions, what it revoked and withdrew, and the state
//! document that follows (docs/formats.md, "Fold" and "State documents").

use super::chain::{Chain, Listed, Role, Version};
use super::vouched::Targets;
use super::withdrawals::{Accepted, What, Withdrawals};
use crate::Hash;
use crate::leaf::StatementLeaf;
use crate::released::signers;
use crate::state::{
    Current, EndOfLife, Leaves, Revoked, StateDocument, withdrawn_digest_key, withdrawn_release_key,
};
use crate::statement::{Body, Revocation, Target, Withdrawal, Withdrawn};
use keys::KeyId;
use std::collections::BTreeMap;
use tlog::prefix::MapProof;
use tlog::tree::Compact;

/// What the log says of a project.
#[derive(Debug, Clone)]
pub struct ProjectState {
    /// PAE hash of the first statement.
    pub id: Hash,
    /// Its versions.
    pub chain: Chain,
    /// Whether the operator froze it.
    pub frozen: bool,
    /// The tree over the indexes of what was accepted for it.
    pub(super) leaves: Compact,
    /// PAE hash → log index of what it said beside versions and releases.
    said: BTreeMap<Hash, u64>,
    revoked: BTreeMap<Target, Standing>,
    withdrawals: Withdrawals,
}

/// What revocations of one target come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    /// Log index of the first.
    index: u64,
    /// The smallest window.
    since: Option<u64>,
    /// The statement that set the window, else the first.
    statement: Hash,
}

impl Standing {
    /// Whether what was signed at `index` counts.
    fn counts(&self, index: u64) -> bool {
        index < self.index && self.since.is_none_or(|since| index < since)
    }
}

impl ProjectState {
    pub(super) fn new(id: Hash, chain: Chain) -> Self {
        Self {
            id,
            chain,
            frozen: false,
            leaves: Compact::new(),
            said: BTreeMap::new(),
            revoked: BTreeMap::new(),
            withdrawals: Withdrawals::default(),
        }
    }

    /// Version 1.
    #[must_use]
    pub fn first(&self) -> &Version {
        self.chain.first()
    }

    /// The version in force.
    #[must_use]
    pub fn current(&self) -> &Version {
        self.chain.current()
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.chain.versions()
    }

    /// A key that any version lists, as it was listed first.
    #[must_use]
    pub fn listed(&self, key: &KeyId) -> Option<Listed> {
        self.chain.listed(key)
    }

    /// Whether a key was revoked.
    #[must_use]
    pub fn is_revoked(&self, key: &KeyId) -> bool {
        self.revoked.contains_key(&Target::key(key))
    }

    /// Whether a key, an identity or an authority was revoked.
    #[must_use]
    pub fn has_revoked(&self, target: &Target) -> bool {
        self.revoked.contains_key(target)
    }

    /// The smallest window given for a target, and whether it is revoked at all.
    pub(super) fn window(&self, target: &Target) -> Option<Option<u64>> {
        self.revoked.get(target).map(|r| r.since)
    }

    /// Unrevoked roots of the version in force, `but` not counted.
    pub(super) fn roots_without(&self, but: &Target) -> u64 {
        let roots = self.current().project.roots.iter();
        let left = roots
            .map(|k| k.id())
            .filter(|id| !self.is_revoked(id) && Target::key(id) != *but);
        left.count() as u64
    }

    /// Whether a signature of `key` at `index` counts: it was made before the first revocation
    /// and before any compromise window.
    #[must_use]
    pub fn counts(&self, key: &KeyId, index: u64) -> bool {
        let standing = self.revoked.get(&Target::key(key));
        standing.is_none_or(|r| r.counts(index))
    }

    /// The first of these targets for the sake of which a signature at `index` does not count.
    #[must_use]
    pub fn undone_by<'t>(&self, targets: &'t [Target], index: u64) -> Option<&'t Target> {
        let counts = |t: &Target| self.revoked.get(t).is_none_or(|r| r.counts(index));
        targets.iter().find(|t| !counts(t))
    }

    /// Whether what was signed so at `index` misses `threshold` now.
    pub(super) fn is_void(&self, signers: &[Targets], index: u64, threshold: u64) -> bool {
        let good = signers
            .iter()
            .filter(|t| self.undone_by(t, index).is_none());
        (good.count() as u64) < threshold
    }

    /// Where a revocation, withdrawal or key-note of this PAE hash was accepted.
    pub(super) fn said(&self, pae: &Hash) -> Option<u64> {
        self.said.get(pae).copied()
    }

    /// What an accepted statement changes that is neither a version nor a release.
    pub(super) fn say(&mut self, index: u64, s: &StatementLeaf) {
        let pae = s.envelope.pae_hash();
        self.said.insert(pae, index);
        match &s.statement.body {
            Body::Revocation(r) => self.revoke(index, pae, r),
            Body::Withdrawal(w) => self.withdraw(index, s, w),
            Body::Project(_) | Body::Release(_) | Body::KeyNote(_) => {}
        }
    }

    fn revoke(&mut self, index: u64, statement: Hash, r: &Revocation) {
        let first = Standing {
            index,
            since: None,
            statement,
        };
        let standing = self.revoked.entry(r.target).or_insert(first);
        let Some(since) = r.compromised_since else {
            return;
        };
        if standing.since.is_some_and(|before| before <= since) {
            return;
        }
        // Until here the target's signatures counted.
        let before = standing.since.unwrap_or(standing.index).min(standing.index);
        (standing.since, standing.statement) = (Some(since), statement);
        // The second pass: what the target said in the window does not count any more.
        let mut withdrawals = std::mem::take(&mut self.withdrawals);
        withdrawals.review(since..before, |w| {
            self.is_void(&w.signers, w.index, w.threshold)
        });
        self.withdrawals = withdrawals;
    }

    fn withdraw(&mut self, index: u64, s: &StatementLeaf, w: &Withdrawal) {
        let project = &self.current().project;
        // One whose certificate does not count was not accepted, and counts by its key if it was.
        let by = super::vouched::targets(project, &s.envelope, s.time).unwrap_or_else(|_| {
            let keys = signers(&s.envelope);
            keys.map(|key| [Target::key(&key)].into()).collect()
        });
        let is_root = |key: KeyId| self.listed(&key).is_some_and(|l| l.role == Role::Root);
        let threshold = if signers(&s.envelope).all(is_root) {
            project.root_threshold
        } else {
            project.release_threshold
        };
        let what = match &w.what {
            Withdrawn::Prefix(prefix) => What::Prefix(prefix.clone()),
            Withdrawn::Release(pae) => {
                let digests = s.statement.subject.iter().map(|a| a.sha256);
                let digests = digests.map(|d| withdrawn_digest_key(&d));
                What::Keys(
                    std::iter::once(withdrawn_release_key(pae))
                        .chain(digests)
                        .collect(),
                )
            }
        };
        self.withdrawals.accept(Accepted {
            index,
            statement: s.envelope.pae_hash(),
            signers: by,
            threshold,
            what,
            void: false,
        });
    }

    pub(super) fn prove_withdrawn(&self, key: &Hash) -> MapProof {
        self.withdrawals.tree().prove(key)
    }

    pub(super) fn document(&self) -> StateDocument {
        let current = self.current();
        let mut revoked: Vec<Revoked> = self
            .revoked
            .iter()
            .map(|(target, r)| Revoked {
                index: r.index,
                since: r.since,
                statement: r.statement,
                target: target.to_string(),
            })
            .collect();
        let ended = self.withdrawals.ended();
        let mut end_of_life: Vec<EndOfLife> = ended
            .map(|(prefix, statement)| EndOfLife {
                prefix: prefix.clone(),
                statement,
            })
            .collect();
        crate::state::sort_set(&mut revoked);
        crate::state::sort_set(&mut end_of_life);
        StateDocument {
            end_of_life,
            frozen: self.frozen,
            leaves: Leaves {
                root: self.leaves.root(),
                size: self.leaves.size(),
            },
            project: Current {
                statement: current.statement,
                version: current.project.version,
            },
            revoked,
            withdrawn: self.withdrawals.tree().root(),
        }
    }
}
