//! First trust: the trust document and the short string that pins it
//! (docs/formats.md, "First trust").

use crate::encoding::{hex_hash, hex32};
use crate::json::{self, JsonError};
use crate::{API_VERSION, Hash, names, sha256};
use serde::{Deserialize, Serialize};
use std::fmt;
use tlog::vkey::Algorithm;

/// Largest trust document in bytes.
pub const MAX_TRUST_BYTES: usize = 64 * 1024;

/// What a client must know before its first download, as one canonical JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TrustDocument {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// The log.
    pub log: TrustLog,
    /// The project.
    pub project: TrustProject,
    /// A C2SP tlog-policy without `log` lines, byte for byte.
    pub witnesses: String,
}

/// The log that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustLog {
    /// Its origin.
    pub origin: String,
    /// Its verifier keys; all must sign. Order as given.
    pub vkeys: Vec<String>,
}

/// The project that is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustProject {
    /// PAE hash of its first statement.
    #[serde(with = "hex_hash")]
    pub id: Hash,
    /// Its label.
    pub name: String,
}

/// Why a trust document or string is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Not strict, canonical JSON of the schema.
    #[error("trust document: {0}")]
    Json(#[from] JsonError),
    /// A version that we do not know.
    #[error("trust document: apiVersion is {0:?}, want {API_VERSION:?}")]
    Version(String),
    /// Something in it is not what it must be.
    #[error("trust document: {0}")]
    Invalid(String),
    /// Not `countersign1:<origin>:<project>:<code>`.
    #[error("trust string: {0}; want countersign1:<origin>:<project name>:<32 characters>")]
    String(&'static str),
}

impl TrustError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "trust-document-json",
            Self::Version(_) => "trust-document-version",
            Self::Invalid(_) => "trust-document-invalid",
            Self::String(_) => "trust-string-malformed",
        }
    }
}

impl TrustDocument {
    /// A document of the one version that we write.
    #[must_use]
    pub fn new(
        origin: &str,
        vkeys: Vec<String>,
        project_id: Hash,
        project_name: &str,
        witnesses: &str,
    ) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            log: TrustLog {
                origin: origin.to_owned(),
                vkeys,
            },
            project: TrustProject {
                id: project_id,
                name: project_name.to_owned(),
            },
            witnesses: witnesses.to_owned(),
        }
    }

    /// Reads a document: canonical JSON, vkeys and witnesses that parse, an origin that is
    /// every vkey's name.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        if bytes.len() > MAX_TRUST_BYTES {
            return Err(TrustError::Invalid(format!(
                "{} bytes, want at most {MAX_TRUST_BYTES}",
                bytes.len()
            )));
        }
        let value = json::parse_own(bytes)?;
        let document: Self = json::exactly(bytes, value)?;
        if document.api_version != API_VERSION {
            return Err(TrustError::Version(document.api_version));
        }
        document.check()?;
        Ok(document)
    }

    fn check(&self) -> Result<(), TrustError> {
        let invalid = |why: String| TrustError::Invalid(why);
        names::check_project_name(&self.project.name).map_err(|e| invalid(e.to_string()))?;
        if !origin_ok(&self.log.origin) {
            return Err(invalid(
                "the origin must be 1 to 256 bytes without space or control character".into(),
            ));
        }
        if self.log.vkeys.is_empty() {
            return Err(invalid("no log vkey".into()));
        }
        let mut ids = std::collections::BTreeSet::new();
        for vkey in &self.log.vkeys {
            let key = tlog::vkey::VerifierKey::parse(vkey).map_err(|e| invalid(e.to_string()))?;
            if key.name() != self.log.origin {
                return Err(invalid(format!(
                    "vkey of {:?}, but the origin is {:?}",
                    key.name(),
                    self.log.origin
                )));
            }
            if !matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::EcdsaP256) {
                return Err(invalid(format!(
                    "key {} is of a type that does not sign checkpoints",
                    hex::encode(key.key_id())
                )));
            }
            if !ids.insert(key.key_id()) {
                return Err(invalid(format!(
                    "log key {} is listed twice",
                    hex::encode(key.key_id())
                )));
            }
        }
        let policy =
            tlog::policy::Policy::parse(&self.witnesses).map_err(|e| invalid(e.to_string()))?;
        if !policy.logs().is_empty() {
            return Err(invalid("the witness policy must not have log lines".into()));
        }
        Ok(())
    }

    /// Its canonical JSON.
    ///
    /// # Errors
    /// [`JsonError`] never in practice.
    pub fn to_canonical(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical_of(self)
    }

    /// SHA-256 of the canonical JSON.
    ///
    /// # Errors
    /// As [`TrustDocument::to_canonical`].
    pub fn hash(&self) -> Result<Hash, JsonError> {
        Ok(sha256(&self.to_canonical()?))
    }
}

