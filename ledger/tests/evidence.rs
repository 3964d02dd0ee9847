//! Fork evidence: what it proves, and that nothing else passes for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use keys::{Ed25519Secret, SecretKey, Signer as _};
use ledger::evidence::{Between, Evidence, EvidenceError, Fork, MAX_EVIDENCE_BYTES};
use ledger::{Hash, json};
use serde_json::Value;
use tlog::checkpoint::Checkpoint;
use tlog::hash::leaf_hash;
use tlog::note::{Note, NoteSignature};
use tlog::tree::{Compact, HashReader, prove_consistency};
use tlog::vkey::VerifierKey;

const ORIGIN: &str = "log.example";

/// A log's two keys, and a witness's.
struct Keys {
    p256: SecretKey,
    ed25519: Ed25519Secret,
    witness: Ed25519Secret,
}

impl Keys {
    fn new() -> Self {
        Self {
            p256: SecretKey::generate().unwrap(),
            ed25519: Ed25519Secret::generate().unwrap(),
            witness: Ed25519Secret::generate().unwrap(),
        }
    }

    fn of(&self, origin: &str) -> Vec<VerifierKey> {
        let p256 = VerifierKey::p256(origin, self.p256.public_key().spki_der());
        let ed25519 = VerifierKey::ed25519(origin, &self.ed25519.public_bytes());
        vec![p256.unwrap(), ed25519.unwrap()]
    }

    fn log(&self) -> Vec<VerifierKey> {
        self.of(ORIGIN)
    }

    fn witnesses(&self) -> Vec<VerifierKey> {
        vec![VerifierKey::cosignature("w.example", &self.witness.public_bytes()).unwrap()]
    }

    fn signed(&self, origin: &str, tree: &Tree, cosigned: Option<u64>) -> String {
        let text = Checkpoint {
            origin: origin.into(),
            size: tree.0.len() as u64,
            root: tree.root(),
            extensions: Vec::new(),
        }
        .to_text();
        let [p256, ed25519] = &self.of(origin)[..] else {
            panic!()
        };
        let mut signatures = vec![
            NoteSignature::by(p256, self.p256.sign(text.as_bytes()).unwrap()),
            NoteSignature::by(ed25519, self.ed25519.sign(text.as_bytes()).to_vec()),
        ];
        if let Some(time) = cosigned {
            let signature = self.witness.sign(&tlog::cosignature::message(time, &text));
            let line = tlog::cosignature::encode(time, &signature);
            signatures.push(NoteSignature::by(&self.witnesses()[0], line));
        }
        String::from_utf8(Note { text, signatures }.to_bytes()).unwrap()
    }
}

/// Leaf hashes of a tree below 256 entries: its one tile.
#[derive(Clone)]
struct Tree(Vec<Hash>);

impl HashReader for Tree {
    type Error = String;
    fn tile(&self, _: u8, _: u64, width: u16) -> Result<Vec<u8>, String> {
        Ok(self.0[..usize::from(width)].concat())
    }
}

impl Tree {
    /// `size` entries, all alike up to `until` and of `history` from there on.
    fn of(history: u8, until: u64, size: u64) -> Self {
        let leaf = |i: u64| leaf_hash(&[if i < until { 0 } else { history }, i as u8]);
        Self((0..size).map(leaf).collect())
    }

    fn root(&self) -> Hash {
        let mut tree = Compact::new();
        self.0.iter().for_each(|leaf| tree.push(*leaf));
        tree.root()
    }

    fn between(&self, size: u64) -> Between {
        let mut first = self.clone();
        first.0.truncate(size as usize);
        Between {
            consistency: prove_consistency(size, self.0.len() as u64, self).unwrap(),
            root: first.root(),
        }
    }
}

/// Two histories that part after `until`: the older checkpoint of one at `old`, the newer of the
/// other at `new`.
fn made(keys: &Keys, until: u64, old: u64, new: u64) -> Result<Evidence, EvidenceError> {
    let (one, two) = (Tree::of(1, until, old), Tree::of(2, until, new));
    let older = keys.signed(ORIGIN, &one, Some(1_800_000_000));
    let newer = keys.signed(ORIGIN, &two, None);
    let between = two.between(old);
    Evidence::make(
        (&older, &newer),
        Some(between),
        &keys.log(),
        &keys.witnesses(),
    )
}

