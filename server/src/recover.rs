//! What happens before the first signature after a start: the tree's right edge is read from
//! the tiles and from the entries that no blob holds, the ledger's state from the index, and
//! both are compared with the last checkpoint that this log signed. That takes no longer for a
//! long log than for a short one; the rest is read again while the log is served (`recheck`).
//! Where anything differs the log is served read-only with the reason; nothing is repaired by
//! guessing. Only what follows from committed entries is completed: blobs that a crash kept
//! from being written, and the index, which is made anew where it disagrees.

mod ledger;
mod tree;

use crate::datadir::Layout;
use crate::error::Error;
use crate::high_water::HighWater;
use crate::log::Published;
use crate::logkeys::LogKeys;
use crate::store::{
    Blobs, FileBlobs, FjallIndex, Head, Hot, HotBatch, Index, SledHot, StoreError, sync_dir,
};
use crate::view::View;
use ::ledger::fold::Fold;
use ledger::Ledger;
use std::path::Path;
use std::sync::Arc;
use tlog::prover::Prover;
use tlog::tile::{EntryTile, TILE_WIDTH};
use tlog::tree::Edge;
use tree::Tree;

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
///
/// # Errors
/// [`Error`] where not even reads can be served. What only forbids signing is in the answer.
pub(crate) fn recover(
    layout: &Layout,
    origin: &str,
    keys: &LogKeys,
    mark: Option<&HighWater>,
) -> Result<Recovered, Error> {
    let hot = SledHot::open(&layout.private().join("hot"))?;
    let blobs = FileBlobs::new(&layout.public());
    let head = standing(&hot, layout)?;
    let path = layout.private().join("index");
    let (index, fresh) = open_index(&path, &head)?;
    let mut tree = Tree::default();
    let mut fold = Fold::new(origin);
    let gone_back = not_gone_back(&blobs, &index, &head);
    let mut index = Some(index);
    let outcome = gone_back.and_then(|()| signed(&head, keys)).and_then(|()| {
        tree = Tree::read(&hot, &blobs, &head)?;
        let sources = Ledger {
            origin,
            blobs: &blobs,
            tree: &tree,
            head: &head,
        };
        fold = sources.read(&mut index, fresh, || renewed(&path))?;
        Ok(())
    });
    let mut view = View {
        size: head.size,
        root: head.root,
        note: head.checkpoint.clone(),
        prover: Prover::new(&tree.edge),
        tail: tree.partial(),
        last: tree.last,
        edge: tree.edge,
        stamp: 0,
        witnessed: None,
    };
    let outcome =
        outcome.and_then(|()| mark.map_or(Ok(()), |mark| mark.check(&view, &blobs, keys)));
    let read_only = match outcome {
        Ok(()) => None,
        Err(Error::Store(StoreError::Io { path, why })) => return Err(Error::Io { path, why }),
        // It was being made anew.
        Err(e) if index.is_none() => return Err(e),
        Err(e) => Some(e.to_string()),
    };
    let index = index.ok_or_else(|| damaged("no index is open"))?;
    let mut claimed = head.clone();
    if read_only.is_none() {
        claimed.epoch += 1;
        if !keys.signed_by_all(&head.checkpoint) {
            // Its keys were rotated since. The same tree, which was signed and is sound, is
            // signed by those of now, so that nobody waits for the next entry.
            claimed.checkpoint = keys.sign(head.size, head.root)?;
            view.note.clone_from(&claimed.checkpoint);
        }
        let step = HotBatch {
            head: claimed.clone(),
            entries: Vec::new(),
            drop_below: 0,
        };
        hot.commit(Some(&head), &step)?;
    }
    Ok(Recovered {
        hot: Box::new(hot),
        blobs: Box::new(blobs),
        index,
        published: Published {
            view: Arc::new(view),
            fold,
        },
        durable: head.size - head.size % u64::from(TILE_WIDTH),
        head: claimed,
        read_only,
    })
}

/// Where the log stands. `init` made the first head: a log without one has lost it, and never
/// begins anew.
pub(crate) fn standing(hot: &SledHot, layout: &Layout) -> Result<Head, Error> {
    hot.head()?.ok_or_else(|| Error::HalfWritten {
        dir: layout.private().display().to_string(),
        what: "the hot state in private/hot is empty: restore it".to_owned(),
    })
}

/// The right edge of the tree that `head` names, and that its checkpoint signs.
///
/// # Errors
/// [`Error`] where entries, head and checkpoint do not agree.
pub(crate) fn edge(
    hot: &SledHot,
    blobs: &FileBlobs,
    head: &Head,
    keys: &LogKeys,
) -> Result<Edge, Error> {
    signed(head, keys)?;
    Ok(Tree::read(hot, blobs, head)?.edge)
}

/// The index, or an empty one in the place of one that another version made, that lost a
/// keyspace; and whether it is empty because it was just made.
fn open_index(path: &Path, head: &Head) -> Result<(Arc<FjallIndex>, bool), Error> {
    let why = match FjallIndex::open(path) {
        Ok(index) => return Ok((Arc::new(index), false)),
        // One that is ahead of the hot state is evidence, and stays.
        Err(e @ (StoreError::OtherIndex(size) | StoreError::TornIndex(size, _)))
            if size <= head.size =>
        {
            e
        }
        Err(e) => return Err(e.into()),
    };
    eprintln!("countersign-server: {why}; it is made anew from the log");
    Ok((renewed(path)?, true))
}

/// An empty index in the place of the one that lay there; nobody has it open any more.
fn renewed(path: &Path) -> Result<Arc<FjallIndex>, Error> {
    std::fs::remove_dir_all(path).map_err(|e| Error::io(path, &e))?;
    if let Some(parent) = path.parent() {
        sync_dir(parent)?;
    }
    Ok(Arc::new(FjallIndex::open(path)?))
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

/// The signed checkpoint is the one that the hot state names.
pub(crate) fn signed(head: &Head, keys: &LogKeys) -> Result<(), Error> {
    let checkpoint = keys.verify(&head.checkpoint)?;
    if checkpoint.size != head.size || checkpoint.root != head.root {
        return Err(damaged(
            "the last checkpoint is not the one that the hot state names",
        ));
    }
    Ok(())
}
