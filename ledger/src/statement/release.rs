//! The predicate of a release (docs/formats.md, "release").

use super::{
    Body, RELEASE_TYPE, Statement, StatementError, Subject, hash, object, optional, payload, shape,
    subject, text,
};
use crate::encoding::hex32;
use crate::names::{self, NameError};
use crate::{Hash, sha256};
use serde_json::{Value, json};
use std::collections::BTreeSet;

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

pub(super) fn parse(predicate: &Value, subjects: &[Value]) -> Result<Statement, StatementError> {
    let fields = object(predicate)?;
    let purl = text(fields, "purl")?.to_owned();
    names::check_purl(&purl, false)?;
    if names::purl_version(&purl).is_none() {
        return Err(NameError::NoVersion(purl).into());
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
        restates: optional(fields, "restates", hash)?,
    });
    Ok(Statement { subject, body })
}

/// What a release consists of: a hash over the set of its artifacts' names, SHA-256 and sizes.
/// A re-statement has that of the release that it states again.
#[must_use]
pub fn content(subjects: &[Subject]) -> Hash {
    let set: BTreeSet<(&str, &Hash, Option<u64>)> = subjects
        .iter()
        .map(|s| (s.name.as_str(), &s.sha256, s.size))
        .collect();
    let mut bytes = Vec::new();
    for (name, sha256, size) in set {
        bytes.extend_from_slice(&(name.len() as u64).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(sha256);
        bytes.extend_from_slice(&size.unwrap_or(u64::MAX).to_be_bytes());
    }
    sha256(&bytes)
}

/// A finding of the publishing guard that is published all the same, for everybody to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardException {
    /// The artifact's name.
    pub artifact: String,
    /// The finding's id, 16 hexadecimal digits.
    pub finding: String,
    /// The way into the artifact; empty for the artifact itself.
    pub place: String,
    /// Why it is no secret; 1 to 512 bytes.
    pub reason: String,
    /// The rule that found it.
    pub rule: String,
}

/// As [`release_payload`], with what the publishing guard found and the publisher lets stand
/// (docs/formats.md, "release"). Verifiers take no notice of it.
///
/// # Errors
/// As [`release_payload`].
pub fn release_payload_with(
    project: &Hash,
    purl: &str,
    subjects: &[Subject],
    restates: Option<&Hash>,
    exceptions: &[GuardException],
) -> Result<Vec<u8>, StatementError> {
    let list = subjects.iter().map(Subject::to_json).collect();
    let mut predicate = json!({ "packageId": hex32(project), "purl": purl });
    if let Some(fields) = predicate.as_object_mut() {
        if let Some(voided) = restates {
            fields.insert("restates".into(), hex32(voided).into());
        }
        if !exceptions.is_empty() {
            let mut all: Vec<Value> = exceptions
                .iter()
                .map(|e| json!({ "artifact": e.artifact, "finding": e.finding, "place": e.place, "reason": e.reason, "rule": e.rule }))
                .collect();
            // A set has one order.
            all.sort_by_cached_key(|e| crate::json::canonical_of(e).unwrap_or_default());
            all.dedup();
            fields.insert("guardExceptions".into(), Value::Array(all));
        }
    }
    payload(RELEASE_TYPE, &predicate, Value::Array(list))
}

/// The payload of a release to sign: canonical JSON, artifacts in the order given. One that
/// `restates` the voided release of that PAE hash has its purl and its artifacts.
///
/// # Errors
/// [`StatementError`] where the release is not one that a log would accept.
pub fn release_payload(
    project: &Hash,
    purl: &str,
    subjects: &[Subject],
    restates: Option<&Hash>,
) -> Result<Vec<u8>, StatementError> {
    release_payload_with(project, purl, subjects, restates, &[])
}
