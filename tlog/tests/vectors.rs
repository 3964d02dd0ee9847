//! Published test data: `tests/vectors/SOURCES.md` says where each file comes from.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Store, hex32, vector, vector_path};
use serde_json::Value;
use tlog::Hash;
use tlog::hash::leaf_hash;
use tlog::prefix::{MapProof, PrefixTree, verify};
use tlog::proof::{verify_consistency, verify_inclusion};
use tlog::tile::Tile;
use tlog::tree::{Compact, prove_consistency, prove_inclusion, root_from_tiles};

fn base64(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// Some cases have "hashes" of another length. An empty one cannot be said in our types and
/// counts as refused; the others (12 bytes and the like) are filled with zeros, which keeps equal
/// ones equal and unequal ones unequal.
fn published_hash(value: &Value) -> Option<Hash> {
    let mut bytes = base64(value);
    if bytes.is_empty() {
        return None;
    }
    assert!(bytes.len() <= 32);
    bytes.resize(32, 0);
    bytes.try_into().ok()
}

/// `null` is an empty proof.
fn published_proof(value: &Value) -> Option<Vec<Hash>> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(published_hash).collect()
}

fn cases(folder: &str) -> Vec<(String, Value)> {
    fn visit(folder: &Path, found: &mut Vec<(String, Value)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else {
                let text = std::fs::read(&path).unwrap();
                let case = serde_json::from_slice(&text).unwrap();
                found.push((path.display().to_string(), case));
            }
        }
    }
    let mut found = Vec::new();
    let root = vector_path("transparency-dev-merkle/testdata");
    visit(&root.join(folder), &mut found);
    assert_eq!(found.len(), 98);
    found
}

#[test]
fn every_published_inclusion_case_is_decided_as_published() {
    for (name, case) in cases("inclusion") {
        let verified = (|| {
            let leaf = published_hash(&case["leafHash"])?;
            let root = published_hash(&case["root"])?;
            let proof = published_proof(&case["proof"])?;
            let index = case["leafIdx"].as_u64()?;
            let size = case["treeSize"].as_u64()?;
            verify_inclusion(&leaf, index, size, &proof, &root).ok()
        })();
        assert_eq!(
            verified.is_none(),
            case["wantErr"].as_bool().unwrap(),
            "{name}"
        );
    }
}

#[test]
fn every_published_consistency_case_is_decided_as_published() {
    for (name, case) in cases("consistency") {
        let verified = (|| {
            let old_root = published_hash(&case["root1"])?;
            let new_root = published_hash(&case["root2"])?;
            let proof = published_proof(&case["proof"])?;
            let old = case["size1"].as_u64()?;
            let new = case["size2"].as_u64()?;
            verify_consistency(old, &old_root, new, &new_root, &proof).ok()
        })();
        // The one case decided otherwise, on purpose: from the empty tree, named by its true root,
        // to any tree. Its publisher calls that useless; c2sp.org/tlog-witness asks for it.
        let from_empty = name.ends_with("size1-is-zero-and-size2-is-not-zero.json");
        let refused = case["wantErr"].as_bool().unwrap() && !from_empty;
        assert_eq!(verified.is_none(), refused, "{name}");
    }
}

#[test]
fn published_roots() {
    let case = vector("extracted/rfc6962_roots.json");
    let roots: Vec<Hash> = case["root_hashes_hex"]
        .as_array()
        .unwrap()
        .iter()
        .map(hex32)
        .collect();
    let mut store = Store::default();
    let mut compact = Compact::new();
    assert_eq!(store.edge.root(), roots[0]);
    assert_eq!(compact.root(), roots[0]);
    let inputs = case["leaf_inputs_hex"].as_array().unwrap();
    for (position, input) in inputs.iter().enumerate() {
        let leaf = leaf_hash(&hex::decode(input.as_str().unwrap()).unwrap());
        assert_eq!(leaf, hex32(&case["leaf_hashes_hex"][position]));
        store.append(&[leaf]);
        compact.push(leaf);
        assert_eq!(store.edge.root(), roots[position + 1]);
        assert_eq!(compact.root(), roots[position + 1]);
    }
    assert_eq!(roots.len(), 9);
}

/// Answers of the certificate log argon2020, a tree of 961,984,011 leaves.
#[test]
fn proofs_of_a_live_log() {
    let get = |name| vector(&format!("azul/crates/tlog_tiles/tests/http_get/{name}"));
    let hash = |value: &Value| published_hash(value).unwrap();
    let head = get("get-sth");
    let size = head["tree_size"].as_u64().unwrap();
    let root = hash(&head["sha256_root_hash"]);

    let entries = get("get-entries-start-10000-end-10000");
    let leaf = leaf_hash(&base64(&entries["entries"][0]["leaf_input"]));
    let answer = get(
        "get-proof-by-hash-tree-size-961984011-hash-nCs3mfIydh9x4CKyQ-2Bu2xtmpxmFggA5MLymHwNQSlLg-3D",
    );
    let proof = published_proof(&answer["audit_path"]).unwrap();
    verify_inclusion(&leaf, 10_000, size, &proof, &root).unwrap();
    verify_inclusion(&leaf, 10_001, size, &proof, &root).unwrap_err();

    let answer = get("get-sth-consistency-first-3654490-second-961984011");
    let proof = published_proof(&answer["consistency"]).unwrap();
    let old_root = hash(&Value::from("AuIZ5V6sDUj1vn3Y1K85oOaQ7y+FJJKtyRTl1edIKBQ="));
    verify_consistency(3_654_490, &old_root, size, &root, &proof).unwrap();
    verify_consistency(3_654_491, &old_root, size, &root, &proof).unwrap_err();
}

