//! in-toto Statements v1 and their predicates (docs/formats.md, "Statements").
//!
//! A file a predicate; what all have in common is here. Everything in them is checked that can
//! be known without the log; who may say it, and when, is the fold's question.

mod authority;
mod key_note;
mod project;
mod release;
mod revocation;
mod withdrawal;

pub use authority::{Authority, Identity};
pub use key_note::{Generated, KeyNote};
pub use project::Project;
pub use release::{GuardException, Release, content, release_payload, release_payload_with};
pub use revocation::{Revocation, Target};
pub use withdrawal::{Withdrawal, Withdrawn};

use crate::Hash;
use crate::encoding::{from_hex32, hex32};
use crate::json::{self, JsonError};
use crate::names::NameError;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The predicate type of a release.
pub const RELEASE_TYPE: &str = "https://in-toto.io/attestation/release/v0.2";
/// The predicate type of a project statement.
pub const PROJECT_TYPE: &str = "urn:countersign:project:v1";
/// The predicate type of a revocation.
pub const REVOCATION_TYPE: &str = "urn:countersign:revocation:v1";
/// The predicate type of a withdrawal.
pub const WITHDRAWAL_TYPE: &str = "urn:countersign:withdrawal:v1";
/// The predicate type of a key-note.
pub const KEY_NOTE_TYPE: &str = "urn:countersign:key-note:v1";

/// Why a statement is refused for what it says, whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The payload is not strict JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A name or purl that is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A field is missing, unknown or of the wrong type.
    #[error("statement: {0}")]
    Shape(String),
    /// A predicate type that is none of ours.
    #[error("statement: unknown predicate type {0:?}")]
    UnknownType(String),
    /// Specified, but not accepted by this version.
    #[error("statement: {0} is not accepted by this version of countersign")]
    NotYet(&'static str),
    /// A digest that is not 64 lower-case hexadecimal digits.
    #[error("statement: {0} must be 64 lower-case hexadecimal digits")]
    Digest(String),
    /// A key that is not a P-256 SubjectPublicKeyInfo in its one encoding.
    #[error("statement: {0}")]
    Key(String),
    /// A threshold of 0, or above the number of keys.
    #[error("statement: {what} is {got}, want 1 to {max}")]
    Threshold {
        /// Which threshold.
        what: &'static str,
        /// The value given.
        got: u64,
        /// The number of keys listed.
        max: u64,
    },
    /// A list that must be sorted without repeats is not.
    #[error("statement: {0} must be sorted and without repeats")]
    NotASet(&'static str),
    /// One key listed as root and as release key.
    #[error("statement: key {0} is listed both as root and as release key")]
    TwoRoles(String),
    /// Two subjects of one name.
    #[error("statement: two artifacts are named {0:?}")]
    RepeatedArtifact(String),
    /// A subject's digest is not what the predicate hashes to.
    #[error("statement: subject digest is {got}, want {want}, as the predicate has it")]
    SubjectDigest {
        /// The digest that follows from the predicate.
        want: String,
        /// The digest given.
        got: String,
    },
}

impl StatementError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "not-strict-json",
            Self::Name(NameError::Project(_)) => "bad-project-name",
            Self::Name(NameError::Artifact(_)) => "bad-artifact-name",
            Self::Name(_) => "bad-purl",
            Self::Shape(_) => "statement-shape",
            Self::UnknownType(_) => "unknown-predicate-type",
            Self::NotYet(_) => "not-yet-accepted",
            Self::Digest(_) => "bad-digest",
            Self::Key(_) => "bad-key",
            Self::Threshold { .. } => "bad-threshold",
            Self::NotASet(_) => "not-a-sorted-set",
            Self::TwoRoles(_) => "key-in-two-roles",
            Self::RepeatedArtifact(_) => "repeated-artifact",
            Self::SubjectDigest { .. } => "subject-digest",
        }
    }
}

/// What a statement is about: for a release, one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The artifact's file name; unique in the statement.
    pub name: String,
    /// SHA-256 of the artifact.
    pub sha256: Hash,
    /// Size of the artifact in bytes; always present in a release.
    pub size: Option<u64>,
    /// Further digests, algorithm → lower-case hex; `sha256` is not among them.
    pub digests: BTreeMap<String, String>,
    /// Where the artifact can be fetched.
    pub download_location: Option<String>,
}

