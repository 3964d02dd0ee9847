//! Building the Merkle tree and its proofs from tiles (RFC 9162 section 2.1, c2sp.org/tlog-tiles).
//!
//! The root of n leaves is MTH: of one leaf its hash; of more, `node(MTH(first k), MTH(rest))` with
//! k the largest power of two below n. That is the same as joining neighbours level by level and
//! promoting a lone last node unchanged, so a tree can be composed of 256-wide tiles: a full tile's
//! root is a row of the level above, and at the right edge the root of an incomplete tile stands as
//! one more, last row above it. Inside a tile `rs_merkle` computes roots and paths (at most 256
//! leaves, where it is fast); everything across tiles is here.
//!
//! - [`prove_inclusion`] gives the path of RFC 9162 section 2.1.3.1, [`prove_consistency`] the one of
//!   section 2.1.4.1, both with the hash nearest the leaves first. They read a few tiles a level.
//! - [`Edge`] is what a log must hold in memory to append: the rows of each level's partial tile, at
//!   most 255 x 8 hashes. Appending costs O(batch + log n), whatever the tree's size.
//! - [`Compact`] is the smallest state that appends one leaf at a time: the roots of the complete
//!   subtrees, one a set bit of the size.
//!
//! Proofs made here are checked by [`crate::proof`], which shares no code with this module.

use std::collections::BTreeMap;

use rs_merkle::MerkleTree;

use crate::Hash;
use crate::hash::{EMPTY_ROOT, Rfc6962, node_hash};
use crate::tile::{TILE_WIDTH, Tile, partial_width, rows, width_at};

/// Levels of tiles above leaves whose number fits in 64 bits.
const MAX_LEVELS: u8 = 8;

/// Where a tree's tiles are read from: files, a database, the network.
pub trait HashReader {
    /// Why a tile could not be read.
    type Error;

    /// The first `width` (1 to 256) hashes of tile `index` of `level`: 32 x `width` bytes.
    ///
    /// # Errors
    /// Whatever the source reports.
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, Self::Error>;
}

impl<R: HashReader + ?Sized> HashReader for &R {
    type Error = R::Error;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, Self::Error> {
        (**self).tile(level, index, width)
    }
}

/// Why a root or a proof could not be computed. `E` is the reader's error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError<E> {
    /// The reader failed.
    #[error("a tile could not be read")]
    Read(E),
    /// The reader gave another number of bytes than was asked for.
    #[error("tile {index} of level {level}: expected {expected} bytes, got {got}")]
    TileLength {
        /// The tile's level.
        level: u8,
        /// The tile's number in its level.
        index: u64,
        /// Bytes asked for.
        expected: usize,
        /// Bytes received.
        got: usize,
    },
    /// The leaf index is not below the tree size.
    #[error("leaf index {index} is not in a tree of {size} leaves")]
    IndexOutOfRange {
        /// The index asked for.
        index: u64,
        /// The tree's size in leaves.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("old size {old} is larger than new size {new}")]
    SizesReversed {
        /// The older tree's size in leaves.
        old: u64,
        /// The newer tree's size in leaves.
        new: u64,
    },
    /// The tree ends in the middle of a tile, whose leaf hashes are in no full tile.
    #[error("a tree of {0} leaves does not follow from full tiles alone")]
    NotFull(u64),
}

impl<E> TreeError<E> {
    /// Stable kebab-case name of the error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read(_) => "tile-unreadable",
            Self::TileLength { .. } => "tile-length",
            Self::IndexOutOfRange { .. } => "index-out-of-range",
            Self::SizesReversed { .. } => "sizes-reversed",
            Self::NotFull(_) => "tree-not-full",
        }
    }
}

/// Root of the tree of `size` leaves, from its right edge.
///
/// # Errors
/// [`TreeError::Read`] and [`TreeError::TileLength`].
pub fn root_from_tiles<R: HashReader>(size: u64, reader: &R) -> Result<Hash, TreeError<R::Error>> {
    Ok(Edge::from_tiles(size, reader)?.root())
}

