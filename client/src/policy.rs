//! The policy file: all that a client trusts, in one TOML file that travels with it
//! (docs/formats.md, "Policy file").
//!
//! Nothing is fetched at verification time that is not pinned here or proven. Every log
//! key that the policy lists must have signed; the witness quorum is a C2SP tlog-policy
//! without `log` lines.

pub mod compare;
mod file;
pub mod weak;
pub mod words;

use crate::memory::SeenCheckpoint;
use ledger::{Hash, hex32};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
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
    /// Nothing to write receipts to, or no name for the host.
    #[error("policy: receipts: {0}")]
    Receipts(String),
    /// A pattern that no variable's name has.
    #[error("policy: run.environment: {0:?} is no variable's name, nor a pattern of such")]
    Environment(String),
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
            Self::Receipts(_) => "policy-receipts",
            Self::Environment(_) => "policy-run-environment",
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

impl LogPolicy {
    /// The floor, as a checkpoint that was seen; its keys were checked when the policy was read.
    #[must_use]
    pub fn floor(&self) -> Option<SeenCheckpoint> {
        let text = self.checkpoint_floor.as_deref()?;
        let note = Note::parse(text.as_bytes()).ok()?;
        let checkpoint = Checkpoint::parse(&note.text).ok()?;
        Some(SeenCheckpoint {
            checkpoint: text.to_owned(),
            size: checkpoint.size,
            root: hex32(&checkpoint.root),
            view_time: 0,
        })
    }
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
    /// So are releases that stand before those of this version: versions have no order of their
    /// own, so the project's proven history says at which log index the floor is.
    pub min_version: Option<String>,
    /// In place of the policy's [`Policy::min_age`].
    pub min_age: Option<u64>,
    /// In place of the policy's [`Policy::max_age`].
    pub max_age: Option<u64>,
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
    /// What is written down of what is trusted.
    pub receipts: ReceiptsPolicy,
    /// What `run` hands over.
    pub run: RunPolicy,
    /// SHA-256 of the file that it was read from; what receipts name it by.
    pub digest: Hash,
}

/// Where receipts go (docs/formats.md, "Receipts").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReceiptsPolicy {
    /// The file that they are appended to; without it none are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// What this machine or job is called in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// What `run` hands to what it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunPolicy {
    /// Patterns of names of environment variables (`*` matches any run of characters); all others
    /// are withheld. Absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Vec<String>>,
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
    /// Seconds that a release of this project must have been public for.
    #[must_use]
    pub fn min_age_of(&self, project: &ProjectPolicy) -> Option<u64> {
        project.min_age.or(self.min_age)
    }

    /// Seconds that the view of this project may be old.
    #[must_use]
    pub fn max_age_of(&self, project: &ProjectPolicy) -> Option<u64> {
        project.max_age.or(self.max_age)
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

/// Whether `pattern`, where `*` stands for any run of characters, matches all of `name`.
pub(crate) fn glob(pattern: &str, name: &str) -> bool {
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
    #![allow(clippy::unwrap_used)]
    use super::{Policy, PolicyError, glob};

    fn policy(witnesses: &str, project: &str) -> Result<Policy, PolicyError> {
        let key = keys::Ed25519Secret::generate().unwrap();
        let log = tlog::vkey::VerifierKey::ed25519("log.example", &key.public_bytes()).unwrap();
        let witness = tlog::vkey::VerifierKey::cosignature("w.example", &key.public_bytes());
        let witnesses = witnesses.replace("KEY", &witness.unwrap().to_string());
        let id = "0".repeat(64);
        Policy::parse_toml(
            &format!(
                "api-version = \"countersign/v1\"\nwitnesses = \"{witnesses}\"\nmax-age = 9\n\
             [log]\norigin = \"log.example\"\nvkeys = [\"{log}\"]\n\
             [[project]]\nid = \"{id}\"\nname = \"acme/tool\"\n{project}"
            )
            .replace(
                if witnesses.contains("none") {
                    "max-age = 9\n"
                } else {
                    "\0"
                },
                "",
            ),
        )
    }

    #[test]
    fn a_projects_own_rules_are_read_and_written_and_need_witnesses_too() {
        let rules = "min-version = \"1.2\"\nmin-age = 5\n";
        let read = policy("witness W KEY\\nquorum W\\n", rules).unwrap();
        let again = Policy::parse_toml(&read.to_toml().unwrap()).unwrap();
        assert_eq!(again.projects, read.projects);
        let own = read.projects.first().unwrap();
        assert_eq!(
            (read.min_age_of(own), read.max_age_of(own)),
            (Some(5), Some(9))
        );
        assert_eq!(own.min_version.as_deref(), Some("1.2"));
        let kind = |r: Result<Policy, PolicyError>| r.unwrap_err().kind();
        let bare = policy("quorum none\\n", rules);
        assert_eq!(kind(bare), "policy-age-without-quorum");
        let empty = policy("witness W KEY\\nquorum W\\n", "min-version = \"\"\n");
        assert_eq!(kind(empty), "policy-project");
    }

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
