//! What is not read: envelopes, leaves, lists and names, each at its limit and one beyond it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use keys::{SecretKey, Signer};
use ledger::envelope::{Envelope, MAX_SIGNATURES, PAYLOAD_TYPE, pae_hash};
use ledger::leaf::{Action, Leaf, OperationLeaf, StatementLeaf};
use ledger::names::{check_purl, purl_version};
use ledger::statement::{KeyNote, Project, Statement, Subject, content};
use ledger::{Hash, MAX_LEAF_BYTES, b64, from_hex32, sha256};
use serde_json::{Value, json};

fn envelope() -> Envelope {
    let note = KeyNote {
        project: [1; 32],
        key: [3; 32],
        custody: None,
        generated: None,
        owner: Some("ops".into()),
        uses: Vec::new(),
    };
    let (one, two) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let by: [&dyn Signer; 2] = [&one, &two];
    Envelope::sign(note.to_payload().unwrap(), &by).unwrap()
}

fn submitted(value: &Value) -> Result<Envelope, &'static str> {
    Envelope::parse_submission(value.to_string().as_bytes()).map_err(|e| e.kind())
}

/// A submission with one member in the place of another.
fn with(envelope: &Envelope, at: &str, value: Value) -> Value {
    let mut json = envelope.to_json();
    *json.pointer_mut(at).unwrap() = value;
    json
}

#[test]
fn an_envelope_has_one_form_in_a_leaf_and_few_in_a_submission() {
    let envelope = envelope();
    let json = envelope.to_json();
    assert_eq!(Envelope::from_leaf(&json).unwrap(), envelope);
    let said = Statement::parse(&envelope.payload).unwrap();
    assert_eq!(said.body.kind(), "key-note");
    assert_eq!(submitted(&json), Ok(envelope.clone()));
    assert_eq!(pae_hash(&envelope.payload), envelope.pae_hash());
    let mut pae = format!("DSSEv1 {} {PAYLOAD_TYPE} ", PAYLOAD_TYPE.len()).into_bytes();
    pae.extend_from_slice(format!("{} ", envelope.payload.len()).as_bytes());
    pae.extend_from_slice(&envelope.payload);
    assert_eq!(envelope.pae_hash(), sha256(&pae));
    // The other alphabet, and another order of signatures, are for submissions only.
    let url_safe = with(&envelope, "/signatures/0/sig", json!("-_-_"));
    let read = submitted(&url_safe).unwrap();
    assert_eq!(read.signatures[0].sig, [0xfb, 0xff, 0xbf]);
    assert!(Envelope::from_leaf(&url_safe).is_err());
    let swapped = {
        let mut json = json.clone();
        json["signatures"].as_array_mut().unwrap().reverse();
        json
    };
    assert_eq!(submitted(&swapped), Ok(envelope.clone()));
    let unsorted = Envelope::from_leaf(&swapped).unwrap_err();
    assert_eq!(unsorted.kind(), "signatures-unsorted");
}

#[test]
fn each_malformed_envelope_has_its_name() {
    let envelope = envelope();
    let json = envelope.to_json();
    let first = json["signatures"][0].clone();
    let extra = |at: &str| {
        let mut json = json.clone();
        json.pointer_mut(at).unwrap()["more"] = json!(1);
        json
    };
    for (bad, kind) in [
        (
            with(&envelope, "/payloadType", json!("text/plain")),
            "payload-type",
        ),
        (with(&envelope, "/payload", json!("%")), "bad-base64"),
        (with(&envelope, "/payload", json!("+/-_")), "bad-base64"),
        (
            with(&envelope, "/signatures/1/sig", json!("=")),
            "bad-base64",
        ),
        (with(&envelope, "/signatures", json!([])), "signature-count"),
        (
            with(&envelope, "/signatures", json!([first, first])),
            "repeated-signature",
        ),
        (
            with(&envelope, "/signatures/0/keyid", json!("AB".repeat(32))),
            "bad-keyid",
        ),
        (
            with(&envelope, "/signatures", json!("none")),
            "envelope-shape",
        ),
        (extra(""), "envelope-shape"),
        (extra("/signatures/1"), "envelope-shape"),
    ] {
        let got = submitted(&bad).unwrap_err();
        assert_eq!(got, kind, "{bad}");
        assert!(Envelope::from_leaf(&bad).is_err());
    }
    let many = |n: usize| {
        let one = |n: usize| json!({ "keyid": format!("{n:064x}"), "sig": "AAAA" });
        with(&envelope, "/signatures", (0..n).map(one).collect())
    };
    assert!(submitted(&many(MAX_SIGNATURES)).is_ok());
    let got = submitted(&many(MAX_SIGNATURES + 1)).unwrap_err();
    assert_eq!(got, "signature-count");
}

