//! The policy file: all that a client trusts, in one TOML file that travels with it
//! (docs/formats.md, "Policy file").
//!
//! Nothing is fetched at verification time that is not pinned here or proven. Every log
//! key that the policy lists must have signed; the witness quorum is a C2SP tlog-policy
//! without `log` lines.

use ledger::{Hash, from_hex32, hex32};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::vkey::VerifierKey;

/// Why a policy cannot be used. Always exit code 2: no verdict can come of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Not TOML, or not this schema.
    #[error("policy: {0}")]
    Toml(String),
    /// A version that we do not know.
    #[error("policy: api-version is {0:?}, want \"countersign/v1\"")]
    Version(String),
    /// A log vkey that is malformed, of a type that cannot sign checkpoints, or named otherwise.
    #[error("policy: log vkey: {0}")]
    LogKey(String),
    /// A key that stands twice.
    #[error("policy: log key {0} is listed twice")]
    RepeatedKey(String),
    /// The witness policy is unusable.
    #[error("policy: witnesses: {0}")]
    Witnesses(String),
    /// A project entry that is malformed or stands twice.
    #[error("policy: project: {0}")]
    Project(String),
    /// `min-age` or `max-age` where no witness tells the time.
    #[error("policy: {0} needs a witness quorum: with `quorum none` nobody but the log says when")]
    AgeWithoutQuorum(&'static str),
    /// The checkpoint floor is not a checkpoint of this log.
    #[error("policy: checkpoint-floor: {0}")]
    Floor(String),
}

impl PolicyError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Toml(_) => "policy-malformed",
            Self::Version(_) => "policy-version",
            Self::LogKey(_) => "policy-log-key",
            Self::RepeatedKey(_) => "policy-repeated-key",
            Self::Witnesses(_) => "policy-witnesses",
            Self::Project(_) => "policy-project",
            Self::AgeWithoutQuorum(_) => "policy-age-without-quorum",
            Self::Floor(_) => "policy-checkpoint-floor",
        }
    }
}

/// The log that counts.
#[derive(Debug, Clone)]
pub struct LogPolicy {
    /// Its origin, the name in all its vkeys.
    pub origin: String,
    /// Where it is reached; `verify` never does.
    pub url: Option<String>,
    /// Other places that serve its tiles.
    pub mirrors: Vec<String>,
    /// Its keys; every one must have signed.
    pub vkeys: Vec<VerifierKey>,
    /// A signed checkpoint that later ones must agree with, for machines without memory.
    pub checkpoint_floor: Option<String>,
}

/// A project that is trusted, pinned by its first statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectPolicy {
    /// PAE hash of the first statement.
    pub id: Hash,
    /// Its label.
    pub name: String,
    /// Artifact name patterns (`*` matches any run of bytes) that select this project where
    /// a policy has several. Empty: none.
    pub artifacts: Vec<String>,
    /// Releases below this log index are refused by `get` and `run` without `--version`.
    pub min_index: Option<u64>,
    /// The purl, without version, that `publish` puts on releases; a convenience of the
    /// publisher's own policy that no verdict depends on.
    pub purl: Option<String>,
}

