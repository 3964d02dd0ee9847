//! The operator's `check`: is everything in a data directory, or in a directory of tiles,
//! as it must be? It walks the whole log (`ledger::walk`), compares what the walk comes to
//! with what was signed and with what the databases hold, and looks at every other file.
//! Nothing that it checks is changed.
//!
//! What is wrong is a finding; a check that cannot go on has no verdict. The two are never
//! mixed up: no verdict is no "sound".

mod data;
mod files;
mod mirror;
mod report;
mod rest;
mod resume;
mod rows;
pub mod store;
mod tree;
mod watch;

pub use report::{Heard, Report, Unchecked, Verdict};
pub use resume::Record;
pub use tree::TileDir;
pub use watch::Progress;

use crate::datadir::Layout;
use crate::error::Error;
use crate::logkeys::PAIR;
use crate::store::Head;
use crate::view::Entry;
use ledger::walk::{Plan, Source, Walked, walk};
use rest::Hot;
pub(crate) use rest::asked;
use rows::Rows;
use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tlog::checkpoint::Checkpoint;
use tlog::tile::TILE_WIDTH;
use tlog::vkey::VerifierKey;
pub(crate) use watch::Shown;
use watch::Watch;

/// How to check.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `countersign-server` program, which reads the databases in a process of its own.
    pub program: PathBuf,
    /// The log's vkeys; for a data directory none, to take those that it states.
    pub vkeys: Vec<String>,
    /// Where the record of an interrupted check is kept.
    pub resume: Option<PathBuf>,
    /// A high-water mark, which a data directory's log must go on from.
    pub high_water: Option<PathBuf>,
    /// Where copies of the databases are made; `None` for the system's place.
    pub scratch: Option<PathBuf>,
    /// Worker threads; `None` for one a core.
    pub workers: Option<NonZero<usize>>,
    /// Where progress goes.
    pub progress: Progress,
}

impl Options {
    /// All by default, and silent.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            vkeys: Vec::new(),
            resume: None,
            high_water: None,
            scratch: None,
            workers: None,
            progress: Progress::Silent,
        }
    }
}

/// Checks the data directory `dir`.
#[must_use]
pub fn data(dir: &Path, options: &Options) -> Report {
    reported(|report| data::check(dir, options, report))
}

/// Checks the tlog-tiles directory `dir` under [`Options::vkeys`].
#[must_use]
pub fn tiles(dir: &Path, options: &Options) -> Report {
    reported(|report| mirror::check(dir, options, report))
}

fn reported(check: impl FnOnce(&mut Report) -> Result<(), Unchecked>) -> Report {
    let (began, mut report) = (Instant::now(), Report::default());
    report.unchecked = check(&mut report).err();
    report.took = began.elapsed();
    report
}

/// Whose signatures a checkpoint needs: all keys of one of the sets.
struct Signers {
    keys: Vec<VerifierKey>,
    /// Keys of one set, which follow one another.
    set: usize,
}

impl Signers {
    /// All of these keys, which somebody has asked for.
    fn all(keys: Vec<VerifierKey>) -> Self {
        let set = keys.len();
        Self { keys, set }
    }

    /// Both keys of one pair, as the log lists them: while they are rotated the old pair alone
    /// may have signed what was signed last.
    fn a_pair(keys: Vec<VerifierKey>) -> Self {
        Self { keys, set: PAIR }
    }

    /// The keys that have not signed, of the set of which the fewest have not.
    fn missing(&self, signed: &dyn Fn(usize) -> bool) -> Vec<&VerifierKey> {
        let all: Vec<(usize, &VerifierKey)> = self.keys.iter().enumerate().collect();
        let sets = all.chunks(self.set.max(1));
        let missing = sets.map(|set| -> Vec<&VerifierKey> {
            let missing = set.iter().filter(|(at, _)| !signed(*at));
            missing.map(|(_, key)| *key).collect()
        });
        missing.min_by_key(Vec::len).unwrap_or_default()
    }
}

