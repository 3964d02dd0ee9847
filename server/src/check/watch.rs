//! What listens to the walk of a check: findings, progress, and the record with which a check
//! that was interrupted goes on.

use super::report::Heard;
use super::resume::Record;
use super::rows::Rows;
use crate::view::Entry;
use ledger::Hash;
use ledger::leaf::Leaf;
use ledger::walk::{At, Finding, Observer};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, parse_bundle};

/// Bundles between two records of how far a check has come.
const RECORD: u64 = 64;

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nowhere.
    Silent,
    /// To standard error: often in one line of a terminal, seldom in lines of their own.
    Shown,
}

/// Says how far a walk is.
pub(crate) struct Shown {
    on: bool,
    terminal: bool,
    size: u64,
    began: Instant,
    last: Instant,
}

impl Shown {
    pub(crate) fn new(progress: Progress, size: u64) -> Self {
        let now = Instant::now();
        Self {
            on: progress == Progress::Shown,
            terminal: std::io::stderr().is_terminal(),
            size,
            began: now,
            last: now,
        }
    }

    pub(crate) fn at(&mut self, leaves: u64) {
        let pause = Duration::from_millis(if self.terminal { 200 } else { 5000 });
        if !self.on || self.last.elapsed() < pause {
            return;
        }
        self.last = Instant::now();
        let rate = leaves as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        let left = self.size.saturating_sub(leaves) as f64 / rate.max(1e-9);
        let (start, end) = if self.terminal {
            ("\r", "  ")
        } else {
            ("", "\n")
        };
        let size = self.size;
        // Whoever closed standard error does not want to know.
        let _ = write!(
            std::io::stderr(),
            "{start}{leaves} of {size} leaves, {rate:.0} leaves/s, {left:.0} s left{end}"
        );
    }

    pub(crate) fn end(&self) {
        if self.on && self.terminal && self.last != self.began {
            let _ = writeln!(std::io::stderr());
        }
    }
}

/// Listens to a walk.
pub(super) struct Watch<'a> {
    pub(super) heard: &'a mut Heard,
    pub(super) shown: Shown,
    /// Where a record is kept, and what it says so far.
    pub(super) record: Option<(&'a Path, Record)>,
    /// The entries that the hot state holds, and the index of the first.
    pub(super) held: (u64, &'a [Entry]),
    /// Files that would hold these entries may be missing: the next start writes them.
    pub(super) unwritten: u64,
    /// Rows that the index must have, as far as it has come.
    pub(super) rows: Option<(u64, Rows)>,
}

impl Watch<'_> {
    /// Whether a tile reaches into what the hot state still holds whole.
    fn may_be_unwritten(&self, path: &str) -> bool {
        let Ok(tile) = Tile::parse_path(path) else {
            return false;
        };
        let leaves = 256u128.pow(u32::from(tile.level) + 1);
        (u128::from(tile.index) + 1) * leaves > u128::from(self.held.0) && !self.held.1.is_empty()
    }

    /// Of what the hot state holds, whatever lies in a file too must be the same.
    fn compare(&mut self, tile: &EntryTile, bytes: &[u8]) {
        let (from, held) = self.held;
        let first = tile.index * u64::from(TILE_WIDTH);
        if first + u64::from(tile.width) <= from {
            return;
        }
        let Ok(entries) = parse_bundle(bytes, tile.width) else {
            return;
        };
        for (index, entry) in (first..).zip(&entries) {
            let at = index
                .checked_sub(from)
                .and_then(|i| usize::try_from(i).ok());
            let other = at.and_then(|i| held.get(i)).is_some_and(|h| **h != **entry);
            if other {
                let what = format!("entry {index} is another than in the hot state");
                self.heard.find("hot-differs", tile.path(), what);
            }
        }
    }
}

impl Observer for Watch<'_> {
    fn leaf(&mut self, index: u64, leaf: &Leaf, projects: &[Hash], accepted: bool) {
        if let Some((indexed, rows)) = &mut self.rows
            && accepted
            && index < *indexed
        {
            rows.follow(index, leaf, projects);
        }
    }

    fn bundle(&mut self, tile: &EntryTile, bytes: &[u8], at: &At<'_>) {
        self.compare(tile, bytes);
        self.shown.at(at.size);
        // Nothing is vouched for behind a finding.
        if let Some((path, record)) = &mut self.record
            && self.heard.found == 0
            && at.whole
            && (tile.index + 1).is_multiple_of(RECORD)
        {
            (record.size, record.root) = (at.size, at.edge.root());
            if let Err(e) = record.write(path) {
                self.heard
                    .note("resume-not-written", path.display().to_string(), e);
                self.record = None;
            }
        }
    }

    fn finding(&mut self, finding: Finding) {
        if finding.kind == "tile-missing" && self.may_be_unwritten(&finding.path) {
            self.unwritten += 1;
            return;
        }
        self.heard.finding(finding);
    }
}
