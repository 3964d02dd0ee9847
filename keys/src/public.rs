//! Public keys: DER SubjectPublicKeyInfo, named curve P-256, uncompressed
//! (docs/formats.md, "Encoding").

use crate::{KeyError, low_s};
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use std::fmt;
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// SHA-256 of a key's SubjectPublicKeyInfo; shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 32]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why a signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Not a strict ASN.1 DER ECDSA-Sig-Value with r and s in range.
    #[error("not strict ASN.1 DER")]
    NotDer,
    /// The larger of the two values of s.
    #[error("s is above n/2 (the twin of a valid signature)")]
    HighS,
    /// The signature is not by this key over this message.
    #[error("it does not verify")]
    Mismatch,
}

impl SignatureError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotDer => "signature-not-der",
            Self::HighS => "signature-high-s",
            Self::Mismatch => "signature-mismatch",
        }
    }
}

/// Bytes of a P-256 SubjectPublicKeyInfo: 26 that are always the same, then the 65-byte point.
const SPKI_BYTES: usize = 91;

/// A P-256 public key in its one encoding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    // Inline, since a log's server holds every key of every project.
    der: [u8; SPKI_BYTES],
    id: KeyId,
}

impl PublicKey {
    /// Reads a key. Only the encoding that we would write is accepted, so that one key has
    /// one id: no compressed point, no explicit curve, nothing after it.
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let bad = |e: String| KeyError::Public(e);
        SubjectPublicKeyInfoRef::try_from(der).map_err(|e| bad(e.to_string()))?;
        let key = p256::PublicKey::from_public_key_der(der).map_err(|e| bad(e.to_string()))?;
        let canonical = key.to_public_key_der().map_err(|e| bad(e.to_string()))?;
        if canonical.as_bytes() != der {
            return Err(bad("compressed, or not the canonical encoding".into()));
        }
        let length = |_| bad(format!("{} bytes, want {SPKI_BYTES}", der.len()));
        Ok(Self {
            der: der.try_into().map_err(length)?,
            id: KeyId(crate::digest::sha256(der)),
        })
    }

    /// Reads a point as SEC 1 writes it, uncompressed: 65 bytes.
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn from_point(point: &[u8]) -> Result<Self, KeyError> {
        let bad = |e: String| KeyError::Public(e);
        if point.len() != 65 {
            return Err(bad(format!("a point of {} bytes, want 65", point.len())));
        }
        let key = p256::PublicKey::from_sec1_bytes(point).map_err(|e| bad(e.to_string()))?;
        let der = key.to_public_key_der().map_err(|e| bad(e.to_string()))?;
        Self::from_spki_der(der.as_bytes())
    }

    /// Its DER SubjectPublicKeyInfo, 91 bytes.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of [`PublicKey::spki_der`].
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Verifies an ECDSA signature over SHA-256 of `message`: strict DER, s ≤ n/2.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, message: &[u8], der: &[u8]) -> Result<(), SignatureError> {
        low_s::require(der)?;
        let point = self.der.get(26..).ok_or(SignatureError::Mismatch)?;
        aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1,
            point,
        )
        .verify(message, der)
        .map_err(|_| SignatureError::Mismatch)
    }
}
