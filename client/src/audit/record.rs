//! How far an audit has come: what it puts away at the end of a bundle, and goes on from. And
//! what it has found, which outlasts it.

use super::report::{Found, Heard};
use ledger::walk::{At, Counts, Start};
use ledger::{Hash, from_hex32, hex32};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tlog::tree::Edge;

/// What is first in a record: its version.
pub(crate) const VERSION: u64 = 1;

/// How far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) version: u64,
    pub(crate) origin: String,
    /// Whether the entries were not read.
    pub(crate) plain: bool,
    /// Leaves: a whole number of bundles.
    pub(crate) size: u64,
    /// [`Edge::to_bytes`], in hexadecimal.
    pub(crate) edge: String,
    /// Its root.
    pub(crate) root: String,
    /// Time of the last leaf.
    pub(crate) last_time: u64,
    /// Digest of the folded state.
    pub(crate) fold: String,
    pub(crate) whole: bool,
    pub(crate) folded: bool,
    pub(crate) head_wrong: bool,
    /// Whether the last leaf is a ledger head.
    pub(crate) ends_in_head: bool,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) found: u64,
    pub(crate) findings: Vec<Found>,
    /// Roots that were computed at the sizes of other checkpoints.
    pub(crate) roots: BTreeMap<u64, String>,
    /// The mirror that has every full tile up to here.
    pub(crate) mirror: Option<String>,
}

impl Record {
    /// Of nothing yet.
    pub(crate) fn new(origin: &str, plain: bool, mirror: Option<String>) -> Self {
        Self {
            version: VERSION,
            origin: origin.to_owned(),
            plain,
            size: 0,
            edge: hex::encode(Edge::new().to_bytes()),
            root: hex32(&tlog::hash::EMPTY_ROOT),
            last_time: 0,
            fold: String::new(),
            whole: true,
            folded: true,
            head_wrong: false,
            ends_in_head: false,
            counts: BTreeMap::new(),
            found: 0,
            findings: Vec::new(),
            roots: BTreeMap::new(),
            mirror,
        }
    }

    /// The same, of a walk that is at the end of a bundle.
    pub(crate) fn at(&mut self, at: &At<'_>, heard: &Heard) {
        self.size = at.size;
        self.edge = hex::encode(at.edge.to_bytes());
        self.root = hex32(&at.edge.root());
        self.last_time = at.fold.last_time();
        self.fold = hex32(&at.fold.digest());
        (self.whole, self.folded, self.head_wrong) = (at.whole, at.folded, at.head_wrong);
        let mut counts = *at.counts;
        let named = fields(&mut counts).map(|(name, count)| (name.to_owned(), *count));
        self.counts = named.into_iter().collect();
        // Of the mirror is judged anew each time: it is not the log's doing.
        let ours = |f: &&Found| f.kind != "mirror-differs";
        self.findings = heard.findings.iter().filter(ours).cloned().collect();
        let mirrors = heard.findings.len() - self.findings.len();
        if mirrors > 0 {
            // It does not have what was read: with it, all is read again.
            self.mirror = None;
        }
        self.found = heard.found - mirrors as u64;
        self.roots
            .extend(at.marks.iter().map(|m| (m.size, hex32(&m.root))));
    }

    /// What a walk goes on from, with the fold left to whoever has it; `None` where the record
    /// contradicts itself.
    pub(crate) fn start(&self) -> Option<Start> {
        let edge = Edge::parse(&hex::decode(&self.edge).ok()?)?;
        let mut counts = Counts::default();
        let mut known = self.counts.clone();
        for (name, count) in fields(&mut counts) {
            *count = known.remove(name).unwrap_or(0);
        }
        let right = self.version == VERSION
            && known.is_empty()
            && counts.leaves == self.size
            && from_hex32(&self.root) == Some(edge.root())
            && self.roots.values().all(|root| from_hex32(root).is_some());
        right.then(|| Start {
            edge,
            whole: self.whole,
            folded: self.folded,
            head_wrong: self.head_wrong,
            counts,
            ..Start::new(&self.origin)
        })
    }

    /// The root that was computed at a size.
    pub(crate) fn root_at(&self, size: u64) -> Option<Hash> {
        self.roots.get(&size).and_then(|root| from_hex32(root))
    }
}

/// The counts by name.
pub(crate) fn fields(c: &mut Counts) -> [(&'static str, &mut u64); 13] {
    [
        ("leaves", &mut c.leaves),
        ("projects", &mut c.projects),
        ("releases", &mut c.releases),
        ("revocations", &mut c.revocations),
        ("withdrawals", &mut c.withdrawals),
        ("keyNotes", &mut c.key_notes),
        ("operations", &mut c.operations),
        ("certificates", &mut c.certificates),
        ("heads", &mut c.heads),
        ("unknown", &mut c.unknown),
        ("tiles", &mut c.tiles),
        ("bundles", &mut c.bundles),
        ("bytes", &mut c.bytes),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ledger::fold::Fold;

    fn record() -> Record {
        let mut edge = Edge::new();
        edge.append(&[[7; 32]; 512]);
        let counts = Counts {
            leaves: 512,
            releases: 3,
            ..Counts::default()
        };
        let mut record = Record::new("log.example", true, None);
        let at = At {
            size: 512,
            edge: &edge,
            bytes: 0,
            whole: true,
            fold: &Fold::new("log.example"),
            folded: false,
            head_wrong: true,
            counts: &counts,
            marks: &[],
        };
        record.at(&at, &Heard::default());
        record
    }

    #[test]
    fn a_record_is_taken_up_as_it_was_put_away() {
        let record = record();
        let bytes = serde_json::to_vec(&record).unwrap();
        let again: Record = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(again, record);
        let start = again.start().unwrap();
        assert_eq!((start.counts.leaves, start.counts.releases), (512, 3));
        assert_eq!(
            (start.whole, start.folded, start.head_wrong),
            (true, false, true)
        );
        assert_eq!(hex32(&start.edge.root()), record.root);
        let new = Record::new("log.example", false, None).start();
        assert!(new.is_some_and(|s| s.counts.leaves == 0 && s.folded));
    }

    #[test]
    fn a_record_that_contradicts_itself_is_none() {
        let refused = |change: &dyn Fn(&mut Record)| {
            let mut other = record();
            change(&mut other);
            assert!(other.start().is_none(), "{other:?}");
        };
        refused(&|r| r.version = 2);
        refused(&|r| r.size = 256);
        refused(&|r| r.root = hex32(&[1; 32]));
        refused(&|r| r.edge.truncate(10));
        refused(&|r| r.counts.extend([("lies".to_owned(), 1)]));
        refused(&|r| r.counts.extend([("leaves".to_owned(), 256)]));
        refused(&|r| r.roots.extend([(3, "short".to_owned())]));
        let bytes = serde_json::to_vec(&record()).unwrap();
        let more = String::from_utf8(bytes)
            .unwrap()
            .replacen('{', "{\"more\":1,", 1);
        assert!(serde_json::from_str::<Record>(&more).is_err());
    }
}
