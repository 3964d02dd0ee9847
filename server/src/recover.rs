//! What happens before the first signature after a start: every leaf is read again, the
//! tree and the ledger's state are recomputed, and both are compared with the last
//! checkpoint that this log signed. Where anything differs the log is served read-only with
//! the reason; nothing is repaired by guessing. Only two things are completed, since both
//! follow from committed entries: blobs that a crash kept from being written, and the index.

use crate::datadir::Layout;
use crate::error::Error;
use crate::log::{Published, index_rows, read_leaf};
use crate::logkeys::LogKeys;
use crate::store::{
    Blobs, FileBlobs, FjallIndex, Head, Hot, HotBatch, Index, IndexBatch, SledHot, StoreError,
};
use crate::view::{Entry, View};
use ledger::fold::Fold;
use std::sync::Arc;
use tlog::hash::leaf_hash;
use tlog::prover::Prover;
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, encode_bundle, parse_bundle};
use tlog::tree::{Edge, FullTile};

/// The store's parts and what they hold.
pub(crate) struct Recovered {
    pub hot: Box<dyn Hot>,
    pub blobs: Box<dyn Blobs>,
    pub index: Arc<dyn Index>,
    pub published: Published,
    pub head: Head,
    pub durable: u64,
    pub read_only: Option<String>,
}

/// Opens the store below `layout` and checks it.
pub(crate) fn recover(layout: &Layout, origin: &str, keys: &LogKeys) -> Result<Recovered, Error> {
    let hot = SledHot::open(&layout.private().join("hot"))?;
    let blobs = FileBlobs::new(&layout.public());
    // `init` made the first one: a log without a head has lost it, and never begins anew.
    let head = hot.head()?.ok_or_else(|| Error::HalfWritten {
        dir: layout.private().display().to_string(),
        what: "the hot state in private/hot is empty: restore it".to_owned(),
    })?;
    let index = FjallIndex::open(&layout.private().join("index"))?;
    let mut replay = Replay {
        edge: Edge::new(),
        fold: Fold::new(origin),
        tail: Vec::new(),
        last: None,
        rows: IndexBatch::default(),
        indexed: index.size()?,
    };
    let outcome = not_gone_back(&blobs, &index, &head)
        .and_then(|()| replay.all(&hot, &blobs, &index, &head))
        .and_then(|()| agrees(&replay, &head, keys));
    let read_only = match outcome {
        Ok(()) => None,
        Err(Error::Store(StoreError::Io { path, why })) => return Err(Error::Io { path, why }),
        Err(e) => Some(e.to_string()),
    };
    let mut claimed = head.clone();
    if read_only.is_none() {
        claimed.epoch += 1;
        let step = HotBatch {
            head: claimed.clone(),
            entries: Vec::new(),
            drop_below: 0,
        };
        hot.commit(Some(&head), &step)?;
    }
    if replay.edge.size() != head.size || replay.edge.root() != head.root {
        // Where reading stopped is not the right edge: it must not be served as if it were.
        (replay.edge, replay.tail, replay.last) = (Edge::new(), Vec::new(), None);
    }
    let Replay {
        edge,
        fold,
        tail,
        last,
        ..
    } = replay;
    let view = View {
        size: head.size,
        root: head.root,
        note: head.checkpoint,
        prover: Prover::new(&edge),
        edge,
        tail,
        last,
    };
    Ok(Recovered {
        hot: Box::new(hot),
        blobs: Box::new(blobs),
        index: Arc::new(index),
        published: Published {
            view: Arc::new(view),
            fold,
        },
        durable: head.size - head.size % u64::from(TILE_WIDTH),
        head: claimed,
        read_only,
    })
}

/// The index and the blobs are written after the hot state's commit. Where one of them has
/// entries that the hot state lacks, the hot state is older than what was signed: to go on
/// from it would sign another history.
fn not_gone_back(blobs: &FileBlobs, index: &FjallIndex, head: &Head) -> Result<(), Error> {
    let went_back = |what: String| {
        let size = head.size;
        Err(damaged(format!(
            "the hot state went back to size {size}: {what}"
        )))
    };
    let indexed = index.size()?;
    if indexed > head.size {
        return went_back(format!("the index has {indexed} entries"));
    }
    let bundle = EntryTile {
        index: head.size / u64::from(TILE_WIDTH),
        width: TILE_WIDTH,
    };
    if blobs.get(&bundle.path())?.is_some() {
        return went_back(format!("{} stands", bundle.path()));
    }
    Ok(())
}

/// Makes the hot state of a new log, with the signed checkpoint of the empty tree.
pub(crate) fn first_head(layout: &Layout, origin: &str, keys: &LogKeys) -> Result<(), Error> {
    let hot = SledHot::open(&layout.private().join("hot"))?;
    let root = tlog::hash::EMPTY_ROOT;
    let (fold, checkpoint) = (Fold::new(origin).digest(), keys.sign(0, root)?);
    let head = Head {
        epoch: 0,
        size: 0,
        root,
        fold,
        checkpoint,
    };
    hot.commit(
        None,
        &HotBatch {
            head,
            entries: Vec::new(),
            drop_below: 0,
        },
    )?;
    Ok(())
}

