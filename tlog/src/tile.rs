//! Tile coordinates, paths and entry bundles (c2sp.org/tlog-tiles).
//!
//! The hashes of a tree are served in tiles of 256. Tile `index` of `level` holds the roots of the
//! complete subtrees of 256^level leaves numbered 256 x index and up: level 0 holds leaf hashes, a
//! full tile of level l is one row of level l + 1. A tile's bytes are its hashes, 32 bytes each.
//!
//! - `tile/<L>/<N>` is a full tile, `tile/<L>/<N>.p/<W>` its first W hashes, 1 to 255.
//! - `tile/entries/<N>` and `tile/entries/<N>.p/<W>` are the entries under a level-0 tile, each
//!   behind its length as a big-endian 16-bit integer; so an entry is at most 65,535 bytes.
//! - L is a decimal number 0 to 63. N is written in groups of three digits, all but the last behind
//!   an `x`: 1234067 is `x001/x234/067`. No group more than needed; W has no leading zero.
//! - In a tree of `size` leaves the last tile of a level has floor(size / 256^level) mod 256 rows;
//!   where that is 0 there is no partial tile, and none is served.
//!
//! Paths carry no leading slash. Parsing accepts exactly what [`Tile::path`] writes.

use std::fmt::Write as _;

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;

/// Bytes of one entry at most, as its length has 16 bits.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// Highest level that a path may name.
const MAX_LEVEL: u8 = 63;

/// Why a tile path or an entry bundle was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// The path is not one that the specification allows.
    #[error("not a tile path: {0:?}")]
    Path(String),
    /// The entry does not fit behind a 16-bit length.
    #[error("entry of {got} bytes is longer than {MAX_ENTRY_BYTES}")]
    EntryTooLong {
        /// The entry's length in bytes.
        got: usize,
    },
    /// The bundle ends inside an entry or before the last one.
    #[error("bundle of {expected} entries ends inside entry {got}")]
    Truncated {
        /// Entries that were expected.
        expected: u16,
        /// Number of the entry, from 0, that is cut off.
        got: u16,
    },
    /// Bytes follow the bundle's last entry.
    #[error("{got} bytes follow the bundle's last entry")]
    TrailingBytes {
        /// Surplus bytes.
        got: usize,
    },
    /// A width is not 1 to 256.
    #[error("tile width {got} is not 1 to {TILE_WIDTH}")]
    Width {
        /// The width.
        got: u16,
    },
}

impl TileError {
    /// Stable kebab-case name of the error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Path(_) => "bad-tile-path",
            Self::EntryTooLong { .. } => "entry-too-long",
            Self::Truncated { .. } => "bundle-truncated",
            Self::TrailingBytes { .. } => "bundle-trailing-bytes",
            Self::Width { .. } => "bad-tile-width",
        }
    }
}

/// A tile of hashes, full or partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// 0 for leaf hashes; each level is 256 times as high as the one below.
    pub level: u8,
    /// Number of the tile within its level, from 0.
    pub index: u64,
    /// Hashes in it, 1 to 256; 256 is a full tile.
    pub width: u16,
}

impl Tile {
    /// The last, partial tile of `level` in a tree of `size` leaves, if there is one.
    #[must_use]
    pub fn partial(size: u64, level: u8) -> Option<Self> {
        let width = partial_width(size, level);
        let index = rows(size, level) / u64::from(TILE_WIDTH);
        (width > 0).then_some(Self {
            level,
            index,
            width,
        })
    }

    /// The tile's path, without a leading slash.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = format!("tile/{}/", self.level);
        push_index(&mut path, self.index, self.width);
        path
    }

    /// Parses a path exactly as [`Tile::path`] writes it.
    ///
    /// # Errors
    /// [`TileError::Path`] for anything else.
    pub fn parse_path(path: &str) -> Result<Self, TileError> {
        let parse = || {
            let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
            let level = number(level, MAX_LEVEL.into())?;
            let (index, width) = parse_index(rest)?;
            let level = u8::try_from(level).ok()?;
            Some(Self {
                level,
                index,
                width,
            })
        };
        parse()
            .filter(|tile| tile.path() == path)
            .ok_or_else(|| TileError::Path(path.to_owned()))
    }
}

/// A bundle of entries, full or partial: what lies under a level-0 tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryTile {
    /// Number of the bundle, from 0; its first entry is entry 256 x index.
    pub index: u64,
    /// Entries in it, 1 to 256.
    pub width: u16,
}

