//! How far a check has come, on disk, so that an interrupted one need not verify every
//! signature again. It is a claim of whoever can write the file: signatures below its size
//! are taken as verified if the tree there is the one that it names. Everything else is
//! checked again.

use crate::error::Error;
use crate::store::{Disk, write_durably};
use ledger::Hash;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Larger than any record, in bytes.
const MAX: u64 = 64 * 1024;

/// How far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    api_version: String,
    /// The log's origin.
    pub origin: String,
    /// The vkeys under which it was checked.
    pub vkeys: Vec<String>,
    /// Leaves whose signatures were verified.
    pub size: u64,
    /// The root of the tree over them.
    #[serde(with = "crate::store::hash_text")]
    pub root: Hash,
}

impl Record {
    /// A record of nothing yet.
    #[must_use]
    pub fn new(origin: &str, vkeys: &[String]) -> Self {
        let mut vkeys = vkeys.to_vec();
        vkeys.sort();
        Self {
            api_version: ledger::API_VERSION.into(),
            origin: origin.to_owned(),
            vkeys,
            size: 0,
            root: tlog::hash::EMPTY_ROOT,
        }
    }

    /// What an earlier check of the same log wrote; `None` where there is nothing.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Resume`] where the file is of another log or no record.
    pub fn read(path: &Path, origin: &str, vkeys: &[String]) -> Result<Option<Self>, Error> {
        let refused = |what: &str| Error::Resume {
            path: path.display().to_string(),
            what: what.to_owned(),
        };
        let long = fs::metadata(path).is_ok_and(|m| m.len() > MAX);
        let bytes = match fs::read(path) {
            _ if long => return Err(refused("is not a record of a check")),
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path, &e)),
        };
        let record: Self =
            serde_json::from_slice(&bytes).map_err(|_| refused("is not a record of a check"))?;
        let new = Self::new(origin, vkeys);
        if (&record.origin, &record.vkeys) != (&new.origin, &new.vkeys)
            || record.api_version != new.api_version
        {
            return Err(refused("is the record of another log's check"));
        }
        Ok(Some(record))
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// [`Error`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::Io {
            path: path.display().to_string(),
            why: e.to_string(),
        })?;
        // A bare name has an empty parent.
        let path = std::path::absolute(path).map_err(|e| Error::io(path, &e))?;
        Ok(write_durably(&Disk, &path, &bytes)?)
    }
}