#[test]
fn a_fork_is_proven_at_every_pair_of_sizes() {
    let keys = Keys::new();
    for new in 1..=20 {
        for old in 1..=new {
            let evidence = made(&keys, old - 1, old, new).unwrap();
            let fork = evidence.verify().unwrap();
            assert_eq!((fork.older.size, fork.newer.size), (old, new));
            assert_eq!(fork.root == fork.newer.root, old == new);
            assert_eq!(fork.keys.len(), 2);
            assert_eq!(
                fork.older.cosigned,
                [("w.example".to_owned(), 1_800_000_000)]
            );
            assert_eq!(evidence.between.is_none(), old == new);
            let bytes = evidence.to_bytes().unwrap();
            assert_eq!(Evidence::parse(&bytes).unwrap(), evidence);
        }
    }
}

#[test]
fn one_history_is_no_fork_whatever_is_put_together() {
    let keys = Keys::new();
    for (old, new) in [(1, 2), (3, 3), (4, 9), (8, 16), (7, 20)] {
        // They part after what the older one has.
        let why = made(&keys, old, old, new).unwrap_err();
        assert_eq!(why.kind(), "evidence-no-fork", "{old} {new}: {why}");
    }
    // The first entries of another tree prove nothing of this one.
    let (one, two) = (Tree::of(0, 9, 7), Tree::of(0, 20, 20));
    let notes = (
        keys.signed(ORIGIN, &one, None),
        keys.signed(ORIGIN, &two, None),
    );
    let other = Tree::of(2, 3, 20).between(7);
    let why = Evidence::make((&notes.0, &notes.1), Some(other), &keys.log(), &[]).unwrap_err();
    assert_eq!(why.kind(), "evidence-proof");
    let why = Evidence::make((&notes.0, &notes.1), None, &keys.log(), &[]).unwrap_err();
    assert_eq!(why.kind(), "evidence-proof");
}

#[test]
fn only_keys_that_signed_both_say_anything_and_other_lines_are_left_away() {
    let (keys, others) = (Keys::new(), Keys::new());
    let (one, two) = (Tree::of(1, 3, 5), Tree::of(2, 3, 9));
    let (older, newer) = (
        keys.signed(ORIGIN, &one, None),
        keys.signed(ORIGIN, &two, None),
    );
    let elsewhere = others.signed(ORIGIN, &two, None);
    let make = |older: &str, newer: &str, keys: &[VerifierKey]| {
        Evidence::make((older, newer), Some(two.between(5)), keys, &[])
    };
    let why = make(&older, &elsewhere, &keys.log()).unwrap_err();
    assert_eq!(why.kind(), "evidence-keys");
    // One of the two keys signed one of them alone: the other key is what is proven.
    let lines: Vec<&str> = newer.lines().collect();
    let one_key = lines[..5].join("\n") + "\n";
    let fork = make(&older, &one_key, &keys.log())
        .unwrap()
        .verify()
        .unwrap();
    assert_eq!(fork.keys, keys.log()[..1]);
    // What strangers put on a note does not get into the file, and the order does not matter.
    let stranger = elsewhere.lines().last().unwrap();
    let stuffed = format!("{newer}{stranger}\n");
    let evidence = make(&stuffed, &older, &keys.log()).unwrap();
    assert_eq!((&evidence.older, &evidence.newer), (&older, &newer));
    // And who puts them in afterwards has no evidence any more.
    let more = Evidence {
        newer: stuffed,
        ..evidence
    };
    assert_eq!(more.verify().unwrap_err().kind(), "evidence-note");
}

/// The published file: what it proves.
const VECTOR: &[u8] = include_bytes!("../../tests/vectors/countersign/fork-evidence.json");
const VECTOR_SAME: &[u8] =
    include_bytes!("../../tests/vectors/countersign/fork-evidence-same-size.json");