/// `countersign1:<origin>:<project name>:<code>`: what a project prints where an attacker
/// of its storage cannot reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustString {
    /// The log's origin.
    pub origin: String,
    /// The project's name.
    pub project: String,
    /// The first 20 bytes of the trust document's SHA-256.
    pub code: [u8; 20],
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn base32(bytes: &[u8; 20]) -> String {
    // 160 bits are exactly 32 characters of 5 bits: no padding can occur.
    (0..32usize)
        .map(|i| {
            let value = (0..5).fold(0u8, |v, b| {
                let at = i * 5 + b;
                let bit = bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
                v << 1 | bit
            });
            BASE32
                .get(usize::from(value))
                .map_or('?', |c| char::from(*c))
        })
        .collect()
}

fn from_base32(text: &str) -> Option<[u8; 20]> {
    if text.len() != 32 {
        return None;
    }
    let mut out = [0u8; 20];
    for (i, c) in text.bytes().enumerate() {
        let value = BASE32.iter().position(|b| *b == c)?;
        for b in 0..5 {
            if value >> (4 - b) & 1 == 1 {
                let at = i * 5 + b;
                *out.get_mut(at / 8)? |= 0x80 >> (at % 8);
            }
        }
    }
    Some(out)
}

/// Whether an origin can stand in a trust string.
fn origin_ok(origin: &str) -> bool {
    !origin.is_empty()
        && origin.len() <= 256
        && !origin.chars().any(|c| c.is_whitespace() || c.is_control())
}

impl TrustString {
    /// The string of a document.
    ///
    /// # Errors
    /// As [`TrustDocument::to_canonical`].
    pub fn of(document: &TrustDocument) -> Result<Self, JsonError> {
        let hash = document.hash()?;
        let mut code = [0u8; 20];
        code.copy_from_slice(hash.get(..20).unwrap_or(&[0; 20]));
        Ok(Self {
            origin: document.log.origin.clone(),
            project: document.project.name.clone(),
            code,
        })
    }

    /// Reads a string, from the right, since an origin may hold a port.
    ///
    /// # Errors
    /// [`TrustError::String`].
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let (rest, code) = text
            .rsplit_once(':')
            .ok_or(TrustError::String("too few parts"))?;
        let (rest, project) = rest
            .rsplit_once(':')
            .ok_or(TrustError::String("too few parts"))?;
        let (head, origin) = rest
            .split_once(':')
            .ok_or(TrustError::String("too few parts"))?;
        if head != "countersign1" {
            return Err(TrustError::String("does not begin with countersign1:"));
        }
        if !origin_ok(origin) {
            return Err(TrustError::String("the origin is empty or has spaces"));
        }
        names::check_project_name(project)
            .map_err(|_| TrustError::String("the project name is malformed"))?;
        let code = from_base32(code).ok_or(TrustError::String(
            "the code is not 32 characters of a-z and 2-7",
        ))?;
        Ok(Self {
            origin: origin.to_owned(),
            project: project.to_owned(),
            code,
        })
    }

    /// The first 40 hex digits of the document's hash, under which a log serves it.
    #[must_use]
    pub fn hash_prefix(&self) -> String {
        hex::encode(self.code)
    }

    /// Whether `document` is the one that this string pins: hash, origin and project.
    #[must_use]
    pub fn matches(&self, document: &TrustDocument) -> bool {
        Self::of(document).is_ok_and(|s| s == *self)
    }
}

impl fmt::Display for TrustString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "countersign1:{}:{}:{}",
            self.origin,
            self.project,
            base32(&self.code)
        )
    }
}

/// How people are shown a hash: in hexadecimal, whole.
#[must_use]
pub fn fingerprint(hash: &Hash) -> String {
    hex32(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn strings_are_read_from_the_right_and_strictly() {
        let s = TrustString {
            origin: "log.example:8443".into(),
            project: "acme/x".into(),
            code: [7; 20],
        };
        assert_eq!(TrustString::parse(&s.to_string()).unwrap(), s);
        let text = s.to_string();
        for bad in [
            text.replace("countersign1", "countersign2"),
            text.to_uppercase(),
            format!("{text}a"),
            text[..text.len() - 1].to_owned(),
            format!(" {text}"),
            "countersign1:a:b".to_owned(),
        ] {
            assert!(TrustString::parse(&bad).is_err(), "{bad}");
        }
    }
}
