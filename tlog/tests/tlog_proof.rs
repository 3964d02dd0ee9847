//! Proof files: round trips with a real proof from the golden log, each rule of the format with
//! a file that breaks it, and properties over arbitrary input.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod notes_support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use notes_support::*;
use proptest::prelude::*;
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::tlog_proof::TlogProof;
use tlog::{Hash, hash, proof};

const CHECKPOINT: &str = "log.example\n3\nQ5ylW3eVxbpMqxQCvAZv3zbJSsBxfbaW1bRMaX8VGAw=\n";
const HASH: &str = "B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=";

fn signed(text: &str) -> Note {
    note(text, vec![sign_ed25519("log.example", 1, text)])
}

/// A file of these lines before the checkpoint.
fn file(head: &str) -> String {
    let note = String::from_utf8(signed(CHECKPOINT).to_bytes()).unwrap();
    format!("{head}\n{note}")
}

fn kind(file: &str) -> &'static str {
    TlogProof::parse(file.as_bytes()).unwrap_err().kind()
}

#[test]
fn an_entry_of_the_golden_log_is_proved() {
    let golden = vector_json("countersign/golden-log.json");
    let mut proved = 0;
    for bundle in list(&golden["bundles"]) {
        let bundle = &bundle["bundle"];
        if bundle.get("latest").is_some() {
            continue;
        }
        let entry = &bundle["entry"];
        let decode = |hash: &serde_json::Value| -> Hash {
            hex::decode(text(hash)).unwrap().try_into().unwrap()
        };
        let written = TlogProof {
            extra: None,
            index: entry["index"].as_u64().unwrap(),
            proof: list(&entry["proof"]).iter().map(decode).collect(),
            checkpoint: Note::parse(text(&bundle["first"]).as_bytes()).unwrap(),
        };
        let read = TlogProof::parse(&written.to_bytes()).unwrap();
        assert_eq!(read, written);
        let head = Checkpoint::parse(&read.checkpoint.text).unwrap();
        let leaf = hash::leaf_hash(&STANDARD.decode(text(&entry["leaf"])).unwrap());
        proof::verify_inclusion(&leaf, read.index, head.size, &read.proof, &head.root).unwrap();
        proved += 1;
    }
    assert!(proved > 0);
}

#[test]
fn a_file_with_and_without_extra() {
    let text = file(&format!(
        "c2sp.org/tlog-proof@v1\nextra YWdl\nindex 73894\n{HASH}\n{HASH}\n"
    ));
    let read = TlogProof::parse(text.as_bytes()).unwrap();
    assert_eq!(read.extra.as_deref(), Some(&b"age"[..]));
    assert_eq!(read.index, 73894);
    assert_eq!(read.proof.len(), 2);
    assert_eq!(read.checkpoint, signed(CHECKPOINT));
    assert_eq!(read.to_bytes(), text.as_bytes());

    let text = file("c2sp.org/tlog-proof@v1\nindex 0\n");
    let read = TlogProof::parse(text.as_bytes()).unwrap();
    assert_eq!(
        (read.extra.clone(), read.index, read.proof.len()),
        (None, 0, 0)
    );
    assert_eq!(read.to_bytes(), text.as_bytes());
    // Extra data of no bytes is no extra data.
    let empty = TlogProof {
        extra: Some(vec![]),
        ..read
    };
    assert_eq!(empty.to_bytes(), text.as_bytes());
}

