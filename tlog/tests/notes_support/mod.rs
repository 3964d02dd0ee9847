//! What the tests of notes, checkpoints, policies and proof files share: published vectors, and
//! keys whose secret halves are known.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::path::PathBuf;

use ed25519_dalek::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use serde_json::Value;
use tlog::cosignature;
use tlog::note::{Note, NoteSignature};
use tlog::vkey::VerifierKey;

/// Path of a file under `tests/vectors`.
pub fn vector_path(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "tests", "vectors", path]
        .iter()
        .collect()
}

/// A text file under `tests/vectors`.
pub fn vector_text(path: &str) -> String {
    let path = vector_path(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON file under `tests/vectors`.
pub fn vector_json(path: &str) -> Value {
    serde_json::from_str(&vector_text(path)).unwrap()
}

/// A list in a JSON vector.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// A string in a JSON vector.
pub fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// An Ed25519 secret made from one byte.
pub fn ed25519_secret(seed: u8) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[seed; 32])
}

/// The 0x01 key of that secret.
pub fn ed25519(name: &str, seed: u8) -> VerifierKey {
    VerifierKey::ed25519(name, &ed25519_secret(seed).verifying_key().to_bytes()).unwrap()
}

/// The 0x04 key of that secret.
pub fn witness(name: &str, seed: u8) -> VerifierKey {
    VerifierKey::cosignature(name, &ed25519_secret(seed).verifying_key().to_bytes()).unwrap()
}

/// A P-256 secret made from one byte (1 to 255).
pub fn p256_secret(seed: u8) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()
}

/// The 0x02 key of that secret.
pub fn p256(name: &str, seed: u8) -> VerifierKey {
    let spki = p256_secret(seed)
        .verifying_key()
        .to_public_key_der()
        .unwrap();
    VerifierKey::p256(name, spki.as_bytes()).unwrap()
}

/// An 0x01 signature line.
pub fn sign_ed25519(name: &str, seed: u8, text: &str) -> NoteSignature {
    let signature = ed25519_secret(seed).sign(text.as_bytes());
    NoteSignature::by(&ed25519(name, seed), signature.to_bytes().to_vec())
}

/// An 0x02 signature line.
pub fn sign_p256(name: &str, seed: u8, text: &str) -> NoteSignature {
    let signature: p256::ecdsa::Signature = p256_secret(seed).sign(text.as_bytes());
    NoteSignature::by(&p256(name, seed), signature.to_der().as_bytes().to_vec())
}

/// An 0x04 signature line.
pub fn cosign(name: &str, seed: u8, timestamp: u64, text: &str) -> NoteSignature {
    let signature = ed25519_secret(seed).sign(&cosignature::message(timestamp, text));
    let bytes = cosignature::encode(timestamp, &signature.to_bytes());
    NoteSignature::by(&witness(name, seed), bytes)
}

/// A note of these parts.
pub fn note(text: &str, signatures: Vec<NoteSignature>) -> Note {
    Note {
        text: text.to_owned(),
        signatures,
    }
}
