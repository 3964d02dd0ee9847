//! The prefix tree against a naive model, from its definition.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tlog::Hash;
use tlog::hash::sha256;
use tlog::prefix::{MapProof, PrefixError, PrefixTree, leaf_hash, node_hash, verify};

type Map = BTreeMap<Hash, Hash>;

/// Root by the definition alone: split sorted entries by one bit after the other.
fn naive_root(entries: &[(Hash, Hash)], depth: usize) -> Hash {
    match entries {
        [] => [0; 32],
        [(key, value)] => leaf_hash(key, value),
        _ => {
            let zero = |(key, _): &(Hash, Hash)| key[depth / 8] >> (7 - depth % 8) & 1 == 0;
            let (left, right) = entries.split_at(entries.partition_point(zero));
            node_hash(&naive_root(left, depth + 1), &naive_root(right, depth + 1))
        }
    }
}

fn model_root(map: &Map) -> Hash {
    let entries: Vec<_> = map.iter().map(|(key, value)| (*key, *value)).collect();
    naive_root(&entries, 0)
}

fn tree_of<'a>(entries: impl IntoIterator<Item = (&'a Hash, &'a Hash)>) -> PrefixTree {
    let mut tree = PrefixTree::new();
    for (key, value) in entries {
        tree.insert(*key, *value);
    }
    tree
}

/// Keys that often share long prefixes: a base with one bit flipped, or a hash.
fn key() -> impl Strategy<Value = Hash> {
    prop_oneof![
        any::<u16>().prop_map(|n| sha256(&n.to_be_bytes())),
        (any::<u8>(), 0_u8..3).prop_map(|(bit, base)| {
            let mut key = [base * 0x55; 32];
            key[usize::from(bit / 8)] ^= 0x80 >> (bit % 8);
            key
        }),
    ]
}

fn value() -> impl Strategy<Value = Hash> {
    any::<u8>().prop_map(|byte| [byte; 32])
}

fn entries() -> impl Strategy<Value = Vec<(Hash, Hash)>> {
    prop::collection::vec((key(), value()), 0..60)
}

#[test]
fn keys_that_differ_in_the_last_bit_only() {
    let (low, mut high) = ([0xaa; 32], [0xaa; 32]);
    high[31] ^= 1;
    let mut tree = PrefixTree::new();
    tree.insert(low, [1; 32]);
    let alone = tree.root();
    tree.insert(high, [2; 32]);
    let proof = tree.prove(&high);
    assert_eq!(proof.siblings.len(), 256);
    assert_eq!(verify(&tree.root(), &high, &proof), Ok(Some([2; 32])));
    assert_eq!(tree.remove(&high), Some([2; 32]));
    assert_eq!(tree.root(), alone);
    assert_eq!(tree.root(), leaf_hash(&low, &[1; 32]));

    let deep = MapProof {
        found: None,
        siblings: vec![[0; 32]; 257],
    };
    assert_eq!(
        verify(&alone, &low, &deep),
        Err(PrefixError::TooDeep { got: 257 })
    );
}

/// The leaf of another subtree does not show that a key is absent.
#[test]
fn a_leaf_off_the_path_proves_nothing() {
    let (left, right, absent) = ([0; 32], [0xff; 32], [1; 32]);
    let tree = tree_of([(&left, &left), (&right, &right)]);
    let proof = tree.prove(&absent);
    assert_eq!(proof.found, Some((left, left)));
    assert_eq!(verify(&tree.root(), &absent, &proof), Ok(None));
    let off = tree.prove(&right);
    assert_eq!(
        verify(&tree.root(), &absent, &off),
        Err(PrefixError::WrongPath {
            expected: 1,
            got: 0
        })
    );
}

#[test]
fn clones_are_snapshots() {
    let mut tree = tree_of([(&[1; 32], &[1; 32]), (&[2; 32], &[2; 32])]);
    let (before, root) = (tree.clone(), tree.root());
    tree.insert([3; 32], [3; 32]);
    tree.remove(&[1; 32]);
    tree.insert([2; 32], [9; 32]);
    assert_eq!(before.root(), root);
    assert_eq!(before.get(&[1; 32]), Some([1; 32]));
    assert_eq!(before.get(&[2; 32]), Some([2; 32]));
    assert_eq!((before.len(), tree.len()), (2, 2));
}

