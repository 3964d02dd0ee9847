//! What a start goes on from: the state that the index keeps, and what becomes of an index
//! that lags, is another log's, or another version's.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Publisher, Running, artifact, copy, init, program, publisher};
use countersign_server::store::{FjallIndex, Index, IndexBatch};
use countersign_server::{Config, Server};
use ledger::Hash;
use ledger::leaf::Leaf;
use std::fs;
use std::path::{Path, PathBuf};

fn index_of(dir: &Path) -> PathBuf {
    dir.join("private/index")
}

/// Publishes a project and `n` releases; stops the server.
fn grow(dir: &Path, of: &Publisher, versions: std::ops::Range<u32>) {
    let server = Running::start(dir, &["--admit", "open"]);
    assert_eq!(server.submit(&of.first).status, 200);
    for n in versions {
        let purl = format!("pkg:generic/acme/tool@{n}");
        let release = of.envelope(&purl, &[artifact("tool", &n.to_be_bytes())]);
        assert_eq!(server.submit(&release).status, 200);
    }
    assert!(server.stop());
}

/// Starts, and compares what the index says with one that was made from nothing.
fn sound(dir: &Path, paes: &[Hash]) {
    let state = || {
        let server = Server::start(&Config::new(dir)).unwrap();
        server.wait_for_recheck();
        assert_eq!(server.log().read_only(), None);
        let (log, index) = (server.log(), &server.log().index);
        assert_eq!(index.size().unwrap(), log.view().size);
        let digest = log.published().fold.digest();
        let found: Vec<_> = paes
            .iter()
            .map(|pae| {
                (
                    index.by_pae(pae).unwrap(),
                    index.by_project(pae, 0, 100).unwrap(),
                )
            })
            .collect();
        let state = (digest, index.state().unwrap(), found);
        server.shutdown();
        state
    };
    let went_on = state();
    fs::remove_dir_all(index_of(dir)).unwrap();
    assert_eq!(state(), went_on);
    assert_eq!(state(), went_on);
}

#[test]
fn an_index_that_lags_is_caught_up_from_where_it_was() {
    let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    init(dir.path());
    let (acme, other) = (
        publisher("acme/tool", "pkg:generic/acme"),
        publisher("other/tool", "pkg:generic/other"),
    );
    grow(dir.path(), &acme, 0..3);
    copy(&index_of(dir.path()), old.path());
    grow(dir.path(), &acme, 3..150);
    grow(dir.path(), &other, 0..0);
    fs::remove_dir_all(index_of(dir.path())).unwrap();
    copy(old.path(), &index_of(dir.path()));
    sound(dir.path(), &[acme.id, other.id]);
}

#[test]
fn an_index_that_does_not_come_to_the_committed_state_is_made_anew() {
    let (dir, twin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    init(dir.path());
    init(twin.path());
    // As many leaves, and other projects.
    let (acme, other) = (
        publisher("acme/tool", "pkg:generic/acme"),
        publisher("acme/tool", "pkg:generic/acme"),
    );
    grow(dir.path(), &acme, 0..3);
    grow(twin.path(), &other, 0..3);
    fs::remove_dir_all(index_of(dir.path())).unwrap();
    copy(&index_of(twin.path()), &index_of(dir.path()));
    sound(dir.path(), &[acme.id, other.id]);
    // Rows that cannot be state at all.
    let index = FjallIndex::open(&index_of(dir.path())).unwrap();
    let batch = IndexBatch {
        size: index.size().unwrap(),
        standings: vec![(acme.id, vec![9])],
        ..IndexBatch::default()
    };
    index.apply(&batch).unwrap();
    drop(index);
    sound(dir.path(), &[acme.id, other.id]);
}

#[test]
fn what_is_frozen_or_released_stays_so_over_a_start() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let acme = publisher("acme/tool", "pkg:generic/acme");
    grow(dir.path(), &acme, 0..2);
    let data = dir.path().to_str().unwrap();
    let again = acme.envelope("pkg:generic/acme/tool@1", &[artifact("tool", b"other")]);
    let next = acme.envelope("pkg:generic/acme/tool@2", &[artifact("tool", b"2")]);
    let server = Running::start(dir.path(), &["--admit", "open"]);
    assert_eq!(server.submit(&again).kind(), "purl-released-before");
    let frozen = program(&["project", "freeze", "acme/tool", "--data", data]);
    assert!(frozen.status.success());
    assert!(server.stop());
    let server = Running::start(dir.path(), &["--admit", "open"]);
    assert_eq!(server.submit(&next).kind(), "project-frozen");
    let thawed = program(&["project", "thaw", "acme/tool", "--data", data]);
    assert!(thawed.status.success());
    assert!(server.stop());
    let server = Running::start(dir.path(), &["--admit", "open"]);
    assert_eq!(server.submit(&again).kind(), "purl-released-before");
    assert_eq!(server.submit(&next).status, 200);
    assert!(server.stop());
    sound(dir.path(), &[acme.id]);
}

