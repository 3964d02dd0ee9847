//! The published sequence of requests gets the published answers.

use crate::bench::{Answer, NAME, ask};
use crate::program::{Running, said};
use serde_json::Value;
use tlog::vkey::VerifierKey;

/// Source and licence stand in it, and in tests/vectors/SOURCES.md.
const SEQUENCE: &str =
    include_str!("../../../tests/vectors/extracted/witness_add_checkpoint_sequence.json");

#[test]
fn the_published_sequence_gets_the_published_answers() {
    let sequence: Value = serde_json::from_str(SEQUENCE).unwrap();
    let mut key = [0; 32];
    let hex_key = sequence["log_ed25519_public_key_hex"].as_str().unwrap();
    hex::decode_to_slice(hex_key, &mut key).unwrap();
    let origin = sequence["log_origin"].as_str().unwrap();
    let vkey = VerifierKey::ed25519(origin, &key).unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    said(&["init", "--data", data, "--name", NAME]);
    said(&["add-log", "--data", data, &vkey]);
    let witness = Running::start(dir.path(), &[]);
    let cases = sequence["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let (name, body) = (&case["name"], case["request_body"].as_str().unwrap());
        let answer: Answer = ask(witness.addr, "POST", "/add-checkpoint", body.as_bytes());
        assert_eq!(
            u64::from(answer.status),
            case["status"],
            "{name}: {answer:?}"
        );
        let part = case["body_contains"].as_str().unwrap();
        assert!(answer.body.contains(part), "{name}: {part:?}: {answer:?}");
        if answer.status == 409 {
            assert_eq!(answer.body, part, "{name}");
            let kind = sequence["content_type_on_409"].as_str().unwrap();
            let header = format!("content-type: {kind}");
            assert!(
                answer.head.lines().any(|l| l == header),
                "{name}: {answer:?}"
            );
        }
    }
}
