//! Trees and proofs against the naive model, at the sizes where tiles begin and end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::cell::Cell;

use common::{Store, leaves, naive_consistency, naive_inclusion, naive_root};
use proptest::prelude::*;
use tlog::Hash;
use tlog::hash::EMPTY_ROOT;
use tlog::proof::{ProofError, verify_consistency, verify_inclusion};
use tlog::prover::{Prover, read_inner};
use tlog::tree::{
    Compact, Edge, HashReader, TreeError, prove_consistency, prove_inclusion, root_from_tiles,
};

const SIZES: [u64; 15] = [
    1, 2, 3, 255, 256, 257, 511, 512, 513, 65_279, 65_280, 65_281, 65_535, 65_536, 65_537,
];

#[test]
fn every_root_of_a_small_log() {
    let all = leaves(1100);
    let (mut store, mut compact) = (Store::default(), Compact::new());
    for size in 0..=all.len() {
        let root = naive_root(&all[..size]);
        assert_eq!(store.edge.root(), root, "{size}");
        assert_eq!(compact.root(), root, "{size}");
        assert_eq!(
            (store.edge.size(), compact.size()),
            (size as u64, size as u64)
        );
        if let Some(next) = all.get(size) {
            store.append(std::slice::from_ref(next));
            compact.push(*next);
        }
    }
    assert_eq!(store.full.len(), 4);
}

#[test]
fn every_proof_of_small_trees() {
    let all = leaves(40);
    let store = Store::of(&all);
    for size in 0..=all.len() {
        let tree = &all[..size];
        let root = naive_root(tree);
        let reader = store.at(size as u64);
        for index in 0..size {
            let proof = prove_inclusion(index as u64, size as u64, &reader).unwrap();
            assert_eq!(proof, naive_inclusion(index, tree), "{index} in {size}");
            verify_inclusion(&tree[index], index as u64, size as u64, &proof, &root).unwrap();
        }
        for old in 0..=size {
            let proof = prove_consistency(old as u64, size as u64, &reader).unwrap();
            assert_eq!(proof, naive_consistency(old, tree), "{old} to {size}");
            let old_root = naive_root(&tree[..old]);
            verify_consistency(old as u64, &old_root, size as u64, &root, &proof).unwrap();
        }
    }
}

#[test]
fn sizes_at_the_tiles_borders() {
    let all = leaves(65_537);
    let store = Store::of(&all);
    let interesting = |size: u64| {
        let near = SIZES.iter().flat_map(|at| [at - 1, *at]);
        near.filter(move |index| *index < size)
    };
    for size in SIZES {
        let tree = &all[..usize::try_from(size).unwrap()];
        let reader = store.at(size);
        let root = naive_root(tree);
        let edge = Edge::from_tiles(size, &reader).unwrap();
        assert_eq!(edge.root(), root, "{size}");
        let prover = Prover::new(&edge);
        assert_eq!((prover.size(), prover.root()), (size, root));
        assert_eq!(root_from_tiles(size, &reader).unwrap(), root);
        for index in interesting(size) {
            let at = usize::try_from(index).unwrap();
            let proof = prove_inclusion(index, size, &reader).unwrap();
            verify_inclusion(&tree[at], index, size, &proof, &root).unwrap();
            let full = |level, index| read_inner(&reader, level, index);
            assert_eq!(
                prover.inclusion(index, full),
                Ok(proof),
                "{index} of {size}"
            );
            let old = index + 1;
            let proof = prove_consistency(old, size, &reader).unwrap();
            let old_root = naive_root(&tree[..=at]);
            verify_consistency(old, &old_root, size, &root, &proof).unwrap();
        }
    }
    // An edge read back is the edge that grew, and grows on alike.
    assert_eq!(
        Edge::from_tiles(65_537, &store.at(65_537)).unwrap(),
        store.edge
    );
    let mut edge = Edge::from_tiles(65_280, &store.at(65_280)).unwrap();
    let full = edge.append(&all[65_280..]);
    assert_eq!(edge, store.edge);
    let full: Vec<_> = full.iter().map(|tile| (tile.level, tile.index)).collect();
    assert_eq!(full, [(0, 255), (1, 0)]);
    assert_eq!(store.full.len(), 257);
    assert_eq!(edge.partial(0), &all[65_536..]);
    assert_eq!(edge.partial(1), &[] as &[Hash]);
    assert_eq!(edge.partial(2).len(), 1);
    assert_eq!(edge.partial(3), &[] as &[Hash]);
}