/// A parsed policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The log.
    pub log: LogPolicy,
    /// The witnesses and their quorum.
    pub witnesses: tlog::policy::Policy,
    /// The same, byte for byte as written.
    pub witnesses_text: String,
    /// The projects.
    pub projects: Vec<ProjectPolicy>,
    /// Seconds that a release must have been public for.
    pub min_age: Option<u64>,
    /// Seconds that the view may be old.
    pub max_age: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    api_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_age: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
    #[serde(default = "no_witnesses")]
    witnesses: String,
    log: RawLog,
    #[serde(default, rename = "project")]
    projects: Vec<RawProject>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawLog {
    origin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mirrors: Vec<String>,
    vkeys: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint_floor: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawProject {
    id: String,
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    artifacts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_index: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

fn no_witnesses() -> String {
    "quorum none\n".to_owned()
}

/// Reads log vkeys: of `origin`, of a type that signs checkpoints, none twice.
///
/// # Errors
/// [`PolicyError::LogKey`] or [`PolicyError::RepeatedKey`].
pub fn log_keys(origin: &str, vkeys: &[String]) -> Result<Vec<VerifierKey>, PolicyError> {
    use tlog::vkey::Algorithm;
    if vkeys.is_empty() {
        return Err(PolicyError::LogKey("none is listed".into()));
    }
    let mut seen = BTreeSet::new();
    let mut keys = Vec::with_capacity(vkeys.len());
    for text in vkeys {
        let key = VerifierKey::parse(text).map_err(|e| PolicyError::LogKey(e.to_string()))?;
        if key.name() != origin {
            return Err(PolicyError::LogKey(format!(
                "named {:?}, want the log's origin {origin:?}",
                key.name()
            )));
        }
        if !matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::EcdsaP256) {
            return Err(PolicyError::LogKey(format!(
                "key {} is of a type that does not sign checkpoints",
                hex::encode(key.key_id())
            )));
        }
        if !seen.insert(key.key_id()) {
            return Err(PolicyError::RepeatedKey(hex::encode(key.key_id())));
        }
        keys.push(key);
    }
    Ok(keys)
}

impl Policy {
    /// Parses and checks a policy file.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parse_toml(text: &str) -> Result<Self, PolicyError> {
        let raw: Raw =
            toml::from_str(text).map_err(|e| PolicyError::Toml(e.message().to_owned()))?;
        if raw.api_version != ledger::API_VERSION {
            return Err(PolicyError::Version(raw.api_version));
        }
        let vkeys = log_keys(&raw.log.origin, &raw.log.vkeys)?;
        let witnesses = tlog::policy::Policy::parse(&raw.witnesses)
            .map_err(|e| PolicyError::Witnesses(e.to_string()))?;
        if !witnesses.logs().is_empty() {
            return Err(PolicyError::Witnesses(
                "log lines have no place here; the log is under [log]".into(),
            ));
        }
        if witnesses.quorum_none() {
            for (name, age) in [("min-age", raw.min_age), ("max-age", raw.max_age)] {
                if age.is_some() {
                    return Err(PolicyError::AgeWithoutQuorum(name));
                }
            }
        }
        let mut projects = Vec::new();
        let mut seen = BTreeSet::new();
        for p in raw.projects {
            let id = from_hex32(&p.id).ok_or_else(|| {
                PolicyError::Project("id must be 64 lower-case hexadecimal digits".into())
            })?;
            ledger::names::check_project_name(&p.name)
                .map_err(|e| PolicyError::Project(e.to_string()))?;
            if !seen.insert(p.name.clone()) || !seen.insert(p.id) {
                return Err(PolicyError::Project(format!(
                    "{:?} is listed twice",
                    p.name
                )));
            }
            projects.push(ProjectPolicy {
                id,
                name: p.name,
                artifacts: p.artifacts,
                min_index: p.min_index,
                purl: p.purl,
            });
        }
        if let Some(floor) = &raw.log.checkpoint_floor {
            let bad = |why: String| PolicyError::Floor(why);
            let note = Note::parse(floor.as_bytes()).map_err(|e| bad(e.to_string()))?;
            let checkpoint = Checkpoint::parse(&note.text).map_err(|e| bad(e.to_string()))?;
            if checkpoint.origin != raw.log.origin {
                return Err(bad(format!(
                    "of {:?}, want {:?}",
                    checkpoint.origin, raw.log.origin
                )));
            }
            note.verify(&vkeys).map_err(|e| bad(e.to_string()))?;
        }
        let log = LogPolicy {
            origin: raw.log.origin,
            url: raw.log.url,
            mirrors: raw.log.mirrors,
            vkeys,
            checkpoint_floor: raw.log.checkpoint_floor,
        };
        Ok(Self {
            log,
            witnesses,
            witnesses_text: raw.witnesses,
            projects,
            min_age: raw.min_age,
            max_age: raw.max_age,
        })
    }

    /// A policy from a checked trust document.
    ///
    /// # Errors
    /// As [`Policy::parse_toml`].
    pub fn from_trust(
        document: &ledger::trust::TrustDocument,
        url: Option<&str>,
    ) -> Result<Self, PolicyError> {
        let raw = Raw {
            api_version: ledger::API_VERSION.to_owned(),
            min_age: None,
            max_age: None,
            witnesses: document.witnesses.clone(),
            log: RawLog {
                origin: document.log.origin.clone(),
                url: url.map(str::to_owned),
                mirrors: Vec::new(),
                vkeys: document.log.vkeys.clone(),
                checkpoint_floor: None,
            },
            projects: vec![RawProject {
                id: hex32(&document.project.id),
                name: document.project.name.clone(),
                artifacts: Vec::new(),
                min_index: None,
                purl: None,
            }],
        };
        Self::parse_toml(&to_text(&raw)?)
    }

    /// The policy as a TOML file.
    ///
    /// # Errors
    /// [`PolicyError::Toml`] never in practice.
    pub fn to_toml(&self) -> Result<String, PolicyError> {
        to_text(&Raw {
            api_version: ledger::API_VERSION.to_owned(),
            min_age: self.min_age,
            max_age: self.max_age,
            witnesses: self.witnesses_text.clone(),
            log: RawLog {
                origin: self.log.origin.clone(),
                url: self.log.url.clone(),
                mirrors: self.log.mirrors.clone(),
                vkeys: self.log.vkeys.iter().map(ToString::to_string).collect(),
                checkpoint_floor: self.log.checkpoint_floor.clone(),
            },
            projects: self
                .projects
                .iter()
                .map(|p| RawProject {
                    id: hex32(&p.id),
                    name: p.name.clone(),
                    artifacts: p.artifacts.clone(),
                    min_index: p.min_index,
                    purl: p.purl.clone(),
                })
                .collect(),
        })
    }

    /// The project for an artifact: the one named, else the only one, else the only one with
    /// a matching artifact pattern.
    ///
    /// # Errors
    /// [`PolicyError::Project`] where none or several answer.
    pub fn select(
        &self,
        name: Option<&str>,
        artifact: &str,
    ) -> Result<&ProjectPolicy, PolicyError> {
        let listed = || {
            self.projects
                .iter()
                .map(|p| p.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        if let Some(name) = name {
            return self
                .projects
                .iter()
                .find(|p| p.name == name)
                .ok_or_else(|| {
                    PolicyError::Project(format!(
                        "{name:?} is not in the policy, which has: {}",
                        listed()
                    ))
                });
        }
        if let [only] = self.projects.as_slice() {
            return Ok(only);
        }
        let mut matching = self
            .projects
            .iter()
            .filter(|p| p.artifacts.iter().any(|a| glob(a, artifact)));
        match (matching.next(), matching.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(PolicyError::Project(format!(
                "several match {artifact:?}; choose with --project among: {}",
                listed()
            ))),
            (None, _) => Err(PolicyError::Project(format!(
                "none matches {artifact:?}; choose with --project among: {}",
                listed()
            ))),
        }
    }
}

fn to_text(raw: &Raw) -> Result<String, PolicyError> {
    toml::to_string_pretty(raw).map_err(|e| PolicyError::Toml(e.to_string()))
}

/// Whether `pattern`, where `*` stands for any run of characters, matches all of `name`.
fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else {
        return false;
    };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or(""),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs() {
        for (p, n, want) in [
            ("*", "x", true),
            ("tool-*", "tool-linux", true),
            ("tool-*.gz", "tool-linux.tar.gz", true),
            ("tool", "tool2", false),
            ("*-x-*", "a-x-b", true),
            ("a*a", "a", false),
            ("", "", true),
        ] {
            assert_eq!(glob(p, n), want, "{p} {n}");
        }
    }
}
