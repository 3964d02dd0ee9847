//! What a log's own key signed and yet contradicts what was cosigned, kept in `evidence/`, one
//! file a finding:
//!
//! - `fork-….json`: fork evidence (docs/formats.md), which proves to anybody that the log signed
//!   two histories. The two checkpoints are of one size, or the request's own proof is a valid one
//!   of what the newer tree has at the size that was cosigned, and that is another root.
//! - `unportable-….txt`: the same, but no key of the log's signed both checkpoints, which the
//!   format asks for. In words; it proves as much to whoever trusts both keys.
//! - `degraded-….txt`: the proof that was given does not verify, and says nothing of what the
//!   newer tree began with. In words. Anybody who has a log's checkpoint can send it with a wrong
//!   proof, so it accuses nobody; the others take the log's keys.
//!
//! The files are bounded, in all and for each log, and the oldest are kept: a log that signs
//! thousands of histories cannot push out what it did first, nor what another did, and what anybody
//! can send has a share of its own. A name follows
//! from what was submitted, so the same finding is kept once.

use super::check::{Admitted, Fork, Refusal};
use super::origin_hash;
use crate::error::Error;
use crate::store::{Disk, StoreError, write_durably};
use ledger::b64;
use ledger::evidence::{Between, Evidence as Portable, EvidenceError};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tlog::vkey::VerifierKey;

/// Files at most.
const MOST_FILES: usize = 1000;
/// Bytes of all of them at most.
const MOST_BYTES: u64 = 64 << 20;
/// Of these, what anybody can send: it shall take nothing from what takes a log's keys.
const MOST_DEGRADED_FILES: usize = 200;
const MOST_DEGRADED_BYTES: u64 = 16 << 20;
/// How often the directory is looked at while it is full: somebody may have moved files away.
const LOOK: Duration = Duration::from_secs(60);
/// Of one log: what takes its keys, and what anybody can send.
const MOST_SIGNED: usize = 16;
const MOST_DEGRADED: usize = 4;
/// Digits of a hash in a file's name.
const DIGITS: usize = 16;

const FORK: &str = "fork";
const UNPORTABLE: &str = "unportable";
const DEGRADED: &str = "degraded";

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
    unportable: usize,
    degraded: usize,
}

#[derive(Debug, Default)]
struct Held {
    files: usize,
    bytes: u64,
    /// Of them, those that anybody can cause.
    degraded: (usize, u64),
    by_log: HashMap<String, Count>,
    dropped: u64,
    /// When they were counted last.
    counted: Option<Instant>,
}

/// The files.
pub struct Evidence {
    dir: PathBuf,
    witness: VerifierKey,
    held: Mutex<Held>,
}

impl Held {
    /// Whether a file of `bytes` may be added; `proven` where it takes the log's keys.
    fn has_room(&self, log: &str, proven: bool, bytes: u64) -> bool {
        let own = self.by_log.get(log).copied().unwrap_or_default();
        let own_room = if proven {
            own.forks + own.unportable < MOST_SIGNED
        } else {
            own.degraded < MOST_DEGRADED
        };
        let (files, of_them) = self.degraded;
        let degraded_room = proven
            || (files < MOST_DEGRADED_FILES
                && of_them.saturating_add(bytes) <= MOST_DEGRADED_BYTES);
        own_room
            && degraded_room
            && self.files < MOST_FILES
            && self.bytes.saturating_add(bytes) <= MOST_BYTES
    }

    /// Counts what is in `dir`.
    fn read(dir: &Path) -> Result<Self, Error> {
        let mut held = Self {
            counted: Some(Instant::now()),
            ..Self::default()
        };
        for item in std::fs::read_dir(dir).map_err(|e| Error::io(dir, &e))? {
            let item = item.map_err(|e| Error::io(dir, &e))?;
            let bytes = item.metadata().map_err(|e| Error::io(dir, &e))?.len();
            let name = item.file_name();
            let name = name.to_string_lossy();
            let mut parts = name.split('-');
            let (finding, log) = (parts.next(), parts.next());
            held.count(finding.unwrap_or_default(), log.unwrap_or_default(), bytes);
        }
        Ok(held)
    }

