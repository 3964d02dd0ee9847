//! Keys in hardware, by the vendor's PKCS#11 module: behind the feature `pkcs11`, since it runs
//! the vendor's code in this process. The URIs (RFC 7512) are read without it.

#[cfg(feature = "pkcs11")]
mod token;
mod uri;

pub use uri::{TokenUri, UriError};

use crate::Signer;
use crate::file::Passphrase;

/// The variable that names the module where a URI has no `module-path`.
pub const MODULE_VARIABLE: &str = "COUNTERSIGN_PKCS11_MODULE";

/// Why a token's key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a URI of a key.
    #[error(transparent)]
    Uri(UriError),
    /// Built without the feature.
    #[error(
        "this countersign was built without PKCS#11; build it with `cargo build --release -p countersign --features pkcs11`"
    )]
    NotBuilt,
    /// No module is named, or not by its whole path.
    #[error(
        "no PKCS#11 module: {0}; give its whole path as ?module-path=/… in the URI, or in COUNTERSIGN_PKCS11_MODULE"
    )]
    NoModule(String),
    /// The module cannot be loaded, or does not work.
    #[error("the PKCS#11 module {module}: {why}")]
    Module {
        /// Its path.
        module: String,
        /// What went wrong.
        why: String,
    },
    /// No token is the one that the URI names, or several are.
    #[error("{matching} tokens match the URI, want one; there are: {has}")]
    Tokens {
        /// How many match.
        matching: usize,
        /// What there is.
        has: String,
    },
    /// No PIN could be had.
    #[error("no PIN for the token: {0}")]
    NoPin(String),
    /// The token refuses the PIN.
    #[error(
        "the token refuses the PIN; it locks after a few wrong ones, so look before you try again"
    )]
    WrongPin,
    /// The token is locked, or would be after one more wrong PIN.
    #[error("the token's PIN {0}")]
    PinLocked(&'static str),
    /// No private key is the one that the URI names, or several are.
    #[error("{matching} private keys of the token match the URI, want one; it has: {has}")]
    Keys {
        /// How many match.
        matching: usize,
        /// What there is.
        has: String,
    },
    /// Of another algorithm.
    #[error("the token's key is {0}: statements are signed by P-256 keys")]
    WrongType(String),
    /// It asks for a PIN before each signature.
    #[error(
        "the token's key asks for its PIN before each signature, which is not supported; use one that asks once, such as a YubiKey's slot 9a with --pin-policy once"
    )]
    AlwaysAuthenticate,
    /// The private key's public half is not there, or there are several.
    #[error("the token has {0} public keys of the same id as the private key, want one")]
    PublicKeys(usize),
    /// What the token gave is no key or signature of P-256.
    #[error("the token's {what} is malformed: {why}")]
    Malformed {
        /// What it is of.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The signature is not by the public key.
    #[error("the token's signature does not verify by the public key that it has beside it")]
    OtherSignature,
}

impl TokenError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Uri(e) => e.kind(),
            Self::NotBuilt => "built-without-pkcs11",
            Self::NoModule(_) => "no-pkcs11-module",
            Self::Module { .. } => "pkcs11-module",
            Self::Tokens { .. } => "token-not-found",
            Self::NoPin(_) => "no-pin",
            Self::WrongPin => "wrong-pin",
            Self::PinLocked(_) => "pin-locked",
            Self::Keys { .. } => "key-not-found",
            Self::WrongType(_) => "wrong-key-type",
            Self::AlwaysAuthenticate => "pin-for-each-signature",
            Self::PublicKeys(_) => "token-public-key",
            Self::Malformed { .. } => "token-bad-answer",
            Self::OtherSignature => "token-other-signature",
        }
    }
}

/// The key that `uri` names, ready to sign. `pin` is where the PIN comes from unless the URI
/// says it; none is asked for where the token needs none.
///
/// # Errors
/// [`TokenError`].
#[cfg(feature = "pkcs11")]
pub fn open(uri: &TokenUri, pin: &Passphrase) -> Result<Box<dyn Signer>, TokenError> {
    Ok(Box::new(token::TokenSigner::open(uri, pin)?))
}

/// Says that this needs the feature.
///
/// # Errors
/// [`TokenError::NotBuilt`].
#[cfg(not(feature = "pkcs11"))]
pub fn open(_uri: &TokenUri, _pin: &Passphrase) -> Result<Box<dyn Signer>, TokenError> {
    Err(TokenError::NotBuilt)
}
