//! Everything that a log has accepted for a project, proven complete: the project's head commits
//! to the log indexes of all of it, each leaf is proven to be in the log, and what they come to
//! is the state that the ledger map has (docs/formats.md, "State documents").

use super::common::{learn_head, now, refused_to_fail_of};
use super::history::{self, Tiles};
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::{Memory, SeenCheckpoint, SeenHead};
use crate::policy::{Policy, ProjectPolicy};
use crate::standing::{ended, not_counting};
use crate::verify::{Shown, verify_head};
use indicatif::ProgressBar;
use ledger::bundle::Head;
use ledger::fold::Fold;
use ledger::leaf::{Leaf, StatementLeaf};
use ledger::state::{StateDocument, withdrawn_keys};
use ledger::statement::{Body, Subject};
use ledger::{Hash, KeyId, from_hex32, hex32};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use tlog::hash::leaf_hash;
use tlog::tile::{EntryTile, MAX_ENTRY_BYTES, TILE_WIDTH, parse_bundle, width_at};
use tlog::tree::{Compact, HashReader, TreeError, prove_inclusion};

/// Bytes of the answer about a head, at most: a state document may list many revocations.
const MAX_HEAD: usize = 4 << 20;
/// Bytes of one answer about indexes, at most.
const MAX_INDEXES: usize = 1 << 20;
/// Tiles that are kept while proofs are made.
const KEPT: usize = 4096;

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
    let mut first: Option<Fail> = None;
    for url in policy.log.url.iter().chain(&policy.log.mirrors) {
        let from = Log {
            fetcher,
            url: url.trim_end_matches('/'),
            policy,
            project,
        };
        match from.complete(memory) {
            Ok((complete, head)) => {
                let checkpoint = &complete.checkpoint;
                learn_head(state, memory, policy, &project.id, checkpoint, &head)?;
                return Ok(complete);
            }
            // What is signed and contradicts itself is no matter of another server.
            Err(fail) if fail.code == crate::fail::UNTRUSTED => return Err(fail),
            Err(fail) => {
                first.get_or_insert(fail);
            }
        }
    }
    Err(first.unwrap_or_else(|| {
        Fail::usage("no-log-url", "the policy names no log URL")
            .hint("add `url` under [log] to the policy")
    }))
}

/// How a release stands, as of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is said against it.
    Stands,
    /// Without this revoked key's signature it misses the threshold.
    Void(KeyId),
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
            let standing = match not_counting(&leaf.envelope, index, &state, threshold) {
                Some(key) => Standing::Void(key),
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

struct Log<'a> {
    fetcher: &'a Fetcher,
    url: &'a str,
    policy: &'a Policy,
    project: &'a ProjectPolicy,
}