#[test]
fn a_prepared_envelope_may_have_no_signature_yet_and_is_checked_all_the_same() {
    let envelope = envelope();
    let prepared = |json: &Value| Envelope::parse_prepared(json.to_string().as_bytes());
    let unsigned = with(&envelope, "/signatures", json!([]));
    let read = prepared(&unsigned).unwrap();
    assert_eq!(
        (read.payload, read.signatures.len()),
        (envelope.payload.clone(), 0)
    );
    assert_eq!(prepared(&envelope.to_json()).unwrap(), envelope);
    let mut bad = unsigned;
    bad["payload"] = json!("%");
    assert!(prepared(&bad).is_err());
}

#[test]
fn a_leaf_has_no_member_too_many_and_an_end() {
    let envelope = envelope();
    let statement = Statement::parse(&envelope.payload).unwrap();
    let leaf = Leaf::Statement(Box::new(StatementLeaf {
        envelope,
        statement,
        time: 7,
    }));
    let mut value: Value = serde_json::from_slice(&leaf.to_bytes().unwrap()).unwrap();
    assert!(Leaf::parse(value.to_string().as_bytes()).is_ok());
    value["zzz"] = json!(1);
    assert!(Leaf::parse(value.to_string().as_bytes()).is_err());
    // An operation whose reason fills the leaf to its last byte, and one byte more.
    let operation = |length: usize| {
        Leaf::Operation(OperationLeaf {
            action: Action::Frozen,
            by: "operator".into(),
            project: [1; 32],
            reason: Some("x".repeat(length)),
            time: 7,
        })
    };
    let rest = operation(1).to_bytes().unwrap().len() - 1;
    let most = operation(MAX_LEAF_BYTES - rest).to_bytes().unwrap();
    assert_eq!(most.len(), MAX_LEAF_BYTES);
    let too_long = operation(MAX_LEAF_BYTES - rest + 1).to_bytes().unwrap_err();
    assert_eq!(too_long.kind(), "leaf-too-large");
    let read = |bytes: &[u8]| Leaf::parse(bytes).map(drop).map_err(|e| e.kind());
    assert_ne!(read(&most), Err("leaf-too-large"));
    let mut more = most;
    more.push(b' ');
    assert_eq!(read(&more), Err("leaf-too-large"));
    more.extend_from_slice(b"    ");
    assert_eq!(read(&more), Err("leaf-too-large"));
}

fn project(keys: usize, prefixes: usize, origin: usize) -> Project {
    let key = |_| SecretKey::generate().unwrap().public_key().clone();
    Project {
        name: "acme".into(),
        log: "l".repeat(origin),
        version: 1,
        previous: None,
        roots: (0..keys).map(key).collect(),
        root_threshold: 1,
        release_keys: (0..1).map(key).collect(),
        release_threshold: 1,
        authorities: Vec::new(),
        purl_prefixes: (0..prefixes)
            .map(|n| format!("pkg:generic/p{n:03}"))
            .collect(),
        contact: "mailto:a@example.com".into(),
        max_key_age: None,
        policy: None,
    }
}

#[test]
fn lists_and_texts_end_where_the_page_says() {
    let may = |p: &Project| p.to_payload().map(drop).map_err(|e| e.kind());
    for good in [project(64, 1, 1), project(1, 64, 1), project(1, 1, 256)] {
        assert_eq!(may(&good), Ok(()));
    }
    for bad in [
        project(0, 1, 1),
        project(65, 1, 1),
        project(1, 0, 1),
        project(1, 65, 1),
        project(1, 1, 0),
        project(1, 1, 257),
        project(66, 1, 1),
        project(1, 66, 1),
        project(1, 1, 300),
    ] {
        assert!(may(&bad).is_err());
    }
    let note = |uses: usize| {
        let note = KeyNote {
            project: [1; 32],
            key: [3; 32],
            custody: None,
            generated: None,
            owner: Some("ops".into()),
            uses: (0..uses).map(|n| format!("host {n:03}")).collect(),
        };
        note.to_payload().map(drop).map_err(|e| e.kind())
    };
    assert_eq!(note(64), Ok(()));
    assert!(note(65).is_err() && note(66).is_err());
}

#[test]
fn digests_are_lower_case_hexadecimal_in_pairs() {
    let of = |algorithm: &str, hex: &str| {
        let digest = json!({ "sha256": "a".repeat(64), algorithm: hex });
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicate": { "packageId": "1".repeat(64), "purl": "pkg:generic/acme@1" },
            "predicateType": "https://in-toto.io/attestation/release/v0.2",
            "subject": [{ "annotations": { "size": 1 }, "digest": digest, "name": "a" }],
        });
        Statement::parse(statement.to_string().as_bytes())
            .map(drop)
            .map_err(|e| e.to_string())
    };
    assert_eq!(of("sha512", "ab"), Ok(()));
    assert_eq!(of("sha512", &"ab".repeat(128)), Ok(()));
    for bad in ["", "a", "abc", "AB", "g0", &"ab".repeat(129)] {
        assert!(of("sha512", bad).is_err(), "{bad}");
    }
    for hash in [
        "a".repeat(63),
        "a".repeat(65),
        "A".repeat(64),
        "g".repeat(64),
    ] {
        assert_eq!(from_hex32(&hash), None, "{hash}");
        assert!(of("sha256", &hash).is_err());
    }
    assert_eq!(from_hex32(&"0a".repeat(32)), Some([10; 32]));
}

