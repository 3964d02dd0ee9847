//! What contradicts what was cosigned is kept, bounded, and says what it proves.

use crate::bench::{Bench, log};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tlog::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::proof::verify_consistency;
use tlog::vkey::VerifierKey;
use tlog::witness::AddCheckpoint;

/// Whether a file proves, to somebody who has nothing else, that the log signed two histories.
fn proves(file: &Value) -> bool {
    let keys: Vec<VerifierKey> = file["logKeys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| VerifierKey::parse(k.as_str().unwrap()).unwrap())
        .collect();
    let signed = |name: &str| {
        let note = Note::parse(file[name].as_str().unwrap().as_bytes()).unwrap();
        note.verify(&keys).unwrap();
        Checkpoint::parse(&note.text).unwrap()
    };
    let (old, new) = (signed("cosigned"), signed("submitted"));
    assert_eq!((&old.origin, &new.origin), (&new.origin, &old.origin));
    let hash = |text: &Value| -> Hash {
        let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
        bytes.try_into().unwrap()
    };
    if old.size == new.size {
        return old.root != new.root;
    }
    if file.get("otherRoot").is_none() {
        return false;
    }
    let proof: Vec<Hash> = file["proof"].as_array().unwrap().iter().map(hash).collect();
    let other = hash(&file["otherRoot"]);
    verify_consistency(old.size, &other, new.size, &new.root, &proof).is_ok() && other != old.root
}

#[test]
fn a_fork_is_kept_with_what_proves_it() {
    let log = log("log.example", 40);
    let fork = log.fork(3, 1);
    let bench = Bench::new(&[&log]);
    bench.grow(&log, 0, 5);
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
    for (name, file) in &files {
        assert!(name.starts_with("fork-"), "{name}");
        assert!(proves(file), "{file}");
        for (field, value) in [
            ("apiVersion", "countersign/v1"),
            ("kind", "witness-evidence"),
            ("finding", "fork"),
            ("origin", "log.example"),
            ("witness", &bench.vkey.to_string()),
        ] {
            assert_eq!(file[field], value);
        }
        let cosigned = file["cosigned"].as_str().unwrap();
        assert_eq!(
            cosigned.as_bytes(),
            bench.latest("log.example").unwrap().to_bytes()
        );
    }
    // At a power of two the proof says nothing of the old root: it is no proof of a fork.
    bench.grow(&log, 5, 8);
    assert_eq!(bench.post(&fork.body(8, 12)).status, 422);
    let files = bench.evidence();
    assert_eq!(files.len(), 3);
    let (name, file) = &files[0];
    assert!(name.starts_with("degraded-") && !proves(file), "{file}");
    assert_eq!(file.get("otherRoot"), None);
    let page = bench.get("/metrics").body;
    for row in ["{finding=\"fork\"} 2", "{finding=\"degraded\"} 1"] {
        let row = format!("countersign_witness_evidence{row}");
        assert!(page.lines().any(|l| l == row), "{page}");
    }
    bench.grow(&log, 8, 40);
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
    let first = STANDARD.encode(log.fork(3, 1).root(5));
    assert!(files.iter().any(|(_, f)| f["otherRoot"] == first.as_str()));
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
