//! The ledger's state at the last checkpoint: from the index where that has it, and from the
//! entries after those that it has.

use super::damaged;
use super::tree::Tree;
use crate::error::Error;
use crate::log::{index_rows, read_leaf, save_state};
use crate::source::{blob, full_bundle};
use crate::store::{FileBlobs, FjallIndex, Head, InIndex, Index, IndexBatch};
use crate::view::Entry;
use ledger::fold::{Fold, Refusal, SavedProject};
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

impl Ledger<'_> {
    /// The index with everything in it, and the state. An index whose state does not come to
    /// the committed digest is no witness against the log, since it is derived: it is renewed,
    /// and the log folded whole.
    pub(super) fn read(
        &self,
        slot: &mut Option<Arc<FjallIndex>>,
        renew: impl FnOnce() -> Result<Arc<FjallIndex>, Error>,
    ) -> Result<Fold, Error> {
        let index = slot.take().ok_or_else(|| damaged("no index is open"))?;
        match self.saved(&index) {
            Ok(saved) => {
                let whole = saved.size() == 0;
                let index = slot.insert(index);
                let fold = self.caught_up(saved, index)?;
                if fold.digest() == self.head.fold {
                    return Ok(fold);
                }
                if whole {
                    return Err(self.disagrees());
                }
                eprintln!(
                    "countersign-server: the index does not come to the ledger's state that was committed; it is made anew from the log"
                );
            }
            Err(why) => eprintln!(
                "countersign-server: the index is not usable ({why}); it is made anew from the log"
            ),
        }
        // Closed before its directory goes.
        *slot = None;
        let index = slot.insert(renew()?);
        let fold = self.caught_up(Fold::new(self.origin), index)?;
        if fold.digest() == self.head.fold {
            Ok(fold)
        } else {
            Err(self.disagrees())
        }
    }

    fn disagrees(&self) -> Error {
        damaged("the entries give another ledger state than the one that was committed")
    }

    /// The state as the index has it, at its size.
    fn saved(&self, index: &FjallIndex) -> Result<Fold, String> {
        let state = index.state().map_err(|e| e.to_string())?;
        let mut standings: BTreeMap<_, _> = state.standings.into_iter().collect();
        let projects: Vec<SavedProject> = state
            .statements
            .into_iter()
            .map(|(id, index, leaf)| SavedProject {
                id,
                index,
                leaf,
                standing: standings.remove(&id).unwrap_or_default(),
            })
            .collect();
        Fold::restored(self.origin, state.size, state.last_time, &projects)
            .map_err(|e| e.to_string())
    }

    /// Folds the entries that the index lacks, and adds them to it.
    fn caught_up(&self, fold: Fold, index: &Arc<FjallIndex>) -> Result<Fold, Error> {
        let released: Arc<dyn Index> = index.clone();
        let mut fold = fold.looking_up(Arc::new(InIndex(released)));
        let mut rows = IndexBatch::default();
        let (from, mut applied, mut said) = (fold.size(), fold.size(), Instant::now());
        while fold.size() < self.head.size {
            let bundle = fold.size() / WIDTH;
            let skip = usize::try_from(fold.size() % WIDTH).unwrap_or_default();
            let entries = self.entries(bundle)?;
            if entries.len() <= skip {
                return Err(damaged(format!("entry {} is not there", fold.size())));
            }
            for entry in entries.iter().skip(skip) {
                let (at, leaf) = (fold.size(), read_leaf(entry));
                match fold.apply(&leaf) {
                    Ok(()) => index_rows(&mut rows, at, &leaf, entry),
                    Err(failed @ Refusal::LookUp { .. }) => {
                        return Err(damaged(failed.to_string()));
                    }
                    Err(_) => {}
                }
            }
            let size = fold.size();
            if size >= applied + DUE || size >= self.head.size {
                save_state(&mut rows, &fold);
                index.apply(&std::mem::take(&mut rows))?;
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
