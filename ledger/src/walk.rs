//! The walk over a whole log: every bundle read, every entry hashed, parsed and its signatures
//! verified, every level's tiles compared, and the ledger folded (docs/formats.md, "The fold").
//! The operator's `check` and an auditor's command share it; it knows nothing of files or
//! networks but a [`Source`], and reads no clock.
//!
//! Bundles are parsed and their signatures verified on all cores; the fold takes them in order
//! on the calling thread. What is in between is bounded: [`AHEAD`] bundles a worker. A
//! signature names its key by hash, so verifying it needs no state, only the key; whether that
//! key may say this is the fold's question.
//!
//! What is wrong is a [`Finding`]; the walk goes on as far as what it has still means
//! something, so that one flipped byte does not hide another. A bundle that cannot be read
//! ends the fold and the tree there, and is said.

mod again;
mod bundle;
mod by_path;
mod state;

pub use again::Beneath;
pub use by_path::{ByPath, Files};

use crate::Hash;
use crate::fold::Fold;
use crate::leaf::Leaf;
use crate::released::Released;
use bundle::{Checked, Keys};
use state::State;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use tlog::tile::{EntryTile, TILE_WIDTH, Tile};
use tlog::tree::Edge;

/// Bundles that each worker may have ready before the fold takes them.
const AHEAD: usize = 2;
/// Bundles in a row that are not there, after which the rest is not asked for: a checkpoint may
/// claim more leaves than can be asked for in a lifetime.
const MOST_MISSING: u64 = 256;
const WIDTH: u64 = TILE_WIDTH as u64;

/// Why a tile or bundle cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not there: a finding, and the walk goes on.
    Missing,
    /// What is there has more bytes than any tile or bundle: a finding, and the walk goes on.
    TooLong,
    /// The source itself failed, with its reason: the walk stops without a verdict.
    Failed(String),
}

/// Where a log's bytes come from: a directory, the network. Asked from several threads.
pub trait Source: Sync {
    /// The bytes of a bundle of exactly this width.
    ///
    /// # Errors
    /// [`Unreadable`].
    fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, Unreadable>;

    /// The bytes of a tile of exactly this width.
    ///
    /// # Errors
    /// [`Unreadable`].
    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, Unreadable>;

    /// Whether partial tiles of hashes are to be asked for. A data directory has none, since
    /// they follow from its entries.
    fn has_partial_tiles(&self) -> bool {
        true
    }

    /// Whether what is read twice is the same both times, as on a disk of one's own. Of any other
    /// source a leaf that is read again is proven again, by the tree as it was walked.
    fn is_steady(&self) -> bool {
        true
    }
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable word for the sort of thing.
    pub kind: &'static str,
    /// The file, or other place, that it is about.
    pub path: String,
    /// What was expected and what was found.
    pub what: String,
}

impl Finding {
    /// A finding at `path`.
    #[must_use]
    pub fn new(kind: &'static str, path: impl Into<String>, what: impl Into<String>) -> Self {
        let (path, what) = (path.into(), what.into());
        Self { kind, path, what }
    }
}

/// Who is told, on the calling thread and in order, while the walk goes on.
pub trait Observer {
    /// A leaf, the projects that it is about, and whether the fold accepted it. Not called where
    /// the fold has ended.
    fn leaf(&mut self, index: u64, leaf: &Leaf, projects: &[Hash], accepted: bool) {
        let _ = (index, leaf, projects, accepted);
    }
    /// A bundle is done, with the bytes that were verified.
    fn bundle(&mut self, tile: &EntryTile, bytes: &[u8], at: &At<'_>) {
        let _ = (tile, bytes, at);
    }
    /// A tile follows from the entries: these are its bytes, whatever the source has.
    fn tile(&mut self, tile: &Tile, bytes: &[u8]) {
        let _ = (tile, bytes);
    }
    /// Something is wrong.
    fn finding(&mut self, finding: Finding);
}

/// Where a walk is.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// Leaves walked.
    pub size: u64,
    /// The tree over them.
    pub edge: &'a Edge,
    /// Bytes of bundles read.
    pub bytes: u64,
    /// Whether everything up to here was read, so that `edge` is the tree's.
    pub whole: bool,
    /// The ledger's state. Only if `folded` it is that of all leaves walked.
    pub fold: &'a Fold,
    /// Whether every leaf so far could be folded.
    pub folded: bool,
    /// Whether a ledger head so far was wrong.
    pub head_wrong: bool,
    /// How much was seen.
    pub counts: &'a Counts,
    /// The marks that this walk has met.
    pub marks: &'a [Mark],
}