fn damaged(what: impl Into<String>) -> Error {
    StoreError::Damaged(what.into()).into()
}

fn agrees(replay: &Replay, head: &Head, keys: &LogKeys) -> Result<(), Error> {
    let checkpoint = keys.verify(&head.checkpoint)?;
    if checkpoint.size != head.size || checkpoint.root != head.root {
        return Err(damaged(
            "the last checkpoint is not the one that the hot state names",
        ));
    }
    if replay.edge.size() != head.size || replay.edge.root() != head.root {
        return Err(damaged(format!(
            "the entries give another tree ({} leaves, root {}) than the checkpoint that was signed ({} leaves, root {})",
            replay.edge.size(),
            hex::encode(replay.edge.root()),
            head.size,
            hex::encode(head.root),
        )));
    }
    if replay.fold.digest() != head.fold {
        return Err(damaged(
            "the entries give another ledger state than the one that was committed",
        ));
    }
    Ok(())
}

struct Replay {
    edge: Edge,
    fold: Fold,
    tail: Vec<Entry>,
    last: Option<Entry>,
    rows: IndexBatch,
    indexed: u64,
}

impl Replay {
    fn all(
        &mut self,
        hot: &SledHot,
        blobs: &FileBlobs,
        index: &FjallIndex,
        head: &Head,
    ) -> Result<(), Error> {
        let held = hot.entries()?;
        let width = u64::from(TILE_WIDTH);
        let start = held.first().map_or(head.size, |(i, _)| *i);
        if start % width != 0 || start > head.size {
            return Err(damaged(format!(
                "the hot state begins with entry {start}, in the middle of a bundle"
            )));
        }
        for tile in 0..start / width {
            let path = EntryTile {
                index: tile,
                width: TILE_WIDTH,
            }
            .path();
            let bytes = blobs
                .get(&path)?
                .ok_or_else(|| damaged(format!("{path} is missing")))?;
            let entries =
                parse_bundle(&bytes, TILE_WIDTH).map_err(|e| damaged(format!("{path}: {e}")))?;
            let full = self.take(entries.into_iter().map(Entry::from))?;
            for t in full {
                let (path, bytes) = blob(t);
                if blobs.get(&path)?.as_ref() != Some(&bytes) {
                    return Err(damaged(format!(
                        "{path} is missing or holds other hashes than its entries give"
                    )));
                }
            }
            self.index_if_due(index, false)?;
        }
        // What the hot state still holds is committed; its blobs may not have been written.
        let mut write = Vec::new();
        let mut held = held.into_iter();
        loop {
            let part: Vec<_> = held.by_ref().take(256).collect();
            if part.is_empty() {
                break;
            }
            if (self.fold.size()..)
                .zip(&part)
                .any(|(want, (got, _))| want != *got)
            {
                return Err(damaged("the hot state lacks an entry"));
            }
            let full = self.take(part.into_iter().map(|(_, bytes)| Entry::from(bytes)))?;
            write.extend(full.into_iter().map(blob));
            if self.tail.len() == usize::from(TILE_WIDTH) {
                let path = EntryTile {
                    index: self.fold.size() / width - 1,
                    width: TILE_WIDTH,
                }
                .path();
                write.push((
                    path,
                    encode_bundle(&self.tail).map_err(|e| damaged(e.to_string()))?,
                ));
            }
        }
        if self.edge.root() == head.root {
            blobs.put(&write)?;
        }
        if self.tail.len() == usize::from(TILE_WIDTH) {
            self.tail.clear();
        }
        self.index_if_due(index, true)
    }

    /// Takes the entries of one bundle, or of the part of one that there is.
    fn take(&mut self, entries: impl Iterator<Item = Entry>) -> Result<Vec<FullTile>, Error> {
        self.tail = entries.collect();
        let hashes: Vec<_> = self.tail.iter().map(|e| leaf_hash(e)).collect();
        for entry in &self.tail {
            let (index, leaf) = (self.fold.size(), read_leaf(entry));
            let accepted = self.fold.apply(&leaf).is_ok();
            if accepted && index >= self.indexed {
                index_rows(&mut self.rows, index, &leaf);
            }
        }
        self.last = self.tail.last().cloned();
        Ok(self.edge.append(&hashes))
    }

    fn index_if_due(&mut self, index: &FjallIndex, now: bool) -> Result<(), Error> {
        let due = self.fold.size() >= self.indexed + 4096 || now;
        if due && self.fold.size() > self.indexed {
            self.rows.size = self.fold.size();
            index.apply(&self.rows)?;
            self.indexed = self.fold.size();
            self.rows = IndexBatch::default();
        }
        Ok(())
    }
}

fn blob(full: FullTile) -> (String, Vec<u8>) {
    let tile = Tile {
        level: full.level,
        index: full.index,
        width: TILE_WIDTH,
    };
    (tile.path(), full.bytes)
}
