//! A log's leaves, and what a log of them has to be, computed by itself.

use crate::common::{ORIGIN, Publisher, artifact, publisher};
use ledger::Hash;
use ledger::envelope::Envelope;
use ledger::fold::Fold;
use ledger::leaf::{Action, Leaf, OperationLeaf, StatementLeaf};
use ledger::statement::Statement;
use std::collections::BTreeMap;
use std::sync::Arc;
use tlog::hash::leaf_hash;
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, encode_bundle};
use tlog::tree::Edge;

/// A genuine log of any size: a project, opaque leaves, and at the end of each batch a
/// release with its ledger head.
#[derive(Clone)]
pub struct Story {
    pub acme: Arc<Publisher>,
    pub fold: Fold,
    pub leaves: Vec<Vec<u8>>,
    /// PAE hashes of the releases, with their indexes.
    pub releases: Vec<(Hash, u64)>,
    /// Of every leaf: now, since a log whose last leaf is old does not sign.
    pub time: u64,
}

impl Story {
    pub fn new() -> Self {
        let mut story = Self {
            acme: Arc::new(publisher("acme/tool", "pkg:generic/acme")),
            fold: Fold::new(ORIGIN),
            leaves: Vec::new(),
            releases: Vec::new(),
            time: std::time::UNIX_EPOCH.elapsed().unwrap().as_secs(),
        };
        story.statement(story.acme.first.clone());
        story.add(&Leaf::Operation(OperationLeaf {
            action: Action::Admitted,
            by: "operator".into(),
            project: story.acme.id,
            reason: None,
            time: story.time,
        }));
        story
    }

    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub fn add(&mut self, leaf: &Leaf) {
        self.leaves.push(leaf.to_bytes().unwrap());
        let _ = self.fold.apply(leaf);
    }

    pub fn statement(&mut self, envelope: Envelope) {
        let statement = Box::new(Statement::parse(&envelope.payload).unwrap());
        self.add(&Leaf::Statement(Box::new(StatementLeaf {
            envelope,
            statement: *statement,
            time: self.time,
        })));
    }

    pub fn grow(&mut self, size: u64) {
        while self.size() < size - 2 {
            let kind = format!("opaque-{}", self.size());
            let text = format!("{{\"apiVersion\":\"countersign/v1\",\"kind\":{kind:?}}}");
            let leaf = Leaf::parse(text.as_bytes()).unwrap();
            self.leaves.push(text.into_bytes());
            let _ = self.fold.apply(&leaf);
        }
        let purl = format!("pkg:generic/acme/tool@{size}");
        let release = self
            .acme
            .envelope(&purl, &[artifact("tool", purl.as_bytes())]);
        self.releases.push((release.pae_hash(), self.size()));
        self.statement(release);
        let head = self.fold.next_head(self.time);
        self.add(&head);
        assert_eq!(self.size(), size);
    }

    pub fn range(&self, from: u64, to: u64) -> Vec<Vec<u8>> {
        self.leaves[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()].to_vec()
    }

    /// What a log of the first `size` leaves is, computed by itself.
    pub fn at(&self, size: u64) -> Expected {
        let leaves = self.range(0, size);
        let mut edge = Edge::new();
        let hashes: Vec<Hash> = leaves.iter().map(|l| leaf_hash(l)).collect();
        let tiles = edge.append(&hashes).into_iter().map(|full| {
            let (level, index, width) = (full.level, full.index, TILE_WIDTH);
            let tile = Tile {
                level,
                index,
                width,
            };
            (tile.path(), full.bytes)
        });
        let bundles = (0u64..).zip(leaves.chunks_exact(256)).map(|(index, part)| {
            let width = TILE_WIDTH;
            (
                EntryTile { index, width }.path(),
                encode_bundle(part).unwrap(),
            )
        });
        let blobs = tiles.chain(bundles).collect();
        let root = edge.root();
        Expected { size, root, blobs }
    }
}

/// A log as it has to be.
pub struct Expected {
    pub size: u64,
    pub root: Hash,
    /// Full tiles and bundles on all levels.
    pub blobs: BTreeMap<String, Vec<u8>>,
}