/// Where a walk begins: before the first leaf, or at the end of a bundle where an earlier walk of
/// the same log was, which it was at [`Counts::leaves`]. It is a claim of whoever kept it: the
/// walk ends in the root and the digest that follow from it.
#[derive(Debug, Clone)]
pub struct Start {
    /// The tree over the leaves so far, if `whole`.
    pub edge: Edge,
    /// The ledger's state after them, if `folded`.
    pub fold: Fold,
    /// As [`At::whole`].
    pub whole: bool,
    /// As [`At::folded`].
    pub folded: bool,
    /// As [`At::head_wrong`].
    pub head_wrong: bool,
    /// What was seen so far.
    pub counts: Counts,
}

impl Start {
    /// Before the first leaf of the log named `origin`.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self {
            edge: Edge::new(),
            fold: Fold::new(origin),
            whole: true,
            folded: true,
            head_wrong: false,
            counts: Counts::default(),
        }
    }

    fn check(&self, size: u64) -> Result<(), Stopped> {
        let at = self.counts.leaves;
        let right = at.is_multiple_of(WIDTH)
            && at <= size
            && (!self.whole || self.edge.size() == at)
            && (!self.folded || self.fold.size() == at);
        if right {
            return Ok(());
        }
        Err(Stopped::Start(format!(
            "{at} leaves of {size}, a tree of {} and a state of {}",
            self.edge.size(),
            self.fold.size()
        )))
    }
}

/// What to walk.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The log's origin.
    pub origin: String,
    /// Leaves: the size of the checkpoint.
    pub size: u64,
    /// Signatures of entries below this are not verified again: they were, under a root that
    /// the caller compares by naming this size in `marks`.
    pub signed_below: u64,
    /// Sizes, in rising order, at which root and ledger state are wanted.
    pub marks: Vec<u64>,
    /// Workers; `None` for one a core. One is the calling thread itself, with one bundle in
    /// memory at a time.
    pub workers: Option<NonZero<usize>>,
    /// Whether a leaf that cannot be read counts as one of an unknown kind, as the log's own
    /// server counts it, and does not end the fold.
    pub unreadable_counts: bool,
    /// Where the purls of the log's releases can be looked up; else the walk keeps them all in
    /// memory. What it says is not trusted further than the digest that follows from it.
    pub released: Option<LookUp>,
    /// Whether the entries are nobody's that we know: they are hashed, and not read.
    pub plain: bool,
}

/// A place where released purls are kept.
#[derive(Clone)]
pub struct LookUp(pub Arc<dyn Released>);

impl std::fmt::Debug for LookUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LookUp")
    }
}

/// The tree and the ledger's state at a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// Digest of the folded state.
    pub fold: Hash,
}

/// How much a walk saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Leaves.
    pub leaves: u64,
    /// Project statements accepted.
    pub projects: u64,
    /// Releases accepted.
    pub releases: u64,
    /// Revocations accepted.
    pub revocations: u64,
    /// Withdrawals accepted.
    pub withdrawals: u64,
    /// Key-notes accepted.
    pub key_notes: u64,
    /// Operations accepted.
    pub operations: u64,
    /// Certificates of the log's issuer.
    pub certificates: u64,
    /// Ledger heads that follow from the leaves before them.
    pub heads: u64,
    /// Leaves of kinds that this version does not know.
    pub unknown: u64,
    /// Tiles compared, of all levels.
    pub tiles: u64,
    /// Bundles read.
    pub bundles: u64,
    /// Bytes in these bundles.
    pub bytes: u64,
}

/// What a walk came to.
#[derive(Debug, Clone)]
pub struct Walked {
    /// The right edge of the tree. Of the whole log only if `whole`.
    pub edge: Edge,
    /// The ledger's state. Of the whole log only if `folded`.
    pub fold: Fold,
    /// Whether every bundle could be read.
    pub whole: bool,
    /// Whether every leaf could be folded.
    pub folded: bool,
    /// The marks asked for, as far as they were reached.
    pub marks: Vec<Mark>,
    /// How much was seen.
    pub counts: Counts,
    /// The last leaf.
    pub last: Option<Leaf>,
}

