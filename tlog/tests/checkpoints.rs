//! Checkpoints and cosignatures: the golden log's heads, other logs' checkpoints, each rule of
//! the format with a text that breaks it, and properties over arbitrary input.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod notes_support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use notes_support::*;
use proptest::prelude::*;
use tlog::checkpoint::Checkpoint;
use tlog::cosignature;
use tlog::note::{Note, Verified};
use tlog::policy::Policy;
use tlog::vkey::VerifierKey;

const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

fn kind(text: &str) -> &'static str {
    Checkpoint::parse(text).unwrap_err().kind()
}

#[test]
fn golden_heads_are_signed_by_both_log_keys_and_meet_the_trust_documents_quorum() {
    let golden = vector_json("countersign/golden-log.json");
    let document = &golden["trust"]["document"];
    let policy = Policy::parse(text(&document["witnesses"])).unwrap();
    let mut keys: Vec<VerifierKey> = list(&document["log"]["vkeys"])
        .iter()
        .map(|vkey| VerifierKey::parse(text(vkey)).unwrap())
        .collect();
    assert_eq!(keys.len(), 2);
    keys.extend(policy.witnesses().iter().map(|w| w.key.clone()));

    let mut heads = 0;
    for head in list(&golden["heads"]) {
        let bytes = text(&head["checkpoint"]).as_bytes();
        let note = Note::parse(bytes).unwrap();
        assert_eq!(note.to_bytes(), bytes);
        let checkpoint = Checkpoint::parse(&note.text).unwrap();
        assert_eq!(checkpoint.to_text(), note.text);
        assert_eq!(checkpoint.origin, text(&document["log"]["origin"]));
        assert!(keys[..2].iter().all(|k| k.name() == checkpoint.origin));
        assert_eq!(Some(checkpoint.size), head["size"].as_u64());
        assert_eq!(hex::encode(checkpoint.root), text(&head["root"]));
        assert_eq!(checkpoint.extensions, [""; 0]);

        let verified = note.verify(&keys).unwrap();
        let signers: Vec<_> = verified.iter().map(|v| v.key).collect();
        assert_eq!(signers, [0, 1, 2, 3]);
        let time = |name: &str| {
            let witness = policy.witnesses().iter().position(|w| w.name == name)?;
            let signed = |v: &&Verified| v.key == witness + 2;
            verified.iter().find(signed)?.timestamp
        };
        assert!(policy.met(&|name| time(name).is_some()));
        // Both witnesses are needed, so the later one decides publication, the earlier one view.
        let (first, second) = (time("W1").unwrap(), time("W2").unwrap());
        assert_eq!(policy.kth_smallest(&time), Some(first.max(second)));
        assert_eq!(policy.kth_largest(&time), Some(first.min(second)));
        assert!(!policy.met(&|name| name == "W1"));
        heads += 1;
    }
    assert_eq!(heads, 11);
}

#[test]
fn golden_bundles_checkpoints_verify() {
    let golden = vector_json("countersign/golden-log.json");
    let document = &golden["trust"]["document"];
    let keys: Vec<VerifierKey> = list(&document["log"]["vkeys"])
        .iter()
        .map(|vkey| VerifierKey::parse(text(vkey)).unwrap())
        .collect();
    for bundle in list(&golden["bundles"]) {
        let bundle = &bundle["bundle"];
        for checkpoint in [&bundle["first"], &bundle["latest"]["checkpoint"]] {
            if let Some(checkpoint) = checkpoint.as_str() {
                let note = Note::parse(checkpoint.as_bytes()).unwrap();
                assert_eq!(note.verify(&keys).unwrap().len(), 2);
            }
        }
    }
}

#[test]
fn rfc6962_roots_travel_in_checkpoints() {
    let vectors = vector_json("extracted/rfc6962_roots.json");
    for (size, root) in list(&vectors["root_hashes_hex"]).iter().enumerate() {
        let root: Vec<u8> = hex::decode(text(root)).unwrap();
        let written = format!("log.example\n{size}\n{}\n", STANDARD.encode(&root));
        let checkpoint = Checkpoint::parse(&written).unwrap();
        assert_eq!(checkpoint.root.as_slice(), root);
        assert_eq!(checkpoint.size, size as u64);
        assert_eq!(checkpoint.to_text(), written);
    }
}

