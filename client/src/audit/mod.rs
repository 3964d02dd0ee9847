//! The audit of a whole log, for anybody: every tile and root, the checkpoint's signatures, and
//! that it is of one history with every checkpoint seen before; of our own logs also every
//! envelope, the fold and every ledger head (docs/auditing.md). The walk is `ledger::walk`, which
//! the operator's `check` shares.
//!
//! What is wrong is a finding; an audit that cannot go on has no verdict. The two are never
//! mixed up: no verdict is no "sound", and a network that fails is no finding.

mod fork;
mod history;
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
use crate::signed::{Signed, leaf_time, max_age};
use history::stale;
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
    if let Err(fail) = audit.judge() {
        // What was found before stands, whatever can be had of the log now.
        audit.earlier()?;
        if fail.code != crate::fail::UNCHECKED || audit.report.heard.found == 0 {
            return Err(fail);
        }
        audit.report.unread = Some(fail.message);
    }
    audit.report.plain = options.plain;
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
        self.forked_before();
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
        let mut notes: Vec<String> = remembered.into_iter().map(|p| p.note).collect();
        if !notes.contains(&now.note) {
            notes.push(now.note.clone());
        }
        let back = self.goes_back(&points, &now);
        // What contradicts is kept as evidence. Else it binds from now on, also where it is an old
        // answer of which the tiles that could tell more are withheld.
        if !matches!(back, Ok(true)) {
            self.dir.keep(policy, &notes)?;
        }
        if back? {
            return Ok(());
        }
        let Some((walked, record)) = self.walk(&now, &points, mirror.as_mut())? else {
            return Ok(());
        };
        let is_its_tree = self.compare(&walked, &record, &points, &now);
        self.times(&walked, &signed);
        self.head(&walked, &record);
        if let Some(mirror) = &mut mirror {
            if self.report.code() == 0 {
                let differs = mirror.finish(&now.note)?;
                differs.into_iter().for_each(|f| self.report.heard.found(f));
            }
            mirror.tidy();
        }
        self.age(&signed);
        if is_its_tree {
            self.dir.keep(policy, &[now.note])?;
        }
        Ok(())
    }

    /// What earlier runs found.
    fn earlier(&mut self) -> Result<(), Fail> {
        self.forked_before();
        let tables = self.dir.tables();
        if !tables.exists() {
            return Ok(());
        }
        if let Some(record) = Table::open(&tables)?.record(&self.dir.path)? {
            let heard = &mut self.report.heard;
            let more = record.found - record.findings.len() as u64;
            record.findings.into_iter().for_each(|f| heard.found(f));
            heard.found += more;
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
        let bytes = match self.options.place.read("checkpoint", MAX_NOTE_BYTES) {
            Ok(bytes) => bytes,
            Err(Unreadable::Missing) => {
                return Err(self.unread("no-checkpoint", "checkpoint", "there is none"));
            }
            Err(Unreadable::TooLong) => Vec::new(),
            Err(Unreadable::Failed(why)) => {
                return Err(self.unread("log-unreadable", "checkpoint", &why));
            }
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

    fn unread(&self, kind: &str, what: &str, why: &str) -> Fail {
        Fail::unchecked(kind, format!("the log's {what} cannot be read: {why}"))
            .detail("log", self.options.place.name())
            .hint("check the address or directory, then try again: nothing is said about the log itself")
    }

    /// Where to go on from.
    fn begin(
        &mut self,
        now: &Point,
        copy: Option<&Mirror>,
    ) -> Result<(Arc<Table>, Record, Start), Fail> {
        let mirror = copy.map(|m| m.name.as_str());
        let (options, dir) = (self.options, &self.dir.path);
        let (tables, origin) = (self.dir.tables(), &options.policy.log.origin);
        table::forget(&tables).map_err(|e| seen::unwritable(&tables, &e))?;
        let mut table = Table::open(&tables)?;
        let (mut earlier, mut found) = (None, (0, Vec::new()));
        if let Some(record) = table.record(dir)? {
            if record.origin != *origin {
                return Err(table::damaged(dir, "it is the audit of another log"));
            }
            if record.size > now.checkpoint.size {
                return Err(stale("read", record.size, now.checkpoint.size));
            }
            let start = record.start();
            let start =
                start.ok_or_else(|| table::damaged(dir, "its record contradicts itself"))?;
            let again = if record.plain != options.plain {
                Some("what was read before was read otherwise (--plain)")
            } else if record.size > 0
                && let Some(copy) = copy
                && (record.mirror.as_ref() != Some(&copy.name)
                    || record.found == 0 && copy.lacks(record.size))
            {
                Some("the mirror does not have what was read before")
            } else if record.whole && record.found == 0 && !self.goes_on(&start.edge, now)? {
                Some("the log's tiles do not connect what was read before with its checkpoint")
            } else {
                None
            };
            match again {
                None => earlier = Some((record, start)),
                Some(why) => {
                    self.report.heard.note("begins-again", "state", why);
                    // That it is read again undoes nothing that was found.
                    found = (record.found, record.findings);
                    drop(table);
                    table::discard(&tables).map_err(|e| seen::unwritable(&tables, &e))?;
                    table = Table::open(&tables)?;
                }
            }
        }
        let mirror = mirror.map(str::to_owned);
        let Some((mut record, start)) = earlier else {
            let mut record = Record::new(origin, options.plain, mirror);
            (record.found, record.findings) = found;
            if record.found > 0 {
                // Durable before anything can fail: else reading anew would undo it.
                let fold = Start::new(origin).fold;
                record.fold = ledger::hex32(&fold.digest());
                let kept = table.save(&record, &fold);
                kept.map_err(|why| seen::unwritable(dir, &why))?;
            }
            return Ok((table, record, Start::new(origin)));
        };
        let fold = table.fold(&record, dir)?;
        record.mirror = mirror;
        Ok((table, record, Start { fold, ..start }))
    }

    /// Walks from where an earlier run was. `None` where it could not come to its end.
    fn walk(
        &mut self,
        now: &Point,
        points: &[Point],
        mirror: Option<&mut Mirror>,
    ) -> Result<Option<(Walked, Record)>, Fail> {
        let (table, mut record, start) = self.begin(now, mirror.as_deref())?;
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
            mirror,
            log: &self.log,
            state: &self.dir.path,
            saved: Instant::now(),
            noted: before,
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

    /// A log that shows nothing new for longer than the policy allows may withhold it: of what is
    /// served now nothing is said. A directory is as old as it is.
    fn age(&mut self, signed: &Signed) {
        let policy = self.options.policy;
        let served = matches!(self.options.place, Place::Address(_));
        let view = signed.view_time(policy);
        if served && max_age(policy.max_age, view, self.options.now).is_err() {
            let seconds = view.map_or(0, |view| self.options.now.saturating_sub(view));
            let most = policy.max_age.unwrap_or_default();
            self.report.unread.get_or_insert(format!(
                "what the log shows was cosigned {seconds} s ago, and the policy's max-age is {most} s: it may withhold what is newer"
            ));
        }
    }

    /// What no head covers no client can judge: a log's last leaf is its newest head.
    fn head(&mut self, walked: &Walked, record: &Record) {
        if walked.folded && walked.counts.leaves > 0 && !record.ends_in_head {
            let what = "the checkpoint's last leaf is no ledger head, so that nothing commits to the projects' newest state";
            let found = Found::new("head-missing", "tile/entries", what);
            self.report.heard.found(found);
        }
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
