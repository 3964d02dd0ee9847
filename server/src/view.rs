//! What is public: the tree at the last checkpoint, read from its right edge in memory and
//! from full blobs. Immutable, so that readers never wait for the sequencer.

use crate::kept::Kept;
use crate::source::{Tiles, blob, full_bundle};
use crate::store::{Blobs, StoreError};
use std::sync::Arc;
use tlog::Hash;
use tlog::prover::{Prover, read_inner};
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, encode_bundle, width_at};
use tlog::tree::{Edge, HashReader, TreeError, prove_consistency, prove_inclusion};

/// An entry's bytes, shared between the views that hold it.
pub type Entry = Arc<[u8]>;

/// The log at one checkpoint.
#[derive(Debug, Clone)]
pub struct View {
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// The signed checkpoint.
    pub note: String,
    /// The partial tiles.
    pub edge: Edge,
    /// Makes proofs at this size.
    pub prover: Prover,
    /// The entries of the partial bundle.
    pub tail: Vec<Entry>,
    /// The last leaf.
    pub last: Option<Entry>,
    /// Counts what was shown: a checkpoint may be shown again, with other cosignatures.
    pub stamp: u64,
    /// Whether the cosignatures in `note` meet the log's own quorum; `None` where it has no
    /// witnesses.
    pub witnessed: Option<bool>,
}

/// Reads from a view.
pub struct Reader<'a> {
    /// What is public.
    pub view: &'a View,
    /// Where full tiles lie.
    pub blobs: &'a dyn Blobs,
    /// What was read and hashed before.
    pub kept: &'a Kept,
}

/// Why something cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The checkpoint does not cover it.
    #[error("not in the log at size {0}")]
    NotPublished(u64),
    /// The store failed, or lacks what the checkpoint covers.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TreeError<ReadError>> for ReadError {
    fn from(e: TreeError<ReadError>) -> Self {
        match e {
            TreeError::Read(e) => e,
            other => Self::Store(StoreError::Damaged(other.to_string())),
        }
    }
}

impl Reader<'_> {
    /// Checks that the view has `width` rows there; true where the tile is full.
    fn covered(&self, level: u8, index: u64, width: u16) -> Result<bool, ReadError> {
        let have = width_at(self.view.size, level, index);
        if width == 0 || width > have {
            return Err(ReadError::NotPublished(self.view.size));
        }
        Ok(have == TILE_WIDTH)
    }

    /// The bytes of a tile of hashes.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn hashes(&self, tile: &Tile) -> Result<Vec<u8>, ReadError> {
        self.covered(tile.level, tile.index, tile.width)?;
        let tiles = Tiles {
            blobs: self.blobs,
            size: self.view.size,
            edge: &self.view.edge,
        };
        Ok(tiles.tile(tile.level, tile.index, tile.width)?)
    }

    /// The entries of a bundle.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entries(&self, tile: &EntryTile) -> Result<Vec<Entry>, ReadError> {
        let width = usize::from(tile.width);
        let mut entries: Vec<Entry> = if self.covered(0, tile.index, tile.width)? {
            let entries = full_bundle(self.blobs, tile.index)?;
            entries.into_iter().map(Entry::from).collect()
        } else {
            self.view.tail.clone()
        };
        if entries.len() < width {
            return Err(StoreError::Damaged(format!("{} is too short", tile.path())).into());
        }
        entries.truncate(width);
        Ok(entries)
    }

    /// The bytes of a bundle of entries.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, ReadError> {
        if tile.width == TILE_WIDTH && self.covered(0, tile.index, tile.width)? {
            return Ok(blob(self.blobs, &tile.path())?);
        }
        Ok(encode_bundle(&self.entries(tile)?).map_err(|e| StoreError::Damaged(e.to_string()))?)
    }

    /// One entry.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entry(&self, index: u64) -> Result<Entry, ReadError> {
        let tile = index / u64::from(TILE_WIDTH);
        let width = width_at(self.view.size, 0, tile);
        let offset = usize::try_from(index % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
        let none = ReadError::NotPublished(self.view.size);
        if width == 0 {
            return Err(none);
        }
        if width < TILE_WIDTH {
            return self.view.tail.get(offset).cloned().ok_or(none);
        }
        let entries = full_bundle(self.blobs, tile)?;
        entries.into_iter().nth(offset).map(Entry::from).ok_or(none)
    }

    /// The same for an entry that many bundles hold.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entry_kept(&self, index: u64) -> Result<Entry, ReadError> {
        if index >= self.view.size {
            return Err(ReadError::NotPublished(self.view.size));
        }
        self.kept.entry(index, || self.entry(index))
    }

    /// The inclusion proof of `index` at `size`.
    ///
    /// # Errors
    /// [`ReadError::NotPublished`] where the view does not reach that far.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, ReadError> {
        if index >= size || size > self.view.size {
            return Err(ReadError::NotPublished(self.view.size));
        }
        if size == self.view.prover.size() {
            let full = |level, index| {
                self.kept
                    .tile(level, index, || read_inner(self, level, index))
            };
            return Ok(self.view.prover.inclusion(index, full)?);
        }
        Ok(prove_inclusion(index, size, self)?)
    }

    /// The consistency proof from `from` to `to`.
    ///
    /// # Errors
    /// [`ReadError::NotPublished`] where the view does not reach that far.
    pub fn consistency(&self, from: u64, to: u64) -> Result<Vec<Hash>, ReadError> {
        if from > to || to > self.view.size {
            return Err(ReadError::NotPublished(self.view.size));
        }
        Ok(prove_consistency(from, to, self)?)
    }
}

impl HashReader for Reader<'_> {
    type Error = ReadError;
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, ReadError> {
        self.hashes(&Tile {
            level,
            index,
            width,
        })
    }
}