impl EntryTile {
    /// The bundle's path, without a leading slash.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = String::from("tile/entries/");
        push_index(&mut path, self.index, self.width);
        path
    }

    /// Parses a path exactly as [`EntryTile::path`] writes it.
    ///
    /// # Errors
    /// [`TileError::Path`] for anything else.
    pub fn parse_path(path: &str) -> Result<Self, TileError> {
        path.strip_prefix("tile/entries/")
            .and_then(parse_index)
            .map(|(index, width)| Self { index, width })
            .filter(|tile| tile.path() == path)
            .ok_or_else(|| TileError::Path(path.to_owned()))
    }
}

/// Rows of the last, partial tile of `level` in a tree of `size` leaves: 0 to 255, where 0 means
/// that there is none.
#[must_use]
pub fn partial_width(size: u64, level: u8) -> u16 {
    u16::from(rows(size, level).to_le_bytes()[0])
}

/// Rows that tile `index` of `level` has in a tree of `size` leaves: 0 to 256.
#[must_use]
pub fn width_at(size: u64, level: u8, index: u64) -> u16 {
    match (rows(size, level) / 256).cmp(&index) {
        std::cmp::Ordering::Greater => TILE_WIDTH,
        std::cmp::Ordering::Equal => partial_width(size, level),
        std::cmp::Ordering::Less => 0,
    }
}

/// Complete subtrees of 256^level leaves in a tree of `size` leaves.
pub(crate) fn rows(size: u64, level: u8) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// Encodes one entry for a bundle: its length in two bytes, then itself.
///
/// # Errors
/// [`TileError::EntryTooLong`] above [`MAX_ENTRY_BYTES`].
pub fn encode_entry(entry: &[u8]) -> Result<Vec<u8>, TileError> {
    let too_long = |_| TileError::EntryTooLong { got: entry.len() };
    let length = u16::try_from(entry.len()).map_err(too_long)?;
    let mut out = Vec::with_capacity(2 + entry.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(entry);
    Ok(out)
}

/// Encodes a bundle of entries.
///
/// # Errors
/// [`TileError::EntryTooLong`] if one does not fit.
pub fn encode_bundle<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, TileError> {
    let mut out = Vec::new();
    for entry in entries {
        out.extend_from_slice(&encode_entry(entry.as_ref())?);
    }
    Ok(out)
}

/// Parses a bundle of exactly `width` entries.
///
/// # Errors
/// [`TileError::Truncated`] or [`TileError::TrailingBytes`] where the bytes are another number of
/// entries, [`TileError::Width`] for a width that no bundle has.
pub fn parse_bundle(mut bytes: &[u8], width: u16) -> Result<Vec<Vec<u8>>, TileError> {
    if !(1..=TILE_WIDTH).contains(&width) {
        return Err(TileError::Width { got: width });
    }
    let mut entries = Vec::with_capacity(width.into());
    for number in 0..width {
        let truncated = TileError::Truncated {
            expected: width,
            got: number,
        };
        let Some((length, rest)) = bytes.split_first_chunk::<2>() else {
            return Err(truncated);
        };
        let length = u16::from_be_bytes(*length).into();
        let Some((entry, rest)) = rest.split_at_checked(length) else {
            return Err(truncated);
        };
        entries.push(entry.to_vec());
        bytes = rest;
    }
    if !bytes.is_empty() {
        return Err(TileError::TrailingBytes { got: bytes.len() });
    }
    Ok(entries)
}

/// Appends `x001/x234/067`, and `.p/5` where the width is not that of a full tile.
fn push_index(path: &mut String, index: u64, width: u16) {
    let mut groups = vec![index % 1000];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(rest % 1000);
        rest /= 1000;
    }
    for (position, group) in groups.iter().enumerate().rev() {
        // Writing to a string cannot fail.
        let _ = match position {
            0 => write!(path, "{group:03}"),
            _ => write!(path, "x{group:03}/"),
        };
    }
    if width != TILE_WIDTH {
        let _ = write!(path, ".p/{width}");
    }
}

/// Reads an index and a width. Lenient about leading groups and zeros: the callers compare with
/// the path that they would have written.
fn parse_index(text: &str) -> Option<(u64, u16)> {
    let (groups, width) = match text.split_once(".p/") {
        Some((groups, width)) => (groups, u16::try_from(number(width, 255)?).ok()?),
        None => (text, TILE_WIDTH),
    };
    if width == 0 {
        return None;
    }
    let mut index = 0_u64;
    for group in groups.split('/') {
        let group = number(group.strip_prefix('x').unwrap_or(group), 999)?;
        index = index.checked_mul(1000)?.checked_add(group)?;
    }
    Some((index, width))
}