/// Why a walk ended without a verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The source failed.
    #[error("{path}: {why}")]
    Source {
        /// What was asked for.
        path: String,
        /// What the source said.
        why: String,
    },
    /// It cannot begin where it was told to.
    #[error("a walk cannot begin at {0}")]
    Start(String),
    /// A worker could not be started, or ended without a result.
    #[error("a worker thread failed: {0}")]
    Worker(String),
}

impl Stopped {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Source { .. } => "walk-source",
            Self::Start(_) => "walk-start",
            Self::Worker(_) => "walk-worker",
        }
    }
}

/// Walks the log that `plan` names.
///
/// # Errors
/// [`Stopped`] where no verdict is possible. What is wrong with the log is no error: the
/// observer hears of it.
pub fn walk<S: Source, O: Observer>(
    source: &S,
    plan: &Plan,
    observer: &mut O,
) -> Result<Walked, Stopped> {
    walk_from(source, plan, Start::new(&plan.origin), observer)
}

/// The same, from where an earlier walk was. [`Walked::last`] is then only of what followed.
///
/// # Errors
/// As [`walk`]; [`Stopped::Start`] where `start` is no place in this log.
pub fn walk_from<S: Source, O: Observer>(
    source: &S,
    plan: &Plan,
    start: Start,
    observer: &mut O,
) -> Result<Walked, Stopped> {
    start.check(plan.size)?;
    let from = start.counts.leaves / WIDTH;
    let bundles = plan.size.div_ceil(WIDTH);
    let cores = plan
        .workers
        .or_else(|| std::thread::available_parallelism().ok());
    let workers = cores
        .map_or(1, |n| n.get() as u64)
        .min((bundles - from).max(1))
        .max(1);
    let keys = Keys::of(&start.fold);
    let fold = start.fold.lean();
    let fold = match &plan.released {
        Some(LookUp(released)) => fold.looking_up(Arc::clone(released)),
        None => fold,
    };
    let mut state = State {
        source,
        observer,
        keys: &keys,
        edge: start.edge,
        fold,
        whole: start.whole,
        // Nobody's entries are folded.
        folded: start.folded && !plan.plain,
        head_wrong: start.head_wrong,
        marks: Vec::new(),
        wanted: wanted_from(&plan.marks, start.counts.leaves),
        size: plan.size,
        unreadable_counts: plan.unreadable_counts,
        counts: start.counts,
        last: None,
        missing: 0,
    };
    state.mark();
    let one = |index: u64| {
        let width = u16::try_from((plan.size - index * WIDTH).min(WIDTH));
        let tile = EntryTile {
            index,
            width: width.unwrap_or(TILE_WIDTH),
        };
        let how = bundle::How {
            verify: index * WIDTH >= plan.signed_below,
            plain: plan.plain,
        };
        bundle::check(source, &keys, tile, how)
    };
    if workers == 1 {
        for index in from..bundles {
            state.take(one(index))?;
            if state.gives_up() {
                break;
            }
        }
        return state.end(plan.size);
    }
    std::thread::scope(|scope| {
        let mut ready: Vec<Receiver<Checked>> = Vec::new();
        for first in 0..workers {
            let (sender, receiver) = sync_channel(AHEAD);
            ready.push(receiver);
            let one = &one;
            let work = move || {
                let mut index = from + first;
                while index < bundles {
                    // The fold has stopped: so does this.
                    if sender.send(one(index)).is_err() {
                        return;
                    }
                    index += workers;
                }
            };
            std::thread::Builder::new()
                .name("walk".into())
                .spawn_scoped(scope, work)
                .map_err(|e| Stopped::Worker(e.to_string()))?;
        }
        for turn in (from..bundles).map(|index| (index - from) % workers) {
            let one = usize::try_from(turn).ok().and_then(|t| ready.get(t));
            let lost = || Stopped::Worker("it ended early".into());
            let checked = one.and_then(|r| r.recv().ok()).ok_or_else(lost)?;
            state.take(checked)?;
            if state.gives_up() {
                break;
            }
        }
        state.end(plan.size)
    })
}

/// Those of `marks` that a walk from `size` meets.
fn wanted_from(marks: &[u64], size: u64) -> &[u64] {
    let passed = marks.partition_point(|mark| *mark < size);
    marks.get(passed..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
