//! Whether all that a log has signed is of one history: the checkpoints that were seen before, the
//! policy's floor and the mirror's, and the one of now.

use super::Audit;
use super::fork::{self, Pair};
use super::record::Record;
use super::report::Found;
use super::seen::Point;
use super::source::Served;
use crate::fail::Fail;
use ledger::evidence::Evidence;
use ledger::hex32;
use ledger::walk::{Unreadable, Walked};
use tlog::proof::verify_consistency;
use tlog::tree::{Edge, TreeError, prove_consistency};

impl Audit<'_> {
    /// Whether a checkpoint that was seen before contradicts this one without a walk. One that is
    /// larger, and does not, makes this one an old answer.
    pub(super) fn goes_back(&mut self, points: &[Point], now: &Point) -> Result<bool, Fail> {
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

    pub(super) fn forked(&mut self, point: &Point, evidence: Option<&Evidence>, why: &str) {
        let kept = evidence.and_then(|e| self.ours.save(e));
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

    /// That a log has signed two histories stands, whatever it shows now.
    pub(super) fn forked_before(&mut self) {
        let kept = std::fs::read_dir(self.dir.path.join("evidence"));
        for file in kept.into_iter().flatten().flatten() {
            let path = file.path().display().to_string();
            let what = "evidence is kept here that the log has signed two histories: what it shows now does not undo that";
            self.report
                .heard
                .found(Found::new("fork-before", &path, what));
            if !self.report.evidence.contains(&path) {
                self.report.evidence.push(path);
            }
        }
    }

    /// Whether the checkpoint's tree goes on from the one that was walked before, by the log's
    /// tiles; so that what is of two histories is never walked as one.
    pub(super) fn goes_on(&self, edge: &Edge, now: &Point) -> Result<bool, Fail> {
        let (old, new) = (edge.size(), &now.checkpoint);
        let tiles = Served {
            log: &self.log,
            size: new.size,
        };
        match prove_consistency(old, new.size, &tiles) {
            Ok(proof) => {
                let root = edge.root();
                Ok(verify_consistency(old, &root, new.size, &new.root, &proof).is_ok())
            }
            Err(TreeError::Read(Unreadable::Failed(why))) => {
                Err(self.unread("log-unreadable", "tiles", &why))
            }
            Err(_) => Ok(false),
        }
    }

    /// Compares the tree with what was signed. Whether it is the one of the checkpoint, and of
    /// every one before.
    pub(super) fn compare(
        &mut self,
        walked: &Walked,
        record: &Record,
        points: &[Point],
        now: &Point,
    ) -> bool {
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
            // Of what history these entries are, nobody has said; what the tiles prove stands.
            for point in points {
                let pair = fork::compare(&self.log, self.ours, point, now, None);
                if let Pair::Fork(evidence) = pair {
                    self.forked(point, Some(&evidence), "");
                }
            }
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
}

/// The log answers with less than there was.
pub(super) fn stale(from: &str, seen: u64, size: u64) -> Fail {
    Fail::unchecked(
        "stale",
        format!("the log answers with a checkpoint of {size} leaves, and {seen} were {from}"),
    )
    .hint("an old answer: ask again later, or ask another place that serves this log; if it stays so, the log withholds what it has signed: keep both checkpoints")
}
