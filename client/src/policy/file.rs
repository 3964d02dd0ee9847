//! The policy as a TOML file: read strictly, and written.

use super::{LogPolicy, Policy, PolicyError, ProjectPolicy, ReceiptsPolicy, RunPolicy, log_keys};
use ledger::{from_hex32, hex32};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;

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
    #[serde(default, skip_serializing_if = "is_default")]
    receipts: ReceiptsPolicy,
    #[serde(default, skip_serializing_if = "is_default")]
    run: RunPolicy,
    #[serde(default, rename = "project")]
    projects: Vec<RawProject>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    min_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_age: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

fn no_witnesses() -> String {
    "quorum none\n".to_owned()
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
            let own = raw.projects.iter().map(|p| (p.min_age, p.max_age));
            for (min, max) in std::iter::once((raw.min_age, raw.max_age)).chain(own) {
                for (name, age) in [("min-age", min), ("max-age", max)] {
                    if age.is_some() {
                        return Err(PolicyError::AgeWithoutQuorum(name));
                    }
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
            if p.min_version.as_deref() == Some("") {
                return Err(PolicyError::Project("min-version is empty".into()));
            }
            projects.push(ProjectPolicy {
                id,
                name: p.name,
                artifacts: p.artifacts,
                min_index: p.min_index,
                min_version: p.min_version,
                min_age: p.min_age,
                max_age: p.max_age,
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
        let nothing = |what: &str| PolicyError::Receipts(format!("{what} is empty"));
        if raw.receipts.file.as_deref() == Some(Path::new("")) {
            return Err(nothing("file"));
        }
        if raw.receipts.host.as_deref() == Some("") {
            return Err(nothing("host"));
        }
        for pattern in raw.run.environment.iter().flatten() {
            if pattern.is_empty() || pattern.contains(['=', '\0']) {
                return Err(PolicyError::Environment(pattern.clone()));
            }
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
            receipts: raw.receipts,
            run: raw.run,
            digest: ledger::sha256(text.as_bytes()),
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
            receipts: ReceiptsPolicy::default(),
            run: RunPolicy::default(),
            projects: vec![RawProject {
                id: hex32(&document.project.id),
                name: document.project.name.clone(),
                artifacts: Vec::new(),
                min_index: None,
                min_version: None,
                min_age: None,
                max_age: None,
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
            receipts: self.receipts.clone(),
            run: self.run.clone(),
            projects: self
                .projects
                .iter()
                .map(|p| RawProject {
                    id: hex32(&p.id),
                    name: p.name.clone(),
                    artifacts: p.artifacts.clone(),
                    min_index: p.min_index,
                    min_version: p.min_version.clone(),
                    min_age: p.min_age,
                    max_age: p.max_age,
                    purl: p.purl.clone(),
                })
                .collect(),
        })
    }
}

fn to_text(raw: &Raw) -> Result<String, PolicyError> {
    toml::to_string_pretty(raw).map_err(|e| PolicyError::Toml(e.to_string()))
}
