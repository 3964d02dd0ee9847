//! The proofs of a report, read and verified by a policy alone: no log is asked.

use super::folder::{Files, changed};
use crate::cmd::common::{refused_to_fail_of, refused_words};
use crate::cmd::complete::Complete;
use crate::cmd::history;
use crate::fail::Fail;
use crate::memory::{Memory, SeenHead};
use crate::policy::ProjectPolicy;
use crate::refused::Refused;
use crate::stated::{Stated, verify_statement};
use crate::verify::{Shown, verify_head};
use ledger::bundle::{Bundle, Head, Included, MAX_BUNDLE_BYTES};
use ledger::fold::Fold;
use ledger::leaf::Leaf;
use ledger::{Hash, from_hex32, hex32, sha256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tlog::hash::leaf_hash;
use tlog::tree::Compact;

/// The project's head and its checkpoint.
pub(crate) const HEAD: &str = "proofs/head.json";
/// All that was accepted for the project, an entry a line.
pub(crate) const HISTORY: &str = "proofs/history.jsonl";

const MAX_HEAD: u64 = 8 << 20;
/// A leaf in base64, and a proof of some sixty hashes.
const MAX_LINE: usize = 256 * 1024;
const MAX_HISTORY: u64 = 512 << 20;

/// What [`HEAD`] holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HeadFile {
    /// A signed note as text.
    pub(crate) checkpoint: String,
    pub(crate) head: Head,
}

/// The kind of failure where the log took something in of the project while it was read.
pub(crate) const VIEW_MOVED: &str = "view-moved";

/// The bundle of a line of the timeline.
pub(crate) fn bundle_name(index: u64) -> String {
    format!("proofs/{index}.bundle")
}

/// What the proofs prove.
pub(crate) struct Proven {
    pub(crate) complete: Complete,
    /// Every line that has a bundle, with the digest of the file.
    pub(crate) rows: BTreeMap<u64, (Stated, Hash)>,
}

/// Against whom proofs are held.
pub(crate) struct Against<'a> {
    /// Whose log it is, and where evidence of a fork is kept.
    pub(crate) ours: history::Against<'a>,
    pub(crate) project: &'a ProjectPolicy,
    /// What this machine remembers of the log: a checkpoint of another history is a fork.
    pub(crate) memory: &'a Memory,
    pub(crate) now: u64,
}

