//! Verifier keys ("vkeys") of signed notes: c2sp.org/signed-note, section "Verifier keys".
//!
//! # Format
//!
//! A vkey is one line of text, `<name>+<key id>+<base64>`:
//!
//! - *name*: the key's name, not empty, without Unicode space, `+` or control character;
//! - *key id*: four bytes as eight hexadecimal digits;
//! - *base64*: padded standard base64 of one algorithm byte followed by the public key. (It may
//!   contain `+`, so the line is split at its first two plus signs.)
//!
//! | byte | algorithm | public key | signature | key id: first four bytes of |
//! |---|---|---|---|---|
//! | 0x01 | Ed25519 over the text | 32 bytes | 64 bytes | SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key) |
//! | 0x02 | ECDSA P-256 over SHA-256(text) | DER SubjectPublicKeyInfo | ASN.1 DER | SHA-256(key), the name not hashed |
//! | 0x04 | timestamped Ed25519 cosignature | 32 bytes | 8 + 64 bytes, see [`crate::cosignature`] | SHA-256(name ‖ 0x0A ‖ 0x04 ‖ key) |
//! | 0x05 | RFC 6962 tree head signature | DER SubjectPublicKeyInfo | – | SHA-256(name ‖ 0x0A ‖ 0x05 ‖ SHA-256(key)) |
//! | other | – | opaque | – | SHA-256(name ‖ 0x0A ‖ byte ‖ key) |
//!
//! A vkey whose key id is not the one that its key gives is refused, whatever its algorithm: the
//! id is what selects the key for a signature line, so a wrong one would make the key silently
//! useless. Keys of the last two rows are carried but verify nothing: a note's signatures by them
//! are ignored like those of unknown keys.
//!
//! # What is strict here
//!
//! An 0x02 key must be P-256 as a named curve with an uncompressed point, the one DER form of 91
//! bytes; its signatures may have a high *s*, as those of other logs do. Ed25519 keys must be
//! canonical points that are not of small order, and signatures are checked with the strict
//! rule (no small-order points, s below the group order).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier as _;
use sha2::{Digest as _, Sha256};

use crate::cosignature;
use crate::note::check_name;

/// Longest vkey accepted, in bytes. An ML-DSA-44 key takes 1312 bytes before base64.
pub const MAX_VKEY_BYTES: usize = 16 * 1024;

/// What stands before the 64 coordinate bytes in every DER SubjectPublicKeyInfo of a P-256 key
/// that names its curve and is uncompressed (RFC 5480): the key type, the curve, the bit string
/// and the point's 0x04.
const P256_SPKI_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Length of that SubjectPublicKeyInfo, in bytes.
pub const P256_SPKI_BYTES: usize = 91;

/// Why a vkey was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VkeyError {
    /// Longer than [`MAX_VKEY_BYTES`].
    #[error("verifier key: expected at most {MAX_VKEY_BYTES} bytes, got {got}")]
    TooLong {
        /// Length in bytes.
        got: usize,
    },
    /// Not three parts joined by `+`.
    #[error("verifier key: expected <name>+<key id>+<base64>, got {got:?}")]
    Parts {
        /// The text, cut for display.
        got: String,
    },
    /// The name is empty or has a character that no name may have.
    #[error(
        "verifier key: expected a name without space, plus sign or control character, got {got:?}"
    )]
    Name {
        /// The name.
        got: String,
    },
    /// The key id is not eight hexadecimal digits.
    #[error("verifier key {name}: expected a key id of 8 hex digits, got {got:?}")]
    KeyId {
        /// The key's name.
        name: String,
        /// The text where the id should be.
        got: String,
    },
    /// The last part is not padded standard base64, or is empty.
    #[error("verifier key {name}: expected base64 of an algorithm byte and a public key")]
    Base64 {
        /// The key's name.
        name: String,
    },
    /// The public key is not one of its algorithm.
    #[error("verifier key {name}: expected {expected}, got {got} bytes that are not")]
    PublicKey {
        /// The key's name.
        name: String,
        /// What the algorithm wants.
        expected: &'static str,
        /// Length in bytes of what stands there.
        got: usize,
    },
    /// The key id does not belong to the key.
    #[error(
        "verifier key {name}: the key gives key id {}, got {}",
        hex::encode(expected),
        hex::encode(got)
    )]
    KeyIdMismatch {
        /// The key's name.
        name: String,
        /// The id that the key gives.
        expected: [u8; 4],
        /// The id that was written.
        got: [u8; 4],
    },
}

impl VkeyError {
    /// A stable name of this sort of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "vkey-too-long",
            Self::Parts { .. } => "vkey-parts",
            Self::Name { .. } => "vkey-name",
            Self::KeyId { .. } => "vkey-key-id",
            Self::Base64 { .. } => "vkey-base64",
            Self::PublicKey { .. } => "vkey-public-key",
            Self::KeyIdMismatch { .. } => "vkey-key-id-mismatch",
        }
    }
}