#[test]
fn purls_have_one_spelling() {
    for good in [
        "pkg:a/b",
        "pkg:a2.b-c/b",
        "pkg:a/b@1?k=v&k2.x-y_z=%2F#s/t",
        "pkg:a/%40scope/name@1%2B2",
    ] {
        assert_eq!(check_purl(good, false), Ok(()), "{good}");
    }
    for bad in [
        "pkg:/b",
        "pkg:1a/b",
        "pkg:A/b",
        "pkg:aB/b",
        "pkg:a_/b",
        "pkg:a",
        "a/b",
        "pkg:a/",
        "pkg:a//b",
        "pkg:a/.",
        "pkg:a/b/..",
        "pkg:a/b@",
        "pkg:a/b?",
        "pkg:a/b?k",
        "pkg:a/b?k=",
        "pkg:a/b?K=v",
        "pkg:a/b?kK=v",
        "pkg:a/b?1=v",
        "pkg:a/b?b=v&a=v",
        "pkg:a/b?a=v&a=v",
        "pkg:a/b#",
        "pkg:a/b#..",
        "pkg:a/b c",
        "pkg:a/%2f",
        "pkg:a/%41",
        "pkg:a/%4",
        "pkg:a/%",
        "pkg:a/%ff",
        "pkg:a/%00",
        "pkg:a/%G0",
        "pkg:a/ü",
        "pkg:a/b?k=a b",
    ] {
        let refused = check_purl(bad, false).unwrap_err();
        assert!(refused.to_string().contains(bad), "{refused}");
    }
    // A prefix may end in a slash; a purl may not, nor a prefix that goes on behind its name.
    assert_eq!(check_purl("pkg:a/b/", true), Ok(()));
    for (bad, prefix) in [
        ("pkg:a/b/", false),
        ("pkg:a/b/@1", true),
        ("pkg:a/b/#s", true),
    ] {
        assert!(check_purl(bad, prefix).is_err(), "{bad}");
    }
    let long = format!("pkg:a/{}", "b".repeat(1024));
    let refused = check_purl(&long, false).unwrap_err().to_string();
    assert!(refused.contains(&long[..80]) && !refused.contains(&long[..81]));
    assert_eq!(check_purl(&long[..1024], false), Ok(()));
    assert!(check_purl(&long[..1025], false).is_err());
}

#[test]
fn versions_are_decoded_once() {
    for (purl, version) in [
        ("pkg:a/b@1.0", Some("1.0")),
        ("pkg:a/b@1%2B2%2F3?k=v#s", Some("1+2/3")),
        ("pkg:a/b@%25%41", Some("%A")),
        ("pkg:a/b@x%2", Some("x%2")),
        ("pkg:a/b@%", Some("%")),
        ("pkg:a/b@%+1", Some("%+1")),
        ("pkg:a/b@%GG%20", Some("%GG ")),
        ("pkg:a/b@%FF", Some("%FF")),
        ("pkg:a/b@", None),
        ("pkg:a/b", None),
        ("pkg:a/@b/c", None),
    ] {
        assert_eq!(purl_version(purl).as_deref(), version, "{purl}");
    }
}

#[test]
fn what_a_release_consists_of_is_the_set_of_its_artifacts() {
    let artifact = |name: &str, byte: u8, size: Option<u64>| Subject {
        name: name.into(),
        sha256: [byte; 32],
        size,
        digests: Default::default(),
        download_location: None,
    };
    let (a, b) = (artifact("a", 1, Some(1)), artifact("b", 2, None));
    let of = |list: &[&Subject]| -> Hash {
        let list: Vec<Subject> = list.iter().map(|s| (*s).clone()).collect();
        content(&list)
    };
    assert_eq!(of(&[&a, &b]), of(&[&b, &a]));
    let others = [
        of(&[&a]),
        of(&[&a, &b]),
        of(&[&artifact("a", 1, Some(2)), &b]),
        of(&[&artifact("a", 3, Some(1)), &b]),
        of(&[&artifact("c", 1, Some(1)), &b]),
        of(&[]),
    ];
    let distinct: std::collections::BTreeSet<&Hash> = others.iter().collect();
    assert_eq!(distinct.len(), others.len());
    let located = Subject {
        download_location: Some("https://example.com/a".into()),
        ..a.clone()
    };
    assert_eq!(of(&[&located, &b]), of(&[&a, &b]));
    assert_eq!(b64(b"\xfb\xff"), "+/8=");
}