#[test]
fn the_empty_tree() {
    let store = Store::default();
    let reader = store.at(0);
    assert_eq!(Edge::new().root(), EMPTY_ROOT);
    assert_eq!(root_from_tiles(0, &reader), Ok(EMPTY_ROOT));
    assert_eq!(Edge::new().append(&[]), []);
    assert_eq!(prove_consistency(0, 0, &reader), Ok(vec![]));
    assert_eq!(
        prove_inclusion(0, 0, &reader),
        Err(TreeError::IndexOutOfRange { index: 0, size: 0 })
    );
    assert_eq!(
        prove_consistency(1, 0, &reader),
        Err(TreeError::SizesReversed { old: 1, new: 0 })
    );
}

/// A tree of 2^63 + 2^20 + 3 leaves that are all alike, without holding them: the rows of a level
/// are all one hash, and only the levels' numbers of rows differ.
#[test]
fn a_tree_too_large_to_hold() {
    struct Alike(Vec<Hash>, Cell<usize>);
    impl HashReader for Alike {
        type Error = ();
        fn tile(&self, level: u8, _: u64, width: u16) -> Result<Vec<u8>, ()> {
            self.1.set(self.1.get() + 1);
            Ok(self.0[usize::from(level)].repeat(width.into()))
        }
    }
    let mut rows = vec![[7; 32]];
    for level in 0..8 {
        rows.push(naive_root(&vec![rows[level]; 256]));
    }
    let reader = Alike(rows, Cell::new(0));
    let old = (1 << 62) + 12_345;
    let size = (1 << 63) + (1 << 20) + 3;
    let root = root_from_tiles(size, &reader).unwrap();
    for index in [0, 1, 1 << 40, (1 << 63) - 1, 1 << 63, size - 1] {
        let proof = prove_inclusion(index, size, &reader).unwrap();
        verify_inclusion(&[7; 32], index, size, &proof, &root).unwrap();
    }
    let old_root = root_from_tiles(old, &reader).unwrap();
    reader.1.set(0);
    let proof = prove_consistency(old, size, &reader).unwrap();
    verify_consistency(old, &old_root, size, &root, &proof).unwrap();
    assert!(reader.1.get() <= 24, "{} tiles read", reader.1.get());
    let largest = root_from_tiles(u64::MAX, &reader).unwrap();
    let proof = prove_inclusion(u64::MAX - 1, u64::MAX, &reader).unwrap();
    verify_inclusion(&[7; 32], u64::MAX - 1, u64::MAX, &proof, &largest).unwrap();
    let proof = prove_consistency(size, u64::MAX, &reader).unwrap();
    verify_consistency(size, &root, u64::MAX, &largest, &proof).unwrap();
}

#[test]
fn a_reader_is_held_to_its_promise() {
    struct Off(i32);
    impl HashReader for Off {
        type Error = &'static str;
        fn tile(&self, _: u8, _: u64, width: u16) -> Result<Vec<u8>, &'static str> {
            let length = usize::from(width) * 32;
            length
                .checked_add_signed(self.0 as isize)
                .map(|n| vec![0; n])
                .ok_or("none")
        }
    }
    for (off, got) in [(-1, 95), (1, 97), (32, 128), (-32, 64)] {
        let error = TreeError::TileLength {
            level: 0,
            index: 0,
            expected: 96,
            got,
        };
        assert_eq!(root_from_tiles(3, &Off(off)), Err(error.clone()));
        assert_eq!(prove_inclusion(1, 3, &Off(off)), Err(error.clone()));
        assert_eq!(prove_consistency(1, 3, &Off(off)), Err(error));
    }
    assert_eq!(
        prove_consistency(1, 3, &Off(-1000)),
        Err(TreeError::Read("none"))
    );
}

