//! A naive model of RFC 6962, transcribed from its recursive definitions, and a tile store.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use tlog::Hash;
use tlog::hash::{EMPTY_ROOT, leaf_hash, node_hash};
use tlog::tile::width_at;
use tlog::tree::{Edge, HashReader};

/// Leaf hashes of a log whose entry `i` is `i` in eight bytes.
pub fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

/// The largest power of two below `n`, by counting.
fn split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// MTH.
pub fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// PATH(m, D[n]).
pub fn naive_inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, other) = if index < left.len() {
        (naive_inclusion(index, left), right)
    } else {
        (naive_inclusion(index - left.len(), right), left)
    };
    path.push(naive_root(other));
    path
}

/// PROOF(m, D[n]), empty for m = 0.
pub fn naive_consistency(old: usize, leaves: &[Hash]) -> Vec<Hash> {
    if old == 0 {
        return Vec::new();
    }
    subproof(old, leaves, true)
}

fn subproof(old: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if known {
            Vec::new()
        } else {
            vec![naive_root(leaves)]
        };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, other) = if old <= left.len() {
        (subproof(old, left, known), right)
    } else {
        (subproof(old - left.len(), right, false), left)
    };
    proof.push(naive_root(other));
    proof
}

/// A log as its own tiles: what appends completed, and the edge's partial tiles.
#[derive(Default)]
pub struct Store {
    pub edge: Edge,
    pub full: BTreeMap<(u8, u64), Vec<u8>>,
}

impl Store {
    pub fn of(leaves: &[Hash]) -> Self {
        let mut store = Self::default();
        store.append(leaves);
        store
    }

    pub fn append(&mut self, leaves: &[Hash]) {
        for tile in self.edge.append(leaves) {
            assert_eq!(tile.bytes.len(), 8192);
            let before = self.full.insert((tile.level, tile.index), tile.bytes);
            assert!(before.is_none(), "tile {}/{} twice", tile.level, tile.index);
        }
    }

    /// Reader for the tree of `size` leaves, which may be an older one.
    pub fn at(&self, size: u64) -> At<'_> {
        At { store: self, size }
    }
}

/// Serves only what a log with this size has published: a full tile, or the partial one as it
/// stood at that size.
pub struct At<'a> {
    store: &'a Store,
    size: u64,
}

impl HashReader for At<'_> {
    type Error = String;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, String> {
        assert_ne!(width, 0, "an empty tile is never served");
        if width_at(self.size, level, index) != width {
            return Err(format!("{level}/{index}.p/{width} at {}", self.size));
        }
        let partial = self.store.edge.partial(level).concat();
        let bytes = self.store.full.get(&(level, index)).unwrap_or(&partial);
        Ok(bytes[..32 * usize::from(width)].to_vec())
    }
}

/// A file under the repository's `tests/vectors`.
pub fn vector_path(name: &str) -> PathBuf {
    let room = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    room.join("../tests/vectors").join(name)
}

pub fn vector(name: &str) -> serde_json::Value {
    let text = std::fs::read(vector_path(name)).expect(name);
    serde_json::from_slice(&text).expect(name)
}

pub fn hex32(value: &serde_json::Value) -> Hash {
    let bytes = hex::decode(value.as_str().unwrap()).unwrap();
    bytes.try_into().unwrap()
}
