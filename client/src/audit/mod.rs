//! The audit of a whole log, for anybody: every tile and root, the checkpoint's signatures, and
//! that it is of one history with every checkpoint seen before; of our own logs also every
//! envelope, the fold and every ledger head (docs/auditing.md). The walk is `ledger::walk`, which
//! the operator's `check` shares.
//!
//! What is wrong is a finding; an audit that cannot go on has no verdict. The two are never
//! mixed up: no verdict is no "sound", and a network that fails is no finding.

mod fork;
mod mirror;
mod record;
pub mod report;
mod seen;
mod source;
mod table;
mod watch;

use crate::cmd::common::{PolicyArgs, state_path};
use crate::cmd::history::Against;
use crate::fail::Fail;
use crate::policy::Policy;
use crate::signed::{Signed, leaf_time};
use fork::Pair;
use ledger::hex32;
use ledger::walk::{LookUp, Plan, Start, Stopped, Unreadable, Walked, walk_from};
use mirror::Mirror;
use record::Record;
use report::{Found, Heard, Report};
use seen::{Dir, Point};
use source::Log;
pub(crate) use source::{Address, Place};
use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use table::Table;
use tlog::note::MAX_NOTE_BYTES;
use watch::{Shown, Watch};

/// What to audit, and how.
pub(crate) struct Options<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) place: Place,
    /// The directory in which the audit is kept; `None` for one that is gone afterwards.
    pub(crate) state: Option<PathBuf>,
    pub(crate) mirror: Option<PathBuf>,
    /// Whether the entries are nobody's that we know.
    pub(crate) plain: bool,
    pub(crate) workers: Option<NonZero<usize>>,
    pub(crate) quiet: bool,
    /// Unix seconds.
    pub(crate) now: u64,
}

/// Audits.
///
/// # Errors
/// Exit code 2 for what was asked wrongly, or cannot be kept; 3 where there is nothing to judge.
pub(crate) fn run(options: &Options<'_>) -> Result<Report, Fail> {
    let began = Instant::now();
    let policy = options.policy;
    let dir = Dir::open(options.state.as_deref())?;
    // Evidence outlasts a directory that is gone afterwards.
    let beside = match options.state {
        Some(_) => dir.seen(),
        None => state_path(&PolicyArgs {
            policy: None,
            state: None,
        })
        .unwrap_or_else(|_| dir.seen()),
    };
    let mut audit = Audit {
        options,
        log: Log::new(&options.place),
        ours: Against {
            policy,
            state: &beside,
        },
        dir: &dir,
        report: Report {
            origin: policy.log.origin.clone(),
            source: options.place.name(),
            ..Report::default()
        },
    };
    audit.judge()?;
    audit.report.took = began.elapsed();
    Ok(audit.report)
}

struct Audit<'a> {
    options: &'a Options<'a>,
    log: Log<'a>,
    ours: Against<'a>,
    dir: &'a Dir,
    report: Report,
}