impl Log<'_> {
    fn bad(&self, why: impl std::fmt::Display) -> Fail {
        Fail::unchecked(
            "bad-answer",
            format!("the log's answer is of no use: {why}"),
        )
        .detail("url", self.url)
        .hint("try again later; something else may be served there")
    }

    fn wrong(&self, kind: &str, why: impl std::fmt::Display) -> Fail {
        Fail::untrusted(kind, why.to_string())
            .detail("url", self.url)
            .detail("project", self.project.name.as_str())
            .hint("a cache may be broken; if it stays so, the log is not to be trusted: keep its checkpoint as evidence")
    }

    fn api(&self, rest: &str, max: usize) -> Result<Value, Fail> {
        let id = hex32(&self.project.id);
        let address = format!("{}/api/v1/projects/{id}/{rest}", self.url);
        let bytes = self.fetcher.get_bytes(&address, max)?;
        ledger::json::parse(&bytes).map_err(|e| self.bad(e))
    }

    fn complete(&self, memory: &Memory) -> Result<(Complete, SeenHead), Fail> {
        let (first, head) = self.head()?;
        let shown = Shown {
            first: &first,
            latest: None,
            head: &head,
        };
        let (checkpoint, head) = verify_head(&self.project.id, shown, self.policy, memory, now())
            .map_err(|r| {
            refused_to_fail_of(&r, self.policy, self.project).detail("url", self.url)
        })?;
        let log = &self.policy.log;
        let seen = memory.logs.get(&log.origin);
        history::check(self.fetcher, log, seen, &first, &checkpoint)?;
        let indexes = self.indexes(&head)?;
        let leaves = self.leaves(&checkpoint, &indexes)?;
        let fold = self.fold(&leaves, &head)?;
        Ok((
            Complete {
                checkpoint,
                leaves,
                fold,
            },
            head,
        ))
    }

    fn head(&self) -> Result<(String, Head), Fail> {
        let mut answer = self.api("head", MAX_HEAD)?;
        let checkpoint = answer.get("checkpoint").and_then(Value::as_str);
        let checkpoint = checkpoint
            .ok_or_else(|| self.bad("it has no checkpoint"))?
            .to_owned();
        let mut head = answer.get_mut("head").map(Value::take).unwrap_or_default();
        if let Some(fields) = head.as_object_mut() {
            // Proofs about withdrawals belong to one release.
            fields.insert("withdrawn".into(), Value::Object(serde_json::Map::new()));
        }
        let head: Head = ledger::json::typed(head).map_err(|e| self.bad(e))?;
        head.state.check_sets().map_err(|e| self.bad(e))?;
        Ok((checkpoint, head))
    }

    /// The log indexes that the head's `leaves` is the tree of.
    fn indexes(&self, head: &SeenHead) -> Result<Vec<u64>, Fail> {
        let want = &head.state.leaves;
        let (mut indexes, mut tree): (Vec<u64>, _) = (Vec::new(), Compact::new());
        while tree.size() < want.size {
            let from = indexes.last().map_or(0, |last| last + 1);
            let answer = self.api(&format!("entries?from={from}"), MAX_INDEXES)?;
            let list = answer.get("indexes").and_then(Value::as_array);
            let list = list.ok_or_else(|| self.bad("it lists no indexes"))?;
            if list.is_empty() {
                break;
            }
            for index in list {
                let index = index
                    .as_u64()
                    .ok_or_else(|| self.bad("an index is no number"))?;
                if index < indexes.last().map_or(0, |last| last + 1) || index >= head.size {
                    // It may have grown meanwhile; that is not part of this head.
                    continue;
                }
                if tree.size() < want.size {
                    indexes.push(index);
                    tree.push(leaf_hash(&index.to_be_bytes()));
                }
            }
            // One that only repeats itself would go on for ever.
            let grown = indexes.last().is_some_and(|last| *last >= from);
            if answer.get("next").is_none() || !grown {
                break;
            }
        }
        if tree.size() == want.size && tree.root() == want.root {
            return Ok(indexes);
        }
        // Not signed by anybody, so no evidence: the list may be damaged or lag.
        Err(self.bad(format!(
            "the entries that it lists for the project are not those that its head commits to ({} of {})",
            tree.size(),
            want.size
        )))
    }

    fn leaves(
        &self,
        checkpoint: &SeenCheckpoint,
        indexes: &[u64],
    ) -> Result<Vec<(u64, Leaf)>, Fail> {
        let size = checkpoint.size;
        let root = from_hex32(&checkpoint.root).ok_or_else(|| self.bad("a malformed root"))?;
        let tiles = Kept {
            inner: Tiles {
                fetcher: self.fetcher,
                url: self.url,
            },
            tiles: RefCell::default(),
        };
        let bar = match indexes.len() {
            ..1000 => ProgressBar::hidden(),
            many => ProgressBar::new(many as u64).with_message("reading the project's entries"),
        };
        let mut bundle: (u64, Vec<Vec<u8>>) = (u64::MAX, Vec::new());
        let mut leaves = Vec::with_capacity(indexes.len());
        for index in indexes {
            let tile = index / u64::from(TILE_WIDTH);
            if bundle.0 != tile {
                bundle = (tile, self.bundle(&tiles.inner, tile, size)?);
            }
            let at = usize::try_from(index % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
            let bytes = bundle.1.get(at);
            let bytes = bytes.ok_or_else(|| self.bad(format!("entry {index} is not there")))?;
            let proof = prove_inclusion(*index, size, &tiles).map_err(|e| match e {
                TreeError::Read(fail) => fail,
                other => self.bad(other),
            })?;
            tlog::proof::verify_inclusion(&leaf_hash(bytes), *index, size, &proof, &root)
                .map_err(|e| self.wrong("not-included", format!("entry {index}: {e}")))?;
            let leaf = Leaf::parse(bytes).map_err(|e| {
                self.wrong(
                    e.kind(),
                    format!("entry {index}, which the head counts as the project's: {e}"),
                )
            })?;
            leaves.push((*index, leaf));
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(leaves)
    }

    fn bundle(&self, tiles: &Tiles<'_>, index: u64, size: u64) -> Result<Vec<Vec<u8>>, Fail> {
        let path = |width| EntryTile { index, width }.path();
        let max = usize::from(TILE_WIDTH) * (MAX_ENTRY_BYTES + 2);
        let (bytes, width) = tiles.partial_or_full(&path, width_at(size, 0, index), max)?;
        parse_bundle(&bytes, width).map_err(|e| self.bad(e))
    }

    /// What the entries come to is what the map has.
    fn fold(&self, leaves: &[(u64, Leaf)], head: &SeenHead) -> Result<Fold, Fail> {
        let mut fold = Fold::new(&self.policy.log.origin);
        for (index, leaf) in leaves {
            fold.skip_to(*index);
            // The signatures too: that the log counts a statement does not make it the project's.
            fold.check_logged(leaf, None).map_err(|e| {
                self.wrong(
                    "wrong-state",
                    format!("the head counts entry {index} as accepted, and the rules do not: {e}"),
                )
            })?;
            fold.follow(leaf, true);
        }
        if fold.state(&self.project.id).as_ref() == Some(&head.state) {
            return Ok(fold);
        }
        Err(self.wrong(
            "wrong-state",
            "the state that the log's head commits to is not what the project's entries come to",
        ))
    }
}

/// Tiles, each fetched once.
struct Kept<'a> {
    inner: Tiles<'a>,
    tiles: RefCell<HashMap<(u8, u64, u16), Vec<u8>>>,
}

impl HashReader for Kept<'_> {
    type Error = Fail;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, Fail> {
        let mut tiles = self.tiles.borrow_mut();
        let key = (level, index, width);
        if let Some(bytes) = tiles.get(&key) {
            return Ok(bytes.clone());
        }
        let bytes = self.inner.tile(level, index, width)?;
        if tiles.len() >= KEPT {
            tiles.clear();
        }
        tiles.insert(key, bytes.clone());
        Ok(bytes)
    }
}
