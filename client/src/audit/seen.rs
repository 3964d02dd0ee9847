//! The directory in which an audit is kept: a lock, the tables, and the signed checkpoints that
//! were seen of the log. Every later checkpoint must be of the one history that these are of.

use super::table::damaged;
use crate::cmd::common::write_atomic;
use crate::fail::Fail;
use crate::policy::Policy;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;

/// Checkpoints kept at most, while an audit does not come to its end: the newest, and the oldest.
const MOST: usize = 16;

/// A signed checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    /// Where it was had from, for people.
    pub(crate) from: &'static str,
    pub(crate) note: String,
    pub(crate) checkpoint: Checkpoint,
}

impl Point {
    /// Reads a note; `None` where it is no checkpoint.
    pub(crate) fn parse(from: &'static str, note: &str) -> Option<Self> {
        let parsed = Note::parse(note.as_bytes()).ok()?;
        let checkpoint = Checkpoint::parse(&parsed.text).ok()?;
        let note = note.to_owned();
        Some(Self {
            from,
            note,
            checkpoint,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File_ {
    api_version: String,
    origin: String,
    vkeys: Vec<String>,
    checkpoints: Vec<String>,
}

/// The directory, locked.
pub(crate) struct Dir {
    pub(crate) path: PathBuf,
    _lock: File,
    /// Gone with the audit, where nobody named a place.
    _temporary: Option<tempfile::TempDir>,
}

impl Dir {
    /// Locks `path`, which is made where it is not there; or a temporary directory.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Fail> {
        let (path, temporary) = match path {
            Some(path) => (path.to_owned(), None),
            None => {
                let made = tempfile::tempdir().map_err(|e| unwritable(Path::new("."), &e))?;
                (made.path().to_owned(), Some(made))
            }
        };
        std::fs::create_dir_all(&path).map_err(|e| unwritable(&path, &e))?;
        let name = path.join("lock");
        let mut list = std::fs::read_dir(&path).map_err(|e| unwritable(&path, &e))?;
        if !name.exists() && list.next().is_some() {
            return Err(Fail::usage(
                "state-of-another",
                format!("{} is not empty, and no audit's", path.display()),
            )
            .hint("name a directory of its own with --state"));
        }
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&name);
        let lock = file.map_err(|e| unwritable(&name, &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Fail::usage(
                    "state-in-use",
                    format!("another audit runs with {}", path.display()),
                )
                .hint("let it come to its end, or name another directory with --state"));
            }
            Err(TryLockError::Error(e)) => return Err(unwritable(&name, &e)),
        }
        Ok(Self {
            path,
            _lock: lock,
            _temporary: temporary,
        })
    }

    /// Where the tables are.
    pub(crate) fn tables(&self) -> PathBuf {
        self.path.join("progress")
    }

    /// Where the checkpoints are; beside it, evidence.
    pub(crate) fn seen(&self) -> PathBuf {
        self.path.join("seen.json")
    }

    /// The checkpoints that earlier runs saw, of the policy's log.
    pub(crate) fn points(&self, policy: &Policy) -> Result<Vec<Point>, Fail> {
        let bytes = match std::fs::read(self.seen()) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(damaged(&self.path, e)),
        };
        let value = ledger::json::parse_own(&bytes).map_err(|e| damaged(&self.path, e))?;
        let file: File_ = ledger::json::typed(value).map_err(|e| damaged(&self.path, e))?;
        if file.api_version != ledger::API_VERSION {
            return Err(damaged(&self.path, "seen.json is of another version"));
        }
        let known = |vkey: &String| policy.log.vkeys.iter().any(|k| k.to_string() == *vkey);
        if file.origin != policy.log.origin || !file.vkeys.iter().any(known) {
            return Err(Fail::usage(
                "state-other-log",
                format!("{} holds the audit of another log", self.path.display()),
            )
            .detail("expected", policy.log.origin.as_str())
            .detail("got", file.origin)
            .hint("one directory a log: name another with --state; where the log has since changed all its keys, move this one away"));
        }
        let points = file.checkpoints.iter().map(|note| {
            let point = Point::parse("remembered", note);
            point.ok_or_else(|| damaged(&self.path, "seen.json holds what is no checkpoint"))
        });
        points.collect()
    }

    /// Keeps these in the place of those before.
    pub(crate) fn keep(&self, policy: &Policy, notes: &[String]) -> Result<(), Fail> {
        let mut checkpoints = notes.to_vec();
        while checkpoints.len() > MOST {
            checkpoints.remove(MOST / 2);
        }
        let file = File_ {
            api_version: ledger::API_VERSION.to_owned(),
            origin: policy.log.origin.clone(),
            vkeys: policy.log.vkeys.iter().map(ToString::to_string).collect(),
            checkpoints,
        };
        let bytes = ledger::json::canonical_of(&file).map_err(|e| damaged(&self.path, e))?;
        write_atomic(&self.seen(), &bytes)
    }
}

/// It cannot be written.
pub(crate) fn unwritable(path: &Path, e: &dyn std::fmt::Display) -> Fail {
    Fail::usage("unwritable", format!("{}: {e}", path.display()))
        .hint("choose a place that can be written")
}
