//! in-toto Statements v1 and their predicates (docs/formats.md, "Statements").
//!
//! In this version: `project` (version 1 with release keys and a release threshold of 1)
//! and `release`. The other predicates have their place in the specification, and are
//! refused by name until they are built.

use crate::encoding::{b64, from_b64, from_hex32, hex32};
use crate::json::{self, JsonError};
use crate::names::{self, NameError};
use crate::{Hash, sha256};
use keys::PublicKey;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The predicate type of a release.
pub const RELEASE_TYPE: &str = "https://in-toto.io/attestation/release/v0.2";
/// The predicate type of a project statement.
pub const PROJECT_TYPE: &str = "urn:countersign:project:v1";
/// The predicate types that the specification has and this version refuses.
pub const LATER_TYPES: [&str; 3] = [
    "urn:countersign:revocation:v1",
    "urn:countersign:withdrawal:v1",
    "urn:countersign:key-note:v1",
];

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
    #[error(
        "statement: subject digest is {got}, want {want} (SHA-256 of the predicate's canonical JSON)"
    )]
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

/// The predicate of a project statement: who may speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The label; unique in a log.
    pub name: String,
    /// The one log origin where this statement counts.
    pub log: String,
    /// From 1.
    pub version: u64,
    /// PAE hash of the version before; absent in version 1.
    pub previous: Option<Hash>,
    /// The keys that may change the project.
    pub roots: Vec<PublicKey>,
    /// How many of them it takes.
    pub root_threshold: u64,
    /// The keys that may publish releases.
    pub release_keys: Vec<PublicKey>,
    /// How many of them it takes.
    pub release_threshold: u64,
    /// The purls that releases may carry.
    pub purl_prefixes: Vec<String>,
    /// Where a stranger reports a mismatch.
    pub contact: String,
    /// Seconds for which a release key may be used after it was first listed.
    pub max_key_age: Option<u64>,
    /// SHA-256 of the trust document now recommended; absent in version 1.
    pub policy: Option<Hash>,
}

/// The predicate of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The project's id.
    pub package_id: Hash,
    /// The release's purl, with a version.
    pub purl: String,
    /// PAE hash of the voided release that this states again.
    pub restates: Option<Hash>,
}

/// A predicate that we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Who may speak for a project.
    Project(Project),
    /// What a project published.
    Release(Release),
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

fn key_list(fields: &Fields, name: &'static str) -> Result<Vec<PublicKey>, StatementError> {
    let bad = |why: String| StatementError::Key(format!("{name}: {why}"));
    let list = strings(fields, name)?;
    if list.is_empty() || list.len() > 64 {
        return Err(shape(format!("{name} must list 1 to 64 keys")));
    }
    list.into_iter()
        .map(|s| {
            let der = from_b64(s).ok_or_else(|| bad("not base64".into()))?;
            PublicKey::from_spki_der(&der).map_err(|e| bad(e.to_string()))
        })
        .collect()
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
            RELEASE_TYPE => release(predicate, subjects),
            PROJECT_TYPE => {
                json::no_null(&value)?;
                project(predicate, subjects)
            }
            "urn:countersign:revocation:v1" => Err(StatementError::NotYet("a revocation")),
            "urn:countersign:withdrawal:v1" => Err(StatementError::NotYet("a withdrawal")),
            "urn:countersign:key-note:v1" => Err(StatementError::NotYet("a key-note")),
            other => Err(StatementError::UnknownType(
                other.chars().take(80).collect(),
            )),
        }
    }

    /// The project that this is about: the release's `packageId`. A project statement of
    /// version 1 makes its own id, which only its envelope knows.
    #[must_use]
    pub fn project_id(&self) -> Option<Hash> {
        match &self.body {
            Body::Release(r) => Some(r.package_id),
            Body::Project(_) => None,
        }
    }
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

