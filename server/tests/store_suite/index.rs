//! The suite of the index.

use crate::failing::model::MemIndex;
use crate::failing::{Effect, Faults, FaultyIndex};
use crate::{cases, failure};
use countersign_server::store::{DigestHit, FjallIndex, Index, IndexBatch, ProjectHit};
use proptest::prelude::*;
use std::path::Path;

#[derive(Debug, Clone)]
enum IndexOp {
    /// Keys of the new entries, and how many leaves there are besides.
    Apply(Vec<u8>, u64, Option<(usize, Effect)>),
    Reopen,
}

fn index_ops() -> impl Strategy<Value = Vec<IndexOp>> {
    let apply = (prop::collection::vec(0u8..6, 0..8), 0u64..300, failure());
    let op = prop_oneof![
        6 => apply.prop_map(|(keys, more, fail)| IndexOp::Apply(keys, more, fail)),
        1 => Just(IndexOp::Reopen),
    ];
    prop::collection::vec(op, 1..16)
}

/// Rows as a release with two artifacts of one digest makes them.
fn rows(first: u64, keys: &[u8], more: u64) -> IndexBatch {
    let mut batch = IndexBatch {
        size: first + keys.len() as u64 + more,
        ..IndexBatch::default()
    };
    for (index, key) in (first..).zip(keys) {
        let mut pae = [*key; 32];
        pae[24..].copy_from_slice(&index.to_be_bytes());
        batch.paes.push((pae, index));
        // Another key of the same bytes, so that the two are told apart.
        batch.purls.push((pae, index + 1));
        if key % 5 == 0 {
            batch.restated.push((pae, index + 2));
            batch.restated.push((pae, index + 4));
        }
        for name in ["b", "a"] {
            let hit = DigestHit {
                index,
                project: ledger::hex32(&[*key; 32]),
                purl: format!("pkg:generic/p@{index}"),
                name: name.into(),
            };
            batch.digests.push(([*key; 32], hit));
        }
        let hit = ProjectHit {
            index,
            what: "release".into(),
            purl: None,
            statement: (key % 2 == 0).then(|| ledger::hex32(&[7; 32])),
        };
        batch.projects.push(([key / 2; 32], hit));
        if key % 3 == 0 {
            batch.statements.push(([*key; 32], index, vec![*key; 70]));
        }
        // The last of a batch stands.
        batch.standings.retain(|(id, _)| *id != [*key; 32]);
        batch
            .standings
            .push(([*key; 32], index.to_be_bytes().to_vec()));
    }
    batch.last_time = 2 * batch.size;
    batch
}

fn same(index: &impl Index, model: &MemIndex, paes: &[[u8; 32]]) {
    assert_eq!(index.size(), model.size());
    assert_eq!(index.state(), model.state());
    for pae in paes.iter().chain([&[99; 32]]) {
        assert_eq!(index.by_pae(pae), model.by_pae(pae));
        for below in [0, 3, 9, 40, u64::MAX] {
            assert_eq!(index.by_purl(pae, below), model.by_purl(pae, below));
        }
    }
    for key in 0..7 {
        for limit in [0, 1, 3, 1000] {
            let key = [key; 32];
            assert_eq!(index.by_digest(&key, limit), model.by_digest(&key, limit));
            for from in [0, 2, 5, u64::MAX] {
                assert_eq!(
                    index.by_project(&key, from, limit),
                    model.by_project(&key, from, limit)
                );
            }
        }
    }
}

fn index_suite<I: Index, O: Fn(&Path, &Faults) -> I>(number: u32, fresh: impl Fn() -> O) {
    cases(number, &index_ops(), |ops| {
        let dir = tempfile::tempdir().unwrap();
        let (open, faults, model) = (fresh(), Faults::default(), MemIndex::default());
        let mut index = open(dir.path(), &faults);
        let mut paes = Vec::new();
        same(&index, &model, &paes);
        for op in ops {
            match op {
                IndexOp::Reopen => {
                    drop(index);
                    index = open(dir.path(), &faults);
                }
                IndexOp::Apply(keys, more, fail) => {
                    let before = model.size().unwrap();
                    let batch = rows(before, &keys, more);
                    paes.extend(batch.paes.iter().map(|(pae, _)| *pae));
                    faults.arm(fail, true);
                    let got = index.apply(&batch);
                    faults.disarm();
                    if got.is_err() {
                        // Its size says which of the two it is; then it catches up.
                        drop(index);
                        index = open(dir.path(), &faults);
                        let size = index.size().unwrap();
                        if size == before {
                            same(&index, &model, &paes);
                            index.apply(&batch).unwrap();
                        } else {
                            assert_eq!(size, batch.size);
                        }
                    }
                    model.apply(&batch).unwrap();
                }
            }
            same(&index, &model, &paes);
        }
    });
}

#[test]
fn index_in_memory() {
    index_suite(64, || {
        let disk = MemIndex::default();
        move |_: &Path, faults: &Faults| FaultyIndex {
            faults: faults.clone(),
            inner: std::sync::Arc::new(disk.clone()),
        }
    });
}

#[test]
fn index_fjall() {
    index_suite(16, || {
        |dir: &Path, faults: &Faults| FaultyIndex {
            faults: faults.clone(),
            inner: std::sync::Arc::new(FjallIndex::open(&dir.join("index")).unwrap()),
        }
    });
}
