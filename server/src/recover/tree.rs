//! The tree's right edge, and the entries that no durable blob may hold yet.

use super::damaged;
use crate::error::Error;
use crate::source::{full_bundle, full_tiles_edge};
use crate::store::{Blobs, FileBlobs, Head, Hot, SledHot};
use crate::view::Entry;
use tlog::hash::leaf_hash;
use tlog::tile::{EntryTile, TILE_WIDTH, encode_bundle};
use tlog::tree::Edge;

const WIDTH: u64 = TILE_WIDTH as u64;

/// What the hot state and the tiles say together.
#[derive(Default)]
pub(super) struct Tree {
    /// The right edge; empty where reading failed.
    pub(super) edge: Edge,
    /// The index of the first entry in `held`: a multiple of 256.
    pub(super) first: u64,
    /// The entries of the hot state, up to the last.
    pub(super) held: Vec<Entry>,
    /// The last leaf.
    pub(super) last: Option<Entry>,
}

impl Tree {
    /// Reads the edge, compares it with `head`, and writes the blobs that a crash kept from
    /// being written.
    pub(super) fn read(hot: &SledHot, blobs: &FileBlobs, head: &Head) -> Result<Self, Error> {
        let entries = hot.entries()?;
        let first = entries.first().map_or(head.size, |(i, _)| *i);
        if first % WIDTH != 0 || first > head.size {
            return Err(damaged(format!(
                "the hot state begins with entry {first}, in the middle of a bundle"
            )));
        }
        let indexes = entries.iter().map(|(i, _)| *i);
        if !indexes.eq(first..head.size) {
            return Err(damaged("the hot state lacks an entry"));
        }
        let held: Vec<Entry> = entries.into_iter().map(|(_, e)| Entry::from(e)).collect();
        let edge = full_tiles_edge(blobs, first)?;
        let mut tree = Self {
            edge,
            first,
            held,
            last: None,
        };
        let write = tree.append()?;
        if tree.edge.root() != head.root {
            return Err(damaged(format!(
                "the entries give another tree ({} leaves, root {}) than the checkpoint that was signed ({} leaves, root {}); `countersign-server check` says which file",
                tree.edge.size(),
                hex::encode(tree.edge.root()),
                head.size,
                hex::encode(head.root),
            )));
        }
        blobs.put(&write)?;
        tree.last = match tree.held.last() {
            Some(last) => Some(last.clone()),
            None if head.size == 0 => None,
            None => full_bundle(blobs, head.size / WIDTH - 1)?
                .pop()
                .map(Entry::from),
        };
        Ok(tree)
    }

    /// Appends what is held to the edge; gives the blobs that become full.
    fn append(&mut self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut blobs = Vec::new();
        for (part, index) in self
            .held
            .chunks(usize::from(TILE_WIDTH))
            .zip(self.first / WIDTH..)
        {
            let hashes: Vec<_> = part.iter().map(|e| leaf_hash(e)).collect();
            let full = self.edge.append(&hashes).into_iter();
            blobs.extend(full.map(|t| (t.tile().path(), t.bytes)));
            if part.len() == usize::from(TILE_WIDTH) {
                let width = TILE_WIDTH;
                let bytes = encode_bundle(part).map_err(|e| damaged(e.to_string()))?;
                blobs.push((EntryTile { index, width }.path(), bytes));
            }
        }
        Ok(blobs)
    }

    /// The entries of the partial bundle.
    pub(super) fn partial(&self) -> Vec<Entry> {
        let width = usize::from(TILE_WIDTH);
        let part = self.held.chunks(width).next_back();
        part.filter(|part| part.len() < width)
            .map(<[Entry]>::to_vec)
            .unwrap_or_default()
    }
}