impl Against<'_> {
    /// Where it is that the log forked, evidence of that is kept.
    fn refused(&self, name: &str, why: &Refused) -> Fail {
        let mut fail = match why {
            Refused::Fork { .. } => refused_to_fail_of(why, self.ours, self.project),
            _ => refused_words(why)
                .hint("the report was changed, or your policy is not its maker's: ask for the whole of it"),
        };
        fail.message = format!("{name} proves nothing: {}", fail.message);
        fail.detail("file", name)
    }

    /// What is remembered of the log, but not of the project: a report of last week says what was
    /// proven then.
    fn log_memory(&self) -> Memory {
        Memory {
            projects: BTreeMap::new(),
            releases: BTreeMap::new(),
            ..self.memory.clone()
        }
    }

    /// The whole history, from [`HEAD`] and [`HISTORY`].
    ///
    /// # Errors
    /// Exit code 1 where they do not prove it.
    pub(crate) fn history(&self, files: &Files) -> Result<Complete, Fail> {
        let bytes = files.read(HEAD, MAX_HEAD)?;
        let value = ledger::json::parse(&bytes).map_err(|e| changed(HEAD, e))?;
        let mut file: HeadFile = ledger::json::typed(value).map_err(|e| changed(HEAD, e))?;
        file.head.state.check_sets().map_err(|e| changed(HEAD, e))?;
        file.head.withdrawn.clear();
        let shown = Shown {
            first: &file.checkpoint,
            latest: None,
            head: &file.head,
        };
        let id = &self.project.id;
        let (checkpoint, head) =
            verify_head(id, shown, self.ours.policy, &self.log_memory(), self.now)
                .map_err(|r| self.refused(HEAD, &r))?;
        let root = from_hex32(&checkpoint.root).unwrap_or_default();
        let text = files.read(HISTORY, MAX_HISTORY)?;
        let mut leaves = Vec::new();
        let mut last = None;
        for line in text.split_inclusive(|b| *b == b'\n') {
            let entry = included(line)?;
            let index = entry.index;
            if last.is_some_and(|last| last >= index) {
                return Err(changed(HISTORY, format!("entry {index} is out of order")));
            }
            last = Some(index);
            let hash = leaf_hash(&entry.leaf);
            tlog::proof::verify_inclusion(&hash, index, checkpoint.size, &entry.proof, &root)
                .map_err(|e| changed(HISTORY, format!("entry {index}: {e}")))?;
            let leaf = Leaf::parse(&entry.leaf)
                .map_err(|e| changed(HISTORY, format!("entry {index}: {e}")))?;
            leaves.push((index, leaf));
        }
        let fold = self.fold(&leaves, &head)?;
        Ok(Complete {
            checkpoint,
            leaves,
            fold,
        })
    }

    /// The entries are all that the head commits to, and come to the state that it has.
    fn fold(&self, leaves: &[(u64, Leaf)], head: &SeenHead) -> Result<Fold, Fail> {
        let mut all = Compact::default();
        for (index, _) in leaves {
            all.push(leaf_hash(&index.to_be_bytes()));
        }
        let want = &head.state.leaves;
        if all.size() != want.size || all.root() != want.root {
            return Err(Fail::untrusted(
                "history-incomplete",
                "the entries in the report are not all that the log accepted for the project",
            )
            .detail("expected", format!("{} entries of root {}", want.size, hex32(&want.root)))
            .detail("got", format!("{} entries of root {}", all.size(), hex32(&all.root())))
            .hint("something was left out or added: ask whoever gave you the report for the whole of it"));
        }
        let mut fold = Fold::new(&self.ours.policy.log.origin);
        for (index, leaf) in leaves {
            fold.skip_to(*index);
            fold.check_logged(leaf, None)
                .map_err(|e| changed(HISTORY, format!("entry {index}: {e}")))?;
            fold.follow(leaf, true);
        }
        if fold.state(&self.project.id).as_ref() == Some(&head.state) {
            return Ok(fold);
        }
        Err(changed(
            HISTORY,
            "its entries do not come to the state that the log signed",
        ))
    }

    /// One line's bundle: that it is of this entry, by itself and in this history.
    ///
    /// # Errors
    /// Exit code 1 where it is not.
    pub(crate) fn row(
        &self,
        files: &Files,
        index: u64,
        complete: &Complete,
    ) -> Result<(Stated, Hash), Fail> {
        let name = bundle_name(index);
        let bytes = files.read(&name, MAX_BUNDLE_BYTES as u64)?;
        let moved = |fail: Fail| match fail.kind.as_str() {
            // Of the same statement, but not the one that was put there.
            VIEW_MOVED => swapped(
                &name,
                "it shows the project at another time than the report",
            ),
            _ => fail,
        };
        self.bundle(&name, &bytes, index, complete).map_err(moved)
    }

    /// The same of bytes that the log gave.
    pub(crate) fn bundle(
        &self,
        name: &str,
        bytes: &[u8],
        index: u64,
        complete: &Complete,
    ) -> Result<(Stated, Hash), Fail> {
        let bundle = Bundle::parse(bytes).map_err(|e| changed(name, e))?;
        if bundle.entry.index != index {
            let why = format!("it is the proof of entry {}", bundle.entry.index);
            return Err(swapped(name, &why));
        }
        let (id, memory) = (&self.project.id, self.log_memory());
        let stated = verify_statement(id, &bundle, self.ours.policy, &memory, self.now)
            .map_err(|r| self.refused(name, &r))?;
        let known = complete.leaves.binary_search_by_key(&index, |(at, _)| *at);
        let known = known.ok().and_then(|at| complete.leaves.get(at));
        let same = known.is_some_and(|(_, leaf)| match leaf {
            Leaf::Statement(s) => **s == stated.leaf,
            _ => false,
        });
        if !same {
            return Err(changed(
                name,
                format!("entry {index} of the proven history is another"),
            ));
        }
        if complete.fold.state(id).as_ref() != Some(&stated.head.state) {
            return Err(Fail::unchecked(
                VIEW_MOVED,
                format!("{name} shows the project at another time than the rest of the report"),
            )
            .hint("the log took something in while the report was made: make it again"));
        }
        Ok((stated, sha256(bytes)))
    }
}

fn swapped(name: &str, why: &str) -> Fail {
    Fail::untrusted("proof-swapped", format!("{name}: {why}"))
        .detail("file", name)
        .hint("the report was changed: ask whoever gave it to you for the whole of it")
}

fn included(line: &[u8]) -> Result<Included, Fail> {
    let bad = |e: String| changed(HISTORY, e);
    let Some(line) = line.strip_suffix(b"\n") else {
        return Err(bad("its last line is not whole".into()));
    };
    if line.len() > MAX_LINE {
        return Err(bad(format!("a line of {} bytes", line.len())));
    }
    let value = ledger::json::parse(line).map_err(|e| bad(e.to_string()))?;
    ledger::json::typed(value).map_err(|e| bad(e.to_string()))
}