fn release(predicate: &Value, subjects: &[Value]) -> Result<Statement, StatementError> {
    let fields = predicate
        .as_object()
        .ok_or_else(|| shape("predicate must be an object"))?;
    let purl = text(fields, "purl")?.to_owned();
    names::check_purl(&purl, false)?;
    if names::purl_version(&purl).is_none() {
        return Err(NameError::NoVersion(purl).into());
    }
    if fields.contains_key("restates") {
        return Err(StatementError::NotYet("a release that restates another"));
    }
    if subjects.is_empty() {
        return Err(shape("a release lists at least one artifact"));
    }
    let subject: Vec<Subject> = subjects
        .iter()
        .map(|s| subject(s, true))
        .collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    for s in &subject {
        names::check_artifact_name(&s.name)?;
        if !seen.insert(s.name.as_str()) {
            return Err(StatementError::RepeatedArtifact(s.name.clone()));
        }
    }
    let body = Body::Release(Release {
        package_id: hash(fields, "packageId")?,
        purl,
        restates: None,
    });
    Ok(Statement { subject, body })
}

fn project(predicate: &Value, subjects: &[Value]) -> Result<Statement, StatementError> {
    let fields = predicate
        .as_object()
        .ok_or_else(|| shape("predicate must be an object"))?;
    if fields.contains_key("authorities") {
        return Err(StatementError::NotYet("a project with authorities"));
    }
    let known = [
        "contact",
        "log",
        "maxKeyAge",
        "name",
        "policy",
        "previous",
        "purlPrefixes",
        "releaseKeys",
        "releaseThreshold",
        "rootThreshold",
        "roots",
        "version",
    ];
    only(fields, &known, "the project predicate")?;
    let name = text(fields, "name")?.to_owned();
    names::check_project_name(&name)?;
    let version = number(fields, "version")?;
    if version > 1 {
        return Err(StatementError::NotYet(
            "a project statement of version above 1",
        ));
    }
    if version == 0 {
        return Err(shape("version starts at 1"));
    }
    if fields.contains_key("previous") || fields.contains_key("policy") {
        return Err(shape("version 1 has neither previous nor policy"));
    }
    let roots = key_list(fields, "roots")?;
    let release_keys = key_list(fields, "releaseKeys")?;
    if let Some(k) = release_keys.iter().find(|k| roots.contains(k)) {
        return Err(StatementError::TwoRoles(k.id().to_string()));
    }
    let root_threshold = threshold(fields, "rootThreshold", roots.len())?;
    let release_threshold = threshold(fields, "releaseThreshold", release_keys.len())?;
    if release_threshold > 1 {
        return Err(StatementError::NotYet("a releaseThreshold above 1"));
    }
    let purl_prefixes: Vec<String> = strings(fields, "purlPrefixes")?
        .into_iter()
        .map(str::to_owned)
        .collect();
    if purl_prefixes.is_empty() || purl_prefixes.len() > 64 {
        return Err(shape("purlPrefixes must list 1 to 64 prefixes"));
    }
    for (i, p) in purl_prefixes.iter().enumerate() {
        names::check_purl(p, true)?;
        if purl_prefixes
            .iter()
            .skip(i + 1)
            .any(|q| names::prefixes_overlap(p, q))
        {
            return Err(shape(format!(
                "purl prefix {p:?} overlaps another of the same project"
            )));
        }
    }
    let contact = text(fields, "contact")?;
    if contact.is_empty() || contact.len() > 512 || contact.chars().any(char::is_control) {
        return Err(shape(
            "contact must be 1 to 512 bytes without control characters",
        ));
    }
    let log = text(fields, "log")?;
    if log.is_empty() || log.len() > 256 {
        return Err(shape("log must be an origin of 1 to 256 bytes"));
    }
    let project = Project {
        log: log.to_owned(),
        version,
        previous: None,
        roots,
        root_threshold,
        release_keys,
        release_threshold,
        purl_prefixes,
        contact: contact.to_owned(),
        max_key_age: optional(fields, "maxKeyAge", number)?,
        policy: None,
        name,
    };
    let [one] = subjects else {
        return Err(shape("a project statement has exactly one subject"));
    };
    let subject = subject(one, false)?;
    let want = sha256(&json::to_canonical(predicate)?);
    if subject.sha256 != want {
        return Err(StatementError::SubjectDigest {
            want: hex32(&want),
            got: hex32(&subject.sha256),
        });
    }
    if subject.name != project.name {
        return Err(shape(
            "a project statement's subject is named as the project is",
        ));
    }
    Ok(Statement {
        subject: vec![subject],
        body: Body::Project(project),
    })
}

