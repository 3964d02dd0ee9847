//! The predicate of a withdrawal (docs/formats.md, "withdrawal").

use super::{
    Body, Fields, Statement, StatementError, Subject, WITHDRAWAL_TYPE, hash, object, one_subject,
    only, optional, payload, shape, short_text, subject, text,
};
use crate::encoding::hex32;
use crate::{Hash, json, names, sha256};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawn {
    /// The release of this PAE hash, and the digests that the subjects list.
    Release(Hash),
    /// Every release, past and later, under this purl prefix: its end of life.
    Prefix(String),
}

/// The predicate of a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The project's id.
    pub project: Hash,
    /// What is withdrawn.
    pub what: Withdrawn,
    /// Why, for people; 1 to 512 bytes.
    pub reason: String,
    /// What to use in its place, for people; 1 to 512 bytes.
    pub successor: Option<String>,
}

pub(super) fn parse(predicate: &Value, subjects: &[Value]) -> Result<Statement, StatementError> {
    let fields: &Fields = object(predicate)?;
    let known = ["project", "purlPrefix", "reason", "release", "successor"];
    only(fields, &known, "the withdrawal predicate")?;
    let release = optional(fields, "release", hash)?;
    let prefix = optional(fields, "purlPrefix", |f, n| text(f, n).map(str::to_owned))?;
    let what = match (release, prefix) {
        (Some(release), None) => Withdrawn::Release(release),
        (None, Some(prefix)) => {
            names::check_purl(&prefix, true)?;
            Withdrawn::Prefix(prefix)
        }
        _ => return Err(shape("a withdrawal has either release or purlPrefix")),
    };
    let subject = match &what {
        Withdrawn::Prefix(_) => {
            vec![one_subject(
                subjects,
                &sha256(&json::to_canonical(predicate)?),
            )?]
        }
        Withdrawn::Release(_) if subjects.is_empty() => {
            return Err(shape("a withdrawal lists at least one artifact"));
        }
        Withdrawn::Release(_) => artifacts(subjects)?,
    };
    let body = Body::Withdrawal(Withdrawal {
        project: hash(fields, "project")?,
        reason: short_text(fields, "reason")?,
        successor: optional(fields, "successor", short_text)?,
        what,
    });
    Ok(Statement { subject, body })
}

fn artifacts(subjects: &[Value]) -> Result<Vec<Subject>, StatementError> {
    let list: Vec<Subject> = subjects
        .iter()
        .map(|s| subject(s, false))
        .collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    for s in &list {
        names::check_artifact_name(&s.name)?;
        if !seen.insert(s.name.as_str()) {
            return Err(StatementError::RepeatedArtifact(s.name.clone()));
        }
    }
    Ok(list)
}

impl Withdrawal {
    /// The payload to sign: the statement's canonical JSON. Of a release, `artifacts` are those
    /// of it that are withdrawn, by name and SHA-256; of a prefix they are not looked at.
    ///
    /// # Errors
    /// [`StatementError`] where it is not one that a log would accept.
    pub fn to_payload(&self, artifacts: &[Subject]) -> Result<Vec<u8>, StatementError> {
        let mut predicate = json!({ "project": hex32(&self.project), "reason": self.reason });
        if let Some(fields) = predicate.as_object_mut() {
            match &self.what {
                Withdrawn::Release(pae) => fields.insert("release".into(), hex32(pae).into()),
                Withdrawn::Prefix(p) => fields.insert("purlPrefix".into(), p.as_str().into()),
            };
            if let Some(successor) = &self.successor {
                fields.insert("successor".into(), successor.as_str().into());
            }
        }
        let one =
            |name: &str, hash: &Hash| json!({ "digest": { "sha256": hex32(hash) }, "name": name });
        let subject = match &self.what {
            Withdrawn::Release(_) => artifacts.iter().map(|s| one(&s.name, &s.sha256)).collect(),
            Withdrawn::Prefix(_) => {
                vec![one(
                    "end of life",
                    &sha256(&json::to_canonical(&predicate)?),
                )]
            }
        };
        payload(WITHDRAWAL_TYPE, &predicate, Value::Array(subject))
    }
}
