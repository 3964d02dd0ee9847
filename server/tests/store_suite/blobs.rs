//! The suite of the blobs.

use crate::failing::model::MemBlobs;
use crate::failing::power::{Journal, LOSSES, restore};
use crate::failing::{Effect, Faults, Step};
use crate::{cases, failure};
use countersign_server::store::{Blobs, FileBlobs, StoreError};
use proptest::prelude::*;
use std::path::Path;
use tempfile::TempDir;

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
                        // Each blob is there whole or not at all, and the same put heals it. It may
                        // name a path twice, with other bytes.
                        blobs = open(dir.path(), &faults);
                        for (path, _) in &put {
                            let stood = model.get(path).unwrap();
                            let found = blobs.get(path).unwrap();
                            let whole = |(p, b): &(_, _)| p == path && found.as_ref() == Some(b);
                            assert!(found == stood || put.iter().any(whole), "{path}");
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
