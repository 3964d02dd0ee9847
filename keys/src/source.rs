//! Where a key that signs is: in a file, with an ssh-agent, or in hardware.

use crate::SignError;
use crate::agent::{Agent, Fingerprint};
use crate::file::{AnySecret, FileError, Passphrase, is_encrypted, read_secret};
use crate::pkcs11::{TokenError, TokenUri};
use crate::{Signer, pkcs11};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// A key that signs, by where it is: `FILE`, `pkcs11:URI` or `ssh-agent:FINGERPRINT`. A file
/// whose name begins in one of these ways is given as `./pkcs11:x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A key file.
    File(PathBuf),
    /// A key of the ssh-agent at `SSH_AUTH_SOCK`.
    Agent(Fingerprint),
    /// A key of a PKCS#11 token.
    Token(Box<TokenUri>),
}

/// Why a key cannot be named so, or cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Of the file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An Ed25519 key.
    #[error("{}: statements are signed by P-256 keys", .0.display())]
    WrongType(PathBuf),
    /// Of the agent or the token.
    #[error(transparent)]
    Signer(#[from] SignError),
}

impl SourceError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(e) => e.kind(),
            Self::WrongType(_) => "wrong-key-type",
            Self::Signer(e) => e.kind(),
        }
    }
}

/// Where a secret comes from that opens a key: the passphrase of a file, or the PIN of a token
/// that its URI gives no `pin-source` for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlock {
    /// Of a key file.
    pub passphrase: Passphrase,
    /// Of a token.
    pub pin: Passphrase,
}

impl KeySource {
    /// Reads what a command line names.
    ///
    /// # Errors
    /// [`SourceError::Signer`] for what begins as an agent's or a token's key and is none. No
    /// message repeats a PIN.
    pub fn parse(text: &OsStr) -> Result<Self, SourceError> {
        let Some(shown) = text.to_str() else {
            return Ok(Self::File(text.into()));
        };
        if let Some(fingerprint) = shown.strip_prefix("ssh-agent:") {
            let fingerprint = Fingerprint::parse(fingerprint).map_err(SignError::from)?;
            return Ok(Self::Agent(fingerprint));
        }
        if shown.starts_with("pkcs11:") {
            let uri = TokenUri::parse(shown).map_err(|e| SignError::from(TokenError::Uri(e)))?;
            return Ok(Self::Token(Box::new(uri)));
        }
        Ok(Self::File(text.into()))
    }

    /// The key file, where it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }

    /// Makes the key ready to sign; asks for a passphrase or a PIN only where one is needed.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(&self, unlock: &Unlock) -> Result<Box<dyn Signer>, SourceError> {
        match self {
            Self::File(path) => {
                let passphrase = match is_encrypted(path)? {
                    true => &unlock.passphrase,
                    false => &Passphrase::None,
                };
                match read_secret(path, passphrase)? {
                    AnySecret::P256(key) => Ok(Box::new(key)),
                    AnySecret::Ed25519(_) => Err(SourceError::WrongType(path.clone())),
                }
            }
            Self::Agent(fingerprint) => {
                let signer = Agent::from_env().and_then(|a| a.signer(fingerprint));
                Ok(Box::new(signer.map_err(SignError::from)?))
            }
            Self::Token(uri) => Ok(pkcs11::open(uri, &unlock.pin).map_err(SignError::from)?),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Agent(fingerprint) => write!(f, "ssh-agent:{fingerprint}"),
            Self::Token(uri) => uri.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Result<KeySource, SourceError> {
        KeySource::parse(OsStr::new(text))
    }

    #[test]
    fn a_file_may_have_any_name() {
        for name in ["root.key", "./pkcs11:x", "./ssh-agent:x", "PKCS11:x", "-"] {
            assert_eq!(parse(name), Ok(KeySource::File(name.into())));
        }
    }

    #[test]
    fn what_begins_as_an_agents_or_a_tokens_key_is_never_a_file() {
        assert_eq!(parse("ssh-agent:x").unwrap_err().kind(), "bad-fingerprint");
        assert_eq!(parse("pkcs11:x").unwrap_err().kind(), "bad-pkcs11-uri");
        let agent = "ssh-agent:SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        for text in [agent, "pkcs11:token=T;id=%01"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }
}
