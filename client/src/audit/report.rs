//! What an audit came to, for people and for programs.

use super::record::fields;
use crate::fail::{UNCHECKED, UNTRUSTED, visible};
use ledger::walk::{Counts, Finding};
use ledger::{Hash, hex32};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Findings kept; of more only the number is said.
const KEPT: usize = 1000;
/// Findings shown to people.
const SHOWN: usize = 50;
/// Characters of one finding at most: a log's own words are in it.
const LONG: usize = 2000;

/// Something that is not as it must be, or that is worth saying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// A stable word for the sort of thing.
    pub kind: String,
    /// The file, or other place, that it is about.
    pub path: String,
    /// What was expected and what was found.
    pub what: String,
}

impl Found {
    /// A finding at `path`.
    pub fn new(kind: &str, path: &str, what: impl std::fmt::Display) -> Self {
        let what = what.to_string();
        Self {
            kind: kind.to_owned(),
            path: path.to_owned(),
            what: what.chars().take(LONG).collect(),
        }
    }
}

impl From<Finding> for Found {
    fn from(f: Finding) -> Self {
        Self::new(f.kind, &f.path, f.what)
    }
}

/// What is wrong, and what is worth saying though it is not.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// The first findings, at most a thousand.
    pub findings: Vec<Found>,
    /// The number of all.
    pub found: u64,
    /// What is not wrong.
    pub notes: Vec<Found>,
}

impl Heard {
    /// Something is wrong.
    pub fn found(&mut self, found: Found) {
        // What an earlier run found may be found again.
        if self.findings.contains(&found) {
            return;
        }
        self.found += 1;
        if self.findings.len() < KEPT {
            self.findings.push(found);
        }
    }

    /// Something to say that is not wrong.
    pub fn note(&mut self, kind: &str, path: &str, what: impl std::fmt::Display) {
        self.notes.push(Found::new(kind, path, what));
    }
}

/// What an audit came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The log's origin.
    pub origin: String,
    /// Where it was read.
    pub source: String,
    /// Leaves that the checkpoint covers.
    pub size: u64,
    /// The root that the leaves give, where all could be read.
    pub root: Option<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
    /// The time of the newest leaf, where all could be folded.
    pub last_time: Option<u64>,
    /// By when a quorum of witnesses had cosigned the checkpoint.
    pub cosigned: Option<u64>,
    /// How much was read.
    pub counts: Counts,
    /// What is wrong, and what else there is to say.
    pub heard: Heard,
    /// Files with evidence that the log signed two histories.
    pub evidence: Vec<String>,
    /// Why the audit did not come to its end.
    pub unread: Option<String>,
    /// The leaf at which this run began.
    pub began_at: u64,
    /// Whether no entry was read.
    pub plain: bool,
    /// How long this run took.
    pub took: Duration,
}

fn listed(list: &[Found]) -> Vec<Value> {
    list.iter()
        .map(|f| json!({ "kind": f.kind, "path": f.path, "what": f.what }))
        .collect()
}

impl Report {
    /// 0 sound, 1 not. What was found stands, even where the audit did not come to its end;
    /// else that is 3.
    #[must_use]
    pub fn code(&self) -> u8 {
        match (&self.unread, self.heard.found) {
            (_, 1..) => UNTRUSTED,
            (Some(_), 0) => UNCHECKED,
            (None, 0) => 0,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.code() {
            0 => "sound",
            UNTRUSTED => "unsound",
            _ => "unread",
        }
    }

    /// As one JSON object. What differs between two runs over the same log is under `run`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut counts = self.counts;
        let counts: serde_json::Map<String, Value> = fields(&mut counts)
            .into_iter()
            .map(|(name, count)| (name.to_owned(), (*count).into()))
            .collect();
        json!({
            "apiVersion": ledger::API_VERSION,
            "verdict": self.verdict(),
            "exit": self.code(),
            "plain": self.plain,
            "origin": self.origin,
            "size": self.size,
            "root": self.root.as_ref().map(hex32),
            "checkpoint": self.checkpoint,
            "lastTime": self.last_time,
            "cosigned": self.cosigned,
            "counts": counts,
            "findings": listed(&self.heard.findings),
            "found": self.heard.found,
            "evidence": self.evidence,
            "run": {
                "source": self.source,
                "from": self.began_at,
                "notes": listed(&self.heard.notes),
                "seconds": self.took.as_secs_f64(),
                "unread": self.unread,
            },
        })
    }

    /// As text for people: nothing in it steers a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut list = |word: &str, list: &[Found], all: u64| {
            for f in list.iter().take(SHOWN) {
                let (path, what) = (visible(&f.path), visible(&f.what));
                let _ = writeln!(out, "{word}: {}: {path}: {what}", f.kind);
            }
            let shown = list.len().min(SHOWN) as u64;
            if all > shown {
                let _ = writeln!(out, "{word}: and {} more", all - shown);
            }
        };
        list("finding", &self.heard.findings, self.heard.found);
        list("note", &self.heard.notes, self.heard.notes.len() as u64);
        for path in &self.evidence {
            let _ = writeln!(
                out,
                "evidence: {path}: `countersign evidence verify` says what it proves, to anybody"
            );
        }
        let mut counts = self.counts;
        for (name, count) in fields(&mut counts) {
            if *count > 0 {
                let _ = writeln!(out, "{count:>12} {}", word(name));
            }
        }
        let seconds = self.took.as_secs_f64();
        let from = self.began_at;
        let _ = match from {
            0 => writeln!(out, "read in {seconds:.1} s from {}", visible(&self.source)),
            _ => writeln!(
                out,
                "read in {seconds:.1} s from {}, from leaf {from} on: the rest in earlier runs",
                visible(&self.source)
            ),
        };
        let (name, size) = (visible(&self.origin), self.size);
        let _ = match (self.code(), &self.unread, &self.root) {
            (0, _, root) => {
                let root = root.as_ref().map(hex32).unwrap_or_default();
                let plain = match self.plain {
                    true => " (as a plain log of tiles: no entry was read)",
                    false => "",
                };
                writeln!(out, "sound{plain}: {name}, {size} leaves, root {root}")
            }
            (_, Some(why), _) if self.heard.found == 0 => {
                writeln!(out, "no verdict: {name}: {}", visible(why))
            }
            (_, why, _) => {
                if let Some(why) = why {
                    let _ = writeln!(out, "not read to its end: {}", visible(why));
                }
                let found = self.heard.found;
                writeln!(
                    out,
                    "NOT SOUND: {name}, {size} leaves: {found} findings; keep what is here, and find out why"
                )
            }
        };
        out
    }
}

fn word(name: &str) -> &str {
    match name {
        "projects" => "project statements",
        "keyNotes" => "key-notes",
        "heads" => "ledger heads, all recomputed",
        "unknown" => "leaves of unknown kinds",
        "tiles" => "tiles compared",
        "bytes" => "bytes of entries",
        other => other,
    }
}