    /// As [`Held::has_room`]; where it has none, the directory is counted anew, now and then.
    fn makes_room(&mut self, dir: &Path, log: &str, proven: bool, bytes: u64) -> bool {
        if self.has_room(log, proven, bytes) {
            return true;
        }
        if self.counted.is_some_and(|at| at.elapsed() < LOOK) {
            return false;
        }
        self.counted = Some(Instant::now());
        if let Ok(anew) = Self::read(dir) {
            let dropped = self.dropped;
            *self = Self { dropped, ..anew };
        }
        self.has_room(log, proven, bytes)
    }

    fn count(&mut self, finding: &str, log: &str, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let own = self.by_log.entry(log.to_owned()).or_default();
        match finding {
            FORK => own.forks += 1,
            UNPORTABLE => own.unportable += 1,
            _ => {
                own.degraded += 1;
                self.degraded.0 += 1;
                self.degraded.1 = self.degraded.1.saturating_add(bytes);
            }
        }
    }
}

impl Evidence {
    /// Opens `dir` and counts what is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(dir: &Path, witness: &VerifierKey) -> Result<Self, Error> {
        Ok(Self {
            dir: dir.to_owned(),
            witness: witness.clone(),
            held: Mutex::new(Held::read(dir)?),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files kept of each finding, and how many findings were not kept.
    #[must_use]
    pub fn counts(&self) -> ([(&'static str, usize); 3], u64) {
        let held = self.held();
        let sum = |of: fn(&Count) -> usize| held.by_log.values().map(of).sum();
        let counts = [
            (DEGRADED, sum(|c| c.degraded)),
            (FORK, sum(|c| c.forks)),
            (UNPORTABLE, sum(|c| c.unportable)),
        ];
        (counts, held.dropped)
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
        let cut = |hash: &[u8]| hex::encode(hash).chars().take(DIGITS).collect::<String>();
        let log = cut(&origin_hash(&request.checkpoint.origin));
        let (size, root) = (request.checkpoint.size, cut(&request.checkpoint.root));
        let path = |finding: &str| {
            let ending = if finding == FORK { "json" } else { "txt" };
            let name = format!("{finding}-{log}-{size}-{root}.{ending}");
            self.dir.join(name)
        };
        let proven = fork.other_root.is_some();
        let there = || {
            let findings: &[&str] = if proven {
                &[FORK, UNPORTABLE]
            } else {
                &[DEGRADED]
            };
            findings.iter().any(|finding| path(finding).exists())
        };
        // Before signatures are verified for it: who sends one fork again and again gets no work.
        if there() {
            return Ok(Some(Kept::Before));
        }
        let mut held = self.held();
        if !held.makes_room(&self.dir, &log, proven, 0) {
            held.dropped += 1;
            return Ok(Some(Kept::Full));
        }
        drop(held);
        let (finding, bytes) = self.write_up(request, fork, refusal, time);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // Held while it is written, so that two do not both find the last place.
        let mut held = self.held();
        if there() {
            return Ok(Some(Kept::Before));
        }
        if !held.makes_room(&self.dir, &log, proven, length) {
            held.dropped += 1;
            return Ok(Some(Kept::Full));
        }
        write_durably(&Disk, &path(finding), &bytes)?;
        held.count(finding, &log, length);
        Ok(Some(Kept::New))
    }

    /// The finding and its file.
    fn write_up(
        &self,
        request: &Admitted,
        fork: &Fork,
        refusal: &Refusal,
        time: u64,
    ) -> (&'static str, Vec<u8>) {
        let words = |finding, why: &str| {
            let text = self.in_words(request, fork, (finding, why), refusal, time);
            (finding, text.into_bytes())
        };
        let Some(root) = fork.other_root else {
            return words(DEGRADED, ACCUSES_NOBODY);
        };
        match self.portable(request, fork, root) {
            Ok(bytes) => (FORK, bytes),
            Err(e) => {
                let why = format!(
                    "the two contradict each other, which the log's keys alone can bring about; but it is not in the format that anybody can verify: {e}."
                );
                words(UNPORTABLE, &why)
            }
        }
    }

    /// Fork evidence, which [`Portable::make`] has verified as any reader will.
    fn portable(
        &self,
        request: &Admitted,
        fork: &Fork,
        root: tlog::Hash,
    ) -> Result<Vec<u8>, EvidenceError> {
        let submitted = submitted(request);
        let notes = (fork.cosigned.note.as_str(), submitted.as_str());
        let consistency = request.proof.clone();
        // Left away where both are of one size.
        let between = Some(Between { consistency, root });
        let witness = std::slice::from_ref(&self.witness);
        Portable::make(notes, between, &request.log.keys, witness)?.to_bytes()
    }

    fn in_words(
        &self,
        request: &Admitted,
        fork: &Fork,
        (finding, why): (&str, &str),
        refusal: &Refusal,
        time: u64,
    ) -> String {
        let mut text = format!("{finding}: {why}\n\n");
        let mut row = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string never fails.
            let _ = writeln!(text, "{name}: {value}");
        };
        row("log", &format_args!("{:?}", request.checkpoint.origin));
        for key in &request.log.keys {
            row("key of the log", key);
        }
        row("witness", &self.witness);
        row("refused at (Unix seconds)", &time);
        row("refused because", refusal);
        if let Some(root) = &fork.other_root {
            let cosigned = fork.cosigned.size;
            let what = format!("root at {cosigned} entries in the submitted tree");
            row(&what, &b64(root));
        }
        for hash in &request.proof {
            row("hash of the proof that was given", &b64(hash));
        }
        // Set in, so that no line of a note is taken for one of ours.
        let mut note = |name: &str, note: &str| {
            let _ = writeln!(text, "\n{name}, each line set in by four spaces:\n");
            for line in note.lines() {
                let _ = writeln!(text, "    {line}");
            }
        };
        note("what was cosigned", &fork.cosigned.note);
        note("what was submitted", &submitted(request));
        text
    }
}

/// What a file says whose proof says nothing.
const ACCUSES_NOBODY: &str = "the proof that came with a signed checkpoint does not lead to it from what was cosigned. This accuses nobody: anybody who has a log's checkpoint can send it with a wrong proof. Whether the log signed two histories, the tiles of the submitted tree tell: they give the root that it has at the size that was cosigned.";

fn submitted(request: &Admitted) -> String {
    // A note is UTF-8: it was read as such.
    String::from_utf8_lossy(&request.note.to_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_anybody_can_send_takes_no_place_from_forks() {
        let mut held = Held::default();
        for log in 0..MOST_DEGRADED_FILES {
            let log = log.to_string();
            assert!(held.has_room(&log, false, 100));
            held.count(DEGRADED, &log, 100);
        }
        assert!(!held.has_room("another", false, 100));
        assert!(held.has_room("another", true, 100));
        let mut large = Held::default();
        large.count(DEGRADED, "log", MOST_DEGRADED_BYTES);
        assert!(!large.has_room("another", false, 1) && large.has_room("log", true, 1));
    }

    #[test]
    fn files_that_were_moved_away_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut held = Held::default();
        for _ in 0..MOST_SIGNED {
            held.count(FORK, "log", 1);
        }
        held.dropped = 3;
        held.counted = Some(Instant::now());
        assert!(!held.makes_room(dir.path(), "log", true, 1), "just counted");
        held.counted = None;
        assert!(held.makes_room(dir.path(), "log", true, 1));
        assert_eq!((held.files, held.dropped), (0, 3));
    }
}
