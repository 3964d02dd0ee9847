//! Signed notes: published vectors, each rule of the format with a note that breaks it, and
//! properties over arbitrary input.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod notes_support;

use notes_support::*;
use proptest::prelude::*;
use tlog::note::{
    MAX_NOTE_BYTES, Note, NoteError, NoteSignature, Verified, check_name, parse_signatures,
};
use tlog::vkey::{SignatureError, VerifierKey};

const TEXT: &str = "one\n\nthree\n";

fn parse_kind(note: &str) -> &'static str {
    Note::parse(note.as_bytes()).unwrap_err().kind()
}

#[test]
fn published_valid_notes_verify_and_round_trip() {
    let vectors = vector_json("extracted/signed_notes.json");
    for case in list(&vectors["valid"]) {
        let key = VerifierKey::parse(text(&case["vkey"])).unwrap();
        let bytes = text(&case["note"]).as_bytes();
        let note = Note::parse(bytes).unwrap();
        let verified = note.verify(&[key]).unwrap();
        let expected = Verified {
            key: 0,
            timestamp: None,
        };
        assert_eq!(verified, [expected], "{}", case["desc"]);
        assert_eq!(note.to_bytes(), bytes);
        assert_eq!(note.check(), Ok(()));
        let mut other = note.clone();
        other.text = other.text.replacen(char::is_alphabetic, "#", 1);
        let key = VerifierKey::parse(text(&case["vkey"])).unwrap();
        assert_eq!(
            other.verify(&[key]).unwrap_err().kind(),
            "note-bad-signature"
        );
    }
}

#[test]
fn published_invalid_notes_are_refused() {
    let vectors = vector_json("extracted/signed_notes.json");
    let kinds: Vec<_> = list(&vectors["invalid"])
        .iter()
        .map(|case| parse_kind(text(&case["note"])))
        .collect();
    // The third also lacks its final newline, which is found first.
    assert_eq!(
        kinds,
        [
            "note-no-signatures",
            "note-signature-line",
            "note-signature-line",
            "note-too-many-signatures",
        ]
    );
}

#[test]
fn each_algorithm_signs_and_verifies() {
    let keys = [ed25519("log", 1), p256("log", 2), witness("w", 3)];
    let signed = note(
        TEXT,
        vec![
            cosign("w", 3, 1_790_000_000, TEXT),
            sign_p256("log", 2, TEXT),
            sign_ed25519("log", 1, TEXT),
        ],
    );
    let read = Note::parse(&signed.to_bytes()).unwrap();
    assert_eq!(read, signed);
    let found: Vec<_> = read
        .verify(&keys)
        .unwrap()
        .iter()
        .map(|v| (v.key, v.timestamp))
        .collect();
    assert_eq!(found, [(2, Some(1_790_000_000)), (1, None), (0, None)]);
}

#[test]
fn high_s_is_accepted_in_notes() {
    let mut line = sign_p256("log", 2, TEXT);
    let signature = p256::ecdsa::Signature::from_der(&line.signature).unwrap();
    let low = signature.normalize_s();
    let high = p256::ecdsa::Signature::from_scalars(low.r(), -*low.s()).unwrap();
    for signature in [low, high] {
        line.signature = signature.to_der().as_bytes().to_vec();
        let signed = note(TEXT, vec![line.clone()]);
        assert_eq!(signed.verify(&[p256("log", 2)]).unwrap().len(), 1);
    }
}

#[test]
fn unknown_keys_are_ignored_but_do_not_suffice() {
    let stranger = sign_ed25519("stranger", 9, TEXT);
    let known = sign_ed25519("log", 1, TEXT);
    let mut same_name = sign_ed25519("log", 9, TEXT);
    let keys = [ed25519("log", 1)];
    let both = note(TEXT, vec![stranger.clone(), same_name.clone(), known]);
    assert_eq!(both.verify(&keys).unwrap().len(), 1);

    let error = note(TEXT, vec![stranger, same_name.clone()])
        .verify(&keys)
        .unwrap_err();
    assert_eq!(error.kind(), "note-no-known-signature");
    let NoteError::NoKnownSignature { expected, got } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        expected,
        &[format!("log+{}", hex::encode(keys[0].key_id()))]
    );
    assert_eq!(got.len(), 2);

    // The same id under another name is not the known key either.
    same_name.name = "other".to_owned();
    same_name.key_id = keys[0].key_id();
    let error = note(TEXT, vec![same_name]).verify(&keys).unwrap_err();
    assert_eq!(error.kind(), "note-no-known-signature");
    assert_eq!(
        note(TEXT, vec![sign_ed25519("log", 1, TEXT)])
            .verify(&[])
            .unwrap_err()
            .kind(),
        "note-no-known-signature"
    );
}

