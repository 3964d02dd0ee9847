//! Damage to the state, and old copies of it: nothing is cosigned after a state that is older than
//! what was answered.

use crate::bench::{Bench, NAME, log};
use countersign_server::error::Error;
use countersign_server::witness::state::{Standing, State};
use countersign_server::witness::{self, origin_hash};
use std::fs;
use std::path::{Path, PathBuf};
use tlog::vkey::VerifierKey;

/// The witness's private files after these many commits; and of an earlier one, where asked.
fn private(commits: u64, earlier: &[u64]) -> (Bench, Vec<tempfile::TempDir>) {
    let log = log("log.example", commits);
    let mut bench = Bench::new(&[&log]);
    let mut copies = Vec::new();
    for size in 0..commits {
        if earlier.contains(&size) {
            bench.handle = None;
            copies.push(copied(&bench.dir.path().join("private")));
            bench.start();
        }
        bench.grow(&log, size, size + 1);
    }
    bench.handle = None;
    (bench, copies)
}

fn copied(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy(&from.join("state"), &to.path().join("state"));
    fs::copy(from.join("state.mark"), to.path().join("state.mark")).unwrap();
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let (item, name) = {
            let item = item.unwrap();
            (item.path(), item.file_name())
        };
        if item.is_dir() {
            copy(&item, &to.join(name));
        } else {
            fs::copy(&item, to.join(name)).unwrap();
        }
    }
}

fn open(private: &Path, vkey: &VerifierKey) -> Result<Standing, Error> {
    State::open(&private.join("state"), vkey).map(|(_, standing)| standing)
}

fn size(standing: &Standing) -> u64 {
    let latest = standing.latest(&origin_hash("log.example"));
    latest.map_or(0, |l| l.size)
}

/// What opening a damaged copy says; a store that cannot go on may also end the program.
fn opened(private: PathBuf, vkey: VerifierKey) -> Option<Result<u64, &'static str>> {
    let opening = std::thread::spawn(move || {
        let opened = open(&private, &vkey);
        opened.map(|s| size(&s)).map_err(|e| e.kind())
    });
    opening.join().ok()
}

#[test]
fn a_changed_byte_is_never_an_older_state() {
    let (bench, _) = private(40, &[]);
    let from = bench.dir.path().join("private");
    let db = fs::read(from.join("state/db")).unwrap();
    let used = db.iter().rposition(|b| *b != 0).unwrap();
    let mut refused = 0;
    for n in 0..60 {
        let at = used * n / 60;
        let damaged = copied(&from);
        let mut bytes = db.clone();
        bytes[at] ^= 1;
        fs::write(damaged.path().join("state/db"), &bytes).unwrap();
        match opened(damaged.path().to_owned(), bench.vkey.clone()) {
            Some(Ok(size)) => assert_eq!(size, 40, "a changed byte at {at}"),
            Some(Err(_)) | None => refused += 1,
        }
    }
    assert!(refused > 20, "{refused} of 60: was anything damaged?");
}

#[test]
fn an_old_copy_of_the_state_is_not_gone_on_from() {
    let (bench, copies) = private(6, &[3, 5]);
    let from = bench.dir.path().join("private");
    let vkey = &bench.vkey;
    assert_eq!(size(&open(&from, vkey).unwrap()), 6);
    // The state alone is put back: one commit, and three.
    for (old, stands) in copies.iter().zip([3, 5]) {
        let mixed = copied(old.path());
        assert_eq!(
            size(&open(mixed.path(), vkey).unwrap()),
            stands,
            "with its own mark"
        );
        let mixed = copied(old.path());
        fs::copy(from.join("state.mark"), mixed.path().join("state.mark")).unwrap();
        let error = open(mixed.path(), vkey).unwrap_err();
        assert_eq!(error.kind(), "witness-state-lost");
        assert!(
            error.to_string().contains("commit 6 was answered"),
            "{error}"
        );
    }
    // The mark alone: killed between the two, the state is one ahead, and no more.
    let ahead = copied(&from);
    fs::copy(
        copies[1].path().join("state.mark"),
        ahead.path().join("state.mark"),
    )
    .unwrap();
    assert_eq!(size(&open(ahead.path(), vkey).unwrap()), 6);
    let ahead = copied(&from);
    fs::copy(
        copies[0].path().join("state.mark"),
        ahead.path().join("state.mark"),
    )
    .unwrap();
    assert_eq!(
        open(ahead.path(), vkey).unwrap_err().kind(),
        "witness-state-lost"
    );
}

#[test]
fn without_its_mark_a_state_says_nothing() {
    let (bench, _) = private(2, &[]);
    let from = bench.dir.path().join("private");
    let lost = copied(&from);
    fs::remove_file(lost.path().join("state.mark")).unwrap();
    let error = open(lost.path(), &bench.vkey).unwrap_err();
    assert_eq!(error.kind(), "witness-state-lost");
    assert!(error.to_string().contains("state.mark"), "{error}");
    // One that was made before there were marks has neither, and gets both.
    let older = copied(&from);
    fs::remove_file(older.path().join("state.mark")).unwrap();
    let db = sled::open(older.path().join("state")).unwrap();
    db.remove(b"t").unwrap();
    db.flush().unwrap();
    drop(db);
    for _ in 0..2 {
        assert_eq!(size(&open(older.path(), &bench.vkey).unwrap()), 2);
    }
    assert!(older.path().join("state.mark").exists());
    let fresh = tempfile::tempdir().unwrap();
    let vkey = witness::init(fresh.path(), NAME).unwrap();
    assert_eq!(
        size(&open(&fresh.path().join("private"), &vkey).unwrap()),
        0
    );
}
