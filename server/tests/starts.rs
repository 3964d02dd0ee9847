//! What a start goes on from: the state that the index keeps, and what becomes of an index
//! that lags, is another log's, or another version's.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Publisher, Running, artifact, copy, init, program, publisher};
use countersign_server::store::{FjallIndex, Index, IndexBatch};
use countersign_server::{Config, Server};
use ledger::Hash;
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
