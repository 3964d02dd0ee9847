//! Many inclusion proofs in one tree: what the tiles on its right edge hash to is computed once
//! (RFC 9162 section 2.1.3.1).
//!
//! [`crate::tree::prove_inclusion`] hashes each tile on the way anew. A log that answers every
//! publisher with a proof at its newest size keeps a [`Prover`] of that size: at the edge a path is
//! then read off, and one full tile a level is hashed, or not even that where the caller kept its
//! [`InnerRows`]. Both ways give the same proofs; the tests compare them.

use std::sync::Arc;

use crate::Hash;
use crate::hash::{EMPTY_ROOT, node_hash};
use crate::tile::{TILE_WIDTH, rows};
use crate::tree::{Edge, HashReader, TreeError, read};

/// The rows of one tile and all inner rows above them, up to the tile's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InnerRows {
    /// The tile's own rows first; each next one is half as long, rounded up.
    rows: Vec<Vec<Hash>>,
}

impl InnerRows {
    /// Hashes 1 to 256 rows; no rows have no root.
    #[must_use]
    pub fn new(tile: Vec<Hash>) -> Self {
        let mut all = vec![tile];
        while let Some(below) = all.last().filter(|row| row.len() > 1) {
            let above = below.chunks(2).map(|pair| match pair {
                [left, right] => node_hash(left, right),
                // A lone last node is promoted.
                lone => lone.first().copied().unwrap_or(EMPTY_ROOT),
            });
            all.push(above.collect());
        }
        Self { rows: all }
    }

    /// The root over the rows.
    #[must_use]
    pub fn root(&self) -> Option<Hash> {
        self.rows.last().and_then(|top| top.first()).copied()
    }

    /// The siblings on the way from row `offset` to the root.
    fn path(&self, offset: u8) -> impl Iterator<Item = Hash> {
        let at = usize::from(offset);
        let siblings = self.rows.iter().enumerate();
        siblings.filter_map(move |(height, row)| row.get((at >> height) ^ 1).copied())
    }
}

/// Makes inclusion proofs in the tree of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prover {
    size: u64,
    /// Per level the rows at the edge with, last, the root of what is incomplete below.
    edge: Vec<InnerRows>,
}

impl Prover {
    /// Hashes the tiles at the edge.
    #[must_use]
    pub fn new(edge: &Edge) -> Self {
        let mut below = None;
        let mut levels = Vec::new();
        for level in 0..edge.levels() {
            let mut rows = edge.partial(level).to_vec();
            rows.extend(below);
            let inner = InnerRows::new(rows);
            below = inner.root();
            levels.push(inner);
        }
        Self {
            size: edge.size(),
            edge: levels,
        }
    }

    /// Leaves in the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let top = self.edge.last().and_then(InnerRows::root);
        top.unwrap_or(EMPTY_ROOT)
    }

    /// Inclusion proof of leaf `index`. `full` gives the inner rows of a full tile, by level and
    /// number: see [`read_inner`].
    ///
    /// # Errors
    /// [`TreeError::IndexOutOfRange`], and what `full` reports.
    pub fn inclusion<E>(
        &self,
        index: u64,
        mut full: impl FnMut(u8, u64) -> Result<Arc<InnerRows>, TreeError<E>>,
    ) -> Result<Vec<Hash>, TreeError<E>> {
        if index >= self.size {
            let size = self.size;
            return Err(TreeError::IndexOutOfRange { index, size });
        }
        let mut proof = Vec::new();
        for (level, edge) in (0..).zip(&self.edge) {
            let row = rows(index, level);
            let tile = row / u64::from(TILE_WIDTH);
            let [offset, ..] = row.to_le_bytes();
            if tile == rows(self.size, level) / u64::from(TILE_WIDTH) {
                proof.extend(edge.path(offset));
            } else {
                proof.extend(full(level, tile)?.path(offset));
            }
        }
        Ok(proof)
    }
}

/// Reads a full tile and hashes it.
///
/// # Errors
/// [`TreeError::Read`] and [`TreeError::TileLength`].
pub fn read_inner<R: HashReader>(
    reader: &R,
    level: u8,
    index: u64,
) -> Result<Arc<InnerRows>, TreeError<R::Error>> {
    let tile = read(reader, level, index, TILE_WIDTH)?;
    Ok(Arc::new(InnerRows::new(tile)))
}
