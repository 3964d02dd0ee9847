//! What one server shows of a project: its head, proven, and the entries that are new.

use super::kept::Kept;
use super::shown::{connected, proof};
use super::{Followed, POLL_SECONDS, evidence};
use crate::cmd::complete::replay::{Known, Log, ProvenHead};
use crate::fail::{Fail, UNTRUSTED};
use crate::memory::SeenCheckpoint;
use crate::policy::ProjectPolicy;
use ledger::leaf::Leaf;
use ledger::{API_VERSION, Hash, from_b64, from_hex32, hex32};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tlog::hash::leaf_hash;
use tlog::proof::verify_inclusion;
use tlog::tile::TILE_WIDTH;

/// New entries up to which each is fetched by itself: more of them come by bundles and tiles.
const SINGLE: usize = 8;
/// Entries that are fetched together at most, and entry bundles that they lie in: a slow log is
/// read in steps.
const TOGETHER: usize = 1024;
const BUNDLES: usize = 8;
/// Bytes of an answer with one entry at most.
const MAX_ENTRY: usize = 128 << 10;

/// What a poll learns from one server.
pub(super) struct Look<'a> {
    pub(super) followed: &'a Followed,
    pub(super) project: &'a ProjectPolicy,
    pub(super) log: Log<'a>,
    pub(super) now: u64,
    pub(super) begun: Instant,
}

/// What it came to.
pub(super) struct Seen {
    pub(super) kept: Kept,
    pub(super) checkpoint: SeenCheckpoint,
    /// Entries that were new.
    pub(super) new: Vec<(u64, Leaf)>,
    /// Entries that are still to be read.
    pub(super) left: u64,
}

