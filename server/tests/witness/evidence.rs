//! What contradicts what was cosigned is kept, bounded, and says what it proves.

use crate::bench::{Bench, log, trust};
use crate::played::Played;
use ledger::evidence::{Evidence, Fork};
use tlog::witness::AddCheckpoint;

/// What a file proves to somebody who has nothing else, if anything.
fn proves(file: &[u8]) -> Option<Fork> {
    Evidence::parse(file).ok()?.verify().ok()
}

fn metric(bench: &Bench, finding: &str, count: usize) {
    let page = bench.get("/metrics").body;
    let row = format!("countersign_witness_evidence{{finding=\"{finding}\"}} {count}");
    assert!(page.lines().any(|l| l == row), "{row}: {page}");
}

#[test]
fn a_fork_is_kept_with_what_proves_it() {
    let log = log("log.example", 40);
    let fork = log.fork(3, 1);
    let bench = Bench::new(&[&log]);
    let time = bench.grow(&log, 0, 5);
    assert!(bench.evidence().is_empty());
    // The same size; the same, by one who says another old size; a larger tree of the other
    // history, whose own proof shows the other root at 5.
    assert_eq!(bench.post(&fork.body(5, 5)).status, 422);
    assert_eq!(bench.post(&fork.body(5, 5)).status, 422);
    assert_eq!(bench.post(&fork.body(0, 5)).status, 409);
    assert_eq!(bench.evidence().len(), 1);
    assert_eq!(bench.post(&fork.body(5, 9)).status, 422);
    let files = bench.evidence();
    assert_eq!(files.len(), 2);
    let mut vkeys = log.vkeys();
    vkeys.sort();
    for ((name, file), size) in files.iter().zip([5, 9]) {
        assert!(
            name.starts_with("fork-") && name.ends_with(".json"),
            "{name}"
        );
        let proven = proves(file).expect("a fork");
        assert_eq!(proven.origin, "log.example");
        let (older, newer) = (&proven.older, &proven.newer);
        assert_eq!((older.size, older.root), (5, log.root(5)));
        assert_eq!((newer.size, newer.root), (size, fork.root(size)));
        assert_eq!(proven.root, fork.root(5));
        // When, by the one witness that saw it.
        assert_eq!(older.cosigned, [(bench.vkey.name().to_owned(), time)]);
        assert!(newer.cosigned.is_empty());
        let evidence = Evidence::parse(file).unwrap();
        assert_eq!(evidence.vkeys, vkeys);
        assert_eq!(evidence.witnesses, [bench.vkey.to_string()]);
    }
    metric(&bench, "fork", 2);
    bench.grow(&log, 5, 40);
}

#[test]
fn two_histories_that_were_both_extended_are_told_by_the_request_s_own_proof() {
    // At sizes that are no power of two, and up to the whole tree.
    for (at, old, new) in [(0, 3, 4), (2, 3, 40), (5, 6, 7), (9, 21, 33), (1, 39, 40)] {
        let log = log("log.example", 40);
        let fork = log.fork(at, 1);
        let bench = Bench::new(&[&log]);
        bench.grow(&log, 0, old);
        assert_eq!(bench.post(&fork.body(old, new)).status, 422);
        let files = bench.evidence();
        let proven = proves(&files[0].1).expect("a fork");
        assert_eq!((proven.older.size, proven.newer.size), (old, new));
        assert_eq!(proven.root, fork.root(old));
    }
}

#[test]
fn what_is_not_proven_is_said_in_words_and_accuses_nobody() {
    let log = log("log.example", 40);
    let fork = log.fork(3, 1);
    let bench = Bench::new(&[&log]);
    // At a power of two the proof says nothing of the old root: it is no proof of a fork.
    bench.grow(&log, 0, 8);
    assert_eq!(bench.post(&fork.body(8, 12)).status, 422);
    // The log's own checkpoint, sent by a stranger with a wrong proof.
    let mut wrong = log.proof(8, 15);
    wrong[0] = [1; 32];
    let wrong = AddCheckpoint::body(8, &wrong, &log.note(15));
    assert_eq!(bench.post(&wrong).status, 422);
    let files = bench.evidence();
    assert_eq!(files.len(), 2);
    for (name, file) in &files {
        assert!(
            name.starts_with("degraded-") && name.ends_with(".txt"),
            "{name}"
        );
        assert_eq!(proves(file), None);
        let text = std::str::from_utf8(file).unwrap();
        assert!(text.starts_with("degraded: the proof"), "{text}");
        assert!(text.contains("This accuses nobody"), "{text}");
        // Whatever a note says, its lines are set in.
        let cosigned = bench.latest("log.example").unwrap().to_bytes();
        for line in std::str::from_utf8(&cosigned).unwrap().lines() {
            assert!(text.lines().any(|l| l == format!("    {line}")), "{text}");
        }
    }
    metric(&bench, "degraded", 2);
    metric(&bench, "fork", 0);
    // What was cosigned itself, with a proof that it needs not, is no finding.
    let again = AddCheckpoint::body(8, &[[1; 32]], &log.note(8));
    assert_eq!(bench.post(&again).status, 422);
    metric(&bench, "degraded", 2);
    bench.grow(&log, 8, 40);
}

