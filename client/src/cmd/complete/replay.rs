//! One server's answers about a project's whole history, and why they prove it.

use super::{Complete, Evident};
use crate::cmd::common::{learn_head, now, refused_to_fail_of};
use crate::cmd::history::{self, Tiles};
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::{Memory, SeenCheckpoint, SeenHead};
use crate::policy::{Policy, ProjectPolicy};
use crate::refused::Refused;
use crate::signed::max_age;
use crate::verify::{Shown, verify_head};
use indicatif::ProgressBar;
use ledger::bundle::{Head, Included};
use ledger::fold::Fold;
use ledger::leaf::Leaf;
use ledger::{from_hex32, hex32};
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

/// One server of a log, and what is asked of it.
pub(crate) struct Log<'a> {
    pub(crate) fetcher: &'a Fetcher,
    pub(crate) url: &'a str,
    pub(crate) policy: &'a Policy,
    pub(crate) project: &'a ProjectPolicy,
    /// The state file, beside which evidence is kept.
    pub(crate) state: &'a Path,
}

/// A project's head, and the checkpoint that it is proven by.
pub(crate) struct ProvenHead {
    /// The checkpoint, as text.
    pub(crate) first: String,
    /// The head as the log gave it.
    pub(crate) head: Head,
    pub(crate) checkpoint: SeenCheckpoint,
    pub(crate) seen: SeenHead,
}

/// The entries that are known of a project already: the tree of their log indexes, and the last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) tree: Compact,
    pub(crate) last: Option<u64>,
}

impl Known {
    /// With one more.
    pub(crate) fn push(&mut self, index: u64) {
        self.tree.push(leaf_hash(&index.to_be_bytes()));
        self.last = Some(index);
    }

    fn next(&self) -> u64 {
        self.last.map_or(0, |last| last + 1)
    }
}