/// The seeds are Go's paths, `tile/<height>/<level>/…`, each with a final line feed. Without the
/// height the good ones are ours.
#[test]
fn tile_path_seeds() {
    let expected = [
        Some((0, 1, 256)),
        Some((0, 1, 5)),
        Some((5, 123_456_078, 256)),
        Some((5, 123_456_078, 2)),
        Some((0, 3_057_500, 256)),
        None,
        None,
        None,
    ];
    for (seed, expected) in (1..).zip(expected) {
        let name = format!("azul/fuzz/corpus/fuzz_parse_tile_path/seed{seed}");
        let text = std::fs::read_to_string(vector_path(&name)).unwrap();
        Tile::parse_path(&text).unwrap_err();
        let text = text.trim_end();
        Tile::parse_path(text).unwrap_err();
        let (_, below) = text.strip_prefix("tile/").unwrap().split_once('/').unwrap();
        let path = format!("tile/{below}");
        let tile = Tile::parse_path(&path).ok();
        let expected = expected.map(|(level, index, width)| Tile {
            level,
            index,
            width,
        });
        assert_eq!(tile, expected, "{path}");
    }
}

fn map_proof(case: &Value) -> MapProof {
    let found = case["found"].as_array();
    MapProof {
        found: found.map(|pair| (hex32(&pair[0]), hex32(&pair[1]))),
        siblings: case["siblings"]
            .as_array()
            .unwrap()
            .iter()
            .map(hex32)
            .collect(),
    }
}

#[test]
fn map_vectors() {
    let (mut valid, mut invalid) = (0, 0);
    for case in vector("countersign/map.json")["cases"].as_array().unwrap() {
        let root = hex32(&case["root"]);
        let mut tree = PrefixTree::new();
        for entry in case["entries"].as_array().unwrap() {
            assert_eq!(tree.insert(hex32(&entry[0]), hex32(&entry[1])), None);
        }
        assert_eq!(tree.root(), root);
        for published in case["proofs"].as_array().unwrap() {
            let key = hex32(&published["key"]);
            let proof = map_proof(published);
            assert_eq!(tree.prove(&key), proof);
            let value = (!published["value"].is_null()).then(|| hex32(&published["value"]));
            assert_eq!(tree.get(&key), value);
            assert_eq!(verify(&root, &key, &proof), Ok(value));
            valid += 1;
        }
        for published in case["invalid"].as_array().into_iter().flatten() {
            let key = hex32(&published["key"]);
            verify(&root, &key, &map_proof(published)).expect_err(&published["why"].to_string());
            invalid += 1;
        }
    }
    assert_eq!(valid, 44);
    assert!(invalid >= 20, "{invalid}");
}

#[test]
fn golden_log_roots_and_proofs() {
    let log = vector("countersign/golden-log.json");
    let leaves: Vec<Vec<u8>> = log["leaves"]
        .as_array()
        .unwrap()
        .iter()
        .map(base64)
        .collect();
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let store = Store::of(&hashes);
    let root = |size: u64| root_from_tiles(size, &store.at(size)).unwrap();
    let heads = log["heads"].as_array().unwrap();
    for head in heads {
        assert_eq!(root(head["size"].as_u64().unwrap()), hex32(&head["root"]));
    }
    let proof = |list: &Value| {
        list.as_array()
            .unwrap()
            .iter()
            .map(hex32)
            .collect::<Vec<_>>()
    };
    let size_of = |checkpoint: &Value| -> u64 {
        checkpoint
            .as_str()
            .unwrap()
            .lines()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    };
    for published in log["bundles"].as_array().unwrap() {
        if published["verdict"] != "verified" {
            continue;
        }
        let bundle = &published["bundle"];
        let first = size_of(&bundle["first"]);
        let mut size = first;
        if let Some(latest) = bundle.get("latest") {
            size = size_of(&latest["checkpoint"]);
            let consistency = proof(&latest["consistency"]);
            assert_eq!(
                prove_consistency(first, size, &store.at(size)).unwrap(),
                consistency
            );
            verify_consistency(first, &root(first), size, &root(size), &consistency).unwrap();
        }
        let projects = bundle["projects"].as_array().unwrap();
        for included in projects.iter().chain([&bundle["entry"]]) {
            let index = included["index"].as_u64().unwrap();
            let made = prove_inclusion(index, size, &store.at(size)).unwrap();
            assert_eq!(made, proof(&included["proof"]));
            let leaf = leaf_hash(&base64(&included["leaf"]));
            verify_inclusion(&leaf, index, size, &made, &root(size)).unwrap();
        }
    }
}
