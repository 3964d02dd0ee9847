//! The ledger's state at the last checkpoint: from the index where that has it, and from the
//! entries after those that it has.

use super::damaged;
use super::tree::Tree;
use crate::error::Error;
use crate::log::{index_rows, read_leaf, save_state};
use crate::source::{blob, full_bundle};
use crate::store::{FileBlobs, FjallIndex, Head, InIndex, Index, IndexBatch};
use crate::view::Entry;
use ledger::Hash;
use ledger::fold::{Fold, Refusal, SavedProject};
use ledger::leaf::Leaf;
use ledger::released::Earlier;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tlog::hash::leaf_hash;
use tlog::tile::{TILE_WIDTH, Tile};

const WIDTH: u64 = TILE_WIDTH as u64;
/// Leaves between two batches of the index that catches up.
const DUE: u64 = 4096;
/// Between two words about a long catching up.
const QUIET: Duration = Duration::from_secs(2);

/// Where entries come from, and what they must come to.
pub(super) struct Ledger<'a> {
    pub(super) origin: &'a str,
    pub(super) blobs: &'a FileBlobs,
    pub(super) tree: &'a Tree,
    pub(super) head: &'a Head,
}

/// What stands in the way of the state.
enum Trouble {
    /// The index, which can be made anew.
    Index(String),
    /// The log itself.
    Log(Error),
}

impl From<Error> for Trouble {
    fn from(e: Error) -> Self {
        Self::Log(e)
    }
}

impl Ledger<'_> {
    /// The index with everything in it, and the state. An index that cannot be read, or whose
    /// state does not come to the committed digest, is no witness against the log, since it is
    /// derived: it is renewed once, unless it is `fresh`, and the log folded whole.
    pub(super) fn read(
        &self,
        slot: &mut Option<Arc<FjallIndex>>,
        fresh: bool,
        renew: impl FnOnce() -> Result<Arc<FjallIndex>, Error>,
    ) -> Result<Fold, Error> {
        let index = slot.as_ref().ok_or_else(|| damaged("no index is open"))?;
        let why = match self.restored(index) {
            Ok(fold) if fold.digest() == self.head.fold => return Ok(fold),
            Ok(_) => "it does not come to the ledger's state that was committed".to_owned(),
            Err(Trouble::Index(why)) => why,
            Err(Trouble::Log(e)) => return Err(e),
        };
        if fresh {
            return Err(self.disagrees(&why));
        }
        eprintln!(
            "countersign-server: the index is not usable ({why}); it is made anew from the log"
        );
        // Closed before its directory goes.
        *slot = None;
        let index = slot.insert(renew()?);
        match self.restored(index) {
            Ok(fold) if fold.digest() == self.head.fold => Ok(fold),
            Ok(_) => Err(self.disagrees("made anew from the entries")),
            Err(Trouble::Index(why)) => Err(self.disagrees(&why)),
            Err(Trouble::Log(e)) => Err(e),
        }
    }

    fn disagrees(&self, why: &str) -> Error {
        damaged(format!(
            "the entries give another ledger state than the one that was committed ({why})"
        ))
    }

    fn restored(&self, index: &Arc<FjallIndex>) -> Result<Fold, Trouble> {
        let saved = self.saved(index).map_err(Trouble::Index)?;
        self.caught_up(saved, index)
    }

    /// The state as the index has it, at its size.
    fn saved(&self, index: &FjallIndex) -> Result<Fold, String> {
        let state = index.state().map_err(|e| e.to_string())?;
        let mut projects: BTreeMap<Hash, SavedProject> = BTreeMap::new();
        for (id, index, leaf) in state.statements {
            let empty = || SavedProject {
                id,
                statements: Vec::new(),
                standing: Vec::new(),
            };
            let project = projects.entry(id).or_insert_with(empty);
            project.statements.push((index, leaf));
        }
        for (id, standing) in state.standings {
            if let Some(project) = projects.get_mut(&id) {
                project.standing = standing;
            }
        }
        let projects: Vec<SavedProject> = projects.into_values().collect();
        Fold::restored(self.origin, state.size, state.last_time, &projects)
            .map_err(|e| e.to_string())
    }

    /// Folds the entries that the index lacks, and adds them to it.
    fn caught_up(&self, fold: Fold, index: &Arc<FjallIndex>) -> Result<Fold, Trouble> {
        let released: Arc<dyn Index> = index.clone();
        let mut fold = fold.looking_up(Arc::new(InIndex(released)));
        let mut rows = IndexBatch::default();
        let (from, mut applied, mut said) = (fold.size(), fold.size(), Instant::now());
        while fold.size() < self.head.size {
            let bundle = fold.size() / WIDTH;
            let skip = usize::try_from(fold.size() % WIDTH).unwrap_or_default();
            let entries = self.entries(bundle)?;
            if entries.len() <= skip {
                return Err(damaged(format!("entry {} is not there", fold.size())).into());
            }
            for entry in entries.iter().skip(skip) {
                let (at, leaf) = (fold.size(), read_leaf(entry));
                let earlier = self.earlier(&fold, &leaf)?;
                match fold.apply_with(&leaf, earlier.as_ref()) {
                    Ok(()) => {
                        let projects = fold.about(&leaf);
                        index_rows(&mut rows, at, &leaf, &projects, entry);
                    }
                    Err(failed @ Refusal::LookUp { .. }) => {
                        return Err(Trouble::Index(failed.to_string()));
                    }
                    Err(_) => {}
                }
            }
            let size = fold.size();
            if size >= applied + DUE || size >= self.head.size {
                save_state(&mut rows, &fold);
                let done = index.apply(&std::mem::take(&mut rows));
                done.map_err(|e| Trouble::Index(e.to_string()))?;
                fold.forget_released(size);
                applied = size;
            }
            if said.elapsed() > QUIET {
                said = Instant::now();
                let (done, all) = (size - from, self.head.size - from);
                eprintln!("countersign-server: index: {done} of {all} leaves read again");
            }
        }
        Ok(fold)
    }

    /// The release that a re-statement or a withdrawal is about.
    fn earlier(&self, fold: &Fold, leaf: &Leaf) -> Result<Option<Earlier>, Trouble> {
        let Leaf::Statement(s) = leaf else {
            return Ok(None);
        };
        let needs = fold.needs(&s.statement);
        let Some(index) = needs.map_err(|e| Trouble::Index(e.to_string()))? else {
            return Ok(None);
        };
        let at = usize::try_from(index % WIDTH).unwrap_or_default();
        let entries = self.entries(index / WIDTH)?;
        Ok(entries.get(at).and_then(|e| Earlier::parse(index, e)))
    }

    /// The entries of a bundle, which are those that the tree is over.
    fn entries(&self, index: u64) -> Result<Vec<Entry>, Error> {
        let width = usize::from(TILE_WIDTH);
        if let Some(after) = (index * WIDTH).checked_sub(self.tree.first) {
            let from = usize::try_from(after).unwrap_or(usize::MAX);
            let held = self.tree.held.get(from..).unwrap_or_default();
            return Ok(held.get(..width).unwrap_or(held).to_vec());
        }
        let entries = full_bundle(self.blobs, index)?;
        let tile = Tile {
            level: 0,
            index,
            width: TILE_WIDTH,
        };
        let rows = blob(self.blobs, &tile.path())?;
        let hashes: Vec<_> = entries.iter().map(|e| leaf_hash(e)).collect();
        if rows != hashes.concat() {
            return Err(damaged(format!(
                "{} is not over the entries of its bundle",
                tile.path()
            )));
        }
        Ok(entries.into_iter().map(Entry::from).collect())
    }
}
