//! A leaf that a walk has passed, and needs again. A source that is not steady may answer
//! otherwise than before, so the leaf is proven by the tree as it was walked.

use super::{Source, Unreadable};
use crate::Hash;
use tlog::hash::leaf_hash;
use tlog::proof::verify_inclusion;
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, parse_bundle, width_at};
use tlog::tree::{Edge, HashReader, prove_inclusion};

/// The tiles of the tree that a walk has passed: the partial ones from its edge, since nobody
/// serves them any more or yet, the full ones from the source. What follows from them is true
/// only as far as the edge's root proves it.
#[derive(Debug, Clone, Copy)]
pub struct Beneath<'a, S> {
    /// Where full tiles are read.
    pub source: &'a S,
    /// The tree.
    pub edge: &'a Edge,
}

impl<S: Source> HashReader for Beneath<'_, S> {
    type Error = String;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, String> {
        let full = width_at(self.edge.size(), level, index) == TILE_WIDTH;
        let mut bytes = if full {
            let tile = Tile {
                level,
                index,
                width: TILE_WIDTH,
            };
            let bytes = self.source.tile(&tile);
            bytes.map_err(|e| said(&tile.path(), &e))?
        } else {
            self.edge.partial(level).concat()
        };
        bytes.truncate(32 * usize::from(width));
        Ok(bytes)
    }
}

fn said(path: &str, e: &Unreadable) -> String {
    match e {
        Unreadable::Missing => format!("{path} is not there"),
        Unreadable::TooLong => format!("{path} is too long"),
        Unreadable::Failed(why) => format!("{path}: {why}"),
    }
}

/// The bundle that the walk is at.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) tile: &'a EntryTile,
    pub(super) bytes: &'a [u8],
}

/// Where a leaf may be.
pub(super) struct Again<'a, S> {
    pub(super) source: &'a S,
    /// The tree so far.
    pub(super) edge: &'a Edge,
    /// Leaves of the whole log.
    pub(super) size: u64,
    pub(super) now: Read<'a>,
}

impl<S: Source> Again<'_, S> {
    /// The leaf at `index`, as the walk saw it; or why not.
    pub(super) fn leaf(&self, index: u64) -> Result<Vec<u8>, String> {
        let number = index / u64::from(TILE_WIDTH);
        if number == self.now.tile.index {
            return entry(self.now.bytes, self.now.tile, index);
        }
        let tile = EntryTile {
            index: number,
            width: width_at(self.size, 0, number),
        };
        let bytes = self.source.bundle(&tile);
        let bytes = bytes.map_err(|e| said(&tile.path(), &e))?;
        let leaf = entry(&bytes, &tile, index)?;
        if !self.source.is_steady() {
            self.prove(index, &leaf_hash(&leaf))?;
        }
        Ok(leaf)
    }

    fn prove(&self, index: u64, leaf: &Hash) -> Result<(), String> {
        let (size, root) = (self.edge.size(), self.edge.root());
        let beneath = Beneath {
            source: self.source,
            edge: self.edge,
        };
        let proof = prove_inclusion(index, size, &beneath).map_err(|e| match e {
            tlog::tree::TreeError::Read(why) => why,
            other => other.to_string(),
        })?;
        verify_inclusion(leaf, index, size, &proof, &root)
            .map_err(|e| format!("it is another when it is read again: {e}"))
    }
}

fn entry(bytes: &[u8], tile: &EntryTile, index: u64) -> Result<Vec<u8>, String> {
    let entries = parse_bundle(bytes, tile.width);
    let entries = entries.map_err(|e| format!("{}: {e}", tile.path()))?;
    let at = usize::try_from(index % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
    let entry = entries.into_iter().nth(at);
    entry.ok_or_else(|| format!("{} has no entry {index}", tile.path()))
}