/// Reads vkeys, which are all of one name.
fn keys(vkeys: &[String]) -> Result<(String, Vec<VerifierKey>), Unchecked> {
    let bad = |why: String| Unchecked {
        kind: "bad-vkey",
        why,
    };
    let mut keys: Vec<VerifierKey> = Vec::new();
    for text in vkeys {
        let key = VerifierKey::parse(text).map_err(|e| bad(format!("{text:?}: {e}")))?;
        if keys.first().is_some_and(|first| first.name() != key.name()) {
            return Err(bad("the vkeys are of different names".into()));
        }
        keys.push(key);
    }
    let name = keys.first().map(|key| key.name().to_owned());
    let name = name.ok_or_else(|| bad("no vkey says which log this must be".into()))?;
    Ok((name, keys))
}

/// What a walk is to come to.
struct Expected<'a> {
    origin: &'a str,
    vkeys: &'a [String],
    size: u64,
    checkpoint: Option<&'a Checkpoint>,
    /// The digest of the folded state that was committed.
    fold: Option<tlog::Hash>,
    /// The high-water mark.
    mark: Option<&'a Checkpoint>,
    held: (u64, &'a [Entry]),
    /// How far the index is.
    indexed: Option<u64>,
}

/// Walks, hears, compares. Returns the walk and the rows that the index must have.
fn walked<S: Source>(
    source: &S,
    expected: &Expected<'_>,
    options: &Options,
    report: &mut Report,
) -> Result<(Walked, Option<Rows>), Unchecked> {
    let mut earlier = None;
    if let Some(path) = &options.resume {
        let record = Record::read(path, expected.origin, expected.vkeys)?;
        earlier = record.filter(|r| r.size <= expected.size && r.size > 0);
    }
    let before = report.heard.clone();
    let mut first = walk_once(source, expected, options, earlier.as_ref(), report)?;
    if let Some(record) = &earlier
        && !first
            .0
            .marks
            .iter()
            .any(|m| (m.size, m.root) == (record.size, record.root))
    {
        // Those signatures were verified in another tree than this.
        report.heard = before;
        let what = format!(
            "the tree at {} leaves is not the one that it names: nothing of it is used",
            record.size
        );
        report.heard.note("resume-other-tree", shown(options), what);
        first = walk_once(source, expected, options, None, report)?;
    }
    let (walked, rows) = first;
    report.counts = walked.counts;
    report.size = expected.size;
    let heard = &mut report.heard;
    if walked.whole {
        let root = walked.edge.root();
        report.root = Some(root);
        if let Some(c) = expected.checkpoint
            && c.size == expected.size
            && c.root != root
        {
            let (got, want) = (hex::encode(root), hex::encode(c.root));
            let what =
                format!("the entries give the root {got}, the signed checkpoint says {want}");
            heard.find("root-mismatch", "checkpoint", what);
        }
    }
    if let Some(mark) = expected.mark {
        above(mark, expected.size, &walked, heard);
    }
    if let Some(want) = expected.fold
        && walked.folded
        && walked.whole
        && walked.fold.digest() != want
    {
        let what = "the entries give another ledger state than the one that was committed";
        heard.find("fold-mismatch", "private/hot", what);
    }
    Ok((walked, rows))
}

/// Whether the log goes on from the high-water mark.
fn above(mark: &Checkpoint, size: u64, walked: &Walked, heard: &mut Heard) {
    let what = if mark.size > size {
        let signed = mark.size;
        format!("this log has signed a checkpoint of {signed} leaves, and has {size}")
    } else if mark.size > 0
        && walked.whole
        && !walked
            .marks
            .iter()
            .any(|m| (m.size, m.root) == (mark.size, mark.root))
    {
        let size = mark.size;
        format!("this log has signed another tree of {size} leaves: it is of another history")
    } else {
        return;
    };
    heard.find("high-water", "high-water mark", what);
}

fn shown(options: &Options) -> String {
    let path = options.resume.as_ref();
    path.map_or(String::new(), |p| p.display().to_string())
}