proptest! {
    #[test]
    fn root_depends_on_the_entries_only(entries in entries(), seed in any::<u64>()) {
        let map: Map = entries.iter().copied().collect();
        let mut shuffled: Vec<_> = map.iter().collect();
        shuffled.sort_by_key(|(key, _)| sha256(&[&seed.to_be_bytes(), &key[..]].concat()));
        let tree = tree_of(shuffled);
        prop_assert_eq!(tree.root(), model_root(&map));
        prop_assert_eq!(tree.root(), tree_of(&map).root());
        prop_assert_eq!(tree.len(), map.len());
    }

    #[test]
    fn follows_a_map_step_by_step(steps in prop::collection::vec((key(), prop::option::of(value())), 0..80)) {
        let (mut tree, mut map) = (PrefixTree::new(), Map::new());
        for (key, value) in steps {
            match value {
                Some(value) => prop_assert_eq!(tree.insert(key, value), map.insert(key, value)),
                None => prop_assert_eq!(tree.remove(&key), map.remove(&key)),
            }
            prop_assert_eq!(tree.root(), model_root(&map));
            prop_assert_eq!((tree.len(), tree.is_empty()), (map.len(), map.is_empty()));
        }
    }

    #[test]
    fn many_at_once_are_each_of_them(stand in entries(), more in entries()) {
        let mut tree = tree_of(stand.iter().map(|(key, value)| (key, value)));
        let before = tree.clone();
        let mut map: Map = stand.iter().copied().collect();
        map.extend(more.iter().copied());
        tree.extend(more.iter().copied());
        prop_assert_eq!(tree.root(), model_root(&map));
        prop_assert_eq!(tree.len(), map.len());
        for (key, value) in &map {
            prop_assert_eq!(tree.get(key), Some(*value));
        }
        let stand: Map = stand.into_iter().collect();
        prop_assert_eq!(before.root(), model_root(&stand), "a clone keeps what it had");
    }

    #[test]
    fn removing_restores(entries in entries(), key in key(), value in value()) {
        let mut tree = tree_of(entries.iter().map(|(key, value)| (key, value)));
        let root = tree.root();
        match tree.insert(key, value) {
            None => prop_assert_eq!(tree.remove(&key), Some(value)),
            Some(old) => prop_assert_eq!(tree.insert(key, old), Some(value)),
        }
        prop_assert_eq!(tree.root(), root);
    }

    #[test]
    fn proofs_verify_and_mutated_ones_do_not(
        entries in entries(), key in key(), how in 0_u8..7, at in any::<usize>(), bit in any::<u8>(),
    ) {
        let tree = tree_of(entries.iter().map(|(key, value)| (key, value)));
        let root = tree.root();
        let flip = |hash: &mut Hash| hash[usize::from(bit / 8)] ^= 1 << (bit % 8);
        let keys = entries.iter().map(|(key, _)| *key).chain([key]);
        for key in keys {
            let proof = tree.prove(&key);
            prop_assert_eq!(verify(&root, &key, &proof), Ok(tree.get(&key)));
            let mut wrong = root;
            flip(&mut wrong);
            prop_assert!(verify(&wrong, &key, &proof).is_err());

            let mut changed = proof.clone();
            let length = changed.siblings.len();
            let at = at % (length + 1);
            match (how, &mut changed.found) {
                (0, _) if at < length => flip(&mut changed.siblings[at]),
                (1, _) if at < length => drop(changed.siblings.remove(at)),
                (2, _) => changed.siblings.insert(at, [0; 32]),
                (3, _) if at + 1 < length => changed.siblings.swap(at, at + 1),
                (4, Some((_, value))) => flip(value),
                (5, Some((key, _))) => flip(key),
                (6, found) => *found = found.is_none().then_some((key, [1; 32])),
                _ => {}
            }
            if changed != proof {
                prop_assert!(verify(&root, &key, &changed).is_err());
            }
        }
    }
}

#[test]
fn each_refusal_of_a_proof_has_its_name() {
    let (key, other) = ([0x00; 32], [0x80; 32]);
    let deep = MapProof {
        found: None,
        siblings: vec![[0; 32]; 257],
    };
    let astray = MapProof {
        found: Some((other, [1; 32])),
        siblings: vec![[0; 32]],
    };
    let kind = |proof: &MapProof| verify(&[0; 32], &key, proof).unwrap_err().kind();
    assert_eq!(kind(&deep), "map-proof-too-deep");
    assert_eq!(kind(&astray), "map-proof-wrong-path");
    let wrong = MapProof {
        siblings: vec![[1; 32]],
        ..MapProof::default()
    };
    assert_eq!(kind(&wrong), "map-root-mismatch");
}
