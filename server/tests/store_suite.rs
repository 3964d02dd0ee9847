//! What any implementation of the store's three traits must do. Each suite runs on the
//! embedded one and on the model in memory: fixed promises first, then random operations
//! compared with a fresh model after each, some of them failing at a random step. After a
//! failure a reopening must show the state before the operation or after it.
#![allow(clippy::unwrap_used)]

mod failing;

use countersign_server::store::{
    Blobs, DigestHit, FileBlobs, FjallIndex, Head, Hot, HotBatch, Index, IndexBatch, ProjectHit,
    SledHot, StoreError,
};
use failing::model::{MemBlobs, MemHot, MemIndex};
use failing::power::{Journal, LOSSES, restore};
use failing::{Effect, Faults, FaultyHot, FaultyIndex, Step};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::Path;
use tempfile::TempDir;

/// Runs random cases without a file of past failures: each failure prints its input.
fn cases<S: Strategy>(number: u32, inputs: &S, run: impl Fn(S::Value)) {
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::with_cases(number)
    };
    let outcome = TestRunner::new(config).run(inputs, |input| {
        run(input);
        Ok(())
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
}

/// At which of its next steps an operation fails, with which effect.
fn failure() -> impl Strategy<Value = Option<(usize, Effect)>> {
    let effect = prop_oneof![Just(Effect::Nothing), Just(Effect::Torn), Just(Effect::All)];
    prop::option::weighted(0.3, (0usize..24, effect))
}

// ---- Hot ----

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

// ---- Blobs ----

#[derive(Debug, Clone)]
enum BlobOp {
    Put(Vec<(usize, u8)>, Option<(usize, Effect)>),
    Get(usize),
    Reopen,
}

const PATHS: [&str; 8] = [
    "tile/0/000",
    "tile/0/x001/067",
    "tile/0/x001/068",
    "tile/entries/000",
    "tile/entries/x001/x234/067",
    "tile/entries/x001/x234/068",
    "tile/1/000",
    "plain",
];
const ESCAPING: [&str; 10] = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../private/key",
    "tile/../../key",
    "tile//0",
    "tile/./0",
    "tile/.hidden",
    "tile\\0",
];

fn content(path: usize, version: u8) -> Vec<u8> {
    // Now and then empty, now and then large.
    let length = [0, 1, 8192, 20_000][(path + usize::from(version)) % 4];
    vec![version; length]
}

fn blob_ops() -> impl Strategy<Value = Vec<BlobOp>> {
    // Mostly one version a path, as in a log.
    let blob = (0..PATHS.len(), prop_oneof![9 => Just(0u8), 1 => Just(1u8)]);
    let put = (prop::collection::vec(blob, 0..4), failure());
    let op = prop_oneof![
        4 => put.prop_map(|(blobs, fail)| BlobOp::Put(blobs, fail)),
        2 => (0..PATHS.len()).prop_map(BlobOp::Get),
        1 => Just(BlobOp::Reopen),
    ];
    prop::collection::vec(op, 1..24)
}

fn blob_suite<B: Blobs, O: Fn(&Path, &Faults) -> B>(number: u32, fresh: impl Fn() -> O) {
    let dir = tempfile::tempdir().unwrap();
    let (open, faults) = (fresh(), Faults::default());
    let blobs = open(dir.path(), &faults);
    let damaged = |e: StoreError| assert_eq!(e.kind(), "store-damaged");
    for path in ESCAPING {
        damaged(blobs.get(path).unwrap_err());
        damaged(blobs.put(&[(path.to_owned(), vec![1])]).unwrap_err());
    }
    let one = |b: u8| vec![(PATHS[1].to_owned(), vec![b; 3])];
    blobs.put(&one(1)).unwrap();
    blobs.put(&one(1)).unwrap();
    damaged(blobs.put(&one(2)).unwrap_err());
    assert_eq!(blobs.get(PATHS[1]).unwrap(), Some(vec![1; 3]));
    assert_eq!(blobs.get(PATHS[2]).unwrap(), None);

    cases(number, &blob_ops(), |ops| {
        let dir = tempfile::tempdir().unwrap();
        let (open, faults, model) = (fresh(), Faults::default(), MemBlobs::default());
        let mut blobs = open(dir.path(), &faults);
        for op in ops {
            match op {
                BlobOp::Reopen => blobs = open(dir.path(), &faults),
                BlobOp::Get(path) => {
                    let path = PATHS[path];
                    assert_eq!(blobs.get(path).unwrap(), model.get(path).unwrap());
                }
                BlobOp::Put(put, fail) => {
                    let named = put
                        .iter()
                        .map(|(p, v)| (PATHS[*p].to_owned(), content(*p, *v)));
                    let put: Vec<_> = named.collect();
                    faults.arm(fail, true);
                    let got = blobs.put(&put);
                    let struck = faults.struck();
                    faults.disarm();
                    if struck && got.as_ref().is_err_and(|e| e.kind() == "store-io") {
                        // Each blob is there whole or not at all, and the same put heals it.
                        blobs = open(dir.path(), &faults);
                        for (path, bytes) in &put {
                            let stood = model.get(path).unwrap();
                            let found = blobs.get(path).unwrap();
                            assert!(found == stood || found.as_ref() == Some(bytes), "{path}");
                        }
                        let again = blobs.put(&put).map_err(|e| e.kind());
                        assert_eq!(again, model.put(&put).map_err(|e| e.kind()));
                    } else {
                        let want = model.put(&put).map_err(|e| e.kind());
                        assert_eq!(got.map_err(|e| e.kind()), want);
                    }
                }
            }
            for path in PATHS {
                assert_eq!(blobs.get(path).unwrap(), model.get(path).unwrap(), "{path}");
            }
        }
    });
}