impl Log<'_> {
    pub(crate) fn bad(&self, why: impl std::fmt::Display) -> Fail {
        Fail::unchecked(
            "bad-answer",
            format!("the log's answer is of no use: {why}"),
        )
        .detail("url", self.url)
        .hint("try again later; something else may be served there")
    }

    pub(crate) fn wrong(&self, kind: &str, why: impl std::fmt::Display) -> Fail {
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

    /// Fetches and proves all of it.
    ///
    /// # Errors
    /// Exit code 1 for what is signed and contradicts itself, or what was signed before; 3 for
    /// all that anybody between could have made.
    pub(super) fn complete(&self, memory: &Memory) -> Result<(Complete, SeenHead), Fail> {
        let (checkpoint, head) = self.newest(memory)?;
        Ok((self.all(checkpoint, &head)?, head))
    }

    /// The project's newest head, proven.
    ///
    /// # Errors
    /// As [`Log::complete`].
    pub(super) fn newest(&self, memory: &Memory) -> Result<(SeenCheckpoint, SeenHead), Fail> {
        let newest = self.newest_shown(memory)?;
        Ok((newest.checkpoint, newest.seen))
    }

    /// The same, with what shows it.
    fn newest_shown(&self, memory: &Memory) -> Result<ProvenHead, Fail> {
        let now = now();
        let newest = self.proven_head(memory, now)?;
        let seen = memory.logs.get(&self.policy.log.origin);
        history::check(
            self.fetcher,
            self.ours(),
            seen,
            &newest.first,
            &newest.checkpoint,
        )?;
        self.new_enough(&newest.checkpoint, memory, now)?;
        Ok(newest)
    }

    /// Fetches and proves all of it, and gives what shows it to somebody else.
    ///
    /// # Errors
    /// As [`Log::complete`].
    pub(super) fn evident(&self, memory: &Memory) -> Result<(Evident, SeenHead), Fail> {
        let newest = self.newest_shown(memory)?;
        let indexes = self.indexes(&newest.seen, &Known::default())?;
        let entries = self.included(&newest.checkpoint, &indexes)?;
        let parse = |e: &Included| Ok((e.index, self.parsed(e.index, &e.leaf)?));
        let leaves: Vec<(u64, Leaf)> = entries.iter().map(parse).collect::<Result<_, Fail>>()?;
        let fold = self.fold(&leaves, &newest.seen)?;
        let evident = Evident {
            first: newest.first,
            head: newest.head,
            entries,
            complete: Complete {
                checkpoint: newest.checkpoint,
                leaves,
                fold,
            },
        };
        Ok((evident, newest.seen))
    }

    /// All that a head commits to.
    ///
    /// # Errors
    /// As [`Log::complete`].
    pub(super) fn all(
        &self,
        checkpoint: SeenCheckpoint,
        head: &SeenHead,
    ) -> Result<Complete, Fail> {
        let indexes = self.indexes(head, &Known::default())?;
        let leaves = self.leaves(&checkpoint, &indexes)?;
        let fold = self.fold(&leaves, head)?;
        Ok(Complete {
            checkpoint,
            leaves,
            fold,
        })
    }

    /// Whose log it is, and where evidence against it is kept.
    pub(crate) fn ours(&self) -> history::Against<'_> {
        history::Against {
            policy: self.policy,
            state: self.state,
        }
    }

    /// Remembers a head that was proven.
    pub(super) fn remember(
        &self,
        memory: &mut Memory,
        proven: (&SeenCheckpoint, &SeenHead),
    ) -> Result<(), Fail> {
        let view = proven.0;
        let connects = |seen: &SeenCheckpoint| {
            history::check(
                self.fetcher,
                self.ours(),
                Some(seen),
                &view.checkpoint,
                view,
            )
        };
        learn_head(
            self.state,
            memory,
            self.policy,
            &self.project.id,
            proven,
            connects,
        )
    }

    /// The project's newest head, proven by the checkpoint that it comes with, as text and as it is
    /// remembered. Whether that goes on from what is remembered is not asked yet.
    ///
    /// # Errors
    /// As [`Log::complete`]; kind `not-found` where the log has no such project.
    pub(crate) fn proven_head(&self, memory: &Memory, now: u64) -> Result<ProvenHead, Fail> {
        let (first, head) = self.head()?;
        let shown = Shown {
            first: &first,
            latest: None,
            head: &head,
        };
        let proven = verify_head(&self.project.id, shown, self.policy, memory, now);
        let (checkpoint, seen) = proven.map_err(|r| self.not_proven(&r))?;
        Ok(ProvenHead {
            first,
            head,
            checkpoint,
            seen,
        })
    }

    /// Two checkpoints that the log signed, and that contradict each other, are evidence. Without
    /// the signatures that the policy wants, or without its proofs, an answer says nothing.
    fn not_proven(&self, refused: &Refused) -> Fail {
        let fail = refused_to_fail_of(refused, self.ours(), self.project).detail("url", self.url);
        if matches!(refused, Refused::Fork { .. }) {
            return fail;
        }
        let code = crate::fail::UNCHECKED;
        if matches!(refused, Refused::LogKey(_)) {
            return Fail { code, ..fail };
        }
        Fail { code, ..fail }.hint("try again later; something else may be served there")
    }

    /// What is remembered is not shown as it was before, and the policy's `max-age` holds: who
    /// replays an old answer hides what was revoked since.
    pub(crate) fn new_enough(
        &self,
        checkpoint: &SeenCheckpoint,
        memory: &Memory,
        now: u64,
    ) -> Result<(), Fail> {
        let stale = |why: String| {
            Fail::unchecked("stale-head", why)
                .detail("url", self.url)
                .detail("project", self.project.name.as_str())
        };
        let seen = memory.logs.get(&self.policy.log.origin);
        let project = memory.projects.get(&hex32(&self.project.id));
        let known = seen.map(|s| s.size).max(project.map(|p| p.size));
        if known.is_some_and(|known| checkpoint.size < known) {
            return Err(stale("the answer is older than what is remembered of this log".into())
                .detail("expected", format!("tree size {} or later", known.unwrap_or_default()))
                .detail("got", format!("tree size {}", checkpoint.size))
                .hint("try again later, or at another mirror: what was revoked or withdrawn since is not in this answer"));
        }
        let now = now.max(seen.map_or(0, |s| s.view_time));
        let view_time = Some(checkpoint.view_time).filter(|time| *time > 0);
        max_age(self.policy.max_age_of(self.project), view_time, now).map_err(|r| {
            stale(format!("the witnesses' view of the log is too old: {r}"))
                .hint("try again later: the log or its witnesses stand still, or an old answer is served there")
        })
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

    /// The log indexes after those that are `known`, with which the head's `leaves` is the tree.
    pub(crate) fn indexes(&self, head: &SeenHead, known: &Known) -> Result<Vec<u64>, Fail> {
        let want = &head.state.leaves;
        let (mut indexes, mut all): (Vec<u64>, _) = (Vec::new(), known.clone());
        while all.tree.size() < want.size {
            let from = all.next();
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
                if index < all.next() || index >= head.size {
                    // It may have grown meanwhile; that is not part of this head.
                    continue;
                }
                if all.tree.size() < want.size {
                    indexes.push(index);
                    all.push(index);
                }
            }
            // One that only repeats itself would go on for ever.
            let grown = all.last.is_some_and(|last| last >= from);
            if answer.get("next").is_none() || !grown {
                break;
            }
        }
        if all.tree.size() == want.size && all.tree.root() == want.root {
            return Ok(indexes);
        }
        // Not signed by anybody, so no evidence: the list may be damaged or lag.
        Err(self.bad(format!(
            "the entries that it lists for the project are not those that its head commits to ({} of {})",
            all.tree.size(),
            want.size
        )))
    }

    fn leaves(
        &self,
        checkpoint: &SeenCheckpoint,
        indexes: &[u64],
    ) -> Result<Vec<(u64, Leaf)>, Fail> {
        let leaves = self.proven_leaves(checkpoint, indexes)?;
        let parse = |(index, bytes): (u64, Vec<u8>)| Ok((index, self.parsed(index, &bytes)?));
        leaves.into_iter().map(parse).collect()
    }

    /// A leaf that the head counts as the project's.
    ///
    /// # Errors
    /// Exit code 1: what is counted can be read.
    pub(crate) fn parsed(&self, index: u64, bytes: &[u8]) -> Result<Leaf, Fail> {
        Leaf::parse(bytes).map_err(|e| {
            let what = format!("entry {index}, which the head counts as the project's: {e}");
            self.wrong(e.kind(), what)
        })
    }

    /// The leaves at `indexes`, as they are logged, each proven to be there.
    pub(crate) fn proven_leaves(
        &self,
        checkpoint: &SeenCheckpoint,
        indexes: &[u64],
    ) -> Result<Vec<(u64, Vec<u8>)>, Fail> {
        let included = self.included(checkpoint, indexes)?;
        Ok(included.into_iter().map(|i| (i.index, i.leaf)).collect())
    }

    /// The same, with the proofs.
    fn included(
        &self,
        checkpoint: &SeenCheckpoint,
        indexes: &[u64],
    ) -> Result<Vec<Included>, Fail> {
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
                .map_err(|e| self.bad(format!("entry {index}: {e}")))?;
            leaves.push(Included {
                index: *index,
                leaf: bytes.clone(),
                proof,
            });
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
            self.follow(&mut fold, *index, leaf)?;
        }
        self.comes_to(&fold, head)?;
        Ok(fold)
    }

    /// Takes a leaf that the head counts.
    ///
    /// # Errors
    /// Exit code 1 where the rules do not accept it.
    pub(crate) fn follow(&self, fold: &mut Fold, index: u64, leaf: &Leaf) -> Result<(), Fail> {
        fold.skip_to(index);
        // The signatures too: that the log counts a statement does not make it the project's.
        fold.check_logged(leaf, None).map_err(|e| {
            self.wrong(
                "wrong-state",
                format!("the head counts entry {index} as accepted, and the rules do not: {e}"),
            )
        })?;
        fold.follow(leaf, true);
        Ok(())
    }

    /// The state that the head commits to is what its entries come to.
    ///
    /// # Errors
    /// Exit code 1.
    pub(crate) fn comes_to(&self, fold: &Fold, head: &SeenHead) -> Result<(), Fail> {
        if fold.state(&self.project.id).as_ref() == Some(&head.state) {
            return Ok(());
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