#[test]
fn the_published_evidence_proves_what_the_specification_says() {
    let fork = Evidence::parse(VECTOR).unwrap().verify().unwrap();
    assert_eq!((fork.older.size, fork.newer.size), (5, 9));
    assert_eq!((fork.keys.len(), fork.hashes), (2, 5));
    assert_eq!(
        fork.older.cosigned,
        [("w.example".to_owned(), 1_800_000_000)]
    );
    let said = fork.explain(|t| t.to_string());
    assert!(said[0].contains("log.example has signed two histories"));
    assert!(
        said.iter()
            .any(|l| l == "the older was cosigned by w.example at 1800000000")
    );
    let fork = Evidence::parse(VECTOR_SAME).unwrap().verify().unwrap();
    assert_eq!((fork.older.size, fork.newer.size, fork.hashes), (5, 5, 0));
    let said = fork.explain(|t| t.to_string());
    assert!(
        said.iter().any(|l| l.contains("one root at one size")),
        "{said:?}"
    );
}

/// Evidence of which anything was changed proves nothing; `None` where the change left it alone.
fn refused(bytes: &[u8]) -> &'static str {
    match Evidence::parse(bytes).and_then(|e| e.verify()) {
        Ok(fork) => panic!("{fork:?} by {}", String::from_utf8_lossy(bytes)),
        Err(why) => why.kind(),
    }
}

#[test]
fn no_changed_byte_is_evidence() {
    for vector in [VECTOR, VECTOR_SAME] {
        for at in 0..vector.len() {
            for with in [vector[at] ^ 1, vector[at] ^ 0x20, b'0', b'A'] {
                let mut changed = vector.to_vec();
                changed[at] = with;
                if changed != vector {
                    refused(&changed);
                }
            }
            refused(&vector[..at]);
        }
        refused(&[vector, b"\n"].concat());
    }
}