#[test]
fn blobs_in_memory() {
    blob_suite(64, || {
        let disk = MemBlobs::default();
        move |_: &Path, _: &Faults| disk.clone()
    });
}

#[test]
fn blobs_files() {
    blob_suite(40, || {
        |dir: &Path, faults: &Faults| FileBlobs::on(faults.clone(), dir)
    });
}

/// Tries the puts with a crash at each step of the first, restarts, and puts again, as the
/// recovery does. Once that is answered, no power loss may take anything away.
#[test]
fn blobs_files_put_again_after_a_crash_are_durable() {
    let blobs = |paths: &[&str]| -> Vec<(String, Vec<u8>)> {
        let blob = |p: &&str| ((*p).to_owned(), vec![p.len() as u8; 512]);
        paths.iter().map(blob).collect()
    };
    let put = blobs(&["tile/0/x001/067", "tile/1/004", "tile/entries/x001/067"]);
    let mut crashes = 0;
    for at in 0.. {
        let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
        let open = || FileBlobs::on(faults.clone(), dir.path());
        faults.arm(Some((at, Effect::All)), true);
        if open().put(&put).is_ok() {
            break;
        }
        let first = faults.steps();
        crashes += 1;
        faults.arm(None, false);
        open().put(&put).unwrap();
        let steps = [first, faults.steps()].concat();
        for loss in LOSSES {
            let left = TempDir::new().unwrap();
            restore(&Journal::of(&steps).after(loss), dir.path(), left.path());
            let found = FileBlobs::new(left.path());
            for (path, bytes) in &put {
                let stands = found.get(path).unwrap();
                assert_eq!(
                    stands.as_ref(),
                    Some(bytes),
                    "{path}: {loss:?} after step {at}"
                );
            }
        }
    }
    assert!(crashes > 20, "{crashes}");
}

/// A full disk: the put fails, what was half written is taken away, and with room again the
/// same put succeeds.
#[test]
fn blobs_files_leave_no_half_file_on_a_full_disk() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let blobs = FileBlobs::on(faults.clone(), dir.path());
    let put = vec![("000".to_owned(), vec![7; 4096])];
    for effect in [Effect::Nothing, Effect::Torn, Effect::All] {
        faults.arm(Some((1, effect)), false);
        assert_eq!(blobs.put(&put).unwrap_err().kind(), "store-io");
        assert!(matches!(faults.steps()[1], Step::Write(..)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    faults.disarm();
    blobs.put(&put).unwrap();
    assert_eq!(blobs.get("000").unwrap(), Some(vec![7; 4096]));
}

// ---- Index ----

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
        for name in ["b", "a"] {
            let hit = DigestHit {
                index,
                project: key.to_string(),
                purl: format!("pkg:generic/p@{index}"),
                name: name.into(),
            };
            batch.digests.push(([*key; 32], hit));
        }
        let hit = ProjectHit {
            index,
            what: "release".into(),
            purl: None,
            statement: (key % 2 == 0).then(|| "s".to_owned()),
        };
        batch.projects.push(([key / 2; 32], hit));
    }
    batch
}

fn same(index: &impl Index, model: &MemIndex, paes: &[[u8; 32]]) {
    assert_eq!(index.size(), model.size());
    for pae in paes.iter().chain([&[99; 32]]) {
        assert_eq!(index.by_pae(pae), model.by_pae(pae));
    }
    for key in 0..7 {
        for limit in [0, 1, 3, 1000] {
            let key = [key; 32];
            assert_eq!(index.by_digest(&key, limit), model.by_digest(&key, limit));
            assert_eq!(index.by_project(&key, limit), model.by_project(&key, limit));
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
            inner: Box::new(disk.clone()),
        }
    });
}

#[test]
fn index_fjall() {
    index_suite(16, || {
        |dir: &Path, faults: &Faults| FaultyIndex {
            faults: faults.clone(),
            inner: Box::new(FjallIndex::open(&dir.join("index")).unwrap()),
        }
    });
}