#[test]
fn two_histories_by_two_keys_are_kept_apart_from_what_anybody_can_verify() {
    let log = log("log.example", 40);
    let fork = log.fork(3, 1);
    let bench = Bench::new(&[&log]);
    // Each is signed by one of the log's two keys.
    let by = |log: &Played, size, key: usize| {
        let mut note = log.note(size);
        note.signatures = vec![note.signatures[key].clone()];
        note
    };
    let first = AddCheckpoint::body(0, &[], &by(&log, 5, 0));
    assert_eq!(bench.post(&first).status, 200);
    let second = AddCheckpoint::body(5, &[], &by(&fork, 5, 1));
    assert_eq!(bench.post(&second).status, 422);
    assert_eq!(bench.post(&second).status, 422);
    let files = bench.evidence();
    let [(name, file)] = &files[..] else {
        panic!("{files:?}")
    };
    assert!(name.starts_with("unportable-"), "{name}");
    assert_eq!(proves(file), None);
    let text = std::str::from_utf8(file).unwrap();
    assert!(text.contains("no key of the log's signed both"), "{text}");
    metric(&bench, "unportable", 1);
    // A key that signed both makes it whole.
    let third = AddCheckpoint::body(5, &fork.proof(5, 9), &by(&fork, 9, 0));
    assert_eq!(bench.post(&third).status, 422);
    let fork = bench.evidence().into_iter().find_map(|(_, f)| proves(&f));
    assert_eq!(fork.unwrap().keys.len(), 1);
}

#[test]
fn keys_of_a_log_that_are_known_no_more_prove_nothing() {
    // What was cosigned by a key that was removed since is not against a key that is there.
    let (old, new) = (log("log.example", 40), log("log.example", 40));
    let mut bench = Bench::new(&[&old]);
    bench.grow(&old, 0, 5);
    bench.handle = None;
    std::fs::remove_file(bench.dir.path().join("logs.json")).unwrap();
    let none = countersign_server::witness::logs::Logs::default();
    none.save(&bench.dir.path().join("logs.json")).unwrap();
    trust(bench.dir.path(), &new.vkeys());
    bench.start();
    assert_eq!(bench.post(&new.fork(0, 1).body(5, 5)).status, 422);
    let files = bench.evidence();
    assert!(files[0].0.starts_with("unportable-"), "{}", files[0].0);
}

#[test]
fn what_shows_nothing_or_was_not_signed_is_not_kept() {
    let log = log("log.example", 40);
    let fork = log.fork(3, 1);
    let bench = Bench::new(&[&log]);
    // Before anything was cosigned nothing can contradict it.
    assert_eq!(
        bench
            .post(&AddCheckpoint::body(0, &[[0; 32]], &fork.note(5)))
            .status,
        422
    );
    bench.grow(&log, 0, 5);
    // Other sizes than the one that was cosigned, with another old size.
    assert_eq!(bench.post(&fork.body(3, 9)).status, 409);
    assert_eq!(bench.post(&fork.body(0, 4)).status, 409);
    let mut forged = fork.note(5);
    forged.signatures[0].signature[0] ^= 1;
    assert_eq!(
        bench.post(&AddCheckpoint::body(5, &[], &forged)).status,
        403
    );
    assert!(bench.evidence().is_empty());
}

#[test]
fn the_oldest_are_kept_and_no_log_takes_the_others_places() {
    let (log, other) = (log("log.example", 40), log("other.example", 40));
    let mut bench = Bench::new(&[&log, &other]);
    bench.grow(&log, 0, 5);
    bench.grow(&other, 0, 5);
    for history in 1..=30 {
        assert_eq!(bench.post(&log.fork(3, history).body(5, 5)).status, 422);
        // A stranger who sends the log's own checkpoints with wrong proofs.
        let wrong = AddCheckpoint::body(5, &[[1; 32]], &log.note(5 + history));
        assert_eq!(bench.post(&wrong).status, 422);
    }
    let files = bench.evidence();
    let count = |finding: &str| files.iter().filter(|(n, _)| n.starts_with(finding)).count();
    assert_eq!((count("fork"), count("degraded")), (16, 4));
    let first = Some(log.fork(3, 1).root(5));
    assert!(
        files
            .iter()
            .any(|(_, f)| proves(f).map(|p| p.root) == first)
    );
    // After a restart what is there still counts.
    bench.start();
    assert_eq!(bench.post(&log.fork(3, 99).body(5, 5)).status, 422);
    assert_eq!(bench.evidence().len(), 20);
    assert_eq!(bench.post(&other.fork(3, 1).body(5, 5)).status, 422);
    assert_eq!(bench.evidence().len(), 21);
    let page = bench.get("/metrics").body;
    let row = "countersign_witness_evidence_dropped_total 1";
    assert!(page.lines().any(|l| l == row), "{page}");
}
