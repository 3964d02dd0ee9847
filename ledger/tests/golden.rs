//! The golden log (tests/vectors/countersign/golden-log.json): its 25 leaves with their 11
//! heads, state documents, and trust.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use ledger::fold::Fold;
use ledger::leaf::Leaf;
use ledger::trust::{TrustDocument, TrustString};
use ledger::{from_b64, from_hex32, json};
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/vectors/countersign/golden-log.json"
    );
    serde_json::from_slice(&std::fs::read(path).expect("the vectors are in the repository"))
        .unwrap()
}

fn leaves(golden: &Value) -> Vec<Vec<u8>> {
    golden["leaves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| from_b64(l.as_str().unwrap()).unwrap())
        .collect()
}

#[test]
fn all_leaves_fold_to_the_heads_states_and_checkpoints() {
    let golden = golden();
    let leaves = leaves(&golden);
    let mut fold = Fold::new("log.example");
    let mut tree = tlog::tree::Compact::new();
    let mut heads = golden["heads"].as_array().unwrap().iter();
    for (i, bytes) in leaves.iter().enumerate() {
        let leaf = Leaf::parse(bytes).unwrap_or_else(|e| panic!("leaf {i}: {e}"));
        assert_eq!(
            &leaf.to_bytes().unwrap(),
            bytes,
            "leaf {i} has one encoding"
        );
        if let Leaf::Statement(s) = &leaf {
            fold.check(&s.envelope, &s.statement, s.time, None)
                .unwrap_or_else(|e| panic!("leaf {i}: {e}"));
        }
        let is_head = matches!(leaf, Leaf::Head(_));
        if is_head {
            assert_eq!(
                fold.next_head(leaf.time().unwrap()),
                leaf,
                "the head that must follow is the one that does"
            );
        }
        fold.apply(&leaf)
            .unwrap_or_else(|e| panic!("leaf {i}: {e}"));
        tree.push(tlog::hash::leaf_hash(bytes));
        if is_head {
            let head = heads.next().unwrap();
            assert_eq!(head["size"].as_u64().unwrap(), tree.size());
            assert_eq!(head["root"].as_str().unwrap(), hex::encode(tree.root()));
            assert_eq!(head["map"].as_str().unwrap(), hex::encode(fold.map_root()));
            for (id, state) in head["states"].as_object().unwrap() {
                let id = from_hex32(id).unwrap();
                let ours = fold.state(&id).unwrap();
                assert_eq!(
                    ours.to_canonical().unwrap(),
                    json::to_canonical(state).unwrap()
                );
                let found = tlog::prefix::verify(&fold.map_root(), &id, &fold.prove(&id)).unwrap();
                assert_eq!(found, Some(ours.hash().unwrap()));
            }
        }
    }
    assert_eq!((fold.size(), heads.next()), (25, None));
}

#[test]
fn trust_document_and_string() {
    let golden = golden();
    let canonical = golden["trust"]["canonical"]
        .as_str()
        .unwrap()
        .as_bytes()
        .to_vec();
    let document = TrustDocument::parse(&canonical).unwrap();
    assert_eq!(document.to_canonical().unwrap(), canonical);
    let text = golden["trust"]["string"].as_str().unwrap();
    assert_eq!(TrustString::of(&document).unwrap().to_string(), text);
    let string = TrustString::parse(text).unwrap();
    assert!(string.matches(&document));
    // A wrong trust string does not match: the document of another name, the same code.
    let mut other = document.clone();
    other.project.name = "acme/uploaderx".into();
    assert!(!string.matches(&other));
    let mut trailing = canonical.clone();
    trailing.push(b'\n');
    assert!(TrustDocument::parse(&trailing).is_err());
}

#[test]
fn bundles_round_trip_byte_for_byte() {
    for case in golden()["bundles"].as_array().unwrap() {
        let bytes = json::to_canonical(&case["bundle"]).unwrap();
        let bundle = ledger::bundle::Bundle::parse(&bytes).unwrap();
        assert_eq!(bundle.to_bytes().unwrap(), bytes);
        for bad in [
            [bytes.clone(), b"\n".to_vec()].concat(),
            [b" ".to_vec(), bytes.clone()].concat(),
        ] {
            assert_eq!(
                ledger::bundle::Bundle::parse(&bad).unwrap_err().kind(),
                "bundle-malformed"
            );
        }
        let text = String::from_utf8(bytes).unwrap();
        let newer = text.replace("countersign/v1", "countersign/v2");
        assert_eq!(
            ledger::bundle::Bundle::parse(newer.as_bytes())
                .unwrap_err()
                .kind(),
            "bundle-version"
        );
        let unknown = text.replacen("{\"apiVersion\"", "{\"a\":1,\"apiVersion\"", 1);
        assert_eq!(
            ledger::bundle::Bundle::parse(unknown.as_bytes())
                .unwrap_err()
                .kind(),
            "bundle-malformed"
        );
    }
}
