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
        (self.found, self.findings) = (heard.found, heard.findings.clone());
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
pub(crate) fn fields(c: &mut Counts) -> [(&'static str, &mut u64); 12] {
    [
        ("leaves", &mut c.leaves),
        ("projects", &mut c.projects),
        ("releases", &mut c.releases),
        ("revocations", &mut c.revocations),
        ("withdrawals", &mut c.withdrawals),
        ("keyNotes", &mut c.key_notes),
        ("operations", &mut c.operations),
        ("heads", &mut c.heads),
        ("unknown", &mut c.unknown),
        ("tiles", &mut c.tiles),
        ("bundles", &mut c.bundles),
        ("bytes", &mut c.bytes),
    ]
}
