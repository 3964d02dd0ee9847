//! What listens to the walk of an audit: findings, rows, the mirror, progress, and the record
//! with which an audit that was killed goes on.

use super::mirror::Mirror;
use super::record::Record;
use super::report::{Found, Heard};
use super::seen::unwritable;
use super::source::Log;
use super::table::Table;
use crate::fail::Fail;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::Hash;
use ledger::leaf::Leaf;
use ledger::walk::{At, Finding, Observer};
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tlog::tile::{EntryTile, TILE_WIDTH, Tile};

/// How often it is put away how far the audit has come: no more is lost when it is killed.
const SAVE: Duration = Duration::from_millis(500);
/// Rows that wait in memory at most, about.
const MOST_ROWS: usize = 50_000;
/// How often it is said where there is no terminal.
const SAY: Duration = Duration::from_secs(10);

/// Says how far an audit is: in a bar on a terminal, else in a line now and then.
pub(crate) struct Shown {
    bar: ProgressBar,
    lines: bool,
    from: u64,
    size: u64,
    began: Instant,
    said: Instant,
}

impl Shown {
    pub(crate) fn new(quiet: bool, from: u64, size: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal && !quiet {
            ProgressBar::new(size)
        } else {
            ProgressBar::hidden()
        };
        let template = "{bar:30} {pos} of {len} leaves, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_position(from);
        bar.reset_eta();
        let now = Instant::now();
        Self {
            bar,
            lines: !terminal && !quiet,
            from,
            size,
            began: now,
            said: now,
        }
    }

    fn at(&mut self, leaves: u64) {
        self.bar.set_position(leaves);
        if !self.lines || self.said.elapsed() < SAY {
            return;
        }
        self.said = Instant::now();
        let seconds = self.began.elapsed().as_secs_f64().max(1e-9);
        let rate = leaves.saturating_sub(self.from) as f64 / seconds;
        let size = self.size;
        let left = size.saturating_sub(leaves) as f64 / rate.max(1e-9);
        eprintln!("{leaves} of {size} leaves, {rate:.0} leaves/s, {left:.0} s left");
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Listens.
pub(crate) struct Watch<'a> {
    pub(crate) heard: &'a mut Heard,
    pub(crate) record: &'a mut Record,
    pub(crate) table: &'a Table,
    pub(crate) mirror: Option<&'a mut Mirror>,
    pub(crate) log: &'a Log<'a>,
    pub(crate) state: &'a Path,
    pub(crate) shown: Shown,
    pub(crate) saved: Instant,
    /// Findings when it was last put away.
    pub(crate) noted: u64,
    /// Why it cannot go on.
    pub(crate) failed: Option<Fail>,
}

impl Watch<'_> {
    /// The next read ends the walk.
    fn fail(&mut self, fail: Fail) {
        self.log.stop.store(true, Ordering::Relaxed);
        self.failed.get_or_insert(fail);
    }

    fn copy(&mut self, path: String, width: u16, bytes: &[u8]) {
        // What is found wrong is not copied, nor what follows it.
        if self.heard.found > 0 || self.failed.is_some() {
            return;
        }
        let Some(mirror) = &mut self.mirror else {
            return;
        };
        match mirror.put(path, width, bytes) {
            Ok(found) => found.into_iter().for_each(|f| self.heard.found(f)),
            Err(fail) => self.fail(fail),
        }
    }

    fn save(&mut self, at: &At<'_>) {
        self.record.at(at, self.heard);
        // What the record says is there is durable before it is said.
        if let Some(mirror) = &mut self.mirror
            && let Err(fail) = mirror.sync()
        {
            return self.fail(fail);
        }
        if let Err(why) = self.table.save(self.record, at.fold) {
            return self.fail(unwritable(self.state, &why));
        }
        self.saved = Instant::now();
        self.noted = self.heard.found;
    }

    pub(crate) fn end(&mut self) {
        self.shown.end();
    }
}

impl Observer for Watch<'_> {
    fn leaf(&mut self, index: u64, leaf: &Leaf, projects: &[Hash], accepted: bool) {
        self.record.ends_in_head = matches!(leaf, Leaf::Head(_));
        if accepted {
            self.table.take(index, leaf, projects);
        }
    }

    fn bundle(&mut self, tile: &EntryTile, bytes: &[u8], at: &At<'_>) {
        self.copy(tile.path(), tile.width, bytes);
        self.shown.at(at.size);
        let full = tile.width == TILE_WIDTH;
        // What is found must not be lost because the source fails next.
        let due = self.saved.elapsed() >= SAVE
            || self.heard.found > self.noted
            || self.table.waiting() >= MOST_ROWS
            // The last full one: the next audit begins here.
            || at.size + u64::from(TILE_WIDTH) > self.shown.size;
        if full && due && self.failed.is_none() {
            self.save(at);
        }
    }

    fn tile(&mut self, tile: &Tile, bytes: &[u8]) {
        self.copy(tile.path(), tile.width, bytes);
    }

    fn finding(&mut self, finding: Finding) {
        self.heard.found(Found::from(finding));
    }
}