#[test]
fn each_member_is_checked_on_its_own() {
    let keys = Keys::new();
    let good = made(&keys, 3, 5, 9).unwrap();
    let other = made(&Keys::new(), 3, 5, 9).unwrap();
    let same = made(&keys, 3, 5, 5).unwrap();
    let between = || good.between.clone().unwrap();
    let with = |change: &dyn Fn(&mut Evidence)| {
        let mut evidence = good.clone();
        change(&mut evidence);
        match evidence.verify() {
            Ok(fork) => panic!("{fork:?}"),
            Err(why) => why.kind(),
        }
    };
    // Keys: none, a stranger's, repeated, out of order, of the wrong sort, of another name.
    let wrong: [(&str, Vec<String>); 5] = [
        ("none", Vec::new()),
        ("another log's", other.vkeys.clone()),
        (
            "repeated",
            vec![good.vkeys[0].clone(), good.vkeys[0].clone()],
        ),
        ("out of order", good.vkeys.iter().rev().cloned().collect()),
        ("a witness", good.witnesses.clone()),
    ];
    for (what, vkeys) in wrong {
        let kind = with(&|e| e.vkeys.clone_from(&vkeys));
        assert!(
            ["evidence-keys", "evidence-note"].contains(&kind),
            "{what}: {kind}"
        );
    }
    let renamed = keys
        .of("other.example")
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    assert_eq!(
        with(&|e| {
            e.vkeys.clone_from(&renamed);
            e.vkeys.sort();
        }),
        "evidence-keys"
    );
    // A key has one spelling, though others read the digits of its id in either case.
    let upper = |vkey: &String| {
        let (name, rest) = vkey.split_once('+').unwrap();
        let (id, key) = rest.split_once('+').unwrap();
        format!("{name}+{}+{key}", id.to_uppercase())
    };
    let spelled: Vec<String> = good.vkeys.iter().map(upper).collect();
    if spelled != good.vkeys {
        let kind = with(&|e| e.vkeys.clone_from(&spelled));
        assert_eq!(kind, "evidence-keys");
    }
    assert_eq!(with(&|e| e.vkeys.truncate(1)), "evidence-note");
    assert_eq!(
        with(&|e| e.vkeys = vec![good.vkeys[0].clone(); 65]),
        "evidence-keys"
    );
    // Witnesses: one that is left out, one that did not cosign, a log key.
    assert_eq!(with(&|e| e.witnesses.clear()), "evidence-note");
    assert_eq!(
        with(&|e| e.witnesses.clone_from(&other.witnesses)),
        "evidence-note"
    );
    let both = |e: &mut Evidence| {
        e.witnesses.extend(other.witnesses.clone());
        e.witnesses.sort();
    };
    assert_eq!(with(&both), "evidence-keys");
    assert_eq!(
        with(&|e| e.witnesses = good.vkeys[..1].to_vec()),
        "evidence-keys"
    );
    // Notes: exchanged, another log's, one twice, unsigned.
    assert_eq!(
        with(&|e| std::mem::swap(&mut e.older, &mut e.newer)),
        "evidence-pair"
    );
    assert_eq!(with(&|e| e.newer.clone_from(&other.newer)), "evidence-note");
    let twice = |e: &mut Evidence| {
        e.older.clone_from(&e.newer);
        e.witnesses.clear();
    };
    assert_eq!(with(&twice), "evidence-proof");
    let agree = |e: &mut Evidence| {
        twice(e);
        e.between = None;
    };
    assert_eq!(with(&agree), "evidence-no-fork");
    assert_eq!(with(&|e| e.older.push('\n')), "evidence-note");
    // The proof: none, of another root, of another tree, one hash less, more, and one where none belongs.
    assert_eq!(with(&|e| e.between = None), "evidence-proof");
    let of = |root, consistency| Some(Between { consistency, root });
    assert_eq!(
        with(&|e| e.between = of([7; 32], between().consistency)),
        "evidence-proof"
    );
    assert_eq!(
        with(&|e| e.between = of(between().root, Vec::new())),
        "evidence-proof"
    );
    let more = [between().consistency, vec![[0; 32]]].concat();
    assert_eq!(
        with(&|e| e.between = of(between().root, more.clone())),
        "evidence-proof"
    );
    let mut surplus = same;
    surplus.between = good.between.clone();
    assert_eq!(surplus.verify().unwrap_err().kind(), "evidence-proof");
    // Of two logs by the same keys.
    let tree = Tree::of(2, 3, 9);
    let elsewhere = keys.signed("other.example", &tree, None);
    assert_eq!(with(&|e| e.newer.clone_from(&elsewhere)), "evidence-pair");
    // The document.
    let edit = |name: &str, value: Value| {
        let mut document: Value = serde_json::from_slice(&good.to_bytes().unwrap()).unwrap();
        document[name] = value;
        refused(&json::to_canonical(&document).unwrap())
    };
    assert_eq!(
        edit("apiVersion", "countersign/v2".into()),
        "evidence-version"
    );
    assert_eq!(edit("kind", "bundle".into()), "evidence-kind");
    assert_eq!(edit("more", 1.into()), "evidence-malformed");
    assert_eq!(edit("between", Value::Null), "evidence-malformed");
    assert_eq!(
        refused(&vec![b' '; MAX_EVIDENCE_BYTES + 1]),
        "evidence-too-large"
    );
}

#[test]
fn a_proof_that_the_newer_tree_agrees_is_no_evidence_without_the_comparison() {
    // The attack that the last check stops: a valid proof of an honest log. Without it, every
    // pair of consistent checkpoints would be "evidence".
    let keys = Keys::new();
    let (one, two) = (Tree::of(0, 9, 5), Tree::of(0, 9, 9));
    let between = two.between(5);
    let root = between.root;
    let proof = &between.consistency;
    assert_eq!(root, one.root());
    tlog::proof::verify_consistency(5, &root, 9, &two.root(), proof).unwrap();
    let notes = (
        keys.signed(ORIGIN, &one, None),
        keys.signed(ORIGIN, &two, None),
    );
    let why = Evidence::make((&notes.0, &notes.1), Some(between), &keys.log(), &[]).unwrap_err();
    assert!(matches!(why, EvidenceError::Agree(_)), "{why}");
}

/// Makes the published files anew, with keys that nobody keeps: `cargo test -p countersign-ledger
/// --test evidence -- --ignored`.
#[test]
#[ignore = "writes the test vectors"]
fn write_vectors() {
    let keys = Keys::new();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/countersign/");
    for (name, new) in [("fork-evidence", 9), ("fork-evidence-same-size", 5)] {
        let evidence = made(&keys, 3, 5, new).unwrap();
        let _: Fork = evidence.verify().unwrap();
        let path = format!("{directory}{name}.json");
        std::fs::write(path, evidence.to_bytes().unwrap()).unwrap();
    }
}