/// Why one signature failed under one key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Keys of this algorithm verify nothing here.
    #[error("algorithm 0x{0:02x} is not supported")]
    Unsupported(u8),
    /// Wrong length for the algorithm.
    #[error("expected a signature of {expected} bytes, got {got}")]
    Length {
        /// Length wanted, in bytes.
        expected: usize,
        /// Length found, in bytes.
        got: usize,
    },
    /// Not a strict ASN.1 DER ECDSA signature.
    #[error("expected an ASN.1 DER ECDSA signature, got {got} other bytes")]
    Der {
        /// Length found, in bytes.
        got: usize,
    },
    /// The cosignature's time is above 2^63 − 1.
    #[error("expected a time of at most {max} Unix seconds, got {got}", max = cosignature::MAX_TIMESTAMP)]
    Timestamp {
        /// The time, in Unix seconds.
        got: u64,
    },
    /// Well formed, but not a signature of this text by this key.
    #[error("the signature is not one of this text by this key")]
    Mismatch,
}

impl SignatureError {
    /// A stable name of this sort of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unsupported(_) => "signature-unsupported-algorithm",
            Self::Length { .. } => "signature-length",
            Self::Der { .. } => "signature-der",
            Self::Timestamp { .. } => "signature-timestamp",
            Self::Mismatch => "signature-mismatch",
        }
    }
}

/// A signature algorithm of signed notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// 0x01: Ed25519 over the note text.
    Ed25519,
    /// 0x02: ECDSA P-256 over the SHA-256 of the note text.
    EcdsaP256,
    /// 0x04: timestamped Ed25519 cosignature.
    CosignatureV1,
    /// Any other: carried, but verifies nothing.
    Other(u8),
}

impl Algorithm {
    /// The algorithm that a vkey's first byte names.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0x01 => Self::Ed25519,
            0x02 => Self::EcdsaP256,
            0x04 => Self::CosignatureV1,
            other => Self::Other(other),
        }
    }

    /// The byte that names this algorithm in a vkey.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::EcdsaP256 => 0x02,
            Self::CosignatureV1 => 0x04,
            Self::Other(byte) => byte,
        }
    }
}

/// A named public key that verifies signatures of notes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierKey {
    name: String,
    key_id: [u8; 4],
    algorithm: Algorithm,
    public_key: Vec<u8>,
}

impl VerifierKey {
    /// Reads a vkey.
    ///
    /// # Errors
    /// [`VkeyError`] for whatever the module's format does not allow; above all
    /// [`VkeyError::KeyIdMismatch`].
    pub fn parse(text: &str) -> Result<Self, VkeyError> {
        if text.len() > MAX_VKEY_BYTES {
            return Err(VkeyError::TooLong { got: text.len() });
        }
        let parts = || VkeyError::Parts {
            got: text.chars().take(80).collect(),
        };
        let (name, rest) = text.split_once('+').ok_or_else(parts)?;
        let (id, key) = rest.split_once('+').ok_or_else(parts)?;
        let mut got = [0; 4];
        // `decode_to_slice` refuses any length but eight digits.
        hex::decode_to_slice(id, &mut got).map_err(|_| VkeyError::KeyId {
            name: name.to_owned(),
            got: id.to_owned(),
        })?;
        let bytes = STANDARD.decode(key).map_err(|_| VkeyError::Base64 {
            name: name.to_owned(),
        })?;
        let (byte, public_key) = bytes.split_first().ok_or_else(|| VkeyError::Base64 {
            name: name.to_owned(),
        })?;
        let key = Self::new(name, Algorithm::from_byte(*byte), public_key)?;
        if key.key_id != got {
            return Err(VkeyError::KeyIdMismatch {
                name: key.name,
                expected: key.key_id,
                got,
            });
        }
        Ok(key)
    }

    /// An 0x02 key: `spki_der` is the P-256 key's DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`VkeyError::Name`], or [`VkeyError::PublicKey`] for any other form or curve.
    pub fn p256(name: &str, spki_der: &[u8]) -> Result<Self, VkeyError> {
        Self::new(name, Algorithm::EcdsaP256, spki_der)
    }

    /// An 0x01 key.
    ///
    /// # Errors
    /// [`VkeyError::Name`], or [`VkeyError::PublicKey`] for bytes that are no usable point.
    pub fn ed25519(name: &str, public_key: &[u8; 32]) -> Result<Self, VkeyError> {
        Self::new(name, Algorithm::Ed25519, public_key)
    }

    /// An 0x04 key, a witness's.
    ///
    /// # Errors
    /// [`VkeyError::Name`], or [`VkeyError::PublicKey`] for bytes that are no usable point.
    pub fn cosignature(name: &str, public_key: &[u8; 32]) -> Result<Self, VkeyError> {
        Self::new(name, Algorithm::CosignatureV1, public_key)
    }

