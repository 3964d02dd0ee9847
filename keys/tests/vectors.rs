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

#[test]
fn wycheproof_p256_der() {
    let (mut total, mut accepted, mut twins) = (0, 0, 0);
    for group in read("wycheproof/ecdsa_secp256r1_sha256_test.json")["testGroups"]
        .as_array()
        .unwrap()
    {
        let spki = hex(&group["publicKeyDer"]);
        let key = PublicKey::from_spki_der(&spki).unwrap();
        for case in group["tests"].as_array().unwrap() {
            let (message, signature) = (hex(&case["msg"]), hex(&case["sig"]));
            let valid = case["result"] == "valid";
            let ours = key.verify(&message, &signature).is_ok();
            let other = second(&spki, &message, &signature);
            assert_eq!(other, valid, "p256 on {case}");
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
    assert!(
        total > 400 && accepted > 100 && twins > 0,
        "{total} {accepted} {twins}"
    );
}

#[test]
fn wycheproof_p256_fixed_width() {
    let mut total = 0;
    for group in read("wycheproof/ecdsa_secp256r1_sha256_p1363_test.json")["testGroups"]
        .as_array()
        .unwrap()
    {
        let key = PublicKey::from_spki_der(&hex(&group["publicKeyDer"])).unwrap();
        for case in group["tests"].as_array().unwrap() {
            let Ok(signature) = p256::ecdsa::Signature::from_slice(&hex(&case["sig"])) else {
                assert_eq!(case["result"], "invalid", "{case}");
                continue;
            };
            let der = signature.normalize_s().to_der();
            assert_eq!(
                key.verify(&hex(&case["msg"]), der.as_bytes()).is_ok(),
                case["result"] == "valid",
                "{case}"
            );
            total += 1;
        }
    }
    assert!(total > 100, "{total}");
}

#[test]
fn wycheproof_ed25519() {
    let mut total = 0;
    for group in read("wycheproof/ed25519_test.json")["testGroups"]
        .as_array()
        .unwrap()
    {
        let key: [u8; 32] = hex(&group["publicKey"]["pk"]).try_into().unwrap();
        for case in group["tests"].as_array().unwrap() {
            let ours = <[u8; 64]>::try_from(hex(&case["sig"]))
                .is_ok_and(|sig| verify_ed25519(&key, &hex(&case["msg"]), &sig).is_ok());
            assert_eq!(ours, case["result"] == "valid", "{case}");
            total += 1;
        }
    }
    assert!(total > 100, "{total}");
}

/// CCTV lists, for each case, in which ways it is unusual. Strict verification accepts none
/// whose key or R is of low order or not canonical.
#[test]
fn cctv_ed25519_is_verified_strictly() {
    let cases = read("cctv/ed25519vectors.json");
    let (mut accepted, mut refused) = (0, 0);
    for case in cases.as_array().unwrap() {
        let key: [u8; 32] = hex(&case["key"]).try_into().unwrap();
        let sig: [u8; 64] = hex(&case["sig"]).try_into().unwrap();
        let flags: Vec<&str> = case["flags"]
            .as_array()
            .map(|f| f.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        if verify_ed25519(&key, case["msg"].as_str().unwrap().as_bytes(), &sig).is_ok() {
            accepted += 1;
            for bad in [
                "low_order_A",
                "low_order_R",
                "non_canonical_A",
                "non_canonical_R",
            ] {
                assert!(!flags.contains(&bad), "{case}");
            }
        } else {
            refused += 1;
        }
    }
    assert!(accepted > 0 && refused > 100, "{accepted} {refused}");
}