/// What the check after a start comes to: whether it ended, and why the log does not sign.
fn rechecked(dir: &Path) -> (bool, Option<String>) {
    let server = Server::start(&Config::new(dir)).unwrap();
    server.wait_for_recheck();
    let ended = server.log().metrics.recheck.ended();
    let why = server.log().read_only().map(str::to_owned);
    server.shutdown();
    (ended, why)
}

/// A log of a project with three releases, all of whose index is in tables.
fn small() -> (tempfile::TempDir, Publisher) {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let acme = publisher("acme/tool", "pkg:generic/acme");
    grow(dir.path(), &acme, 0..3);
    (dir, acme)
}

/// Opens the index's database below what the server knows of it.
fn beneath<T>(dir: &Path, act: impl FnOnce(&fjall::Database) -> T) -> T {
    let db = fjall::Database::builder(index_of(dir)).open().unwrap();
    act(&db)
}

fn keyspace(db: &fjall::Database, name: &str) -> fjall::Keyspace {
    db.keyspace(name, fjall::KeyspaceCreateOptions::default)
        .unwrap()
}

#[test]
fn an_index_that_lost_a_keyspace_is_made_anew() {
    let (dir, acme) = small();
    let all = [
        "meta",
        "pae",
        "purl",
        "restated",
        "digest",
        "project",
        "statement",
        "standing",
    ];
    for name in all {
        beneath(dir.path(), |db| {
            assert!(db.keyspace_exists(name));
            db.delete_keyspace(keyspace(db, name)).unwrap();
        });
        sound(dir.path(), &[acme.id]);
        let again = acme.envelope("pkg:generic/acme/tool@1", &[artifact("tool", b"other")]);
        let server = Running::start(dir.path(), &["--admit", "open"]);
        assert_eq!(
            server.submit(&again).kind(),
            "purl-released-before",
            "{name}"
        );
        assert!(server.stop());
    }
}

/// Rows that the ledger's digest does not cover, and that decide what is admitted.
#[test]
fn a_row_that_is_lost_or_another_is_found_by_the_check_after_the_start() {
    for (table, other) in [
        ("pae", None),
        ("pae", Some(0_u64)),
        ("purl", None),
        ("purl", Some(0)),
    ] {
        let (dir, acme) = small();
        let key = match table {
            "pae" => acme.id,
            _ => ledger::sha256(b"pkg:generic/acme/tool@1"),
        };
        beneath(dir.path(), |db| {
            let rows = keyspace(db, table);
            assert!(rows.get(key).unwrap().is_some());
            match other {
                None => rows.remove(key).unwrap(),
                Some(index) => rows.insert(key, (index + 77).to_be_bytes()).unwrap(),
            }
        });
        let (ended, why) = rechecked(dir.path());
        assert!(ended);
        assert!(
            why.is_some_and(|w| w.contains("saved-index")),
            "{table} {other:?}"
        );
    }
}

#[test]
fn a_statement_kept_with_another_time_is_found_by_the_check_after_the_start() {
    let (dir, acme) = small();
    let index = FjallIndex::open(&index_of(dir.path())).unwrap();
    let state = index.state().unwrap();
    let (id, at, leaf) = state.statements.first().unwrap();
    assert_eq!(*id, acme.id);
    let Leaf::Statement(mut statement) = Leaf::parse(leaf).unwrap() else {
        panic!("no statement");
    };
    statement.time -= 1;
    let later = Leaf::Statement(statement).to_bytes().unwrap();
    let batch = IndexBatch {
        size: state.size,
        last_time: state.last_time,
        statements: vec![(*id, *at, later)],
        ..IndexBatch::default()
    };
    index.apply(&batch).unwrap();
    drop(index);
    let (ended, why) = rechecked(dir.path());
    assert!(ended);
    assert!(why.is_some_and(|w| w.contains("saved-index")));
}

#[test]
fn a_leaf_that_cannot_be_read_does_not_end_the_check_after_the_start() {
    let (dir, _) = small();
    let server = Server::start(&Config::new(dir.path())).unwrap();
    server.wait_for_recheck();
    server.fill(vec![b"no leaf at all".to_vec()]).unwrap();
    server.shutdown();
    assert_eq!(rechecked(dir.path()), (true, None));
}
