//! The end of a log: `countersign-server freeze` marks a data directory, and from then on the log
//! takes no entry for ever. It is served as before, and its last checkpoint goes on being
//! cosigned, so that everybody can see that it is the last.

use crate::datadir::{DataDir, Layout};
use crate::error::Error;
use crate::log::unix_now;
use crate::store::{Disk, write_durably};
use ledger::API_VERSION;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Bytes of a mark at most.
const LONGEST: u64 = 64 * 1024;

/// Bytes of a reason at most.
pub const LONGEST_REASON: usize = 512;

/// What says that a log is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Closed {
    api_version: String,
    kind: String,
    /// The log's origin.
    pub origin: String,
    /// Why, for people, and where to go instead.
    pub reason: String,
    /// When, Unix seconds.
    pub time: u64,
}

const KIND: &str = "log-frozen";

fn path(layout: &Layout) -> PathBuf {
    layout.private().join("frozen.json")
}

/// Freezes the log in `data` for ever; no server may run.
///
/// # Errors
/// [`Error`]; [`Error::Frozen`] where it is frozen already, or the reason is not a text of 1 to
/// 512 bytes without control characters.
pub fn freeze(data: &Path, reason: &str) -> Result<(), Error> {
    let dir = DataDir::open(data)?;
    let sound = !reason.is_empty() && reason.len() <= LONGEST_REASON;
    if !sound || reason.chars().any(char::is_control) {
        let want = format!("a reason is a text of 1 to {LONGEST_REASON} bytes, in one line");
        return Err(Error::Frozen(want));
    }
    if let Some(closed) = read(&dir.layout)? {
        return Err(Error::Frozen(format!(
            "it is frozen already, since {} (Unix seconds): {}",
            closed.time, closed.reason
        )));
    }
    let closed = Closed {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        origin: dir.origin.clone(),
        reason: reason.to_owned(),
        time: unix_now(),
    };
    let bytes = ledger::json::canonical_of(&closed);
    let bytes = bytes.map_err(|e| Error::Frozen(e.to_string()))?;
    Ok(write_durably(&Disk, &path(&dir.layout), &bytes)?)
}

/// Why the log in this directory is frozen, if it is.
///
/// # Errors
/// [`Error::Frozen`] where there is a mark that cannot be read: then it is not known.
pub(crate) fn read(layout: &Layout) -> Result<Option<Closed>, Error> {
    let path = path(layout);
    let bad = |why: String| Error::Frozen(format!("{}: {why}", path.display()));
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(&path, &e)),
    };
    if bytes.len() as u64 > LONGEST {
        return Err(bad(format!(
            "{} bytes, want {LONGEST} at most",
            bytes.len()
        )));
    }
    let value = ledger::json::parse_own(&bytes).map_err(|e| bad(e.to_string()))?;
    let closed: Closed = ledger::json::exactly(&bytes, value).map_err(|e| bad(e.to_string()))?;
    let ours = layout.origin()?;
    if closed.api_version != API_VERSION || closed.kind != KIND || closed.origin != ours {
        return Err(bad("it is not the mark of this log".to_owned()));
    }
    Ok(Some(closed))
}