impl Audit<'_> {
    fn judge(&mut self) -> Result<(), Fail> {
        let policy = self.options.policy;
        let remembered = self.dir.points(policy)?;
        let mut mirror = self.mirror()?;
        let Some((signed, now)) = self.checkpoint()? else {
            return Ok(());
        };
        let mut points = remembered.clone();
        let floor = policy.log.checkpoint_floor.as_deref();
        points.extend(floor.and_then(|note| Point::parse("the policy's floor", note)));
        if let Some(mirror) = &mirror
            && let Some(point) = mirror.checkpoint()?
        {
            let read = Signed::read(&point.note, policy, self.options.now, false);
            read.map_err(|refused| {
                Fail::usage(
                    "mirror-of-another",
                    format!("the checkpoint in the mirror is not of this log: {refused}"),
                )
                .hint("name another directory with --mirror")
            })?;
            points.push(point);
        }
        if self.goes_back(&points, &now)? {
            return Ok(());
        }
        let mut notes: Vec<String> = remembered.into_iter().map(|p| p.note).collect();
        if !notes.contains(&now.note) {
            notes.push(now.note.clone());
        }
        self.dir.keep(policy, &notes)?;
        let Some((walked, record)) = self.walk(&now, &points, mirror.as_mut())? else {
            return Ok(());
        };
        let is_its_tree = self.compare(&walked, &record, &points, &now);
        self.times(&walked, &signed);
        if let Some(mirror) = &mut mirror {
            if self.report.code() == 0 {
                let differs = mirror.finish(&now.note)?;
                differs.into_iter().for_each(|f| self.report.heard.found(f));
            }
            mirror.tidy();
        }
        if is_its_tree {
            self.dir.keep(policy, &[now.note])?;
        }
        Ok(())
    }

    fn mirror(&self) -> Result<Option<Mirror>, Fail> {
        let Some(root) = &self.options.mirror else {
            return Ok(None);
        };
        let mirror = Mirror::open(root)?;
        let same = |dir: &Path| {
            dir.canonicalize()
                .is_ok_and(|d| d.display().to_string() == mirror.name)
        };
        match &self.options.place {
            Place::Directory(dir) if same(dir) => Err(Fail::usage(
                "mirror-is-source",
                "a log cannot be mirrored into the directory that it is read from",
            )
            .hint("name another directory with --mirror")),
            _ => Ok(Some(mirror)),
        }
    }

    /// The log's newest checkpoint, as far as it commits the log to anything; else it is a
    /// finding, and there is nothing to walk to.
    fn checkpoint(&mut self) -> Result<Option<(Signed, Point)>, Fail> {
        let policy = self.options.policy;
        let unread = |kind: &str, why: String| {
            Fail::unchecked(kind, format!("the log's checkpoint cannot be read: {why}"))
                .detail("log", self.options.place.name())
                .hint("check the address or directory, then try again: nothing is said about the log itself")
        };
        let bytes = match self.options.place.read("checkpoint", MAX_NOTE_BYTES) {
            Ok(bytes) => bytes,
            Err(Unreadable::Missing) => {
                return Err(unread("no-checkpoint", "there is none".into()));
            }
            Err(Unreadable::TooLong) => Vec::new(),
            Err(Unreadable::Failed(why)) => return Err(unread("log-unreadable", why)),
        };
        let invalid = |why: &str| Found::new("checkpoint-invalid", "checkpoint", why);
        let heard = &mut self.report.heard;
        let Ok(note) = String::from_utf8(bytes) else {
            heard.found(invalid("it is not text"));
            return Ok(None);
        };
        let signed = Signed::read(&note, policy, self.options.now, false);
        let signed = signed.and_then(|signed| signed.log_keys(policy).map(|()| signed));
        let signed = match signed {
            Ok(signed) => signed,
            Err(refused) => {
                heard.found(Found::new(refused.kind(), "checkpoint", &refused));
                return Ok(None);
            }
        };
        if !signed.quorum(policy) {
            let refused = signed.lacks_quorum(policy);
            heard.found(Found::new(refused.kind(), "checkpoint", &refused));
        }
        let Some(now) = Point::parse("now", &note) else {
            heard.found(invalid("it is no checkpoint"));
            return Ok(None);
        };
        self.report.size = now.checkpoint.size;
        self.report.checkpoint.clone_from(&now.note);
        self.report.cosigned = signed.first_time(policy);
        Ok(Some((signed, now)))
    }

    /// Whether a checkpoint that was seen before contradicts this one without a walk. One that is
    /// larger, and does not, makes this one an old answer.
    fn goes_back(&mut self, points: &[Point], now: &Point) -> Result<bool, Fail> {
        let (size, root) = (now.checkpoint.size, now.checkpoint.root);
        let mut contradicted = false;
        for point in points {
            let seen = &point.checkpoint;
            if seen.size < size || (seen.size, seen.root) == (size, root) {
                continue;
            }
            match fork::compare(&self.log, self.ours, now, point, None) {
                Pair::Fork(evidence) => {
                    self.forked(point, Some(&evidence), "");
                    contradicted = true;
                }
                Pair::Unknown if seen.size == size => {
                    self.forked(point, None, "no key of the policy's log signed both");
                    contradicted = true;
                }
                _ => {}
            }
        }
        let largest = points.iter().max_by_key(|p| p.checkpoint.size);
        match largest.filter(|p| p.checkpoint.size > size && !contradicted) {
            None => Ok(contradicted),
            Some(seen) => Err(stale(seen.from, seen.checkpoint.size, size)
                .detail("remembered", seen.note.trim_end())
                .detail("now", now.note.trim_end())),
        }
    }

    fn forked(&mut self, point: &Point, evidence: Option<&ledger::evidence::Evidence>, why: &str) {
        let kept = evidence.and_then(|e| fork::keep(self.ours, e));
        let (size, from) = (point.checkpoint.size, point.from);
        let what = match &kept {
            Some(_) => "the evidence is kept".to_owned(),
            None if evidence.is_some() => "the evidence cannot be written".to_owned(),
            None => format!("there is no evidence for others: {why}; keep both checkpoints"),
        };
        let what = format!(
            "the log has signed two histories: the checkpoint of {size} leaves ({from}) is not of the tree that it shows now; {what}"
        );
        self.report
            .heard
            .found(Found::new("fork", "checkpoint", what));
        let kept = kept.map(|path| path.display().to_string());
        self.report
            .evidence
            .extend(kept.filter(|path| !self.report.evidence.contains(path)));
    }

    /// Where to go on from.
    fn begin(
        &mut self,
        now: &Point,
        mirror: Option<&str>,
    ) -> Result<(Arc<Table>, Record, Start), Fail> {
        let (options, dir) = (self.options, &self.dir.path);
        let (tables, origin) = (self.dir.tables(), &options.policy.log.origin);
        table::forget(&tables).map_err(|e| seen::unwritable(&tables, &e))?;
        let mut table = Table::open(&tables)?;
        let mut record = table.record(dir)?;
        if let Some(r) = &record {
            if r.origin != *origin {
                return Err(table::damaged(dir, "it is the audit of another log"));
            }
            let again = if r.plain != options.plain {
                Some("what was read before was read otherwise (--plain)")
            } else if r.size > 0 && mirror.is_some() && r.mirror.as_deref() != mirror {
                Some("the mirror does not have what was read before")
            } else {
                None
            };
            if let Some(why) = again {
                self.report.heard.note("begins-again", "state", why);
                drop(table);
                table::discard(&tables).map_err(|e| seen::unwritable(&tables, &e))?;
                table = Table::open(&tables)?;
                record = None;
            }
        }
        let mirror = mirror.map(str::to_owned);
        let mut record = match record {
            Some(record) => record,
            None => {
                let new = Record::new(origin, options.plain, mirror.clone());
                return Ok((table, new, Start::new(origin)));
            }
        };
        if record.size > now.checkpoint.size {
            return Err(stale("read", record.size, now.checkpoint.size));
        }
        let start = record.start();
        let start = start.ok_or_else(|| table::damaged(dir, "its record contradicts itself"))?;
        let fold = table.fold(&record, dir)?;
        record.mirror = mirror;
        Ok((table, record, Start { fold, ..start }))
    }

    /// Walks from where an earlier run was. `None` where it could not come to its end.
    fn walk(
        &mut self,
        now: &Point,
        points: &[Point],
        mut mirror: Option<&mut Mirror>,
    ) -> Result<Option<(Walked, Record)>, Fail> {
        let name = mirror.as_ref().map(|m| m.name.clone());
        let (table, mut record, start) = self.begin(now, name.as_deref())?;
        let size = now.checkpoint.size;
        let sizes: BTreeSet<u64> = points.iter().map(|p| p.checkpoint.size).collect();
        record.roots.retain(|size, _| sizes.contains(size));
        let plan = Plan {
            origin: self.options.policy.log.origin.clone(),
            size,
            marks: sizes.into_iter().filter(|s| *s <= size).collect(),
            workers: self.options.workers,
            released: Some(LookUp(Arc::clone(&table) as _)),
            plain: self.options.plain,
            ..Plan::default()
        };
        let mut heard = Heard {
            findings: record.findings.clone(),
            found: record.found,
            notes: Vec::new(),
        };
        let before = heard.found;
        self.report.began_at = record.size;
        let mut watch = Watch {
            heard: &mut heard,
            shown: Shown::new(self.options.quiet, record.size, size),
            record: &mut record,
            table: &table,
            mirror: mirror.as_deref_mut(),
            log: &self.log,
            state: &self.dir.path,
            saved: Instant::now(),
            failed: None,
        };
        let walked = walk_from(&self.log, &plan, start, &mut watch);
        watch.end();
        let failed = watch.failed.take();
        let (found, findings) = (heard.found, heard.findings);
        self.report.heard.found += found;
        self.report.heard.findings.splice(0..0, findings);
        if before > 0 {
            let what = format!(
                "{before} findings are of earlier runs: move the state directory away to read all of the log again"
            );
            self.report.heard.note("found-before", "state", what);
        }
        if let Some(fail) = failed {
            return Err(fail);
        }
        match walked {
            Ok(walked) => {
                self.report.counts = walked.counts;
                Ok(Some((walked, record)))
            }
            Err(Stopped::Start(why)) => Err(table::damaged(&self.dir.path, why)),
            Err(stopped) => {
                self.report.unread = Some(stopped.to_string());
                Ok(None)
            }
        }
    }

    /// Compares the tree with what was signed. Whether it is the one of the checkpoint, and of
    /// every one before.
    fn compare(&mut self, walked: &Walked, record: &Record, points: &[Point], now: &Point) -> bool {
        if !walked.whole {
            return false;
        }
        let root = walked.edge.root();
        self.report.root = Some(root);
        if root != now.checkpoint.root {
            let (got, want) = (hex32(&root), hex32(&now.checkpoint.root));
            let what =
                format!("the entries give the root {got}, the signed checkpoint says {want}");
            let found = Found::new("root-mismatch", "checkpoint", what);
            self.report.heard.found(found);
            // Of what history these entries are, nobody has said.
            return false;
        }
        let mut one_history = true;
        for point in points {
            let seen = &point.checkpoint;
            let mark = walked.marks.iter().find(|m| m.size == seen.size);
            let here = mark.map(|m| m.root).or_else(|| record.root_at(seen.size));
            if here == Some(seen.root) {
                continue;
            }
            match (fork::compare(&self.log, self.ours, point, now, here), here) {
                (Pair::OneHistory, None) => continue,
                (Pair::Fork(evidence), _) => self.forked(point, Some(&evidence), ""),
                (_, Some(_)) => {
                    self.forked(point, None, "the tiles that prove it were not to be had");
                }
                (Pair::Unknown, None) => {
                    let (size, from) = (seen.size, point.from);
                    self.report.unread.get_or_insert(format!(
                        "the tiles that connect the checkpoint of {size} leaves ({from}) were not to be had"
                    ));
                }
            }
            one_history = false;
        }
        one_history
    }

    fn times(&mut self, walked: &Walked, signed: &Signed) {
        let unknown = walked.counts.unknown;
        if unknown > 0 {
            let what = format!(
                "{unknown} leaves are of kinds that this version does not know; they were hashed, and say nothing to it"
            );
            self.report
                .heard
                .note("unknown-kinds", "tile/entries", what);
        }
        if !walked.folded {
            return;
        }
        let last = walked.fold.last_time();
        self.report.last_time = Some(last);
        if let Err(refused) = leaf_time(last, signed.first_time(self.options.policy)) {
            let found = Found::new(refused.kind(), "tile/entries", &refused);
            self.report.heard.found(found);
        }
    }
}

/// The log answers with less than there was.
fn stale(from: &str, seen: u64, size: u64) -> Fail {
    Fail::unchecked(
        "stale",
        format!("the log answers with a checkpoint of {size} leaves, and {seen} were {from}"),
    )
    .hint("an old answer: ask again later, or ask another place that serves this log; if it stays so, the log withholds what it has signed: keep both checkpoints")
}
