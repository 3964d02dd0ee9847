//! A log's bytes as `ledger::walk` asks for them: full bundles and tiles from the blobs, and
//! what no full bundle holds yet from memory, as a view or the hot state has it.

use crate::store::{Blobs, StoreError};
use crate::view::Entry;
use ledger::walk::{Source, Unreadable};
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, encode_bundle};

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