/// A predicate that we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Who may speak for a project.
    Project(Project),
    /// What a project published.
    Release(Release),
    /// From when on a key does not count.
    Revocation(Revocation),
    /// What must not be used any more.
    Withdrawal(Withdrawal),
    /// What is known about a key.
    KeyNote(KeyNote),
}

/// A parsed statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What it says.
    pub body: Body,
}

type Fields = Map<String, Value>;

fn shape(what: impl Into<String>) -> StatementError {
    StatementError::Shape(what.into())
}

fn only(fields: &Fields, known: &[&str], of: &str) -> Result<(), StatementError> {
    match fields.keys().find(|k| !known.contains(&k.as_str())) {
        Some(k) => Err(shape(format!(
            "unknown field {:?} in {of}",
            k.chars().take(40).collect::<String>()
        ))),
        None => Ok(()),
    }
}

fn text<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, StatementError> {
    fields
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| shape(format!("{name} must be a string")))
}

fn number(fields: &Fields, name: &str) -> Result<u64, StatementError> {
    fields
        .get(name)
        .and_then(Value::as_u64)
        .ok_or_else(|| shape(format!("{name} must be a non-negative integer")))
}

fn optional<T>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Fields, &str) -> Result<T, StatementError>,
) -> Result<Option<T>, StatementError> {
    if fields.contains_key(name) {
        read(fields, name).map(Some)
    } else {
        Ok(None)
    }
}

fn hash(fields: &Fields, name: &str) -> Result<Hash, StatementError> {
    from_hex32(text(fields, name)?).ok_or_else(|| StatementError::Digest(name.to_owned()))
}

fn strings<'a>(fields: &'a Fields, name: &'static str) -> Result<Vec<&'a str>, StatementError> {
    let list = fields
        .get(name)
        .and_then(Value::as_array)
        .ok_or_else(|| shape(format!("{name} must be a list")))?;
    let list: Vec<&str> = list
        .iter()
        .map(|v| {
            v.as_str()
                .ok_or_else(|| shape(format!("{name} must hold strings")))
        })
        .collect::<Result<_, _>>()?;
    if list.windows(2).any(|p| matches!(p, [a, b] if a >= b)) {
        return Err(StatementError::NotASet(name));
    }
    Ok(list)
}

fn threshold(fields: &Fields, what: &'static str, max: usize) -> Result<u64, StatementError> {
    let got = number(fields, what)?;
    let max = max as u64;
    if got == 0 || got > max {
        Err(StatementError::Threshold { what, got, max })
    } else {
        Ok(got)
    }
}

impl Statement {
    /// Parses and checks a payload: all that can be known without the log.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let value = json::parse(payload)?;
        let fields = value.as_object().ok_or_else(|| shape("not an object"))?;
        only(
            fields,
            &["_type", "subject", "predicateType", "predicate"],
            "the statement",
        )?;
        if text(fields, "_type")? != STATEMENT_TYPE {
            return Err(shape(format!("_type must be {STATEMENT_TYPE:?}")));
        }
        let kind = text(fields, "predicateType")?;
        let predicate = fields
            .get("predicate")
            .ok_or_else(|| shape("predicate is missing"))?;
        let subjects = fields
            .get("subject")
            .and_then(Value::as_array)
            .ok_or_else(|| shape("subject must be a list"))?;
        match kind {
            RELEASE_TYPE => release::parse(predicate, subjects),
            // In our own predicates optional means absent, never null.
            PROJECT_TYPE | REVOCATION_TYPE | WITHDRAWAL_TYPE | KEY_NOTE_TYPE => {
                json::no_null(&value)?;
                match kind {
                    PROJECT_TYPE => project::parse(predicate, subjects),
                    REVOCATION_TYPE => revocation::parse(predicate, subjects),
                    WITHDRAWAL_TYPE => withdrawal::parse(predicate, subjects),
                    _ => key_note::parse(predicate, subjects),
                }
            }
            other => Err(StatementError::UnknownType(
                other.chars().take(80).collect(),
            )),
        }
    }

    /// The project that this is about. A project statement does not name its id: that of version
    /// 1 is its own PAE hash, and a later one is found by its `previous`.
    #[must_use]
    pub fn project_id(&self) -> Option<Hash> {
        match &self.body {
            Body::Release(r) => Some(r.package_id),
            Body::Revocation(r) => Some(r.project),
            Body::Withdrawal(w) => Some(w.project),
            Body::KeyNote(n) => Some(n.project),
            Body::Project(_) => None,
        }
    }
}

