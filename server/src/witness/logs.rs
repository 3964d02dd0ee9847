//! Whose checkpoints a witness cosigns: logs by origin, each with its keys, in `logs.json`.
//!
//! `{"apiVersion", "kind": "witness-logs", "logs": [{"origin", "vkeys"}]}`, canonical JSON, both
//! lists sorted. What was cosigned of a log is no part of it and outlives its removal: a log that
//! is added again goes on from there.

use super::origin_hash;
use crate::error::Error;
use crate::store::{Disk, write_durably};
use ledger::json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tlog::Hash;
use tlog::vkey::{Algorithm, VerifierKey};

/// Most keys of one log.
pub const MAX_KEYS: usize = 16;
/// Longest origin in bytes.
const MAX_ORIGIN: usize = 1024;

/// A log whose checkpoints are cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedLog {
    /// Its name, which is the name in all of its keys.
    pub origin: String,
    /// SHA-256 of it.
    pub hash: Hash,
    /// Keys of which one at least must have signed, and none wrongly.
    pub keys: Vec<VerifierKey>,
}

/// All of them, by origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs(BTreeMap<String, Arc<TrustedLog>>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    logs: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    origin: String,
    vkeys: Vec<String>,
}

const KIND: &str = "witness-logs";

fn bad(why: impl std::fmt::Display) -> Error {
    Error::witness("witness-logs", why.to_string())
}

/// Reads a log's key.
///
/// # Errors
/// [`Error`] where it is no vkey, or one that signs no checkpoints.
pub fn log_key(text: &str) -> Result<VerifierKey, Error> {
    let key = VerifierKey::parse(text).map_err(bad)?;
    let name = key.name();
    if name.len() > MAX_ORIGIN {
        return Err(bad(format!(
            "an origin of {} bytes: at most {MAX_ORIGIN} are taken",
            name.len()
        )));
    }
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::EcdsaP256 => Ok(key),
        Algorithm::CosignatureV1 => Err(bad(format!(
            "{name}: a witness's key (0x04) signs no checkpoints; a log's key is Ed25519 (0x01) or P-256 (0x02)"
        ))),
        other => Err(bad(format!(
            "{name}: a key of type 0x{:02x} is not supported; a log's key is Ed25519 (0x01) or P-256 (0x02)",
            other.byte()
        ))),
    }
}

impl Logs {
    /// Adds a key to its log, which is made if need be; whether it is new.
    ///
    /// # Errors
    /// [`Error`] where the log has as many as it may.
    pub fn add(&mut self, key: VerifierKey) -> Result<bool, Error> {
        let origin = key.name().to_owned();
        let log = self.0.entry(origin.clone()).or_insert_with(|| {
            Arc::new(TrustedLog {
                hash: origin_hash(&origin),
                origin: origin.clone(),
                keys: Vec::new(),
            })
        });
        if log.keys.contains(&key) {
            return Ok(false);
        }
        if log.keys.len() >= MAX_KEYS {
            return Err(bad(format!("{origin}: at most {MAX_KEYS} keys of one log")));
        }
        let log = Arc::make_mut(log);
        log.keys.push(key);
        log.keys.sort_by_cached_key(ToString::to_string);
        Ok(true)
    }

    /// Takes a log out; whether it was there.
    pub fn remove(&mut self, origin: &str) -> bool {
        self.0.remove(origin).is_some()
    }

    /// The log of this origin.
    #[must_use]
    pub fn find(&self, origin: &str) -> Option<Arc<TrustedLog>> {
        self.0.get(origin).map(Arc::clone)
    }

    /// All of them, by origin.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TrustedLog>> {
        self.0.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Error`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
        Self::parse(&bytes).map_err(|e| bad(format!("{}: {e}", path.display())))
    }

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let value = json::parse(bytes).map_err(bad)?;
        let document: Document = json::typed(value).map_err(bad)?;
        if document.api_version != ledger::API_VERSION || document.kind != KIND {
            return Err(bad("it is of another kind or apiVersion"));
        }
        let mut logs = Self::default();
        for Row { origin, vkeys } in document.logs {
            for key in vkeys {
                let key = log_key(&key)?;
                if key.name() != origin {
                    return Err(bad(format!(
                        "the key {key} stands under the origin {origin:?}, which is not its name"
                    )));
                }
                logs.add(key)?;
            }
        }
        Ok(logs)
    }

    /// Writes them, durable before it returns.
    ///
    /// # Errors
    /// [`Error`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let rows = self.iter().map(|log| Row {
            origin: log.origin.clone(),
            vkeys: log.keys.iter().map(ToString::to_string).collect(),
        });
        let document = Document {
            api_version: ledger::API_VERSION.into(),
            kind: KIND.into(),
            logs: rows.collect(),
        };
        let bytes = json::canonical_of(&document).map_err(bad)?;
        Ok(write_durably(&Disk, path, &bytes)?)
    }
}
