//! What a watch remembers from one poll to the next, in one file that is written whole.

use super::got::Marks;
use crate::cmd::common::write_private;
use crate::fail::Fail;
use ledger::{Hash, from_hex32, hex32};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Digests that wait for the log, and hosts that are remembered, at most.
pub(super) const PENDING: usize = 64;
pub(super) const HOSTS: usize = 256;
/// Different bytes of one address that are kept in a day: who serves others each time shall not
/// fill the quarantine.
const KEPT: u32 = 32;
const DAY: u64 = 24 * 3600;

/// What a task remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Progress {
    api_version: String,
    /// By address.
    #[serde(default)]
    pub(super) targets: BTreeMap<String, Seen>,
    /// By path below the directory.
    #[serde(default)]
    pub(super) files: BTreeMap<String, File>,
}

/// What was served at an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct Seen {
    /// Digest of the last bytes that were as they should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    /// The newest release that was seen here, by log index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u64>,
    /// What was said of the bytes of `marked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) marked: Option<String>,
    /// Hosts that it redirects to.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) hosts: BTreeSet<String>,
    /// Digests that could not be compared with the log: when they were first served.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) pending: BTreeMap<String, u64>,
    /// The day of which `kept` is the number of different bytes that were kept.
    pub(super) day: u64,
    pub(super) kept: u32,
    /// Of a page: what each client was served, and hosts that it has named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) pages: BTreeMap<String, Page>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) named: BTreeSet<String>,
}

/// What one client was served of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Of its bytes.
    pub(super) digest: String,
    /// Of what it embeds.
    pub(super) embeds: String,
}

/// A file of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct File {
    /// What tells a changed file from an unchanged one, without its bytes.
    pub(super) stamp: String,
    /// Its digest and size then.
    pub(super) digest: String,
    pub(super) size: u64,
    /// When it was hashed.
    pub(super) hashed: u64,
    /// What was known of it.
    pub(super) seen: Seen,
}

impl Seen {
    /// What the server said of the bytes that came last, and their digest.
    pub(super) fn marks(&self) -> Option<(Marks, Hash)> {
        let marks = Marks {
            etag: self.etag.clone(),
            modified: self.modified.clone(),
        };
        let digest = from_hex32(self.marked.as_deref()?)?;
        (marks != Marks::default()).then_some((marks, digest))
    }

    /// Remembers what the server says of the bytes of `digest`.
    pub(super) fn mark(&mut self, marks: &Marks, digest: &Hash) {
        self.etag.clone_from(&marks.etag);
        self.modified.clone_from(&marks.modified);
        self.marked = Some(hex32(digest));
    }

    /// Whether further bytes of this address may be kept today.
    pub(super) fn may_keep(&mut self, now: u64) -> bool {
        if self.day != now / DAY {
            (self.day, self.kept) = (now / DAY, 0);
        }
        let may = self.kept < KEPT;
        self.kept = self.kept.saturating_add(1);
        may
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("watch.json")
}

impl Progress {
    /// Reads it; where there is none, nothing is remembered.
    ///
    /// # Errors
    /// Exit code 2: what cannot be read is never taken for nothing.
    pub(super) fn load(directory: &Path) -> Result<Self, Fail> {
        let path = file(directory);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(bad(&path, &e)),
        };
        let value = ledger::json::parse_own(&bytes).map_err(|e| bad(&path, &e))?;
        let progress: Self = ledger::json::typed(value).map_err(|e| bad(&path, &e))?;
        if progress.api_version != ledger::API_VERSION {
            return Err(bad(
                &path,
                &format!("apiVersion is {:?}", progress.api_version),
            ));
        }
        Ok(progress)
    }

    /// Makes durable what a poll came to, once.
    ///
    /// # Errors
    /// As [`Progress::save`].
    pub(super) fn commit(after: &mut Option<Self>, directory: &Path) -> Result<(), Fail> {
        match after.take() {
            Some(mut progress) => progress.save(directory),
            None => Ok(()),
        }
    }

    /// Writes it, durable when it returns.
    ///
    /// # Errors
    /// Exit code 2; what was there stays.
    pub(super) fn save(&mut self, directory: &Path) -> Result<(), Fail> {
        ledger::API_VERSION.clone_into(&mut self.api_version);
        let path = file(directory);
        let bytes = ledger::json::canonical_of(self).map_err(|e| bad(&path, &e))?;
        std::fs::create_dir_all(directory).map_err(|e| bad(&path, &e))?;
        write_private(&path, &bytes)
    }
}

fn bad(path: &Path, what: &dyn std::fmt::Display) -> Fail {
    Fail::usage(
        "progress-unreadable",
        format!("{}: {what}", path.display()),
    )
    .hint("mend or move the file away; without it, what was served before is not known, and this poll counts as the first")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_saved_is_read_and_what_is_damaged_is_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("tasks/x");
        assert_eq!(Progress::load(&at).unwrap(), Progress::default());
        let mut progress = Progress::default();
        let mut seen = Seen::default();
        let marks = Marks {
            etag: Some("\"a\"".into()),
            modified: None,
        };
        assert_eq!(seen.marks(), None);
        seen.mark(&marks, &[7; 32]);
        assert_eq!(seen.marks(), Some((marks, [7; 32])));
        progress.targets.insert("u".into(), seen);
        progress.save(&at).unwrap();
        assert_eq!(Progress::load(&at).unwrap(), progress);
        for damage in ["", "{}", "{\"apiVersion\":\"countersign/v2\"}"] {
            std::fs::write(file(&at), damage).unwrap();
            let fail = Progress::load(&at).unwrap_err();
            assert_eq!(fail.kind, "progress-unreadable", "{damage}");
        }
    }

    #[test]
    fn so_many_different_bytes_a_day() {
        let mut seen = Seen::default();
        let kept = (0..100).filter(|_| seen.may_keep(5 * DAY)).count();
        assert_eq!(kept, KEPT as usize);
        assert!(seen.may_keep(6 * DAY));
    }
}