#[test]
fn malformed_files_are_refused() {
    let header = "c2sp.org/tlog-proof@v1";
    for (head, expected) in [
        (
            format!("c2sp.org/tlog-proof@v2\nindex 0\n{HASH}\n"),
            "tlog-proof-header",
        ),
        (format!(" {header}\nindex 0\n"), "tlog-proof-header"),
        (format!("index 0\n{HASH}\n"), "tlog-proof-header"),
        (format!("{header}\n"), "tlog-proof-index"),
        (format!("{header}\n{HASH}\n"), "tlog-proof-index"),
        (format!("{header}\nindex\n"), "tlog-proof-index"),
        (format!("{header}\nindex 01\n"), "tlog-proof-index"),
        (format!("{header}\nindex +1\n"), "tlog-proof-index"),
        (format!("{header}\nindex  1\n"), "tlog-proof-index"),
        (
            format!("{header}\nindex 18446744073709551616\n"),
            "tlog-proof-index",
        ),
        (format!("{header}\nextra\nindex 0\n"), "tlog-proof-extra"),
        (format!("{header}\nextra \nindex 0\n"), "tlog-proof-extra"),
        (format!("{header}\nextra !\nindex 0\n"), "tlog-proof-extra"),
        (
            format!("{header}\nextra YWdl \nindex 0\n"),
            "tlog-proof-extra",
        ),
        (
            format!("{header}\nextra YWdl\nextra YWdl\nindex 0\n"),
            "tlog-proof-index",
        ),
        (
            format!("{header}\nindex 0\nextra YWdl\n"),
            "tlog-proof-hash",
        ),
        (format!("{header}\nindex 0\nindex 0\n"), "tlog-proof-hash"),
        (format!("{header}\nindex 0\nAAAA\n"), "tlog-proof-hash"),
        (format!("{header}\nindex 0\n{HASH}\r\n"), "tlog-proof-hash"),
        (
            format!("{header}\nindex 0\n{}", format!("{HASH}\n").repeat(64)),
            "tlog-proof-too-many-hashes",
        ),
        (format!("{header}\nindex 0\n\n"), "tlog-proof-checkpoint"),
    ] {
        assert_eq!(kind(&file(&head)), expected, "{head:?}");
    }
    assert_eq!(kind(""), "tlog-proof-truncated");
    assert_eq!(
        kind(&format!("{header}\nindex 0\n")),
        "tlog-proof-truncated"
    );
    assert_eq!(kind(&format!("{header}\nindex 0\n\n")), "tlog-proof-note");
    assert_eq!(
        kind(&format!("{header}\nindex 0\n\n{CHECKPOINT}")),
        "tlog-proof-note"
    );
    assert_eq!(kind(&"a".repeat(2_000_001)), "tlog-proof-too-large");
    let error = TlogProof::parse(b"c2sp\xff").unwrap_err();
    assert_eq!(error.kind(), "tlog-proof-not-utf8");
}

#[test]
fn trailing_bytes_are_refused() {
    let good = file("c2sp.org/tlog-proof@v1\nindex 0\n");
    assert!(TlogProof::parse(good.as_bytes()).is_ok());
    for rest in ["\n", "x", "x\n", " ", "\0"] {
        assert_eq!(
            kind(&format!("{good}{rest}")),
            "tlog-proof-note",
            "{rest:?}"
        );
    }
}

#[test]
fn the_note_must_be_a_checkpoint() {
    let note = String::from_utf8(signed("just\ntext\n").to_bytes()).unwrap();
    let text = format!("c2sp.org/tlog-proof@v1\nindex 0\n\n{note}");
    assert_eq!(kind(&text), "tlog-proof-checkpoint");
}

proptest! {
    #[test]
    fn parsing_arbitrary_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = TlogProof::parse(&bytes);
    }

    #[test]
    fn parsing_a_changed_file_never_panics_and_is_canonical(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut bytes = file(&format!(
            "c2sp.org/tlog-proof@v1\nextra YWdl\nindex 7\n{HASH}\n"
        )).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(read) = TlogProof::parse(&bytes) {
            // Only the unused bits of a signature line's base64 may differ.
            let written = read.to_bytes();
            prop_assert_eq!(written.len(), bytes.len());
            prop_assert_eq!(TlogProof::parse(&written).unwrap(), read);
        }
    }

    #[test]
    fn files_round_trip(
        extra in prop::option::of(prop::collection::vec(any::<u8>(), 1..40)),
        index in any::<u64>(),
        proof in prop::collection::vec(any::<[u8; 32]>(), 0..63),
    ) {
        let written = TlogProof { extra, index, proof, checkpoint: signed(CHECKPOINT) };
        prop_assert_eq!(TlogProof::parse(&written.to_bytes()).unwrap(), written);
    }
}
