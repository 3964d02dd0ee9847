//! The predicate of a revocation (docs/formats.md, "revocation").

use super::{
    Body, Fields, REVOCATION_TYPE, Statement, StatementError, hash, number, object, one_subject,
    only, optional, payload, shape, short_text, text,
};
use crate::encoding::{from_hex32, hex32};
use crate::{Hash, KeyId};
use serde_json::{Value, json};
use std::fmt;

/// What is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A key, by its id.
    Key(Hash),
    /// An identity, by the SHA-256 of its canonical JSON.
    Identity(Hash),
    /// A certificate authority, by the SHA-256 of its SubjectPublicKeyInfo.
    Authority(Hash),
}

impl Target {
    /// The revocation of a key.
    #[must_use]
    pub fn key(id: &KeyId) -> Self {
        Self::Key(id.0)
    }

    /// `key`, `identity` or `authority`; and the hash.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &Hash) {
        match self {
            Self::Key(h) => ("key", h),
            Self::Identity(h) => ("identity", h),
            Self::Authority(h) => ("authority", h),
        }
    }

    /// Reads what [`fmt::Display`] writes, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, hex) = text.split_once(':')?;
        let hash = from_hex32(hex)?;
        match kind {
            "key" => Some(Self::Key(hash)),
            "identity" => Some(Self::Identity(hash)),
            "authority" => Some(Self::Authority(hash)),
            _ => None,
        }
    }
}

/// As in a statement and in a state document: `key:` and 64 hexadecimal digits.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, hash) = self.parts();
        write!(f, "{kind}:{}", hex32(hash))
    }
}

/// The predicate of a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The project's id.
    pub project: Hash,
    /// What is revoked.
    pub target: Target,
    /// Why, for people; 1 to 512 bytes.
    pub reason: String,
    /// Log index from which on nothing that the target said counts.
    pub compromised_since: Option<u64>,
}

pub(super) fn parse(predicate: &Value, subjects: &[Value]) -> Result<Statement, StatementError> {
    let fields: &Fields = object(predicate)?;
    let known = ["compromisedSince", "project", "reason", "target"];
    only(fields, &known, "the revocation predicate")?;
    let target = text(fields, "target")?;
    let target = Target::parse(target).ok_or_else(|| {
        shape("target must be key:, identity: or authority: and 64 lower-case hexadecimal digits")
    })?;
    let revocation = Revocation {
        project: hash(fields, "project")?,
        reason: short_text(fields, "reason")?,
        compromised_since: optional(fields, "compromisedSince", number)?,
        target,
    };
    let subject = one_subject(subjects, target.parts().1)?;
    Ok(Statement {
        subject: vec![subject],
        body: Body::Revocation(revocation),
    })
}

impl Revocation {
    /// The payload to sign: the statement's canonical JSON.
    ///
    /// # Errors
    /// [`StatementError`] where it is not one that a log would accept.
    pub fn to_payload(&self) -> Result<Vec<u8>, StatementError> {
        let mut predicate = json!({
            "project": hex32(&self.project), "reason": self.reason, "target": self.target.to_string(),
        });
        if let (Some(since), Some(fields)) = (self.compromised_since, predicate.as_object_mut()) {
            fields.insert("compromisedSince".into(), since.into());
        }
        let (name, hash) = self.target.parts();
        let subject = json!([{ "digest": { "sha256": hex32(hash) }, "name": name }]);
        payload(REVOCATION_TYPE, &predicate, subject)
    }
}