impl Look<'_> {
    /// All that one server shows.
    pub(super) fn at(&self, mut kept: Kept) -> Result<Seen, Fail> {
        let (log, followed) = (&self.log, self.followed);
        let proven = log.proven_head(&kept.memory, self.now)?;
        let checkpoint = &proven.checkpoint;
        let remembered = kept.memory.logs.get(followed.origin()).cloned();
        let known = remembered
            .iter()
            .chain(&followed.newest())
            .try_for_each(|seen| {
                same_size(seen, checkpoint, followed)?;
                connected(followed, log.fetcher, log.url, seen, checkpoint)
            });
        match known {
            Err(fail) if fail.code == UNTRUSTED => return Err(fail),
            // An old answer may well come without the tiles of the newer tree.
            known => {
                log.new_enough(checkpoint, &kept.memory, self.now)?;
                known?;
            }
        }
        let indexes = self.indexes(&proven, &kept)?;
        let new = self.entries(&indexes, &mut kept, &proven)?;
        let left = (indexes.len() - new.len()) as u64;
        if left == 0 {
            log.comes_to(&kept.fold, &proven.seen)
                .map_err(|fail| self.kept(fail, &proven, &kept.known))?;
        }
        let id = &self.project.id;
        kept.memory
            .learn_head(followed.origin(), id, checkpoint, &proven.seen);
        Ok(Seen {
            kept,
            checkpoint: proven.checkpoint,
            new,
            left,
        })
    }

    /// The entries that are new. A head whose list does not go on from what was proven before
    /// leaves something out.
    fn indexes(&self, proven: &ProvenHead, kept: &Kept) -> Result<Vec<u64>, Fail> {
        let (log, want) = (&self.log, &proven.seen.state.leaves);
        let have = &kept.known.tree;
        let omitted = |what: String| {
            let fail = log.wrong("statement-omitted", what);
            self.kept(fail, proven, &kept.known)
        };
        if want.size < have.size() {
            return Err(omitted(format!(
                "the log's newest head counts {} entries of the project, and {} were proven before",
                want.size,
                have.size()
            )));
        }
        if want.size == have.size() && want.root != have.root() {
            return Err(omitted(
                "the log's newest head counts other entries of the project than were proven before"
                    .into(),
            ));
        }
        let fail = match log.indexes(&proven.seen, &kept.known) {
            Ok(indexes) => return Ok(indexes),
            Err(fail) => fail,
        };
        // The list may be bad, which anybody can make; or the head, which only the log can.
        let Ok(all) = log.indexes(&proven.seen, &Known::default()) else {
            return Err(fail);
        };
        let mut listed = Known::default();
        let ours = usize::try_from(have.size()).unwrap_or(usize::MAX);
        all.iter().take(ours).for_each(|index| listed.push(*index));
        if listed.tree == *have {
            return Err(fail);
        }
        Err(omitted(
            "the log's newest head leaves out entries of the project that were proven before"
                .into(),
        ))
    }

    /// Fetches, proves and follows entries, for as long as a poll may take.
    fn entries(
        &self,
        indexes: &[u64],
        kept: &mut Kept,
        proven: &ProvenHead,
    ) -> Result<Vec<(u64, Leaf)>, Fail> {
        let (log, checkpoint) = (&self.log, &proven.checkpoint);
        let mut new = Vec::with_capacity(indexes.len().min(TOGETHER));
        let mut rest = indexes;
        while !rest.is_empty() {
            let (some, after) = together(rest);
            rest = after;
            let alone: Option<Vec<_>> = match indexes.len() {
                ..=SINGLE => some
                    .iter()
                    .map(|index| self.entry(*index, checkpoint))
                    .collect(),
                _ => None,
            };
            let leaves = match alone {
                Some(leaves) => leaves,
                None => log.proven_leaves(checkpoint, some)?,
            };
            for (index, bytes) in leaves {
                let known = kept.known.clone();
                let keep = |fail| self.kept(fail, proven, &known);
                let leaf = log.parsed(index, &bytes).map_err(keep)?;
                let fold = Arc::make_mut(&mut kept.fold);
                log.follow(fold, index, &leaf).map_err(keep)?;
                kept.entry(index, bytes);
                new.push((index, leaf));
            }
            if self.begun.elapsed() >= Duration::from_secs(POLL_SECONDS) {
                break;
            }
        }
        Ok(new)
    }

    /// One entry and its proof, as a server of ours gives them: a few hundred bytes beside it.
    fn entry(&self, index: u64, at: &SeenCheckpoint) -> Option<(u64, Vec<u8>)> {
        let (fetcher, url) = (self.log.fetcher, self.log.url);
        let address = format!("{url}/api/v1/entries/{index}");
        let answer = fetcher.get_optional(&address, MAX_ENTRY).ok()??;
        let answer = ledger::json::parse(&answer).ok()?;
        let bytes = from_b64(answer.get("leaf").and_then(Value::as_str)?)?;
        let size = at.size;
        let address = format!("{url}/api/v1/proofs/inclusion?index={index}&size={size}");
        let proof = proof(fetcher, &address)?;
        let root: Hash = from_hex32(&at.root)?;
        let proven = verify_inclusion(&leaf_hash(&bytes), index, size, &proof, &root);
        proven.ok().map(|()| (index, bytes))
    }

    /// Keeps what shows it, where the log's own signed head is wrong.
    fn kept(&self, fail: Fail, proven: &ProvenHead, known: &Known) -> Fail {
        if fail.code != UNTRUSTED {
            return fail;
        }
        let document = json!({
            "apiVersion": API_VERSION, "checkpoint": proven.first, "finding": fail.kind,
            "head": serde_json::to_value(&proven.head).unwrap_or_default(),
            "known": { "last": known.last, "root": hex32(&known.tree.root()), "size": known.tree.size() },
            "message": fail.message, "project": hex32(&self.project.id),
        });
        evidence::keep(&self.followed.state, "head", &document, fail)
            .detail("checkpoint", proven.first.trim_end())
    }
}

/// The first of `indexes` that are fetched together, and those that follow.
fn together(indexes: &[u64]) -> (&[u64], &[u64]) {
    let (mut bundles, mut last) = (0, None);
    let fits = |index: &&u64| {
        let bundle = **index / u64::from(TILE_WIDTH);
        bundles += usize::from(last != Some(bundle));
        last = Some(bundle);
        bundles <= BUNDLES
    };
    let many = indexes.iter().take(TOGETHER).take_while(fits).count();
    indexes.split_at(many.min(indexes.len()))
}

/// Two checkpoints of one size have one root.
fn same_size(
    seen: &SeenCheckpoint,
    shown: &SeenCheckpoint,
    followed: &Followed,
) -> Result<(), Fail> {
    if seen.size != shown.size || seen.root == shown.root {
        return Ok(());
    }
    let what = format!(
        "the log has shown two different trees of size {}",
        seen.size
    );
    Err(followed.forked(what, seen, shown))
}
