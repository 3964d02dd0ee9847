//! Our trees, proofs and verdicts against two independent crates, on random trees.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Store, leaves};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use tlog::Hash;
use tlog::proof::{verify_consistency, verify_inclusion};
use tlog::tile::{TILE_WIDTH, Tile};
use tlog::tree::{prove_consistency, prove_inclusion};
use tlog_tiles::tlog as go;

/// Go's tree: hashes in the order in which they are stored.
struct Stored(Vec<go::Hash>);

impl go::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<go::Hash>, tlog_tiles::Error> {
        let at = |index: &u64| self.0[usize::try_from(*index).unwrap()];
        Ok(indexes.iter().map(at).collect())
    }
}

impl Stored {
    fn of(leaves: &[Hash]) -> Self {
        let mut stored = Self(Vec::new());
        for (number, leaf) in (0..).zip(leaves) {
            let more = go::stored_hashes_for_record_hash(number, go::Hash(*leaf), &stored);
            stored.0.extend(more.unwrap());
        }
        stored
    }
}

fn ours(hashes: &[go::Hash]) -> Vec<Hash> {
    hashes.iter().map(|hash| hash.0).collect()
}

fn theirs(hashes: &[Hash]) -> Vec<go::Hash> {
    hashes.iter().copied().map(go::Hash).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ct_merkle_agrees(size in 1_u64..900, index in any::<u64>(), old in any::<u64>()) {
        let mut tree = MemoryBackedTree::<sha2::Sha256, [u8; 8]>::new();
        (0..size).for_each(|number| tree.push(number.to_be_bytes()));
        let store = Store::of(&leaves(size));
        let root = tree.root();
        prop_assert_eq!(root.as_bytes().as_slice(), store.edge.root());

        let index = index % size;
        let proof = prove_inclusion(index, size, &store.at(size)).unwrap();
        let other = tree.prove_inclusion(usize::try_from(index).unwrap());
        prop_assert_eq!(proof.concat(), other.as_bytes());

        let old = 1 + old % size;
        if old < size {
            let proof = prove_consistency(old, size, &store.at(size)).unwrap();
            let other = tree.prove_consistency(usize::try_from(size - old).unwrap());
            prop_assert_eq!(proof.concat(), other.as_bytes());
        }
    }

    #[test]
    fn tlog_tiles_agrees(size in 1_u64..900, index in any::<u64>(), old in any::<u64>()) {
        let all = leaves(size);
        let stored = Stored::of(&all);
        let store = Store::of(&all);
        let root = store.edge.root();
        prop_assert_eq!(go::tree_hash(size, &stored).unwrap().0, root);
        let index = index % size;
        let proof = prove_inclusion(index, size, &store.at(size)).unwrap();
        prop_assert_eq!(&proof, &ours(&go::prove_record(size, index, &stored).unwrap()));
        let old = 1 + old % size;
        let proof = prove_consistency(old, size, &store.at(size)).unwrap();
        prop_assert_eq!(&proof, &ours(&go::prove_tree(size, old, &stored).unwrap()));
    }

    /// The same verdict on good proofs and on damaged ones, for any claimed index and size.
    #[test]
    fn tlog_tiles_gives_the_same_verdict(
        size in 1_u64..200, index in any::<u64>(), old in any::<u64>(),
        claimed in prop::option::of((1_u64..220, any::<u64>(), any::<u64>())),
        drop_at in prop::option::of(any::<usize>()), add_at in prop::option::of(any::<usize>()),
    ) {
        let all = leaves(size);
        let (index, old) = (index % size, 1 + old % size);
        let store = Store::of(&all);
        let root = store.edge.root();
        let leaf = all[usize::try_from(index).unwrap()];
        let old_root = tlog::tree::root_from_tiles(old, &store.at(old)).unwrap();
        let mut inclusion = prove_inclusion(index, size, &store.at(size)).unwrap();
        let mut consistency = prove_consistency(old, size, &store.at(size)).unwrap();
        for proof in [&mut inclusion, &mut consistency] {
            if let Some(at) = drop_at && !proof.is_empty() {
                proof.remove(at % proof.len());
            }
            if let Some(at) = add_at {
                proof.insert(at % (proof.len() + 1), leaf);
            }
        }
        let (size, index, old) = match claimed {
            None => (size, index, old),
            Some((size, index, old)) => (size, index % (size + 2), 1 + old % (size + 1)),
        };
        let verdict = verify_inclusion(&leaf, index, size, &inclusion, &root).is_ok();
        let other = go::check_record(&theirs(&inclusion), size, go::Hash(root), index, go::Hash(leaf));
        prop_assert_eq!(verdict, other.is_ok());
        let verdict = verify_consistency(old, &old_root, size, &root, &consistency).is_ok();
        let other = go::check_tree(&theirs(&consistency), size, go::Hash(root), old, go::Hash(old_root));
        prop_assert_eq!(verdict, other.is_ok());
    }

    /// Their paths carry the tile's height; less it, they are ours.
    #[test]
    fn tile_paths_agree(level in 0_u8..64, index in any::<u64>(), shift in 0_u32..64, width in 1_u16..=256) {
        let tile = Tile { level, index: index >> shift, width };
        let path = tile.path();
        let other = tlog_tiles::Tile::new(8, level, tile.index, width.into(), false).path();
        let expected = other.replacen("tile/8/", "tile/", 1);
        prop_assert_eq!(&path, &expected);
        prop_assert_eq!(Tile::parse_path(&path), Ok(tile));
        prop_assert_eq!(path.contains(".p/"), width < TILE_WIDTH);
    }
}
