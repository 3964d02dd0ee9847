//! A tree of which all leaf hashes are at hand: its tiles, for the proofs of [`crate::tree`].

use crate::Hash;
use crate::tile::{TILE_WIDTH, width_at};
use crate::tree::{Edge, HashReader};
use std::collections::HashMap;
use std::convert::Infallible;

/// The tiles of a tree in memory.
#[derive(Debug, Clone)]
pub struct InMemory {
    edge: Edge,
    full: HashMap<(u8, u64), Vec<u8>>,
}

impl InMemory {
    /// The tree over these leaf hashes.
    #[must_use]
    pub fn new(leaf_hashes: &[Hash]) -> Self {
        let mut edge = Edge::new();
        let full = edge.append(leaf_hashes);
        let full = full.into_iter().map(|t| ((t.level, t.index), t.bytes));
        Self {
            full: full.collect(),
            edge,
        }
    }

    /// Its number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.edge.root()
    }
}

impl HashReader for InMemory {
    type Error = Infallible;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, Infallible> {
        // What the tree does not have is too short, which the reader says.
        let whole = if width_at(self.size(), level, index) == TILE_WIDTH {
            self.full.get(&(level, index)).cloned().unwrap_or_default()
        } else {
            self.edge.partial(level).concat()
        };
        let wanted = whole.len().min(usize::from(width) * 32);
        Ok(whole.get(..wanted).unwrap_or_default().to_vec())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::hash::leaf_hash;
    use crate::proof::{verify_consistency, verify_inclusion};
    use crate::tree::{Compact, prove_consistency, prove_inclusion};

    #[test]
    fn proofs_hold_around_full_tiles_of_two_levels() {
        let leaves: Vec<Hash> = (0..65_538_u32)
            .map(|n| leaf_hash(&n.to_be_bytes()))
            .collect();
        let roots = |size: usize| {
            let mut tree = Compact::new();
            leaves.iter().take(size).for_each(|l| tree.push(*l));
            tree.root()
        };
        for new in [1, 2, 255, 256, 257, 511, 513, 65_535, 65_536, 65_537] {
            let tree = InMemory::new(leaves.get(..new).unwrap());
            let size = new as u64;
            assert_eq!((tree.size(), tree.root()), (size, roots(new)));
            for old in [1, 2, 200, 256, 257, 65_536] {
                if old > new {
                    continue;
                }
                let proof = prove_consistency(old as u64, size, &tree).unwrap();
                verify_consistency(old as u64, &roots(old), size, &tree.root(), &proof).unwrap();
                let (index, leaf) = (old as u64 - 1, leaves.get(old - 1).unwrap());
                let proof = prove_inclusion(index, size, &tree).unwrap();
                verify_inclusion(leaf, index, size, &proof, &tree.root()).unwrap();
            }
        }
    }
}
