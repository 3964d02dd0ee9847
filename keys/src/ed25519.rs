//! The log's second key: Ed25519, which public witnesses require on a checkpoint.

use crate::{KeyError, SignatureError, random};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

/// What precedes the 32-byte seed in a PKCS#8 v1 PrivateKeyInfo of an Ed25519 key (RFC 8410, 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A private Ed25519 key in memory; wiped when dropped, never shown.
pub struct Ed25519Secret(SigningKey);

impl fmt::Debug for Ed25519Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Secret({})", hex::encode(self.public_bytes()))
    }
}

impl Ed25519Secret {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        random(seed.as_mut())?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads a PKCS#8 v1 PrivateKeyInfo as [`Ed25519Secret::to_pkcs8_der`] writes it.
    ///
    /// # Errors
    /// [`KeyError::Secret`].
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let seed = der
            .strip_prefix(&PKCS8_PREFIX)
            .and_then(|s| <[u8; 32]>::try_from(s).ok());
        let seed = Zeroizing::new(
            seed.ok_or_else(|| KeyError::Secret("not an Ed25519 PrivateKeyInfo".into()))?,
        );
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The key as a PKCS#8 v1 PrivateKeyInfo.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([PKCS8_PREFIX.as_slice(), self.0.as_bytes().as_slice()].concat())
    }

    /// The 32-byte public key.
    #[must_use]
    pub fn public_bytes(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// A signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// Verifies an Ed25519 signature strictly: canonical encodings, no small-order key or R.
///
/// # Errors
/// [`SignatureError::Mismatch`].
pub fn verify_ed25519(
    public: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<(), SignatureError> {
    let key = VerifyingKey::from_bytes(public).map_err(|_| SignatureError::Mismatch)?;
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    key.verify_strict(message, &signature)
        .map_err(|_| SignatureError::Mismatch)
}
