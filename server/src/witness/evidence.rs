//! What a log's own key signed and yet contradicts what was cosigned, kept in `evidence/`.
//!
//! One file a finding, canonical JSON:
//!
//! ```text
//! {"apiVersion", "cosigned", "finding", "kind": "witness-evidence", "logKeys", "origin",
//!  "otherRoot"?, "proof", "reason", "submitted", "time", "witness"}
//! ```
//!
//! `cosigned` and `submitted` are notes as text, with the log's signatures that were verified,
//! the first with this witness's cosignature too. `finding` is `fork` where the two contradict
//! each other beyond doubt: both are of one size, or `proof` is a valid proof that the tree of
//! `submitted` has `otherRoot` at the size of `cosigned`. Else it is `degraded`: `proof` is what
//! was given, and does not verify. Anybody who has a log's checkpoint can send it with a wrong
//! proof, so `degraded` accuses nobody; a `fork` takes the log's key.
//!
//! The files are bounded, in all and for each log, and the oldest are kept: a log that signs
//! thousands of histories cannot push out what it did first, nor what another did. A name follows
//! from what is in the file, so the same finding is kept once.

use super::check::{Admitted, Fork, Refusal};
use super::origin_hash;
use crate::error::Error;
use crate::store::{Disk, StoreError, write_durably};
use ledger::{b64, json};
use serde::Serialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tlog::vkey::VerifierKey;

/// Files at most.
const MOST_FILES: usize = 1000;
/// Bytes of all of them at most.
const MOST_BYTES: u64 = 64 << 20;
/// Of one log.
const MOST_FORKS: usize = 16;
const MOST_DEGRADED: usize = 4;
/// Digits of a hash in a file's name.
const DIGITS: usize = 16;

/// What was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A new file.
    New,
    /// It was there.
    Before,
    /// As much is kept as may be.
    Full,
}

/// Files of one log.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    forks: usize,
    degraded: usize,
}

#[derive(Debug, Default)]
struct Held {
    files: usize,
    bytes: u64,
    by_log: HashMap<String, Count>,
    dropped: u64,
}

/// The files.
pub struct Evidence {
    dir: PathBuf,
    witness: String,
    held: Mutex<Held>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    cosigned: &'a str,
    finding: &'static str,
    kind: &'static str,
    log_keys: Vec<String>,
    origin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_root: Option<String>,
    proof: Vec<String>,
    reason: &'static str,
    submitted: String,
    time: u64,
    witness: &'a str,
}

fn finding(fork: &Fork) -> &'static str {
    if fork.other_root.is_some() {
        "fork"
    } else {
        "degraded"
    }
}

impl Evidence {
    /// Opens `dir` and counts what is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(dir: &Path, witness: &VerifierKey) -> Result<Self, Error> {
        let mut held = Held::default();
        for item in std::fs::read_dir(dir).map_err(|e| Error::io(dir, &e))? {
            let item = item.map_err(|e| Error::io(dir, &e))?;
            let bytes = item.metadata().map_err(|e| Error::io(dir, &e))?.len();
            let name = item.file_name();
            let name = name.to_string_lossy();
            held.files += 1;
            held.bytes = held.bytes.saturating_add(bytes);
            let mut parts = name.split('-');
            if let (Some(finding), Some(log)) = (parts.next(), parts.next()) {
                count(&mut held, finding, log);
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            witness: witness.to_string(),
            held: Mutex::new(held),
        })
    }

    /// Files kept of each finding, and findings that were not kept.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, u64) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: fn(&Count) -> usize| held.by_log.values().map(of).sum();
        (sum(|c| c.forks), sum(|c| c.degraded), held.dropped)
    }

    /// Keeps what a request that was refused for `refusal` shows, if it shows anything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep(
        &self,
        request: &Admitted,
        refusal: &Refusal,
        time: u64,
    ) -> Result<Option<Kept>, StoreError> {
        let Some(fork) = refusal.fork() else {
            return Ok(None);
        };
        let finding = finding(fork);
        let origin = &request.checkpoint.origin;
        let cut = |hash: &[u8]| hex::encode(hash).chars().take(DIGITS).collect::<String>();
        let log = cut(&origin_hash(origin));
        let (size, root) = (request.checkpoint.size, cut(&request.checkpoint.root));
        let path = self.dir.join(format!("{finding}-{log}-{size}-{root}.json"));
        let document = Document {
            api_version: ledger::API_VERSION,
            cosigned: &fork.cosigned.note,
            finding,
            kind: "witness-evidence",
            log_keys: request.log.keys.iter().map(ToString::to_string).collect(),
            origin,
            other_root: fork.other_root.map(|root| b64(&root)),
            proof: request.proof.iter().map(|hash| b64(hash)).collect(),
            reason: refusal.kind(),
            submitted: String::from_utf8_lossy(&request.note.to_bytes()).into_owned(),
            time,
            witness: &self.witness,
        };
        let bytes = json::canonical_of(&document)
            .map_err(|e| StoreError::Damaged(format!("evidence: {e}")))?;
        // Held while it is written, so that two do not both find the last place.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists() {
            return Ok(Some(Kept::Before));
        }
        let own = held.by_log.get(&log).copied().unwrap_or_default();
        let room = match fork.other_root {
            Some(_) => own.forks < MOST_FORKS,
            None => own.degraded < MOST_DEGRADED,
        };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let bytes_after = held.bytes.saturating_add(length);
        if !room || held.files >= MOST_FILES || bytes_after > MOST_BYTES {
            held.dropped += 1;
            return Ok(Some(Kept::Full));
        }
        write_durably(&Disk, &path, &bytes)?;
        held.files += 1;
        held.bytes = bytes_after;
        count(&mut held, finding, &log);
        Ok(Some(Kept::New))
    }
}

fn count(held: &mut Held, finding: &str, log: &str) {
    let own = held.by_log.entry(log.to_owned()).or_default();
    match finding {
        "fork" => own.forks += 1,
        _ => own.degraded += 1,
    }
}