/// Inclusion proof of leaf `index` in the tree of `size` leaves (RFC 9162 section 2.1.3.1).
///
/// # Errors
/// [`TreeError::IndexOutOfRange`], [`TreeError::Read`] and [`TreeError::TileLength`].
pub fn prove_inclusion<R: HashReader>(
    index: u64,
    size: u64,
    reader: &R,
) -> Result<Vec<Hash>, TreeError<R::Error>> {
    if index >= size {
        return Err(TreeError::IndexOutOfRange { index, size });
    }
    let edge = Edge::from_tiles(size, reader)?.ragged_rows();
    let mut proof = Vec::new();
    for (level, ragged) in (0..MAX_LEVELS).zip(&edge) {
        let row = rows(index, level);
        let tile = row / 256;
        let [offset, ..] = row.to_le_bytes();
        if tile == rows(size, level) / 256 {
            proof.extend(tile_path(ragged, offset));
        } else {
            proof.extend(tile_path(&read(reader, level, tile, TILE_WIDTH)?, offset));
        }
    }
    Ok(proof)
}

/// Consistency proof between the trees of `old` and `new` leaves (RFC 9162 section 2.1.4.1). Empty
/// where `old` is 0 or equals `new`.
///
/// # Errors
/// [`TreeError::SizesReversed`], [`TreeError::Read`] and [`TreeError::TileLength`].
pub fn prove_consistency<R: HashReader>(
    old: u64,
    new: u64,
    reader: &R,
) -> Result<Vec<Hash>, TreeError<R::Error>> {
    if old > new {
        return Err(TreeError::SizesReversed { old, new });
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    // SUBPROOF, walked from the root down: [start, end) holds the old tree's end, and what each
    // step leaves aside is one hash of the proof.
    let (mut start, mut end) = (0_u64, new);
    let mut aside = Vec::new();
    while old != end {
        let split = start + largest_power_below(end - start);
        if old <= split {
            aside.push((split, end));
            end = split;
        } else {
            aside.push((start, split));
            start = split;
        }
    }
    // The verifier knows the old root, so a last range that is the whole old tree is left out.
    if start != 0 {
        aside.push((start, end));
    }
    let mut tiles = Tiles::new(new, reader);
    let ranges = aside.into_iter().rev();
    ranges
        .map(|(start, end)| tiles.range_root(start, end))
        .collect()
}

/// Largest power of two strictly below `n`, for n of 2 or more.
fn largest_power_below(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// Tiles of one tree, each read once.
struct Tiles<'a, R> {
    size: u64,
    reader: &'a R,
    read: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl<'a, R: HashReader> Tiles<'a, R> {
    fn new(size: u64, reader: &'a R) -> Self {
        let read = BTreeMap::new();
        Self { size, reader, read }
    }

    /// Root of the leaves `start..end`, where `start` is a multiple of the smallest power of two
    /// that is not below `end - start` (as MTH's splits always give).
    fn range_root(&mut self, start: u64, end: u64) -> Result<Hash, TreeError<R::Error>> {
        let mut parts = Vec::new();
        let mut position = start;
        while position < end {
            let height = (end - position).ilog2();
            parts.push(self.complete_root(position, height)?);
            position += 1 << height;
        }
        Ok(join(&parts))
    }

    /// Root of the complete subtree of 2^height leaves that begins with leaf `start`: some rows of
    /// one tile, as a tile is eight levels high.
    fn complete_root(&mut self, start: u64, height: u32) -> Result<Hash, TreeError<R::Error>> {
        let level = u8::try_from(height / 8).unwrap_or(MAX_LEVELS);
        let row = rows(start, level);
        let index = row / 256;
        let width = width_at(self.size, level, index);
        let hashes = match self.read.entry((level, index)) {
            std::collections::btree_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(read(self.reader, level, index, width)?)
            }
        };
        let offset = usize::from(row.to_le_bytes()[0]);
        let within = hashes.get(offset..offset + (1 << (height % 8)));
        Ok(tile_root(within.unwrap_or_default()))
    }
}

/// Joins the roots of subtrees that shrink from left to right: from the right, as MTH does.
fn join(parts: &[Hash]) -> Hash {
    let joined = parts.iter().rev().copied();
    joined
        .reduce(|right, left| node_hash(&left, &right))
        .unwrap_or(EMPTY_ROOT)
}

/// Root over at most 256 rows.
fn tile_root(hashes: &[Hash]) -> Hash {
    if let [only] = hashes {
        return *only;
    }
    let tree = MerkleTree::<Rfc6962>::from_leaves(hashes);
    tree.root().unwrap_or(EMPTY_ROOT)
}

/// Path of row `offset` within its tile, the sibling first.
fn tile_path(hashes: &[Hash], offset: u8) -> Vec<Hash> {
    if hashes.len() < 2 {
        return Vec::new();
    }
    let tree = MerkleTree::<Rfc6962>::from_leaves(hashes);
    tree.proof(&[offset.into()]).proof_hashes().to_vec()
}

/// Reads rows and holds the reader to the length that it promises.
pub(crate) fn read<R: HashReader>(
    reader: &R,
    level: u8,
    index: u64,
    width: u16,
) -> Result<Vec<Hash>, TreeError<R::Error>> {
    let bytes = reader.tile(level, index, width).map_err(TreeError::Read)?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() != usize::from(width) {
        return Err(TreeError::TileLength {
            level,
            index,
            expected: 32 * usize::from(width),
            got: bytes.len(),
        });
    }
    Ok(hashes.to_vec())
}

/// A tile that an append completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullTile {
    /// The tile's level.
    pub level: u8,
    /// The tile's number in its level.
    pub index: u64,
    /// Its 256 hashes, 8192 bytes.
    pub bytes: Vec<u8>,
}