    fn new(name: &str, algorithm: Algorithm, public_key: &[u8]) -> Result<Self, VkeyError> {
        if !check_name(name) {
            return Err(VkeyError::Name {
                got: name.to_owned(),
            });
        }
        let bad = |expected| VkeyError::PublicKey {
            name: name.to_owned(),
            expected,
            got: public_key.len(),
        };
        match algorithm {
            Algorithm::Ed25519 | Algorithm::CosignatureV1 => {
                ed25519_point(public_key).ok_or_else(|| bad("an Ed25519 key of 32 bytes"))?;
            }
            Algorithm::EcdsaP256 => {
                p256_point(public_key).ok_or_else(|| {
                    bad("a P-256 DER SubjectPublicKeyInfo, named curve, uncompressed")
                })?;
            }
            Algorithm::Other(_) if public_key.is_empty() => return Err(bad("a public key")),
            Algorithm::Other(_) => {}
        }
        let key_id = match algorithm {
            Algorithm::EcdsaP256 => p256_key_id(public_key),
            // static-ct-api hashes the log's id, which is itself a hash of the key.
            Algorithm::Other(0x05) => named_key_id(name, 0x05, &Sha256::digest(public_key)),
            other => named_key_id(name, other.byte(), public_key),
        };
        Ok(Self {
            name: name.to_owned(),
            key_id,
            algorithm,
            public_key: public_key.to_vec(),
        })
    }

    /// The key's name; of a log's key, the log's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The four bytes that, with the name, tie a signature line to this key.
    #[must_use]
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// The signature algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key as the vkey carries it, without the algorithm byte.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Verifies one signature (without its key id) of `text`; returns the time that a
    /// cosignature states, in Unix seconds, and `None` for the other algorithms.
    ///
    /// # Errors
    /// [`SignatureError`]: nothing about `text` may then be believed.
    pub fn verify(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, SignatureError> {
        match self.algorithm {
            Algorithm::Ed25519 => {
                let signature: &[u8; 64] =
                    signature.try_into().map_err(|_| SignatureError::Length {
                        expected: 64,
                        got: signature.len(),
                    })?;
                self.verify_ed25519(text.as_bytes(), signature)?;
                Ok(None)
            }
            Algorithm::CosignatureV1 => {
                let (timestamp, signature) = cosignature::decode(signature)?;
                self.verify_ed25519(&cosignature::message(timestamp, text), &signature)?;
                Ok(Some(timestamp))
            }
            Algorithm::EcdsaP256 => {
                let der = p256::ecdsa::Signature::from_der(signature).map_err(|_| {
                    SignatureError::Der {
                        got: signature.len(),
                    }
                })?;
                p256_point(&self.public_key)
                    .and_then(|key| key.verify(text.as_bytes(), &der).ok())
                    .ok_or(SignatureError::Mismatch)?;
                Ok(None)
            }
            Algorithm::Other(byte) => Err(SignatureError::Unsupported(byte)),
        }
    }

    fn verify_ed25519(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        ed25519_point(&self.public_key)
            .and_then(|key| key.verify_strict(message, &signature).ok())
            .ok_or(SignatureError::Mismatch)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.algorithm.byte()];
        bytes.extend_from_slice(&self.public_key);
        let (id, key) = (hex::encode(self.key_id), STANDARD.encode(bytes));
        write!(f, "{}+{id}+{key}", self.name)
    }
}

impl FromStr for VerifierKey {
    type Err = VkeyError;

    fn from_str(text: &str) -> Result<Self, VkeyError> {
        Self::parse(text)
    }
}

/// Key id of a P-256 key: the first four bytes of the SHA-256 of its SubjectPublicKeyInfo.
#[must_use]
pub fn p256_key_id(spki_der: &[u8]) -> [u8; 4] {
    first_four(Sha256::digest(spki_der).into())
}

/// Key id of a key whose name is hashed: SHA-256(name ‖ 0x0A ‖ algorithm ‖ key)\[..4\].
#[must_use]
pub fn named_key_id(name: &str, algorithm: u8, public_key: &[u8]) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', algorithm]);
    hash.update(public_key);
    first_four(hash.finalize().into())
}

fn first_four(hash: [u8; 32]) -> [u8; 4] {
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

fn p256_point(spki_der: &[u8]) -> Option<p256::ecdsa::VerifyingKey> {
    let coordinates = spki_der.strip_prefix(&P256_SPKI_PREFIX)?;
    if coordinates.len() != 64 {
        return None;
    }
    let point = spki_der.get(P256_SPKI_PREFIX.len() - 1..)?;
    p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()
}

fn ed25519_point(bytes: &[u8]) -> Option<ed25519_dalek::VerifyingKey> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
    // Two encodings of one point would pass for two keys: only the canonical one counts.
    let canonical = key.to_edwards().compress().to_bytes() == bytes;
    (canonical && !key.is_weak()).then_some(key)
}
