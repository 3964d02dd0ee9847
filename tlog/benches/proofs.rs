//! Proofs on a tree of one million leaves whose tiles are in memory: made and verified, at
//! indexes and sizes that differ from one to the next.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hint::black_box;
use std::sync::Arc;
use tlog::Hash;
use tlog::hash::leaf_hash;
use tlog::proof::{verify_consistency, verify_inclusion};
use tlog::prover::{Prover, read_inner};
use tlog::tree::{Edge, HashReader, prove_consistency, prove_inclusion};

const LEAVES: u64 = 1_000_000;

struct Memory {
    full: HashMap<(u8, u64), Vec<u8>>,
    edge: Edge,
}

impl HashReader for Memory {
    type Error = String;
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, String> {
        let bytes = usize::from(width) * 32;
        if let Some(tile) = self.full.get(&(level, index)) {
            return Ok(tile[..bytes].to_vec());
        }
        let rows = self.edge.partial(level);
        Ok(rows
            .iter()
            .take(usize::from(width))
            .flatten()
            .copied()
            .collect())
    }
}

fn tree() -> (Memory, Vec<Hash>) {
    let hashes: Vec<Hash> = (0..LEAVES).map(|i| leaf_hash(&i.to_be_bytes())).collect();
    let mut edge = Edge::new();
    let mut full = HashMap::new();
    for batch in hashes.chunks(1000) {
        for tile in edge.append(batch) {
            full.insert((tile.level, tile.index), tile.bytes);
        }
    }
    (Memory { full, edge }, hashes)
}

/// A fixed sequence of indexes that looks random: a linear congruence over 2^64.
fn indexes() -> impl FnMut(u64) -> u64 {
    let mut x = 1u64;
    move |below| {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x >> 20) % below
    }
}

fn proofs(c: &mut Criterion) {
    let (tree, hashes) = tree();
    let root = tree.edge.root();
    let mut next = indexes();
    c.bench_function("make an inclusion proof", |b| {
        b.iter(|| prove_inclusion(black_box(next(LEAVES)), LEAVES, &tree).unwrap());
    });
    let prover = Prover::new(&tree.edge);
    let mut next = indexes();
    c.bench_function("make an inclusion proof, the edge kept", |b| {
        let full = |level, index| read_inner(&tree, level, index);
        b.iter(|| prover.inclusion(black_box(next(LEAVES)), full).unwrap());
    });
    let mut kept = HashMap::new();
    let mut next = indexes();
    c.bench_function("make an inclusion proof, inner rows kept", |b| {
        b.iter(|| {
            let full = |level, index| match kept.entry((level, index)) {
                Entry::Occupied(found) => Ok(Arc::clone(found.get())),
                Entry::Vacant(slot) => {
                    Ok(Arc::clone(slot.insert(read_inner(&tree, level, index)?)))
                }
            };
            prover.inclusion(black_box(next(LEAVES)), full).unwrap()
        });
    });
    let mut next = indexes();
    c.bench_function("make a consistency proof", |b| {
        b.iter(|| prove_consistency(black_box(1 + next(LEAVES - 1)), LEAVES, &tree).unwrap());
    });
    let mut next = indexes();
    let made: Vec<(u64, Vec<Hash>)> = (0..1000)
        .map(|_| next(LEAVES))
        .map(|i| (i, prove_inclusion(i, LEAVES, &tree).unwrap()))
        .collect();
    let mut turn = made.iter().cycle();
    c.bench_function("verify an inclusion proof", |b| {
        b.iter(|| {
            let (i, proof) = turn.next().unwrap();
            verify_inclusion(&hashes[*i as usize], *i, LEAVES, black_box(proof), &root).unwrap();
        });
    });
    let sizes: Vec<u64> = (1..=200).map(|i| i * 4_999).collect();
    let made: Vec<(u64, Hash, Vec<Hash>)> = sizes
        .into_iter()
        .map(|size| {
            let mut old = Edge::new();
            old.append(&hashes[..size as usize]);
            (
                size,
                old.root(),
                prove_consistency(size, LEAVES, &tree).unwrap(),
            )
        })
        .collect();
    let mut turn = made.iter().cycle();
    c.bench_function("verify a consistency proof", |b| {
        b.iter(|| {
            let (size, old, proof) = turn.next().unwrap();
            verify_consistency(*size, old, LEAVES, &root, black_box(proof)).unwrap();
        });
    });
}

criterion_group!(benches, proofs);
criterion_main!(benches);