#[test]
fn an_edge_read_from_full_tiles_is_the_edge_that_grew() {
    /// A store that has no partial tiles.
    struct Full<'a>(&'a Store);
    impl HashReader for Full<'_> {
        type Error = String;
        fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, String> {
            assert_eq!(width, 256);
            let tile = self.0.full.get(&(level, index));
            tile.cloned().ok_or_else(|| format!("{level}/{index}"))
        }
    }
    let all = leaves(66_048);
    for size in [0usize, 256, 512, 65_280, 65_536, 65_792, 66_048] {
        let store = Store::of(&all[..size]);
        let read = Edge::from_full_tiles(size as u64, &Full(&store));
        assert_eq!(read.unwrap(), store.edge, "{size}");
    }
    let store = Store::of(&all[..512]);
    assert_eq!(
        Edge::from_full_tiles(768, &Full(&store)),
        Err(TreeError::Read("0/2".to_owned()))
    );
    let odd = Edge::from_full_tiles(511, &Full(&store)).unwrap_err();
    assert_eq!(odd.kind(), "tree-not-full");
}

/// What an attacker can do to a list of hashes: flip a bit, drop, add, repeat, or swap.
#[test]
fn an_edge_is_put_away_and_taken_up_again() {
    let sizes = [0, 1, 255, 256, 257, 511, 65_535, 65_536, 65_537, 65_792];
    let all = leaves(65_792);
    for size in sizes {
        let mut edge = Edge::new();
        edge.append(&all[..size]);
        let bytes = edge.to_bytes();
        assert_eq!(Edge::parse(&bytes), Some(edge), "{size}");
        let less = bytes.split_last().unwrap().1;
        assert_eq!(Edge::parse(less), None, "{size}");
        let more = [bytes.as_slice(), &[0; 32]].concat();
        assert_eq!(Edge::parse(&more), None, "{size}");
        // Another size has other rows.
        let mut other = bytes;
        other[7] ^= 1;
        assert_eq!(Edge::parse(&other), None, "{size}");
    }
    assert_eq!(Edge::parse(&[0; 7]), None);
    assert_eq!(Edge::parse(&[0xff; 8]), None);
}

fn mutate(proof: &[Hash], how: u8, at: usize, bit: u8) -> Vec<Hash> {
    let mut proof = proof.to_vec();
    let at = at % (proof.len() + 1);
    match how % 5 {
        0 if at < proof.len() => proof[at][usize::from(bit / 8)] ^= 1 << (bit % 8),
        1 if at < proof.len() => drop(proof.remove(at)),
        2 => proof.insert(at, [bit; 32]),
        3 if at < proof.len() => proof.insert(at, proof[at]),
        4 if at + 1 < proof.len() => proof.swap(at, at + 1),
        _ => {}
    }
    proof
}

