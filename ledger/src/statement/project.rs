//! The predicate of a project statement: who may speak (docs/formats.md, "project").

use super::authority::{self, Authority};
use super::{
    Body, Fields, PROJECT_TYPE, Statement, StatementError, hash, number, object, one_subject, only,
    optional, payload, shape, short_text, strings, text, threshold,
};
use crate::encoding::{b64, from_b64, hex32};
use crate::{Hash, json, names, sha256};
use keys::PublicKey;
use serde_json::{Value, json};
use std::collections::BTreeSet;

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
    /// The keys that may publish releases; none where authorities may.
    pub release_keys: Vec<PublicKey>,
    /// How many of them it takes; 1 where authorities may.
    pub release_threshold: u64,
    /// Whose certificates may publish releases; none where keys may.
    pub authorities: Vec<Authority>,
    /// The purls that releases may carry.
    pub purl_prefixes: Vec<String>,
    /// Where a stranger reports a mismatch.
    pub contact: String,
    /// Seconds for which a release key may be used after it was first listed.
    pub max_key_age: Option<u64>,
    /// SHA-256 of the trust document now recommended; absent in version 1.
    pub policy: Option<Hash>,
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

pub(super) fn parse(predicate: &Value, subjects: &[Value]) -> Result<Statement, StatementError> {
    let fields = object(predicate)?;
    let known = [
        "authorities",
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
    let previous = optional(fields, "previous", hash)?;
    let policy = optional(fields, "policy", hash)?;
    match version {
        0 => return Err(shape("version starts at 1")),
        1 if previous.is_some() || policy.is_some() => {
            return Err(shape("version 1 has neither previous nor policy"));
        }
        2.. if previous.is_none() => {
            return Err(shape("a version above 1 names the one before as previous"));
        }
        _ => {}
    }
    let roots = key_list(fields, "roots")?;
    let by_authorities = fields.contains_key("authorities");
    let by_keys = fields.contains_key("releaseKeys") || fields.contains_key("releaseThreshold");
    if by_authorities && by_keys {
        return Err(shape(
            "a project has either releaseKeys with releaseThreshold, or authorities",
        ));
    }
    let (authorities, release_keys) = if by_authorities {
        (authority::parse(fields)?, Vec::new())
    } else {
        (Vec::new(), key_list(fields, "releaseKeys")?)
    };
    if let Some(k) = release_keys.iter().find(|k| roots.contains(k)) {
        return Err(StatementError::TwoRoles(k.id().to_string()));
    }
    let root_threshold = threshold(fields, "rootThreshold", roots.len())?;
    let release_threshold = if by_authorities {
        1
    } else {
        threshold(fields, "releaseThreshold", release_keys.len())?
    };
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
    let contact = short_text(fields, "contact")?;
    let log = text(fields, "log")?;
    if log.is_empty() || log.len() > 256 {
        return Err(shape("log must be an origin of 1 to 256 bytes"));
    }
    let project = Project {
        log: log.to_owned(),
        version,
        previous,
        roots,
        root_threshold,
        release_keys,
        release_threshold,
        authorities,
        purl_prefixes,
        contact,
        max_key_age: optional(fields, "maxKeyAge", number)?,
        policy,
        name,
    };
    let subject = one_subject(subjects, &sha256(&json::to_canonical(predicate)?))?;
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

fn key_strings(keys: &[PublicKey]) -> Vec<String> {
    let set: BTreeSet<String> = keys.iter().map(|k| b64(k.spki_der())).collect();
    set.into_iter().collect()
}

impl Project {
    /// The predicate as JSON.
    ///
    /// # Errors
    /// [`StatementError`] where an identity has no canonical form: never in practice.
    pub fn to_predicate(&self) -> Result<Value, StatementError> {
        let prefixes: BTreeSet<&String> = self.purl_prefixes.iter().collect();
        let mut predicate = json!({
            "contact": self.contact,
            "log": self.log,
            "name": self.name,
            "purlPrefixes": prefixes,
            "rootThreshold": self.root_threshold,
            "roots": key_strings(&self.roots),
            "version": self.version,
        });
        if let Some(fields) = predicate.as_object_mut() {
            if self.authorities.is_empty() {
                fields.insert("releaseKeys".into(), key_strings(&self.release_keys).into());
                fields.insert("releaseThreshold".into(), self.release_threshold.into());
            } else {
                let authorities = authority::write(&self.authorities)?;
                fields.insert("authorities".into(), authorities.into());
            }
            let mut put =
                |name: &str, v: Option<Value>| v.and_then(|v| fields.insert(name.to_owned(), v));
            put("previous", self.previous.map(|h| hex32(&h).into()));
            put("maxKeyAge", self.max_key_age.map(Into::into));
            put("policy", self.policy.map(|h| hex32(&h).into()));
        }
        Ok(predicate)
    }

    /// Every identity of every authority.
    pub fn identities(&self) -> impl Iterator<Item = &authority::Identity> {
        self.authorities.iter().flat_map(|a| &a.identities)
    }

    /// The payload to sign: the statement's canonical JSON.
    ///
    /// # Errors
    /// [`StatementError`] where the project is not one that a log would accept.
    pub fn to_payload(&self) -> Result<Vec<u8>, StatementError> {
        let predicate = self.to_predicate()?;
        let digest = hex32(&sha256(&json::to_canonical(&predicate)?));
        payload(
            PROJECT_TYPE,
            &predicate,
            json!([{ "digest": { "sha256": digest }, "name": self.name }]),
        )
    }
}
