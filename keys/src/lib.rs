//! What a key is: P-256 keys and their ids, the log's Ed25519 key, key files, and what signs: a
//! key in memory, of an ssh-agent, or in hardware.
//!
//! `p256` makes and holds keys and signs; `aws-lc-rs` verifies on the hot path, with `p256`
//! as the second implementation that the tests compare it with.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod agent;
pub mod certificate;
mod digest;
mod ed25519;
pub mod file;
pub mod low_s;
pub mod pkcs11;
mod public;
mod secret;
mod source;

pub use digest::{Sha256Stream, hmac_sha256};
pub use ed25519::{Ed25519Secret, verify_ed25519};
pub use public::{KeyId, PublicKey, SignatureError};
pub use secret::{SecretKey, SignError, Signer};
pub use source::{KeySource, SourceError, Unlock};

/// Why a key is refused or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a DER SubjectPublicKeyInfo of a P-256 key: named curve, uncompressed, on the curve.
    #[error(
        "not a P-256 public key as DER SubjectPublicKeyInfo (named curve, uncompressed point): {0}"
    )]
    Public(String),
    /// Not a PKCS#8 private key of the kind asked for.
    #[error("not a private key of this kind: {0}")]
    Secret(String),
    /// The system's randomness failed.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

impl KeyError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Public(_) => "bad-public-key",
            Self::Secret(_) => "bad-private-key",
            Self::Randomness(_) => "no-randomness",
        }
    }
}

/// Fills `bytes` with the operating system's randomness.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), KeyError> {
    getrandom::fill(bytes).map_err(|e| KeyError::Randomness(e.to_string()))
}
