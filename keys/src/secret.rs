//! Private P-256 keys, and what signs.

use crate::agent::AgentError;
use crate::pkcs11::TokenError;
use crate::{KeyError, PublicKey, low_s, random};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use std::fmt;
use zeroize::Zeroizing;

/// Why a signature could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The signer failed.
    #[error("the signer failed: {0}")]
    Failed(String),
    /// An ssh-agent's key cannot be used.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A token's key cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl SignError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Failed(_) => "signing-failed",
            Self::Agent(e) => e.kind(),
            Self::Token(e) => e.kind(),
        }
    }
}

/// Something that signs with a P-256 key: a key in memory, of an ssh-agent, or in hardware.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// An ECDSA signature over SHA-256 of `message`: strict DER, s ≤ n/2.
    ///
    /// # Errors
    /// [`SignError`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A private P-256 key in memory; wiped when dropped, never shown.
pub struct SecretKey {
    key: SigningKey,
    public: PublicKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public.id())
    }
}

impl SecretKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn generate() -> Result<Self, KeyError> {
        loop {
            let mut bytes = Zeroizing::new([0u8; 32]);
            random(bytes.as_mut())?;
            // Refused are zero and what is not below the group's order: about one in 2^32.
            if let Ok(key) = SigningKey::from_slice(bytes.as_ref()) {
                return Self::new(key);
            }
        }
    }

    fn new(key: SigningKey) -> Result<Self, KeyError> {
        let der = key
            .verifying_key()
            .to_public_key_der()
            .map_err(|e| KeyError::Secret(e.to_string()))?;
        Ok(Self {
            public: PublicKey::from_spki_der(der.as_bytes())?,
            key,
        })
    }

    /// Reads a PKCS#8 PrivateKeyInfo.
    ///
    /// # Errors
    /// [`KeyError::Secret`].
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::new(SigningKey::from_pkcs8_der(der).map_err(|e| KeyError::Secret(e.to_string()))?)
    }

    /// The key as a PKCS#8 PrivateKeyInfo.
    ///
    /// # Errors
    /// [`KeyError::Secret`] never in practice.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let der = self
            .key
            .to_pkcs8_der()
            .map_err(|e| KeyError::Secret(e.to_string()))?;
        Ok(Zeroizing::new(der.as_bytes().to_vec()))
    }
}

impl Signer for SecretKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = |e: String| SignError::Failed(e);
        let signature: Signature = self
            .key
            .try_sign(message)
            .map_err(|e| failed(e.to_string()))?;
        low_s::normalize_der(signature.to_der().as_bytes()).map_err(|e| failed(e.to_string()))
    }
}
