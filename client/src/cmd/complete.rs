//! Everything that a log has accepted for a project, proven complete: the project's head commits
//! to the log indexes of all of it, each leaf is proven to be in the log, and what they come to
//! is the state that the ledger map has (docs/formats.md, "State documents").

mod effect;
pub(crate) mod replay;

use super::history::somewhere;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::{Memory, SeenCheckpoint};
use crate::policy::{Policy, ProjectPolicy};
use crate::standing::{ended, not_counting};
use ledger::bundle::{Head, Included};
use ledger::fold::Fold;
use ledger::leaf::{Leaf, StatementLeaf};
use ledger::state::{StateDocument, withdrawn_keys};
use ledger::statement::{Body, Subject, Target};
use ledger::{Hash, KeyId};
use replay::Log;
use std::path::Path;

/// A project's whole history, proven.
pub(crate) struct Complete {
    /// The checkpoint that it is complete as of.
    pub(crate) checkpoint: SeenCheckpoint,
    /// What was accepted, with log indexes, in order.
    pub(crate) leaves: Vec<(u64, Leaf)>,
    /// What it comes to. It knows this project alone.
    pub(crate) fold: Fold,
}

/// Fetches and proves it, from the log or else from a mirror, and remembers the head.
///
/// # Errors
/// Exit code 1 where the log's answers contradict what it signed; 3 where they cannot be had.
pub(crate) fn complete(
    fetcher: &Fetcher,
    policy: &Policy,
    project: &ProjectPolicy,
    (state, memory): (&Path, &mut Memory),
) -> Result<Complete, Fail> {
    asked(fetcher, policy, project, state, |from| {
        let (complete, head) = from.complete(memory)?;
        from.remember(memory, (&complete.checkpoint, &head))?;
        Ok(complete)
    })
}

/// A project's whole history, with what proves it to whoever has only the policy: no log is asked.
pub(crate) struct Evident {
    /// The checkpoint, a signed note as text.
    pub(crate) first: String,
    /// The project's head there.
    pub(crate) head: Head,
    /// All that was accepted, proven to be in the tree of that checkpoint.
    pub(crate) entries: Vec<Included>,
    /// What that comes to.
    pub(crate) complete: Complete,
}

/// As [`complete`], with what proves it.
///
/// # Errors
/// As [`complete`].
pub(crate) fn evident(
    fetcher: &Fetcher,
    policy: &Policy,
    project: &ProjectPolicy,
    (state, memory): (&Path, &mut Memory),
) -> Result<Evident, Fail> {
    asked(fetcher, policy, project, state, |from| {
        let (evident, head) = from.evident(memory)?;
        let checkpoint = &evident.complete.checkpoint;
        from.remember(memory, (checkpoint, &head))?;
        Ok(evident)
    })
}

/// Asks the log, or else a mirror, about a project.
fn asked<T>(
    fetcher: &Fetcher,
    policy: &Policy,
    project: &ProjectPolicy,
    state: &Path,
    mut ask: impl FnMut(&Log<'_>) -> Result<T, Fail>,
) -> Result<T, Fail> {
    somewhere(policy, |url| {
        ask(&Log {
            fetcher,
            url,
            policy,
            project,
            state,
        })
    })
}

/// What a project's newest head says to whoever knows its history.
pub(crate) enum Since {
    /// Nothing was accepted and nothing changed.
    Same,
    /// The history, and the hash of the state that it comes to.
    Changed(Box<Complete>, Hash),
}

/// As [`complete`]; but where the project's state still has the hash `known`, which commits to all
/// of its history, the head is all that is fetched.
///
/// # Errors
/// As [`complete`].
pub(crate) fn complete_since(
    fetcher: &Fetcher,
    policy: &Policy,
    project: &ProjectPolicy,
    known: Option<&Hash>,
    (state, memory): (&Path, &mut Memory),
) -> Result<Since, Fail> {
    asked(fetcher, policy, project, state, |from| {
        let (checkpoint, head) = from.newest(memory)?;
        let hash = head.state.hash();
        let hash = hash.map_err(|e| Fail::unchecked("bad-answer", e.to_string()))?;
        let since = if known == Some(&hash) {
            Since::Same
        } else {
            Since::Changed(Box::new(from.all(checkpoint.clone(), &head)?), hash)
        };
        from.remember(memory, (&checkpoint, &head))?;
        Ok(since)
    })
}

/// How a release stands, as of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is said against it.
    Stands,
    /// Without what this revoked key, identity or authority stands behind it misses the threshold.
    Void(Target),
    /// By the statement of this PAE hash.
    Withdrawn(Hash),
}

/// A release that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) index: u64,
    /// The leaf's time, Unix seconds.
    pub(crate) time: u64,
    pub(crate) purl: String,
    pub(crate) statement: Hash,
    pub(crate) artifacts: Vec<Subject>,
    pub(crate) keys: Vec<KeyId>,
    pub(crate) standing: Standing,
}

impl Complete {
    /// When the policy's witnesses saw the checkpoint; `None` where it has none.
    pub(crate) fn view_time(&self) -> Option<u64> {
        Some(self.checkpoint.view_time).filter(|time| *time > 0)
    }

    /// The statements with their log indexes, in order.
    pub(crate) fn statements(&self) -> impl Iterator<Item = (u64, &StatementLeaf)> {
        self.leaves.iter().filter_map(|(index, leaf)| match leaf {
            Leaf::Statement(s) => Some((*index, &**s)),
            _ => None,
        })
    }

    /// The releases of the project, oldest first, with how they stand.
    pub(crate) fn releases(&self, project: &Hash) -> Vec<Release> {
        let (Some(state), Some(known)) = (self.fold.state(project), self.fold.project(project))
        else {
            return Vec::new();
        };
        let mut releases = Vec::new();
        for (index, leaf) in self.statements() {
            let Body::Release(r) = &leaf.statement.body else {
                continue;
            };
            let statement = leaf.envelope.pae_hash();
            let artifacts = leaf.statement.subject.clone();
            let authority = known.chain.at(index);
            let threshold = authority.map_or(1, |v| v.project.release_threshold);
            let withdrawn = || {
                withdrawn_keys(&statement, artifacts.iter().map(|s| s.sha256))
                    .iter()
                    .find_map(|key| self.withdrawn_by(project, &state, key))
            };
            // The fold has accepted it, so its certificate counted.
            let signatures = known.chain.targets(index, &leaf.envelope, leaf.time);
            let signatures = signatures.unwrap_or_default();
            let standing = match not_counting(&signatures, index, &state, threshold) {
                Some(target) => Standing::Void(target),
                None => match ended(&r.purl, &state).or_else(withdrawn) {
                    Some(by) => Standing::Withdrawn(by),
                    None => Standing::Stands,
                },
            };
            releases.push(Release {
                index,
                time: leaf.time,
                purl: r.purl.clone(),
                statement,
                keys: leaf.envelope.signatures.iter().map(|s| s.keyid).collect(),
                artifacts,
                standing,
            });
        }
        releases
    }

    /// The withdrawal under which `key` stands.
    fn withdrawn_by(&self, project: &Hash, state: &StateDocument, key: &Hash) -> Option<Hash> {
        let proof = self.fold.prove_withdrawn(project, key)?;
        tlog::prefix::verify(&state.withdrawn, key, &proof).ok()?
    }
}