#[test]
fn a_known_key_with_a_failing_signature_rejects_the_whole_note() {
    let keys = [ed25519("log", 1), witness("w", 3)];
    let good = sign_ed25519("log", 1, TEXT);
    let other_text = cosign("w", 3, 7, "other\n");
    let mut other_time = cosign("w", 3, 7, TEXT);
    other_time.signature[7] = 8;
    let mut short = cosign("w", 3, 7, TEXT);
    short.signature.pop();
    let far = cosign("w", 3, u64::MAX, TEXT);
    for (bad, source) in [
        (other_text, SignatureError::Mismatch),
        (other_time, SignatureError::Mismatch),
        (
            short,
            SignatureError::Length {
                expected: 72,
                got: 71,
            },
        ),
        (far, SignatureError::Timestamp { got: u64::MAX }),
    ] {
        let error = note(TEXT, vec![good.clone(), bad])
            .verify(&keys)
            .unwrap_err();
        let expected = NoteError::BadSignature {
            name: "w".to_owned(),
            key_id: keys[1].key_id(),
            source,
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn trailing_bytes_in_a_signature_fail() {
    for (key, mut line, kind) in [
        (
            ed25519("log", 1),
            sign_ed25519("log", 1, TEXT),
            "signature-length",
        ),
        (p256("log", 2), sign_p256("log", 2, TEXT), "signature-der"),
        (witness("w", 3), cosign("w", 3, 7, TEXT), "signature-length"),
    ] {
        line.signature.push(0);
        let error = note(TEXT, vec![line]).verify(&[key]).unwrap_err();
        let NoteError::BadSignature { source, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(source.kind(), kind);
    }
}

#[test]
fn a_repeated_signature_counts_once() {
    let line = sign_ed25519("log", 1, TEXT);
    let signed = note(TEXT, vec![line.clone(), line]);
    assert_eq!(signed.verify(&[ed25519("log", 1)]).unwrap().len(), 1);
}

#[test]
fn a_repeated_signature_must_hold_wherever_it_stands() {
    let good = sign_ed25519("log", 1, TEXT);
    let mut bad = good.clone();
    bad.signature[0] ^= 1;
    for order in [vec![good.clone(), bad.clone()], vec![bad, good]] {
        let error = note(TEXT, order).verify(&[ed25519("log", 1)]).unwrap_err();
        assert_eq!(error.kind(), "note-bad-signature");
    }
}

#[test]
fn a_witness_that_cosigned_twice_gives_both_times() {
    let signed = note(TEXT, [20, 10, 20].map(|t| cosign("w", 3, t, TEXT)).to_vec());
    let times: Vec<_> = signed
        .verify(&[witness("w", 3)])
        .unwrap()
        .iter()
        .filter_map(|v| v.timestamp)
        .collect();
    assert_eq!(times, [20, 10]);
}

#[test]
fn a_key_of_an_unsupported_type_is_like_an_unknown_one() {
    let vectors = vector_json("extracted/vkeys.json");
    let other = list(&vectors["vkeys"])
        .iter()
        .filter_map(|case| VerifierKey::parse(text(&case["vkey"])).ok())
        .find(|key| key.algorithm().byte() == 0x06)
        .unwrap();
    let line = NoteSignature::by(&other, vec![0; 72]);
    let alone = note(TEXT, vec![line.clone()]);
    let keys = [other, ed25519("log", 1)];
    assert_eq!(
        alone.verify(&keys).unwrap_err().kind(),
        "note-no-known-signature"
    );
    let both = note(TEXT, vec![line, sign_ed25519("log", 1, TEXT)]);
    assert_eq!(both.verify(&keys).unwrap()[0].key, 1);
}

#[test]
fn text_is_split_at_the_last_empty_line() {
    for body in ["\n", "a\n", "a\n\n", "\n\na\n\n\n", "a\n\n— x AAAAAAA=\n"] {
        let signed = note(body, vec![sign_ed25519("log", 1, body)]);
        assert_eq!(Note::parse(&signed.to_bytes()).unwrap(), signed, "{body:?}");
    }
}

#[test]
fn malformed_notes_are_refused() {
    let good = "a\n\n— log AAAAAAA=\n";
    assert!(Note::parse(good.as_bytes()).is_ok());
    for (bad, kind) in [
        ("", "note-no-signatures"),
        ("a", "note-no-signatures"),
        ("a\n\n", "note-no-signatures"),
        ("a\n— log AAAAAAA=\n", "note-no-signatures"),
        ("— log AAAAAAA=\n", "note-no-signatures"),
        ("\n— log AAAAAAA=\n", "note-no-signatures"),
        ("a\n\n— log AAAAAAA=", "note-signature-line"),
        ("a\n\n— log AAAAAAA=\n\n", "note-no-signatures"),
        ("a\n\n— log AAAAAAA=\ntrailing\n", "note-signature-line"),
        ("a\n\n— log AAAAAAA= \n", "note-signature-line"),
        ("a\n\n— log  AAAAAAA=\n", "note-signature-line"),
        ("a\n\n—  AAAAAAA=\n", "note-signature-line"),
        ("a\n\n- log AAAAAAA=\n", "note-signature-line"),
        ("a\n\n—log AAAAAAA=\n", "note-signature-line"),
        ("a\n\n— log\n", "note-signature-line"),
        ("a\n\n— log AAAAAAA\n", "note-signature-line"),
        ("a\n\n— log AAAAAA==\n", "note-signature-line"),
        ("a\n\n— log AAA=\n", "note-signature-line"),
        ("a\n\n— lo+g AAAAAAA=\n", "note-signature-line"),
        ("a\n\n— lo\u{a0}g AAAAAAA=\n", "note-signature-line"),
        ("a\n\n— lo\u{2003}g AAAAAAA=\n", "note-signature-line"),
        ("a\r\n\n— log AAAAAAA=\n", "note-control-character"),
        ("a\n\n— log AAAAAAA=\r\n", "note-control-character"),
        ("\ta\n\n— log AAAAAAA=\n", "note-control-character"),
        ("a\0\n\n— log AAAAAAA=\n", "note-control-character"),
    ] {
        assert_eq!(parse_kind(bad), kind, "{bad:?}");
    }
    let error = Note::parse(b"a\xff\n\n").unwrap_err();
    assert_eq!(error, NoteError::NotUtf8 { offset: 1 });
}

#[test]
fn unused_bits_of_a_signatures_base64_are_ignored_in_reading() {
    let written = note("a\n", vec![sign_ed25519("log", 1, "a\n")]);
    let bytes = written.to_bytes();
    let text = String::from_utf8(bytes.clone()).unwrap();
    // 68 bytes leave two unused bits in the last digit, which is one of A, E, I, …
    let (start, digit) = text.trim_end_matches("=\n").split_at(text.len() - 3);
    let next = char::from(digit.as_bytes()[0] + 1);
    let other = format!("{start}{next}=\n");
    assert_ne!(other.as_bytes(), bytes);
    let read = Note::parse(other.as_bytes()).unwrap();
    assert_eq!(read, written);
    assert_eq!(read.to_bytes(), bytes);
}

#[test]
fn caps_on_size_and_signatures() {
    let line = "— log AAAAAAA=\n";
    for count in [16, 100] {
        let many = format!("a\n\n{}", line.repeat(count));
        assert_eq!(
            Note::parse(many.as_bytes()).unwrap().signatures.len(),
            count
        );
    }
    let many = format!("a\n\n{}", line.repeat(101));
    assert_eq!(parse_kind(&many), "note-too-many-signatures");

    let room = MAX_NOTE_BYTES - line.len() - 2;
    let large = format!("{}\n\n{line}", "a".repeat(room));
    assert_eq!(large.len(), MAX_NOTE_BYTES);
    assert!(Note::parse(large.as_bytes()).is_ok());
    assert_eq!(parse_kind(&format!("a{large}")), "note-too-large");
}

#[test]
fn notes_made_of_bad_parts_do_not_pass_the_check() {
    let line = sign_ed25519("log", 1, TEXT);
    let with = |change: fn(&mut Note)| {
        let mut note = note(TEXT, vec![line.clone()]);
        change(&mut note);
        note.check().unwrap_err().kind()
    };
    assert_eq!(with(|n| n.text = "no newline".to_owned()), "note-text");
    assert_eq!(with(|n| n.text.clear()), "note-text");
    assert_eq!(with(|n| n.text.insert(0, '\t')), "note-control-character");
    assert_eq!(with(|n| n.signatures.clear()), "note-no-signatures");
    let name = "a AAAAAAA=\n— b".to_owned();
    let mut forged = note(TEXT, vec![line.clone()]);
    forged.signatures[0].name = name;
    assert_eq!(forged.check().unwrap_err().kind(), "note-signature-line");
}

#[test]
fn signature_lines_alone() {
    let lines = [cosign("w", 3, 7, TEXT), cosign("v", 4, 8, TEXT)];
    let answer: String = lines.iter().map(NoteSignature::to_line).collect();
    assert_eq!(parse_signatures(&answer).unwrap(), lines);
    assert!(parse_signatures("").is_err());
    assert!(parse_signatures(answer.trim_end()).is_err());
    assert!(parse_signatures(&format!("{answer}\n")).is_err());
}

fn any_line() -> impl Strategy<Value = NoteSignature> {
    let name = any::<String>().prop_filter("a key's name", |name| check_name(name));
    let signature = prop::collection::vec(any::<u8>(), 1..100);
    (name, any::<[u8; 4]>(), signature).prop_map(|(name, key_id, signature)| NoteSignature {
        name,
        key_id,
        signature,
    })
}

proptest! {
    #[test]
    fn parsing_arbitrary_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Note::parse(&bytes);
    }

    #[test]
    fn parsing_almost_notes_never_panics_and_is_canonical(
        parts in prop::collection::vec(
            prop_oneof![
                Just("\n".to_owned()), Just("\n\n".to_owned()), Just("— ".to_owned()),
                Just("log ".to_owned()), Just("AAAAAAA=".to_owned()), any::<String>(),
            ],
            0..12,
        )
    ) {
        let text = parts.concat();
        let _ = parse_signatures(&text);
        if let Ok(note) = Note::parse(text.as_bytes()) {
            // Only a base64 line's unused bits may differ.
            let written = note.to_bytes();
            prop_assert_eq!(written.len(), text.len());
            prop_assert_eq!(Note::parse(&written).unwrap(), note);
        }
    }

    #[test]
    fn notes_round_trip(
        lines in prop::collection::vec("[^\u{0}-\u{1f}]{0,20}", 1..6),
        signatures in prop::collection::vec(any_line(), 1..20),
    ) {
        let note = note(&(lines.join("\n") + "\n"), signatures);
        prop_assert_eq!(note.check(), Ok(()));
        prop_assert_eq!(Note::parse(&note.to_bytes()).unwrap(), note);
    }

    #[test]
    fn any_changed_byte_of_a_signed_text_is_noticed(at in 0..TEXT.len(), bit in 0..7u32) {
        let keys = [ed25519("log", 1), p256("log", 2), witness("w", 3)];
        let mut text = TEXT.as_bytes().to_vec();
        text[at] ^= 1 << bit;
        let text = String::from_utf8(text).unwrap();
        for line in [sign_ed25519("log", 1, TEXT), sign_p256("log", 2, TEXT), cosign("w", 3, 7, TEXT)] {
            let error = note(&text, vec![line]).verify(&keys).unwrap_err();
            prop_assert_eq!(error.kind(), "note-bad-signature");
        }
    }
}

#[test]
fn signature_lines_are_not_read_beyond_the_largest_note() {
    for more in [1, 100] {
        let lines = "x".repeat(MAX_NOTE_BYTES + more);
        let got = lines.len();
        let refused = parse_signatures(&lines).unwrap_err();
        assert_eq!(refused, NoteError::TooLarge { got });
    }
}
