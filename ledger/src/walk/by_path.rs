//! A source whose tiles lie at the paths of c2sp.org/tlog-tiles, wherever that is.

use super::{Source, Unreadable};
use tlog::tile::{EntryTile, MAX_ENTRY_BYTES, TILE_WIDTH, Tile};

/// Bytes of a tile at most.
const MAX_TILE: usize = 32 * TILE_WIDTH as usize;
/// Bytes of a bundle at most.
const MAX_BUNDLE: usize = TILE_WIDTH as usize * (2 + MAX_ENTRY_BYTES);

/// Files by their path, such as below a directory or an address.
pub trait Files: Sync {
    /// The bytes at `path`, which begins with no slash.
    ///
    /// # Errors
    /// [`Unreadable`]; [`Unreadable::TooLong`] where they are more than `most`.
    fn file(&self, path: &str, most: usize) -> Result<Vec<u8>, Unreadable>;
}

/// A log as such files hold it. Where a partial tile or bundle is gone, the full one that has
/// taken its place stands in for it with its beginning, as the specification allows. None of it
/// is taken to be the same when it is read again.
#[derive(Debug, Clone)]
pub struct ByPath<F>(pub F);

impl<F: Files> ByPath<F> {
    fn either(
        &self,
        path: &dyn Fn(u16) -> String,
        width: u16,
        most: usize,
        begin: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Vec<u8>, Unreadable> {
        match self.0.file(&path(width), most) {
            Err(Unreadable::Missing) if width != TILE_WIDTH => {
                let mut bytes = self.0.file(&path(TILE_WIDTH), most)?;
                // What has no such beginning goes on as it is, to be found wrong.
                if let Some(end) = begin(&bytes) {
                    bytes.truncate(end);
                }
                Ok(bytes)
            }
            other => other,
        }
    }
}

/// Where the first `width` entries of a bundle end.
fn entries_end(bytes: &[u8], width: u16) -> Option<usize> {
    (0..width).try_fold(0_usize, |at, _| {
        let (length, rest) = bytes.get(at..)?.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        (length <= rest.len()).then_some(at + 2 + length)
    })
}

impl<F: Files> Source for ByPath<F> {
    fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, Unreadable> {
        let index = tile.index;
        let path = |width| EntryTile { index, width }.path();
        self.either(&path, tile.width, MAX_BUNDLE, |bytes| {
            entries_end(bytes, tile.width)
        })
    }

    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, Unreadable> {
        let path = |width| Tile { width, ..*tile }.path();
        let end = 32 * usize::from(tile.width);
        self.either(&path, tile.width, MAX_TILE, |bytes| {
            (end <= bytes.len()).then_some(end)
        })
    }

    fn is_steady(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;
    use tlog::tile::encode_bundle;

    struct Held(BTreeMap<String, Vec<u8>>);

    impl Files for Held {
        fn file(&self, path: &str, most: usize) -> Result<Vec<u8>, Unreadable> {
            let bytes = self.0.get(path).ok_or(Unreadable::Missing)?;
            if bytes.len() > most {
                return Err(Unreadable::TooLong);
            }
            Ok(bytes.clone())
        }
    }

    #[test]
    fn a_full_tile_stands_in_for_its_beginning() {
        let entries: Vec<Vec<u8>> = (0..=255_u8).map(|n| vec![n; usize::from(n)]).collect();
        let rows: Vec<u8> = (0..=255_u8).flat_map(|n| [n; 32]).collect();
        let full = encode_bundle(&entries).unwrap();
        let source = ByPath(Held(BTreeMap::from([
            ("tile/entries/000".into(), full.clone()),
            ("tile/0/000".into(), rows.clone()),
            ("tile/0/001.p/2".into(), vec![7; 64]),
            ("tile/0/002".into(), vec![7; 8193]),
            ("tile/0/003".into(), vec![7; 31]),
        ])));
        let bundle = |width| source.bundle(&EntryTile { index: 0, width });
        assert_eq!(bundle(256), Ok(full));
        assert_eq!(bundle(3), Ok(encode_bundle(&entries[..3]).unwrap()));
        let tile = |index, width| {
            source.tile(&Tile {
                level: 0,
                index,
                width,
            })
        };
        assert_eq!(tile(0, 255), Ok(rows[..32 * 255].to_vec()));
        assert_eq!(tile(1, 2), Ok(vec![7; 64]));
        assert_eq!(tile(1, 256), Err(Unreadable::Missing));
        assert_eq!(tile(2, 256), Err(Unreadable::TooLong));
        assert_eq!(tile(3, 1), Ok(vec![7; 31]), "to be found wrong");
        assert_eq!(tile(4, 1), Err(Unreadable::Missing));
    }
}
