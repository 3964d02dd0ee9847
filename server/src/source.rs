//! A log's bytes: full bundles and tiles from the blobs, and what no full one holds yet from
//! memory, as a view or the hot state has it. [`LogSource`] gives them as `ledger::walk` asks for
//! them, [`Tiles`] as proofs do.

use crate::store::{Blobs, StoreError};
use crate::view::Entry;
use ledger::walk::{Source, Unreadable};
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, encode_bundle, parse_bundle, width_at};
use tlog::tree::{Edge, HashReader, TreeError};

/// A blob that must be there.
///
/// # Errors
/// [`StoreError::Damaged`] where it is not.
pub(crate) fn blob(blobs: &dyn Blobs, path: &str) -> Result<Vec<u8>, StoreError> {
    let missing = || StoreError::Damaged(format!("{path} is missing"));
    blobs.get(path)?.ok_or_else(missing)
}

/// The entries of a full bundle.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn full_bundle(blobs: &dyn Blobs, index: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    let width = TILE_WIDTH;
    let path = EntryTile { index, width }.path();
    let bytes = blob(blobs, &path)?;
    parse_bundle(&bytes, TILE_WIDTH).map_err(|e| StoreError::Damaged(format!("{path}: {e}")))
}

/// The tiles of hashes of a tree of `size` leaves: those that are full as they are stored, the
/// others from the edge.
pub(crate) struct Tiles<'a> {
    pub(crate) blobs: &'a dyn Blobs,
    pub(crate) size: u64,
    pub(crate) edge: &'a Edge,
}

impl HashReader for Tiles<'_> {
    type Error = StoreError;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, StoreError> {
        let tile = |width| Tile {
            level,
            index,
            width,
        };
        let whole = if width_at(self.size, level, index) == TILE_WIDTH {
            blob(self.blobs, &tile(TILE_WIDTH).path())?
        } else {
            self.edge.partial(level).concat()
        };
        let rows = whole.get(..usize::from(width) * 32).map(<[u8]>::to_vec);
        let short = || StoreError::Damaged(format!("{} is too short", tile(width).path()));
        rows.ok_or_else(short)
    }
}

/// The edge of a tree of which only full tiles are stored.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn full_tiles_edge(blobs: &dyn Blobs, size: u64) -> Result<Edge, StoreError> {
    let edge = &Edge::new();
    Ok(Edge::from_full_tiles(size, &Tiles { blobs, size, edge })?)
}

impl From<TreeError<StoreError>> for StoreError {
    fn from(e: TreeError<StoreError>) -> Self {
        match e {
            TreeError::Read(e) => e,
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// A log at one fixed size. Partial tiles of hashes are not asked for: none is stored.
#[derive(Clone, Copy)]
pub struct LogSource<'a> {
    /// Full bundles and tiles.
    pub blobs: &'a dyn Blobs,
    /// Number of leaves.
    pub size: u64,
    /// The last entries below `size`: at least those of the partial bundle. Where it holds more
    /// (a crash kept full bundles from being written), it stands in for blobs that are missing.
    pub tail: &'a [Entry],
}

impl LogSource<'_> {
    /// The bundle from memory, where memory has all of it.
    fn held(&self, tile: &EntryTile) -> Option<Result<Vec<u8>, Unreadable>> {
        let held_from = self.size.checked_sub(self.tail.len() as u64)?;
        let first = tile.index.checked_mul(u64::from(TILE_WIDTH))?;
        let from = usize::try_from(first.checked_sub(held_from)?).ok()?;
        let entries = self.tail.get(from..from + usize::from(tile.width))?;
        Some(encode_bundle(entries).map_err(|e| Unreadable::Failed(e.to_string())))
    }

    fn blob(&self, path: &str) -> Result<Vec<u8>, Unreadable> {
        let failed = |e: StoreError| Unreadable::Failed(e.to_string());
        self.blobs
            .get(path)
            .map_err(failed)?
            .ok_or(Unreadable::Missing)
    }
}

impl Source for LogSource<'_> {
    fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, Unreadable> {
        let blob = if tile.width == TILE_WIDTH {
            self.blob(&tile.path())
        } else {
            Err(Unreadable::Missing)
        };
        match blob {
            Err(Unreadable::Missing) => self.held(tile).unwrap_or(Err(Unreadable::Missing)),
            other => other,
        }
    }

    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, Unreadable> {
        self.blob(&tile.path())
    }

    fn has_partial_tiles(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::FileBlobs;

    fn entries(range: std::ops::Range<u64>) -> Vec<Entry> {
        range
            .map(|i| Entry::from(i.to_be_bytes().as_slice()))
            .collect()
    }

    fn bundle(index: u64, width: u16) -> EntryTile {
        EntryTile { index, width }
    }

    #[test]
    fn a_blob_comes_before_memory_and_memory_stands_in_for_one_that_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::new(dir.path());
        let written = encode_bundle(&entries(0..256)).unwrap();
        blobs
            .put(&[("tile/entries/000".into(), written.clone())])
            .unwrap();
        let tail = entries(256..600);
        let source = LogSource {
            blobs: &blobs,
            size: 600,
            tail: &tail,
        };
        assert_eq!(source.bundle(&bundle(0, 256)), Ok(written));
        let second = encode_bundle(&entries(256..512)).unwrap();
        assert_eq!(source.bundle(&bundle(1, 256)), Ok(second));
        let last = encode_bundle(&entries(512..600)).unwrap();
        assert_eq!(source.bundle(&bundle(2, 88)), Ok(last));
        // What stands on disk is what is checked, not what memory knows better.
        let other = ("tile/entries/001".to_owned(), vec![7]);
        blobs.put(&[other]).unwrap();
        assert_eq!(source.bundle(&bundle(1, 256)), Ok(vec![7]));
    }

    #[test]
    fn what_neither_has_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::new(dir.path());
        let tail = entries(512..600);
        let source = LogSource {
            blobs: &blobs,
            size: 600,
            tail: &tail,
        };
        let missing = Err(Unreadable::Missing);
        assert_eq!(source.bundle(&bundle(1, 256)), missing);
        assert_eq!(source.bundle(&bundle(2, 89)), missing);
        assert_eq!(source.bundle(&bundle(u64::MAX, 1)), missing);
        let tile = Tile {
            level: 0,
            index: 1,
            width: TILE_WIDTH,
        };
        assert_eq!(source.tile(&tile), missing);
    }
}
