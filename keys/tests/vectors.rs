//! Wycheproof (P-256 DER and r‖s, Ed25519) and CCTV: what our verifiers accept, exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use keys::{PublicKey, low_s, verify_ed25519};
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;
use serde_json::Value;

fn read(name: &str) -> Value {
    let path = format!("{}/../tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("the vectors are in the repository"))
        .unwrap()
}

fn hex(v: &Value) -> Vec<u8> {
    hex::decode(v.as_str().unwrap()).unwrap()
}

/// The second implementation: p256, on what is strict DER.
fn second(spki: &[u8], message: &[u8], der: &[u8]) -> bool {
    let key = p256::ecdsa::VerifyingKey::from_public_key_der(spki).unwrap();
    p256::ecdsa::Signature::from_der(der).is_ok_and(|s| key.verify(message, &s).is_ok())
}

/// aws-lc-rs as such, without our checks before it.
fn first(spki: &[u8], message: &[u8], der: &[u8]) -> bool {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki[26..])
        .verify(message, der)
        .is_ok()
}

#[test]
fn wycheproof_p256_der() {
    let (mut total, mut accepted, mut twins) = (0, 0, 0);
    let file = read("wycheproof/ecdsa_secp256r1_sha256_test.json");
    for group in file["testGroups"].as_array().unwrap() {
        let spki = hex(&group["publicKeyDer"]);
        let key = PublicKey::from_spki_der(&spki).unwrap();
        for case in group["tests"].as_array().unwrap() {
            let (message, signature) = (hex(&case["msg"]), hex(&case["sig"]));
            let valid = case["result"] == "valid";
            let ours = key.verify(&message, &signature).is_ok();
            let other = second(&spki, &message, &signature);
            assert_eq!(other, valid, "p256 on {case}");
            let aws = first(&spki, &message, &signature);
            assert_eq!(aws, other, "aws-lc-rs and p256 on {case}");
            let low = low_s::is_low_s(&signature);
            assert_eq!(ours, valid && low, "{case}");
            // Every valid high-s signature is accepted once its twin is taken.
            if valid && !low {
                twins += 1;
                assert!(
                    key.verify(&message, &low_s::normalize_der(&signature).unwrap())
                        .is_ok()
                );
            }
            total += 1;
            accepted += usize::from(ours);
        }
    }
    assert_eq!(total, file["numberOfTests"].as_u64().unwrap());
    assert!(accepted > 50 && twins > 50, "{accepted} {twins}");
}

#[test]
fn wycheproof_p256_fixed_width() {
    let (mut total, mut converted) = (0, 0);
    let file = read("wycheproof/ecdsa_secp256r1_sha256_p1363_test.json");
    for group in file["testGroups"].as_array().unwrap() {
        let spki = hex(&group["publicKeyDer"]);
        let key = PublicKey::from_spki_der(&spki).unwrap();
        for case in group["tests"].as_array().unwrap() {
            total += 1;
            // Wrong lengths, zero, and what is not below the order have no conversion.
            let Ok(signature) = p256::ecdsa::Signature::from_slice(&hex(&case["sig"])) else {
                assert_eq!(case["result"], "invalid", "{case}");
                continue;
            };
            converted += 1;
            let (message, der) = (hex(&case["msg"]), signature.to_der());
            let valid = case["result"] == "valid";
            assert_eq!(second(&spki, &message, der.as_bytes()), valid, "{case}");
            assert_eq!(first(&spki, &message, der.as_bytes()), valid, "{case}");
            let low = low_s::is_low_s(der.as_bytes());
            let ours = key.verify(&message, der.as_bytes()).is_ok();
            assert_eq!(ours, valid && low, "{case}");
            let normal = low_s::normalize_der(der.as_bytes()).unwrap();
            assert_eq!(key.verify(&message, &normal).is_ok(), valid, "{case}");
        }
    }
    assert_eq!(total, file["numberOfTests"].as_u64().unwrap());
    assert!(converted > 100, "{converted}");
}

#[test]
fn wycheproof_ed25519() {
    let mut total = 0;
    let file = read("wycheproof/ed25519_test.json");
    for group in file["testGroups"].as_array().unwrap() {
        let key: [u8; 32] = hex(&group["publicKey"]["pk"]).try_into().unwrap();
        for case in group["tests"].as_array().unwrap() {
            let ours = <[u8; 64]>::try_from(hex(&case["sig"]))
                .is_ok_and(|sig| verify_ed25519(&key, &hex(&case["msg"]), &sig).is_ok());
            assert_eq!(ours, case["result"] == "valid", "{case}");
            total += 1;
        }
    }
    assert_eq!(total, file["numberOfTests"].as_u64().unwrap());
}

/// CCTV says of each case in which ways it is unusual. Strict verification is cofactorless,
/// so low-order components that do not cancel (`low_order_residue`) are refused, as is every
/// A or R of low order; the non-canonical encodings in these vectors are all of such points.
/// What is left, and accepted, are points with a low-order *component* that cancels: only a
/// multiplication by the group's order would tell them, and no property that we need does.
#[test]
fn cctv_ed25519_is_verified_strictly() {
    let cases = read("cctv/ed25519vectors.json");
    let (mut accepted, mut refused) = (0, 0);
    for case in cases.as_array().unwrap() {
        let key: [u8; 32] = hex(&case["key"]).try_into().unwrap();
        let sig: [u8; 64] = hex(&case["sig"]).try_into().unwrap();
        let harmless = case["flags"].as_array().is_none_or(|flags| {
            flags
                .iter()
                .all(|f| f == "low_order_component_A" || f == "low_order_component_R")
        });
        let ours = verify_ed25519(&key, case["msg"].as_str().unwrap().as_bytes(), &sig);
        assert_eq!(ours.is_ok(), harmless, "{case}");
        accepted += usize::from(harmless);
        refused += usize::from(!harmless);
    }
    assert_eq!(accepted + refused, 914);
    assert!(accepted > 0 && refused > 800, "{accepted} {refused}");
}

/// RFC 6979, A.2.5 (P-256, SHA-256, "sample"): nonces are derived, not drawn, and the s
/// printed there is the high one, so that ours is its twin.
#[test]
fn rfc6979_p256_sample() {
    let x = hex::decode("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
    let secret = p256::SecretKey::from_slice(&x.unwrap()).unwrap();
    let pkcs8 = p256::pkcs8::EncodePrivateKey::to_pkcs8_der(&secret).unwrap();
    let key = keys::SecretKey::from_pkcs8_der(pkcs8.as_bytes()).unwrap();
    let printed = hex::decode(concat!(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    ));
    let printed = p256::ecdsa::Signature::from_slice(&printed.unwrap()).unwrap();
    let ours = keys::Signer::sign(&key, b"sample").unwrap();
    assert_ne!(ours, printed.to_der().as_bytes());
    assert_eq!(ours, printed.normalize_s().to_der().as_bytes());
}
