//! The suite of the hot state.

use crate::failing::model::MemHot;
use crate::failing::{Effect, Faults, FaultyHot, Step};
use crate::{cases, failure};
use countersign_server::store::{Head, Hot, HotBatch, SledHot};
use proptest::prelude::*;
use std::path::Path;

fn head(epoch: u64, size: u64) -> Head {
    Head {
        epoch,
        size,
        root: [size as u8; 32],
        fold: [epoch as u8; 32],
        checkpoint: format!("note {epoch} {size}"),
    }
}

fn entry(index: u64, length: usize) -> (u64, Vec<u8>) {
    (index, (0..length).map(|b| b as u8 ^ index as u8).collect())
}

#[derive(Debug, Clone)]
enum HotOp {
    /// Sizes of new entries, how many of the old to drop, and whether the head is the one
    /// that stands.
    Commit {
        lengths: Vec<usize>,
        drop: u64,
        stale: Option<(u64, u64)>,
        fail: Option<(usize, Effect)>,
    },
    Reopen,
}

fn hot_ops() -> impl Strategy<Value = Vec<HotOp>> {
    let length = prop_oneof![8 => 0usize..300, 1 => 4095usize..4098, 1 => Just(65_535)];
    let commit = (
        prop::collection::vec(length, 0..8),
        0u64..12,
        prop::option::weighted(0.2, (0u64..3, 0u64..9)),
        failure(),
    );
    let commit = commit.prop_map(|(lengths, drop, stale, fail)| HotOp::Commit {
        lengths,
        drop,
        stale,
        fail,
    });
    prop::collection::vec(prop_oneof![5 => commit, 1 => Just(HotOp::Reopen)], 1..16)
}

type State = (Option<Head>, Vec<(u64, Vec<u8>)>);

fn state(hot: &impl Hot) -> State {
    (hot.head().unwrap(), hot.entries().unwrap())
}

fn hot_suite<H: Hot, O: Fn(&Path, &Faults) -> H>(number: u32, fresh: impl Fn() -> O) {
    let dir = tempfile::tempdir().unwrap();
    let (open, faults) = (fresh(), Faults::default());
    let hot = open(dir.path(), &faults);
    assert_eq!(state(&hot), (None, Vec::new()), "a new one is empty");
    let batch = |h: Head, entries: Vec<_>, drop_below| HotBatch {
        head: h,
        entries,
        drop_below,
    };
    let first = batch(head(1, 2), vec![entry(0, 0), entry(1, 70_000)], 0);
    hot.commit(None, &first).unwrap();
    // Each part of the head counts, and a refused batch changes nothing at all.
    let mut others = vec![None];
    for change in 0..5 {
        let mut other = head(1, 2);
        match change {
            0 => other.epoch = 2,
            1 => other.size = 3,
            2 => other.root[0] ^= 1,
            3 => other.fold[0] ^= 1,
            _ => other.checkpoint.push(' '),
        }
        others.push(Some(other));
    }
    for other in others {
        let late = batch(head(3, 9), vec![entry(2, 2)], 2);
        let refused = hot.commit(other.as_ref(), &late).unwrap_err();
        assert_eq!(refused.kind(), "store-conflict", "{other:?}");
        assert_eq!(
            state(&hot),
            (Some(first.head.clone()), first.entries.clone())
        );
    }
    // Order of index, not of bytes; dropping is exact.
    let next = batch(head(1, 300), (2..300).map(|i| entry(i, 1)).collect(), 1);
    hot.commit(Some(&first.head), &next).unwrap();
    let indexes: Vec<u64> = hot.entries().unwrap().iter().map(|(i, _)| *i).collect();
    assert_eq!(indexes, (1..300).collect::<Vec<_>>());
    let before = state(&hot);
    drop(hot);
    assert_eq!(state(&open(dir.path(), &faults)), before, "reopened");

    cases(number, &hot_ops(), |ops| {
        let dir = tempfile::tempdir().unwrap();
        let (open, faults, model) = (fresh(), Faults::default(), MemHot::default());
        let mut hot = open(dir.path(), &faults);
        let mut size = 0;
        for op in ops {
            match op {
                HotOp::Reopen => {
                    drop(hot);
                    hot = open(dir.path(), &faults);
                }
                HotOp::Commit {
                    lengths,
                    drop: dropped,
                    stale,
                    fail,
                } => {
                    let standing = model.head().unwrap();
                    let expected = stale.map_or(standing, |(e, s)| Some(head(e, s)));
                    let entries: Vec<_> = (size..).zip(lengths).map(|(i, l)| entry(i, l)).collect();
                    let end = size + entries.len() as u64;
                    let new = batch(head(1, end), entries, size.saturating_sub(dropped));
                    faults.arm(fail, true);
                    let got = hot.commit(expected.as_ref(), &new);
                    let struck = faults.struck();
                    faults.disarm();
                    let before = state(&model);
                    let want = model.commit(expected.as_ref(), &new);
                    if struck && got.as_ref().is_err_and(|e| e.kind() == "store-hot") {
                        // The process would end here. Only a reopening tells which it is.
                        drop(hot);
                        hot = open(dir.path(), &faults);
                        if state(&hot) == before {
                            return;
                        }
                    } else {
                        assert_eq!(got, want);
                    }
                    if want.is_ok() {
                        size = end;
                    }
                }
            }
            assert_eq!(state(&hot), state(&model));
        }
    });
}

#[test]
fn hot_in_memory() {
    hot_suite(64, || {
        let disk = MemHot::default();
        move |_: &Path, faults: &Faults| FaultyHot {
            inner: disk.clone(),
            faults: faults.clone(),
        }
    });
}

#[test]
fn hot_sled() {
    hot_suite(24, || {
        |dir: &Path, faults: &Faults| FaultyHot {
            inner: SledHot::open_on(faults.clone(), &dir.join("hot")).unwrap(),
            faults: faults.clone(),
        }
    });
}

/// sled calls a flush done before the data survives a power loss.
#[test]
fn hot_sled_syncs_its_file_within_each_commit() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let hot = SledHot::open_on(faults.clone(), &dir.path().join("hot")).unwrap();
    let batch = |size| HotBatch {
        head: head(1, size),
        entries: vec![entry(size, 9)],
        drop_below: 0,
    };
    hot.commit(None, &batch(1)).unwrap();
    faults.arm(None, false);
    hot.commit(Some(&head(1, 1)), &batch(2)).unwrap();
    assert_eq!(faults.steps(), [Step::Sync(dir.path().join("hot/db"))]);
    faults.arm(Some((0, Effect::Nothing)), true);
    let failed = hot.commit(Some(&head(1, 2)), &batch(3)).unwrap_err();
    assert_eq!(failed.kind(), "store-hot");
}