impl Body {
    /// Its kind in one word: `project`, `release`, `revocation`, `withdrawal`, `key-note`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Project(_) => "project",
            Self::Release(_) => "release",
            Self::Revocation(_) => "revocation",
            Self::Withdrawal(_) => "withdrawal",
            Self::KeyNote(_) => "key-note",
        }
    }
}

impl Subject {
    /// As in-toto has it.
    fn to_json(&self) -> Value {
        let mut digest: BTreeMap<&str, String> = self
            .digests
            .iter()
            .map(|(k, v)| (k.as_str(), v.clone()))
            .collect();
        digest.insert("sha256", hex32(&self.sha256));
        let mut v = json!({ "digest": digest, "name": self.name });
        if let Some(fields) = v.as_object_mut() {
            if let Some(size) = self.size {
                fields.insert("annotations".into(), json!({ "size": size }));
            }
            if let Some(at) = &self.download_location {
                fields.insert("downloadLocation".into(), at.clone().into());
            }
        }
        v
    }
}

fn object(value: &Value) -> Result<&Fields, StatementError> {
    value
        .as_object()
        .ok_or_else(|| shape("predicate must be an object"))
}

/// Whether a text for people is short and harmless: 1 to 512 bytes, no control character.
fn is_short(text: &str) -> bool {
    !text.is_empty() && text.len() <= 512 && !text.chars().any(char::is_control)
}

fn short_text(fields: &Fields, name: &str) -> Result<String, StatementError> {
    let text = text(fields, name)?;
    if is_short(text) {
        return Ok(text.to_owned());
    }
    Err(shape(format!(
        "{name} must be 1 to 512 bytes without control characters"
    )))
}

/// The one subject of a statement that is about no artifact; its SHA-256 follows from the
/// predicate.
fn one_subject(subjects: &[Value], want: &Hash) -> Result<Subject, StatementError> {
    let [one] = subjects else {
        return Err(shape("such a statement has exactly one subject"));
    };
    let subject = subject(one, false)?;
    if !is_short(&subject.name) {
        return Err(shape(
            "a subject's name must be 1 to 512 bytes without control characters",
        ));
    }
    if subject.sha256 != *want {
        return Err(StatementError::SubjectDigest {
            want: hex32(want),
            got: hex32(&subject.sha256),
        });
    }
    Ok(subject)
}

fn subject(value: &Value, need_size: bool) -> Result<Subject, StatementError> {
    let fields = value
        .as_object()
        .ok_or_else(|| shape("a subject must be an object"))?;
    let name = text(fields, "name")?.to_owned();
    let mut digests = BTreeMap::new();
    for (algorithm, hex) in fields
        .get("digest")
        .and_then(Value::as_object)
        .ok_or_else(|| shape("digest must be an object"))?
    {
        let hex = hex
            .as_str()
            .ok_or_else(|| shape("a digest must be a string"))?;
        let lower = !hex.is_empty()
            && hex.len() <= 256
            && hex.len().is_multiple_of(2)
            && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !lower {
            return Err(StatementError::Digest(format!(
                "digest {:?}",
                algorithm.chars().take(40).collect::<String>()
            )));
        }
        digests.insert(algorithm.clone(), hex.to_owned());
    }
    let sha256 = digests.remove("sha256").as_deref().and_then(from_hex32);
    let sha256 = sha256.ok_or_else(|| StatementError::Digest("digest sha256".into()))?;
    let annotations = match fields.get("annotations") {
        Some(v) => Some(
            v.as_object()
                .ok_or_else(|| shape("annotations must be an object"))?,
        ),
        None => None,
    };
    let size = match annotations {
        Some(a) => optional(a, "size", number)?,
        None => None,
    };
    if need_size && size.is_none() {
        return Err(shape("annotations.size (bytes) is missing"));
    }
    let download_location = optional(fields, "downloadLocation", |f, n| {
        text(f, n).map(str::to_owned)
    })?;
    Ok(Subject {
        name,
        sha256,
        size,
        digests,
        download_location,
    })
}

fn payload(kind: &str, predicate: &Value, subject: Value) -> Result<Vec<u8>, StatementError> {
    let payload = json::to_canonical(&json!({
        "_type": STATEMENT_TYPE, "predicate": predicate, "predicateType": kind, "subject": subject,
    }))?;
    // What we would not accept we do not sign.
    Statement::parse(&payload)?;
    Ok(payload)
}

#[cfg(test)]
mod tests;