#[test]
fn the_witness_sequence_of_another_implementation() {
    let vectors = vector_json("extracted/witness_add_checkpoint_sequence.json");
    let origin = text(&vectors["log_origin"]);
    let mut public = [0; 32];
    hex::decode_to_slice(text(&vectors["log_ed25519_public_key_hex"]), &mut public).unwrap();
    let key = VerifierKey::ed25519(origin, &public).unwrap();
    for case in list(&vectors["cases"]) {
        let name = text(&case["name"]);
        let (_, note) = text(&case["request_body"]).split_once("\n\n").unwrap();
        let note = match Note::parse(note.as_bytes()) {
            Ok(note) => note,
            Err(error) => {
                assert_eq!(name, "syntactically invalid note", "{error}");
                continue;
            }
        };
        match note.verify(std::slice::from_ref(&key)) {
            Ok(verified) => assert_eq!(verified.len(), 1),
            Err(error) => {
                let expected = match name {
                    "invalid signature" => "note-bad-signature",
                    "unknown log" => "note-no-known-signature",
                    _ => panic!("{name}: {error}"),
                };
                assert_eq!(error.kind(), expected);
                continue;
            }
        }
        match Checkpoint::parse(&note.text) {
            Ok(checkpoint) => assert_eq!(checkpoint.origin, origin),
            Err(error) => {
                assert_eq!(name, "invalid checkpoint body");
                assert_eq!(error.kind(), "checkpoint-size");
            }
        }
    }
}

/// The checkpoint of a Sigstore bundle, and its trusted root's keys for that log.
fn sigstore(case: &str) -> (Note, Vec<VerifierKey>) {
    let folder = format!("sigstore-conformance/{case}");
    let bundle = vector_json(&format!("{folder}/bundle.sigstore.json"));
    let entry = &bundle["verificationMaterial"]["tlogEntries"][0];
    let checkpoint = text(&entry["inclusionProof"]["checkpoint"]["envelope"]);
    let note = Note::parse(checkpoint.as_bytes()).unwrap();
    let root = vector_json(&format!("{folder}/trusted_root.json"));
    let keys = list(&root["tlogs"])
        .iter()
        .map(|log| {
            let name = text(&log["baseUrl"]).strip_prefix("https://").unwrap();
            let spki = STANDARD
                .decode(text(&log["publicKey"]["rawBytes"]))
                .unwrap();
            match text(&log["publicKey"]["keyDetails"]) {
                "PKIX_ED25519" => {
                    let (_, public) = spki.split_last_chunk::<32>().unwrap();
                    let key = VerifierKey::ed25519(name, public).unwrap();
                    // Sigstore's log id begins with the note's key id.
                    let id = STANDARD.decode(text(&log["logId"]["keyId"])).unwrap();
                    assert_eq!(key.key_id(), id[..4]);
                    key
                }
                _ => VerifierKey::p256(name, &spki).unwrap(),
            }
        })
        .collect();
    (note, keys)
}

#[test]
fn rekor_checkpoints() {
    for (case, signatures) in [
        ("rekor2-happy-path", 1),
        ("rekor2-checkpoint-cosigned", 2),
        ("rekor2-checkpoint-two-sigs-cosigned", 3),
    ] {
        let (note, keys) = sigstore(case);
        assert_eq!(note.signatures.len(), signatures, "{case}");
        assert_eq!(note.verify(&keys).unwrap().len(), 1, "{case}");
        let checkpoint = Checkpoint::parse(&note.text).unwrap();
        assert_eq!(checkpoint.origin, "log2025-alpha1.rekor.sigstage.dev");
        assert_eq!(checkpoint.size, 736);
    }
    for (case, note_kind, checkpoint_kind) in [
        (
            "rekor2-checkpoint-missing-origin_fail",
            "note-bad-signature",
            Some("checkpoint-lines"),
        ),
        (
            "rekor2-checkpoint-missing-size_fail",
            "note-bad-signature",
            Some("checkpoint-lines"),
        ),
        (
            "rekor2-checkpoint-no-matching-signature_fail",
            "note-no-known-signature",
            None,
        ),
    ] {
        let (note, keys) = sigstore(case);
        assert_eq!(note.verify(&keys).unwrap_err().kind(), note_kind, "{case}");
        let parsed = Checkpoint::parse(&note.text);
        assert_eq!(parsed.err().map(|e| e.kind()), checkpoint_kind, "{case}");
    }
}

#[test]
fn size_with_leading_zero_is_refused() {
    for size in [
        "00", "01", "007", "+1", "-1", "1_0", " 1", "1 ", "0x1", "five", "١",
    ] {
        assert_eq!(
            kind(&format!("o\n{size}\n{ROOT}\n")),
            "checkpoint-size",
            "{size}"
        );
    }
    for size in [0, 1, 10, u64::MAX] {
        let checkpoint = Checkpoint::parse(&format!("o\n{size}\n{ROOT}\n")).unwrap();
        assert_eq!(checkpoint.size, size);
    }
    let above = format!("o\n18446744073709551616\n{ROOT}\n");
    assert_eq!(kind(&above), "checkpoint-size");
}

