//! Limits are met to the byte, and errors say which line they mean.
#![allow(clippy::unwrap_used)]

use tlog::note::{MAX_NOTE_BYTES, NoteError, parse_signatures};
use tlog::policy::{MAX_POLICY_BYTES, Part, Policy, PolicyError};
use tlog::tile::TileError;
use tlog::tlog_proof::{MAX_PROOF_FILE_BYTES, TlogProof, TlogProofError};
use tlog::vkey::{MAX_VKEY_BYTES, VerifierKey, VkeyError};
use tlog::witness::{AddCheckpoint, AddCheckpointError};

#[test]
fn as_many_bytes_as_are_allowed_are_read_and_one_more_is_not() {
    let of = |length: usize| "x".repeat(length);
    let note = |n| matches!(parse_signatures(&of(n)), Err(NoteError::TooLarge { .. }));
    assert_eq!(
        (note(MAX_NOTE_BYTES), note(MAX_NOTE_BYTES + 1)),
        (false, true)
    );
    let policy = |n| matches!(Policy::parse(&of(n)), Err(PolicyError::TooLarge { .. }));
    assert_eq!(
        (policy(MAX_POLICY_BYTES), policy(MAX_POLICY_BYTES + 1)),
        (false, true)
    );
    let proof = |n| {
        let parsed = TlogProof::parse(of(n).as_bytes());
        matches!(parsed, Err(TlogProofError::TooLarge { .. }))
    };
    let most = MAX_PROOF_FILE_BYTES;
    assert_eq!((proof(most), proof(most + 1)), (false, true));
    let vkey = |n| matches!(VerifierKey::parse(&of(n)), Err(VkeyError::TooLong { .. }));
    assert_eq!(
        (vkey(MAX_VKEY_BYTES), vkey(MAX_VKEY_BYTES + 1)),
        (false, true)
    );
}

#[test]
fn a_signature_line_that_is_none_is_named_by_its_number() {
    let line = |text: &str| match parse_signatures(text) {
        Err(NoteError::SignatureLine { line, .. }) => line,
        other => panic!("{other:?}"),
    };
    let good = "— a.example AAAAAGFi\n";
    assert_eq!(line("bad\n"), 1);
    assert_eq!(line(&format!("{good}{good}bad\n")), 3);
    // The last has no end.
    assert_eq!(line(&format!("{good}{good}bad")), 3);
    assert_eq!(line("bad"), 1);
}

#[test]
fn what_is_no_hash_is_named_and_shown_in_part() {
    let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let long = "y".repeat(200);
    let proof = |lines: &str| {
        let text = format!("c2sp.org/tlog-proof@v1\nindex 0\n{lines}\n\nlog.example\n");
        TlogProof::parse(text.as_bytes())
    };
    let (number, got) = match proof(&format!("{hash}\n{hash}\n{long}")) {
        Err(TlogProofError::Hash { number, got }) => (number, got),
        other => panic!("{other:?}"),
    };
    assert_eq!((number, got), (3, "y".repeat(80)));
    let many = [hash; 64].join("\n");
    assert!(matches!(
        proof(&many),
        Err(TlogProofError::TooManyHashes { got: 64 })
    ));
    let most = [hash; 63].join("\n");
    assert!(!matches!(
        proof(&most),
        Err(TlogProofError::TooManyHashes { .. })
    ));
    let body = format!("old 1\n{hash}\n{long}\n\nlog.example\n");
    let (number, got) = match AddCheckpoint::parse(body.as_bytes()) {
        Err(AddCheckpointError::Hash { number, got }) => (number, got),
        other => panic!("{other:?}"),
    };
    assert_eq!((number, got), (2, "y".repeat(80)));
}

#[test]
fn a_tile_s_errors_have_stable_names() {
    let kind = TileError::Path("x".into()).kind();
    assert_eq!(kind, "bad-tile-path");
}

#[test]
fn a_policy_s_parts_are_shown_from_the_quorum_down() {
    // Not all bytes are a key.
    let key = |name: &str, nth| {
        let mut keys = (0..=255_u8).filter_map(|b| VerifierKey::cosignature(name, &[b; 32]).ok());
        keys.nth(nth).unwrap()
    };
    let text = format!(
        "witness a {}\nwitness b {}\ngroup g all a b\nquorum g\n",
        key("a.example", 3),
        key("b.example", 4)
    );
    let policy = Policy::parse(&text).unwrap();
    let shown: Vec<(usize, String)> = policy
        .parts()
        .into_iter()
        .map(|(depth, part)| match part {
            Part::Witness(w) => (depth, w.name.clone()),
            Part::Group { name, .. } => (depth, name.to_owned()),
        })
        .collect();
    let wanted = [(0, "g".to_owned()), (1, "a".into()), (1, "b".into())];
    assert_eq!(shown, wanted);
}