/// The right path of a larger tree ends where a smaller tree's root would be; hashes beyond that
/// must be refused although they lead to the right roots.
#[test]
fn surplus_hashes_that_lead_to_the_root_are_refused() {
    let all = leaves(16);
    let store = Store::of(&all);
    let root = store.edge.root();
    let proof = prove_inclusion(15, 16, &store.at(16)).unwrap();
    verify_inclusion(&all[15], 15, 16, &proof, &root).unwrap();
    assert_eq!(
        verify_inclusion(&all[15], 1, 2, &proof, &root),
        Err(ProofError::TooLong { got: 4 })
    );
    let old_root = naive_root(&all[..14]);
    let proof = prove_consistency(14, 16, &store.at(16)).unwrap();
    verify_consistency(14, &old_root, 16, &root, &proof).unwrap();
    assert_eq!(
        verify_consistency(3, &old_root, 4, &root, &proof),
        Err(ProofError::TooLong { got: 4 })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn batches_do_not_matter(batches in prop::collection::vec(0_usize..700, 0..6)) {
        let all = leaves(batches.iter().sum::<usize>() as u64);
        let mut store = Store::default();
        let mut rest = all.as_slice();
        for batch in batches {
            let (now, later) = rest.split_at(batch);
            store.append(now);
            rest = later;
        }
        prop_assert_eq!(store.edge.root(), naive_root(&all));
        let once = Store::of(&all);
        prop_assert_eq!(&store.edge, &once.edge);
        prop_assert_eq!(&store.full, &once.full);
        let mut compact = Compact::new();
        all.iter().for_each(|leaf| compact.push(*leaf));
        let (size, roots) = (compact.size(), compact.roots().to_vec());
        prop_assert_eq!(Compact::from_roots(size + 1, [&roots[..], &[[0; 32]; 65]].concat()), None);
        prop_assert_eq!(Compact::from_roots(size, roots), Some(compact));
        let size = all.len() as u64;
        prop_assert_eq!(Edge::from_tiles(size, &store.at(size)).unwrap(), once.edge);
    }

    #[test]
    fn inclusion_proofs_verify_and_mutated_ones_do_not(
        size in 1_u64..1500, index in any::<u64>(), other in any::<u64>(),
        how in any::<u8>(), at in any::<usize>(), bit in any::<u8>(),
    ) {
        let all = leaves(size);
        let index = index % size;
        let leaf = all[usize::try_from(index).unwrap()];
        let store = Store::of(&all);
        let root = store.edge.root();
        let proof = prove_inclusion(index, size, &store.at(size)).unwrap();
        prop_assert_eq!(&proof, &naive_inclusion(usize::try_from(index).unwrap(), &all));
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));

        let changed = mutate(&proof, how, at, bit);
        let verified = verify_inclusion(&leaf, index, size, &changed, &root);
        prop_assert_eq!(verified.is_ok(), changed == proof);
        // Equal only where it is the same leaf.
        let other = other % size;
        let verified = verify_inclusion(&leaf, other, size, &proof, &root);
        prop_assert_eq!(verified.is_ok(), other == index);
        let mut wrong = root;
        wrong[usize::from(bit / 8)] ^= 1 << (bit % 8);
        prop_assert!(verify_inclusion(&leaf, index, size, &proof, &wrong).is_err());
        let mut wrong = leaf;
        wrong[usize::from(bit / 8)] ^= 1 << (bit % 8);
        prop_assert!(verify_inclusion(&wrong, index, size, &proof, &root).is_err());
    }

    #[test]
    fn consistency_proofs_verify_and_mutated_ones_do_not(
        new in 1_u64..1500, old in any::<u64>(),
        how in any::<u8>(), at in any::<usize>(), bit in any::<u8>(),
    ) {
        let all = leaves(new);
        let old = old % (new + 1);
        let store = Store::of(&all);
        let root = store.edge.root();
        let old_root = root_from_tiles(old, &store.at(old));
        // A partial tile of an old size is a prefix of the tile as it stands.
        let old_root = old_root.unwrap();
        prop_assert_eq!(old_root, naive_root(&all[..usize::try_from(old).unwrap()]));
        let proof = prove_consistency(old, new, &store.at(new)).unwrap();
        prop_assert_eq!(&proof, &naive_consistency(usize::try_from(old).unwrap(), &all));
        prop_assert_eq!(verify_consistency(old, &old_root, new, &root, &proof), Ok(()));

        let changed = mutate(&proof, how, at, bit);
        let verified = verify_consistency(old, &old_root, new, &root, &changed);
        prop_assert_eq!(verified.is_ok(), changed == proof);
        let mut wrong = old_root;
        wrong[usize::from(bit / 8)] ^= 1 << (bit % 8);
        prop_assert!(verify_consistency(old, &wrong, new, &root, &proof).is_err());
        if old > 0 {
            let mut wrong = root;
            wrong[usize::from(bit / 8)] ^= 1 << (bit % 8);
            prop_assert!(verify_consistency(old, &old_root, new, &wrong, &proof).is_err());
        }
    }
}