fn walk_once<S: Source>(
    source: &S,
    expected: &Expected<'_>,
    options: &Options,
    earlier: Option<&Record>,
    report: &mut Report,
) -> Result<(Walked, Option<Rows>), Unchecked> {
    let plan = Plan {
        origin: expected.origin.to_owned(),
        size: expected.size,
        signed_below: earlier.map_or(0, |r| r.size),
        marks: marks(expected, earlier),
        workers: options.workers,
        unreadable_counts: false,
        released: None,
        plain: false,
    };
    report.signed_below = plan.signed_below;
    // A record never goes back: below an earlier one there is nothing to add.
    let record = earlier.cloned();
    let record = record.unwrap_or_else(|| Record::new(expected.origin, expected.vkeys));
    let mut watch = Watch {
        heard: &mut report.heard,
        shown: Shown::new(options.progress, expected.size),
        record: options.resume.as_deref().map(|path| (path, record)),
        held: expected.held,
        unwritten: 0,
        rows: expected.indexed.map(|size| (size, Rows::default())),
    };
    let walked = walk(source, &plan, &mut watch);
    watch.shown.end();
    let (unwritten, rows) = (watch.unwritten, watch.rows.take());
    if unwritten > 0 {
        let what = format!(
            "{unwritten} tiles are not written yet; the next start does, from the hot state"
        );
        report.heard.note("not-written-yet", "public/tile", what);
    }
    let walked = walked?;
    let mut rows = rows.filter(|_| walked.folded).map(|(_, rows)| rows);
    if let Some(rows) = &mut rows {
        rows.end(&walked.fold);
    }
    Ok((walked, rows))
}

/// The sizes at which the tree is wanted, in rising order.
fn marks(expected: &Expected<'_>, earlier: Option<&Record>) -> Vec<u64> {
    let record = earlier.map(|r| r.size);
    let mark = expected.mark.map(|m| m.size);
    let wanted = record
        .into_iter()
        .chain(mark)
        .filter(|s| *s <= expected.size);
    BTreeSet::from_iter(wanted).into_iter().collect()
}

/// After a sound check the record covers all of it.
fn remember(
    options: &Options,
    expected: &Expected<'_>,
    report: &mut Report,
) -> Result<(), Unchecked> {
    let (Some(path), Some(root)) = (&options.resume, report.root) else {
        return Ok(());
    };
    if report.heard.found == 0 {
        let mut record = Record::new(expected.origin, expected.vkeys);
        (record.size, record.root) = (expected.size, root);
        record.write(path)?;
    }
    Ok(())
}

/// Reads a checkpoint of `origin` that both keys of one pair of `vkeys` must have signed.
pub(crate) fn signed_by(
    heard: &mut Heard,
    path: &str,
    note: &[u8],
    origin: &str,
    vkeys: &[String],
) -> Result<Option<Checkpoint>, Error> {
    let (_, keys) = keys(vkeys).map_err(|e| Error::Keys(e.why))?;
    Ok(tree::checkpoint(
        heard,
        path,
        note,
        origin,
        &Signers::a_pair(keys),
    ))
}

/// Where a log stands that no server runs, read from a copy.
pub(crate) fn at_rest(layout: &Layout, options: &Options) -> Result<Hot, Error> {
    let (scratch, mut heard) = (
        rest::Scratch::new(options.scratch.as_deref())?,
        Heard::default(),
    );
    let hot = rest::hot(layout, &scratch, options, &mut heard).map_err(|e| Error::Export(e.why))?;
    let bad = heard.findings.into_iter().next();
    hot.filter(|_| bad.is_none()).ok_or_else(|| {
        let what = bad.map(|f| format!("{}: {}", f.path, f.what));
        Error::Export(what.unwrap_or_else(|| "private/hot is empty".into()))
    })
}

/// The head of the hot state in `dir`, read from a copy.
pub(crate) fn head_of(dir: &Path, options: &Options) -> Result<Option<Head>, store::Unread> {
    let scratch = rest::Scratch::new(options.scratch.as_deref());
    let copied = scratch.and_then(|s| Ok((s.copy(dir, "hot")?, s)));
    let (copied, _scratch) = copied.map_err(store::Unread::Failed)?;
    Ok(store::hot(&options.program, &copied)?.head)
}

/// The first entry of the bundle in which a log of `size` leaves ends.
fn bundle_start(size: u64) -> u64 {
    size - size % u64::from(TILE_WIDTH)
}