/// Decimal digits only (no sign), at most `max`.
fn number(text: &str, max: u64) -> Option<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|value| *value <= max)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_written_as_the_specification_shows() {
        for (level, index, width, path) in [
            (0, 0, 256, "tile/0/000"),
            (0, 1_234_067, 256, "tile/0/x001/x234/067"),
            (0, 1_067, 5, "tile/0/x001/067.p/5"),
            (63, 999, 255, "tile/63/999.p/255"),
            (
                7,
                u64::MAX,
                1,
                "tile/7/x018/x446/x744/x073/x709/x551/615.p/1",
            ),
        ] {
            let tile = Tile {
                level,
                index,
                width,
            };
            assert_eq!(tile.path(), path);
            assert_eq!(Tile::parse_path(path), Ok(tile));
            let entries = EntryTile { index, width };
            let text = path.replacen(&format!("tile/{level}"), "tile/entries", 1);
            assert_eq!(entries.path(), text);
            assert_eq!(EntryTile::parse_path(&text), Ok(entries));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for path in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "/tile/0/000",
            "tile/0/000/",
            "tile/00/000",
            "tile/64/000",
            "tile/256/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000",
            "tile/0/x000/001",
            "tile/0/001/001",
            "tile/0/x001/x001",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/05",
            "tile/0/000.p/256",
            "tile/0/000.p/1.p/1",
            "tile/0/000\n",
            "tile/0/000.p/+5",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/data/000",
            "tile/entries/000",
            "tile/0/xx01/000",
            "tile/0/X001/000",
            "tile/ 0/000",
            "tile/0/１23",
            "tile//000",
        ] {
            assert_eq!(
                Tile::parse_path(path),
                Err(TileError::Path(path.to_owned()))
            );
        }
        for path in [
            "tile/entries/",
            "tile/entries/0",
            "tile/0/000",
            "tile/entries/x000/000",
            "tile/entries/000.p/0",
        ] {
            assert_eq!(
                EntryTile::parse_path(path),
                Err(TileError::Path(path.to_owned()))
            );
        }
    }

    #[test]
    fn widths_follow_the_size() {
        assert_eq!(partial_width(0, 0), 0);
        assert_eq!(partial_width(70_000, 0), 112);
        assert_eq!(partial_width(70_000, 1), 17);
        assert_eq!(partial_width(70_000, 2), 1);
        assert_eq!(partial_width(70_000, 3), 0);
        assert_eq!(partial_width(u64::MAX, 7), 255);
        assert_eq!(partial_width(u64::MAX, 8), 0);
        let partial = |level| Tile::partial(70_000, level).map(|t| t.path());
        let paths: Vec<_> = (0..9).map(partial).collect();
        let some = |path: &str| Some(path.to_owned());
        assert_eq!(
            paths[..2],
            [some("tile/0/273.p/112"), some("tile/1/001.p/17")]
        );
        assert_eq!((&paths[2], &paths[3]), (&some("tile/2/000.p/1"), &None));
        assert!(paths[3..].iter().all(Option::is_none));
        assert_eq!(width_at(70_000, 0, 272), 256);
        assert_eq!(width_at(70_000, 0, 273), 112);
        assert_eq!(width_at(70_000, 0, 274), 0);
        assert_eq!(width_at(65_536, 1, 0), 256);
        assert_eq!(width_at(65_536, 1, 1), 0);
        assert_eq!(width_at(65_536, 2, 0), 1);
    }

    #[test]
    fn bundles_round_trip_and_are_exact() {
        let entries = vec![b"one".to_vec(), Vec::new(), vec![7; MAX_ENTRY_BYTES]];
        let bytes = encode_bundle(&entries).unwrap();
        assert_eq!(bytes.get(..5), Some(&b"\x00\x03one"[..]));
        assert_eq!(parse_bundle(&bytes, 3), Ok(entries));
        assert_eq!(
            parse_bundle(&bytes, 2),
            Err(TileError::TrailingBytes { got: 65_537 })
        );
        assert_eq!(
            parse_bundle(&bytes, 4),
            Err(TileError::Truncated {
                expected: 4,
                got: 3
            })
        );
        let cut = bytes.split_last().unwrap().1;
        assert_eq!(
            parse_bundle(cut, 3),
            Err(TileError::Truncated {
                expected: 3,
                got: 2
            })
        );
        assert_eq!(
            parse_bundle(b"\x00", 1),
            Err(TileError::Truncated {
                expected: 1,
                got: 0
            })
        );
        assert_eq!(parse_bundle(b"", 0), Err(TileError::Width { got: 0 }));
        assert_eq!(parse_bundle(b"", 257), Err(TileError::Width { got: 257 }));
        let long = vec![0; MAX_ENTRY_BYTES + 1];
        assert_eq!(
            encode_entry(&long),
            Err(TileError::EntryTooLong { got: 65_536 })
        );
    }
}
