//! Verifier keys: published vectors, each rule of the format with a key that breaks it, and
//! properties over arbitrary input.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod notes_support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use notes_support::*;
use proptest::prelude::*;
use tlog::note::{cosignature_key_id, ed25519_key_id, p256_key_id};
use tlog::vkey::{Algorithm, P256_SPKI_BYTES, VerifierKey, VkeyError, named_key_id};

fn kind(vkey: &str) -> &'static str {
    VerifierKey::parse(vkey).unwrap_err().kind()
}

/// A vkey of these bytes with the key id that the general rule gives.
fn vkey(name: &str, algorithm: u8, public_key: &[u8]) -> String {
    let id = match algorithm {
        2 => p256_key_id(public_key),
        _ => named_key_id(name, algorithm, public_key),
    };
    let bytes = [&[algorithm], public_key].concat();
    format!("{name}+{}+{}", hex::encode(id), STANDARD.encode(bytes))
}

#[test]
fn published_vkeys() {
    let vectors = vector_json("extracted/vkeys.json");
    for case in list(&vectors["vkeys"]) {
        let vkey = text(&case["vkey"]);
        match VerifierKey::parse(vkey) {
            Ok(key) => {
                assert_eq!(case["valid"], true, "{}", case["desc"]);
                assert_eq!(key.to_string(), vkey);
            }
            Err(error) => {
                assert_eq!(case["valid"], false, "{}: {error}", case["desc"]);
                if case.get("key_id_matches_formula").is_some() {
                    assert_eq!(error.kind(), "vkey-key-id-mismatch", "{}", case["desc"]);
                }
            }
        }
    }
}