#[test]
fn malformed_checkpoints_are_refused() {
    for (bad, expected) in [
        (String::new(), "checkpoint-unterminated"),
        ("\n".to_owned(), "checkpoint-empty-line"),
        ("o\n".to_owned(), "checkpoint-lines"),
        ("o\n1\n".to_owned(), "checkpoint-lines"),
        (format!("o\n1\n{ROOT}"), "checkpoint-unterminated"),
        (format!("\n1\n{ROOT}\n"), "checkpoint-empty-line"),
        (format!("o\n\n{ROOT}\n"), "checkpoint-empty-line"),
        (format!("o\n1\n{ROOT}\n\n"), "checkpoint-empty-line"),
        (format!("o\n1\n{ROOT}\n\next\n"), "checkpoint-empty-line"),
        (format!("o\r\n1\n{ROOT}\n"), "checkpoint-control-character"),
        (format!("o\n1\n{ROOT} \n"), "checkpoint-root"),
        ("o\n1\nAAAA\n".to_owned(), "checkpoint-root"),
        (format!("o\n1\n{}\n", &ROOT[..43]), "checkpoint-root"),
        (format!("o\n1\n{}J=\n", &ROOT[..42]), "checkpoint-root"),
        (
            format!("o\n1\n{}\n", ROOT.replace('/', "_")),
            "checkpoint-root",
        ),
    ] {
        assert_eq!(kind(&bad), expected, "{bad:?}");
    }
}

#[test]
fn extension_lines_are_read_and_kept() {
    let text = format!("o\n1\n{ROOT}\nTimestamp: 7\n two \n");
    let checkpoint = Checkpoint::parse(&text).unwrap();
    assert_eq!(checkpoint.extensions, ["Timestamp: 7", " two "]);
    assert_eq!(checkpoint.to_text(), text);
}

#[test]
fn cosigned_message_is_the_specifications() {
    let text = format!("example.com/behind-the-sofa\n20852163\n{ROOT}\n");
    let expected = format!("cosignature/v1\ntime 1679315147\n{text}");
    assert_eq!(
        cosignature::message(1_679_315_147, &text),
        expected.as_bytes()
    );
}

#[test]
fn cosignatures_take_72_bytes_and_times_below_2_to_63() {
    let bytes = cosignature::encode(0x0102, &[9; 64]);
    assert_eq!(bytes[..8], [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(cosignature::decode(&bytes).unwrap(), (0x0102, [9; 64]));
    for length in [0, 7, 8, 71, 73] {
        let error = cosignature::decode(&vec![0; length]).unwrap_err();
        assert_eq!(error.kind(), "signature-length");
    }
    let latest = cosignature::MAX_TIMESTAMP;
    assert!(cosignature::decode(&cosignature::encode(latest, &[0; 64])).is_ok());
    let error = cosignature::decode(&cosignature::encode(latest + 1, &[0; 64])).unwrap_err();
    assert_eq!(error.kind(), "signature-timestamp");
}

proptest! {
    #[test]
    fn parsing_arbitrary_text_never_panics_and_is_canonical(
        lines in prop::collection::vec(
            prop_oneof![Just(ROOT.to_owned()), "[0-9]{1,21}", any::<String>()], 0..6,
        )
    ) {
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.to_text(), text);
        }
    }

    #[test]
    fn checkpoints_round_trip(
        origin in "[^\u{0}-\u{1f}]{1,20}",
        size in any::<u64>(),
        root in any::<[u8; 32]>(),
        extensions in prop::collection::vec("[^\u{0}-\u{1f}]{1,20}", 0..3),
    ) {
        let checkpoint = Checkpoint { origin, size, root, extensions };
        prop_assert_eq!(Checkpoint::parse(&checkpoint.to_text()).unwrap(), checkpoint);
    }

    #[test]
    fn cosignatures_round_trip(time in 0..=cosignature::MAX_TIMESTAMP, bytes in any::<[u8; 32]>()) {
        let signature: [u8; 64] = [bytes, bytes].concat().try_into().unwrap();
        let encoded = cosignature::encode(time, &signature);
        prop_assert_eq!(cosignature::decode(&encoded).unwrap(), (time, signature));
    }
}

#[test]
fn an_empty_line_is_told_by_its_number_from_one() {
    let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let line = |text: String| match Checkpoint::parse(&text) {
        Err(tlog::checkpoint::CheckpointError::EmptyLine { line }) => line,
        other => panic!("{other:?}"),
    };
    assert_eq!(line(format!("\n0\n{root}\n")), 1);
    assert_eq!(line(format!("log.example\n\n{root}\n")), 2);
    assert_eq!(line(format!("log.example\n0\n{root}\n\nmore\n")), 4);
}