fn payload(kind: &str, predicate: &Value, subject: &Value) -> Result<Vec<u8>, StatementError> {
    let payload = json::to_canonical(&json!({
        "_type": STATEMENT_TYPE, "predicate": predicate, "predicateType": kind, "subject": subject,
    }))?;
    // What we would not accept we do not sign.
    Statement::parse(&payload)?;
    Ok(payload)
}

fn key_strings(keys: &[PublicKey]) -> Vec<String> {
    let set: BTreeSet<String> = keys.iter().map(|k| b64(k.spki_der())).collect();
    set.into_iter().collect()
}

impl Project {
    /// The predicate as JSON.
    #[must_use]
    pub fn to_predicate(&self) -> Value {
        let prefixes: BTreeSet<&String> = self.purl_prefixes.iter().collect();
        let mut predicate = json!({
            "contact": self.contact,
            "log": self.log,
            "name": self.name,
            "purlPrefixes": prefixes,
            "releaseKeys": key_strings(&self.release_keys),
            "releaseThreshold": self.release_threshold,
            "rootThreshold": self.root_threshold,
            "roots": key_strings(&self.roots),
            "version": self.version,
        });
        if let Some(fields) = predicate.as_object_mut() {
            let mut put =
                |name: &str, v: Option<Value>| v.and_then(|v| fields.insert(name.to_owned(), v));
            put("previous", self.previous.map(|h| hex32(&h).into()));
            put("maxKeyAge", self.max_key_age.map(Into::into));
            put("policy", self.policy.map(|h| hex32(&h).into()));
        }
        predicate
    }

    /// The payload to sign: the statement's canonical JSON.
    ///
    /// # Errors
    /// [`StatementError`] where the project is not one that a log would accept.
    pub fn to_payload(&self) -> Result<Vec<u8>, StatementError> {
        let predicate = self.to_predicate();
        let digest = hex32(&sha256(&json::to_canonical(&predicate)?));
        payload(
            PROJECT_TYPE,
            &predicate,
            &json!([{ "digest": { "sha256": digest }, "name": self.name }]),
        )
    }
}

/// The payload of a release to sign: canonical JSON, artifacts in the order given.
///
/// # Errors
/// [`StatementError`] where the release is not one that a log would accept.
pub fn release_payload(
    project: &Hash,
    purl: &str,
    subjects: &[Subject],
) -> Result<Vec<u8>, StatementError> {
    let list: Vec<Value> = subjects
        .iter()
        .map(|s| {
            let mut digest: BTreeMap<&str, String> = s
                .digests
                .iter()
                .map(|(k, v)| (k.as_str(), v.clone()))
                .collect();
            digest.insert("sha256", hex32(&s.sha256));
            let mut v = json!({ "digest": digest, "name": s.name });
            if let Some(fields) = v.as_object_mut() {
                if let Some(size) = s.size {
                    fields.insert("annotations".into(), json!({ "size": size }));
                }
                if let Some(at) = &s.download_location {
                    fields.insert("downloadLocation".into(), at.clone().into());
                }
            }
            v
        })
        .collect();
    payload(
        RELEASE_TYPE,
        &json!({ "packageId": hex32(project), "purl": purl }),
        &Value::Array(list),
    )
}