#[test]
fn mismatched_key_id_says_what_the_key_gives() {
    let vectors = vector_json("extracted/vkeys.json");
    let case = &list(&vectors["vkeys"])[0];
    let error = VerifierKey::parse(text(&case["vkey"])).unwrap_err();
    let VkeyError::KeyIdMismatch { expected, got, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(hex::encode(expected), text(&case["correct_key_id_hex"]));
    assert_eq!(hex::encode(got), "5893dc2c");
    let shown = error.to_string();
    assert!(
        shown.contains("31236897") && shown.contains("5893dc2c"),
        "{shown}"
    );

    // Each supported type: one wrong digit is enough.
    for key in [ed25519("log", 1), p256("log", 2), witness("w", 3)] {
        let id = hex::encode(key.key_id());
        let wrong = format!("{:08x}", u32::from_str_radix(&id, 16).unwrap() ^ 1);
        assert_eq!(
            kind(&key.to_string().replace(&id, &wrong)),
            "vkey-key-id-mismatch"
        );
    }
}

#[test]
fn key_ids_hash_the_name_except_for_p256() {
    let public = ed25519_secret(1).verifying_key().to_bytes();
    assert_eq!(ed25519("a", 1).key_id(), ed25519_key_id("a", &public));
    assert_eq!(witness("a", 1).key_id(), cosignature_key_id("a", &public));
    assert_ne!(ed25519("a", 1).key_id(), ed25519("b", 1).key_id());
    assert_ne!(ed25519("a", 1).key_id(), witness("a", 1).key_id());
    assert_eq!(p256("a", 2).key_id(), p256("b", 2).key_id());
    assert_eq!(
        p256("a", 2).key_id(),
        p256_key_id(p256("a", 2).public_key())
    );
}

#[test]
fn p256_keys_have_one_form() {
    let key = p256("log", 2);
    let spki = key.public_key();
    assert_eq!(spki.len(), P256_SPKI_BYTES);
    assert!(VerifierKey::p256("log", spki).is_ok());
    let refused = |spki: &[u8]| VerifierKey::p256("log", spki).unwrap_err().kind();
    assert_eq!(refused(&[]), "vkey-public-key");
    assert_eq!(refused(&spki[..90]), "vkey-public-key");
    assert_eq!(refused(&[spki, &[0]].concat()), "vkey-public-key");
    // The bare point, and the compressed point, without and with its wrapping.
    assert_eq!(refused(&spki[26..]), "vkey-public-key");
    let mut compressed = spki[..59].to_vec();
    compressed[1] = 0x39;
    compressed[24] = 0x22;
    compressed[26] = 2 + (spki[90] & 1);
    assert_eq!(refused(&compressed), "vkey-public-key");
    // A point beside the curve, and another curve's identifier.
    let mut off = spki.to_vec();
    off[90] ^= 1;
    assert_eq!(refused(&off), "vkey-public-key");
    let mut curve = spki.to_vec();
    curve[22] ^= 1;
    assert_eq!(refused(&curve), "vkey-public-key");
    assert_eq!(kind(&vkey("log", 2, &off)), "vkey-public-key");
}

#[test]
fn ed25519_keys_are_usable_canonical_points() {
    let identity = {
        let mut y = [0; 32];
        y[0] = 1;
        y
    };
    let order_four = [0; 32];
    // y = p + 3, another encoding of the point with y = 3 (which is on the curve).
    let mut non_canonical = [0xff; 32];
    non_canonical[0] = 0xf0;
    non_canonical[31] = 0x7f;
    let mut three = [0; 32];
    three[0] = 3;
    assert!(VerifierKey::ed25519("log", &three).is_ok());
    let not_a_point = {
        let mut y = [0; 32];
        y[0] = 2;
        y
    };
    for bad in [identity, order_four, non_canonical, not_a_point] {
        for byte in [1, 4] {
            assert_eq!(kind(&vkey("log", byte, &bad)), "vkey-public-key", "{bad:?}");
        }
        assert!(VerifierKey::ed25519("log", &bad).is_err());
        assert!(VerifierKey::cosignature("log", &bad).is_err());
    }
    assert_eq!(kind(&vkey("log", 1, &[1; 31])), "vkey-public-key");
    assert_eq!(kind(&vkey("log", 4, &[1; 33])), "vkey-public-key");
}

#[test]
fn other_types_are_carried_and_verify_nothing() {
    let key = VerifierKey::parse(&vkey("log", 0xff, b"any")).unwrap();
    assert_eq!(key.algorithm(), Algorithm::Other(0xff));
    assert_eq!(key.public_key(), b"any");
    let error = key.verify("text\n", &[0; 64]).unwrap_err();
    assert_eq!(error.kind(), "signature-unsupported-algorithm");
    assert_eq!(kind(&vkey("log", 0xff, b"")), "vkey-public-key");
}

#[test]
fn malformed_vkeys_are_refused() {
    let good = ed25519("log", 1).to_string();
    assert_eq!(good.parse::<VerifierKey>().unwrap(), ed25519("log", 1));
    let (id, base64) = good[4..].split_once('+').unwrap();
    for (bad, expected) in [
        (String::new(), "vkey-parts"),
        ("log".to_owned(), "vkey-parts"),
        (format!("log+{id}"), "vkey-parts"),
        (format!("+{id}+{base64}"), "vkey-name"),
        (format!("l og+{id}+{base64}"), "vkey-name"),
        (format!("l\tog+{id}+{base64}"), "vkey-name"),
        (format!("l\u{7}og+{id}+{base64}"), "vkey-name"),
        (format!("log\u{2028}+{id}+{base64}"), "vkey-name"),
        (format!("log++{base64}"), "vkey-key-id"),
        (format!("log+{}+{base64}", &id[..7]), "vkey-key-id"),
        (format!("log+0{id}+{base64}"), "vkey-key-id"),
        (format!("log+zz{}+{base64}", &id[2..]), "vkey-key-id"),
        (format!("log+{id}+"), "vkey-base64"),
        (format!("log+{id}+{base64}="), "vkey-base64"),
        (format!("{good}\n"), "vkey-base64"),
        (format!("{good} "), "vkey-base64"),
        (format!("log+{id}+{}", "A".repeat(20_000)), "vkey-too-long"),
    ] {
        assert_eq!(kind(&bad), expected, "{bad:?}");
    }
    // Hexadecimal digits have no case; what is written is lower case.
    let upper = format!("log+{}+{base64}", id.to_uppercase());
    assert_eq!(VerifierKey::parse(&upper).unwrap().to_string(), good);
}

proptest! {
    #[test]
    fn parsing_arbitrary_text_never_panics(text in any::<String>()) {
        let _ = VerifierKey::parse(&text);
    }

    #[test]
    fn vkeys_of_arbitrary_keys_round_trip(
        name in "[^ +\u{0}-\u{20}]{0,12}",
        algorithm in any::<u8>(),
        public_key in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let written = vkey(&name, algorithm, &public_key);
        if let Ok(key) = VerifierKey::parse(&written) {
            prop_assert_eq!(key.to_string(), written);
            prop_assert_eq!(key.name(), name);
            prop_assert_eq!(key.algorithm().byte(), algorithm);
        }
    }

    #[test]
    fn verifying_arbitrary_signatures_never_panics(
        signature in prop::collection::vec(any::<u8>(), 0..100)
    ) {
        for key in [ed25519("log", 1), p256("log", 2), witness("w", 3)] {
            prop_assert!(key.verify("text\n", &signature).is_err());
        }
    }
}