impl FullTile {
    /// Which tile it is.
    #[must_use]
    pub fn tile(&self) -> Tile {
        Tile {
            level: self.level,
            index: self.index,
            width: TILE_WIDTH,
        }
    }
}

/// The right edge of a tree: for each level the rows of its partial tile. Enough to append and to
/// compute the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// Per level 0 to 255 rows; the last level has at least one, so equal trees are equal edges.
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of the empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of the tree of `size` leaves, from at most one partial tile a level.
    ///
    /// # Errors
    /// [`TreeError::Read`] and [`TreeError::TileLength`].
    pub fn from_tiles<R: HashReader>(size: u64, reader: &R) -> Result<Self, TreeError<R::Error>> {
        let mut levels = Vec::new();
        for level in (0..MAX_LEVELS).take_while(|level| rows(size, *level) > 0) {
            let width = partial_width(size, level);
            levels.push(match width {
                0 => Vec::new(),
                _ => read(reader, level, rows(size, level) / 256, width)?,
            });
        }
        Ok(Self { size, levels })
    }

    /// The same, of a tree whose last tile of leaf hashes is full, and of which only full tiles
    /// are stored: a row of the level above is the root of a full tile, so this reads at most 255
    /// tiles a level.
    ///
    /// # Errors
    /// [`TreeError::Read`] and [`TreeError::TileLength`]; [`TreeError::NotFull`] where `size` is no
    /// multiple of 256.
    pub fn from_full_tiles<R: HashReader>(
        size: u64,
        reader: &R,
    ) -> Result<Self, TreeError<R::Error>> {
        if partial_width(size, 0) != 0 {
            return Err(TreeError::NotFull(size));
        }
        let mut levels = Vec::new();
        let mut below = None;
        for level in (0..MAX_LEVELS).take_while(|level| rows(size, *level) > 0) {
            let all = rows(size, level);
            let first = all - u64::from(partial_width(size, level));
            let row = |index| match below {
                None => Ok(EMPTY_ROOT),
                Some(below) => Ok(tile_root(&read(reader, below, index, TILE_WIDTH)?)),
            };
            levels.push((first..all).map(row).collect::<Result<Vec<_>, _>>()?);
            below = Some(level);
        }
        Ok(Self { size, levels })
    }

    /// The edge put away: the size in 8 bytes big-endian, then the rows of each level's partial
    /// tile, level 0 first. How many rows a level has follows from the size.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        for rows in &self.levels {
            bytes.extend_from_slice(&rows.concat());
        }
        bytes
    }

    /// Reads [`Edge::to_bytes`], strictly; `None` for anything else. Whether its rows are those
    /// of the tree that is meant shows in [`Edge::root`] alone.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk::<8>()?;
        let size = u64::from_be_bytes(*size);
        let (mut hashes, surplus) = rest.as_chunks::<32>();
        let mut levels = Vec::new();
        for level in (0..MAX_LEVELS).take_while(|level| rows(size, *level) > 0) {
            let (now, later) = hashes.split_at_checked(partial_width(size, level).into())?;
            levels.push(now.to_vec());
            hashes = later;
        }
        (surplus.is_empty() && hashes.is_empty()).then_some(Self { size, levels })
    }

    /// Leaves in the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of the tree; [`EMPTY_ROOT`] for no leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let top = self.ragged_rows().pop();
        top.map_or(EMPTY_ROOT, |rows| tile_root(&rows))
    }

    /// Levels of tiles that the tree has at its edge.
    pub(crate) fn levels(&self) -> u8 {
        u8::try_from(self.levels.len()).unwrap_or(MAX_LEVELS)
    }

    /// The rows of the partial tile of `level`: 0 to 255 of them.
    #[must_use]
    pub fn partial(&self, level: u8) -> &[Hash] {
        let rows = self.levels.get(usize::from(level));
        rows.map_or(&[], Vec::as_slice)
    }

    /// Appends leaves and returns the tiles that became full, lower levels first among those of
    /// one leaf. O(batch + log n).
    pub fn append(&mut self, leaf_hashes: &[Hash]) -> Vec<FullTile> {
        let mut full = Vec::new();
        let mut rest = leaf_hashes;
        while !rest.is_empty() {
            let room = usize::from(TILE_WIDTH - partial_width(self.size, 0));
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.size += now.len() as u64;
            self.add_rows(0, now, &mut full);
            rest = later;
        }
        full
    }

    /// Adds rows, no more than fit in the level's partial tile; `size` already counts them.
    fn add_rows(&mut self, level: u8, hashes: &[Hash], full: &mut Vec<FullTile>) {
        let at = usize::from(level);
        if self.levels.len() <= at {
            self.levels.resize_with(at + 1, Vec::new);
        }
        let Some(rows_here) = self.levels.get_mut(at) else {
            return;
        };
        rows_here.extend_from_slice(hashes);
        if rows_here.len() < usize::from(TILE_WIDTH) {
            return;
        }
        let root = tile_root(rows_here);
        full.push(FullTile {
            level,
            index: rows(self.size, level) / 256 - 1,
            bytes: rows_here.concat(),
        });
        rows_here.clear();
        self.add_rows(level + 1, &[root], full);
    }

    /// Per level the partial tile's rows with, last, the root of what is incomplete below it.
    fn ragged_rows(&self) -> Vec<Vec<Hash>> {
        let mut below = None;
        let mut ragged = Vec::with_capacity(self.levels.len());
        for rows in &self.levels {
            let mut rows = rows.clone();
            rows.extend(below);
            below = (!rows.is_empty()).then(|| tile_root(&rows));
            ragged.push(rows);
        }
        ragged
    }
}

/// A compact range: the roots of a tree's complete subtrees, largest first. For small trees that
/// only need a root, such as a project's list of statements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compact {
    size: u64,
    roots: Vec<Hash>,
}

impl Compact {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` leaves whose complete subtrees have these roots, largest first; `None`
    /// where there cannot be so many.
    #[must_use]
    pub fn from_roots(size: u64, roots: Vec<Hash>) -> Option<Self> {
        let right = u32::try_from(roots.len()).is_ok_and(|n| n == size.count_ones());
        right.then_some(Self { size, roots })
    }

    /// The roots of the complete subtrees, largest first.
    #[must_use]
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// Appends one leaf.
    pub fn push(&mut self, leaf_hash: Hash) {
        let mut hash = leaf_hash;
        // Each trailing one of the size is a complete subtree that the new one joins.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// Leaves in the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of the tree; [`EMPTY_ROOT`] for no leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        join(&self.roots)
    }
}
