//! What was cosigned last of each log, on disk and in memory.
//!
//! On disk it is sled ([`crate::store::Synced`]): per log a record and, in pieces, the note:
//!
//! - `w`: the witness's vkey, so that state which was lost, or is another's, is noticed;
//! - `c` ‖ SHA-256(origin): `{pieces, root, size, time}` as JSON;
//! - `n` ‖ SHA-256(origin) ‖ number (u16, big-endian): a piece of the note;
//! - `t`: how much was committed, as the mark beside the state has it ([`super::mark`]).
//!
//! A commit is a compare-and-swap of all its records in one transaction, flushed and synced. The
//! memory follows the disk: nobody sees there what could still be lost.

use super::mark::{Mark, Tally};
use crate::error::Error;
use crate::store::{Disk, PIECE, StoreError, Synced, failed, hash_text};
use serde::{Deserialize, Serialize};
use sled::transaction::{ConflictableTransactionError, TransactionError};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tlog::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::vkey::VerifierKey;

/// Bytes of sled's cache: it is written to, and read at the start only.
const CACHE: u64 = 16 << 20;
const WITNESS: &[u8] = b"w";
const RECORD: u8 = b'c';
const NOTE: u8 = b'n';
const TALLY: &[u8] = b"t";

/// What was cosigned last of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Its origin.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
    /// The cosignature's time in Unix seconds.
    pub time: u64,
    /// The checkpoint, with the log's signatures that were verified, and the cosignature.
    pub note: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    pieces: u16,
    #[serde(with = "hash_text")]
    root: Hash,
    size: u64,
    time: u64,
}

/// A step of one log.
#[derive(Debug, Clone)]
pub struct Step {
    /// SHA-256 of its origin.
    pub log: Hash,
    /// What stands.
    pub from: Option<Arc<Latest>>,
    /// What shall stand.
    pub to: Arc<Latest>,
}

/// Makes steps durable.
pub trait Commit: Send + 'static {
    /// All of `steps`, of different logs, or none; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`]; but for [`StoreError::Conflict`] it is unknown what is on disk.
    fn commit(&self, steps: &[Step]) -> Result<(), StoreError>;
}

/// What was cosigned last of each log.
pub struct State {
    sled: Synced,
    mark: Mark,
    tally: Mutex<Tally>,
}

/// What was cosigned last of each log, in memory, for everybody to read.
#[derive(Debug, Default)]
pub struct Standing(RwLock<HashMap<Hash, Arc<Latest>>>);

fn record_key(log: &Hash) -> Vec<u8> {
    [&[RECORD], log.as_slice()].concat()
}

fn piece_key(log: &Hash, number: u16) -> Vec<u8> {
    [&[NOTE], log.as_slice(), &number.to_be_bytes()].concat()
}

/// The mark of the state at `path`.
fn mark_of(path: &Path) -> PathBuf {
    path.with_extension("mark")
}

fn pieces(latest: &Latest) -> Result<u16, StoreError> {
    u16::try_from(latest.note.len().div_ceil(PIECE)).map_err(failed)
}

fn record(latest: &Latest) -> Result<Vec<u8>, StoreError> {
    let record = Record {
        pieces: pieces(latest)?,
        root: latest.root,
        size: latest.size,
        time: latest.time,
    };
    serde_json::to_vec(&record).map_err(failed)
}

impl State {
    /// Makes the state of a new witness.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create(path: &Path, witness: &VerifierKey) -> Result<(), Error> {
        let sled = Synced::open_on(Disk, path, CACHE)?;
        let vkey = witness.to_string();
        let tally = Tally::default();
        sled.db.insert(WITNESS, vkey.as_bytes()).map_err(failed)?;
        sled.db.insert(TALLY, tally.to_bytes()).map_err(failed)?;
        sled.flush()?;
        Ok(Mark::open(&mark_of(path))?.write(tally)?)
    }

    /// Opens the state of a witness and reads all of it; every cosignature is verified.
    ///
    /// # Errors
    /// [`Error`] where it is missing, another witness's, damaged, or older than its mark.
    pub fn open(path: &Path, witness: &VerifierKey) -> Result<(Self, Standing), Error> {
        let lost = |what: &str| {
            Error::witness(
                "witness-state-lost",
                format!(
                    "{}: {what}. Without its state a witness would cosign histories that contradict those it cosigned before: put the newest state back, or make a new witness with a new key",
                    path.display()
                ),
            )
        };
        if !path.join("db").is_file() {
            return Err(lost("the witness's state is missing"));
        }
        let sled = Synced::open_on(Disk, path, CACHE)?;
        match sled.db.get(WITNESS).map_err(failed)? {
            Some(vkey) if vkey.as_ref() == witness.to_string().as_bytes() => {}
            Some(_) => return Err(lost("this is the state of another witness")),
            None => return Err(lost("the witness's state is empty")),
        }
        let mut all = HashMap::new();
        let mut sum = Tally::default();
        for row in sled.db.scan_prefix([RECORD]) {
            let (key, value) = row.map_err(failed)?;
            let log = key.get(1..).and_then(|h| Hash::try_from(h).ok());
            let read = log.and_then(|log| Some((log, read(&sled, log, &value, witness)?)));
            let (log, latest) = read.ok_or_else(|| {
                let what = format!(
                    "the record of the log {} is damaged",
                    hex::encode(key.get(1..).unwrap_or_default())
                );
                lost(&what)
            })?;
            sum.add(&log, &value);
            all.insert(log, Arc::new(latest));
        }
        let mark_file = mark_of(path);
        let mark = Mark::open(&mark_file)?;
        let (stored, marked) = (sled.db.get(TALLY).map_err(failed)?, mark.read()?);
        let tally = match (&stored, marked) {
            (Some(stored), Some(_)) => Tally::from_bytes(stored),
            // Made before there were marks: from now on it has one.
            (None, None) => Some(sum),
            _ => None,
        };
        let tally = tally.ok_or_else(|| {
            lost(&format!(
                "of the witness's state and its mark, {}, one is missing or damaged",
                mark_file.display()
            ))
        })?;
        if tally.sum != sum.sum {
            return Err(lost(
                "records of the witness's state are missing or damaged",
            ));
        }
        // A commit is in the state first: after a crash the state may be one ahead, and nobody was
        // answered about that one.
        if let Some(m) =
            marked.filter(|m| *m != tally && m.number.checked_add(1) != Some(tally.number))
        {
            return Err(lost(&format!(
                "the witness's state ends at commit {}, and commit {} was answered: it is damaged, or an old copy",
                tally.number, m.number
            )));
        }
        if stored.is_none() {
            sled.db.insert(TALLY, tally.to_bytes()).map_err(failed)?;
            sled.flush()?;
        }
        mark.write(tally)?;
        let state = Self {
            sled,
            mark,
            tally: Mutex::new(tally),
        };
        Ok((state, Standing(RwLock::new(all))))
    }
}

/// A record with its note, where both are as they were written.
fn read(sled: &Synced, log: Hash, value: &[u8], witness: &VerifierKey) -> Option<Latest> {
    let record: Record = serde_json::from_slice(value).ok()?;
    let mut note = Vec::new();
    for number in 0..record.pieces {
        note.extend_from_slice(&sled.db.get(piece_key(&log, number)).ok()??);
    }
    let parsed = Note::parse(&note).ok()?;
    let signed = parsed.verify(std::slice::from_ref(witness)).ok()?;
    let Checkpoint {
        origin, size, root, ..
    } = Checkpoint::parse(&parsed.text).ok()?;
    let same = super::origin_hash(&origin) == log && size == record.size && root == record.root;
    let dated = signed.iter().any(|s| s.timestamp == Some(record.time));
    (same && dated).then_some(Latest {
        origin,
        size,
        root,
        time: record.time,
        note: String::from_utf8(note).ok()?,
    })
}

impl Commit for State {
    fn commit(&self, steps: &[Step]) -> Result<(), StoreError> {
        let mut swaps = Vec::with_capacity(steps.len());
        let mut pieces_before = Vec::with_capacity(steps.len());
        // One thread commits; whoever came second would wait for the first.
        let mut standing = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tally = *standing;
        tally.number += 1;
        for Step { log, from, to } in steps {
            let from = from.as_deref();
            let (before, after) = (from.map(record).transpose()?, record(to)?);
            pieces_before.push(from.map(pieces).transpose()?.unwrap_or(0));
            if let Some(before) = &before {
                tally.remove(log, before);
            }
            tally.add(log, &after);
            swaps.push((record_key(log), before, after));
        }
        let outcome = self.sled.db.transaction(|t| {
            for (step, (key, before, after)) in steps.iter().zip(&swaps) {
                let found = t.insert(key.as_slice(), after.as_slice())?;
                if found.as_deref() != before.as_deref() {
                    let found: Option<Record> =
                        found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
                    return Err(ConflictableTransactionError::Abort(StoreError::Conflict {
                        expected: step.from.as_ref().map_or(0, |l| l.size),
                        found: found.map_or(0, |r| r.size),
                    }));
                }
            }
            t.insert(TALLY, tally.to_bytes())?;
            for (step, before) in steps.iter().zip(&pieces_before) {
                let mut count = 0;
                for (number, piece) in (0u16..).zip(step.to.note.as_bytes().chunks(PIECE)) {
                    t.insert(piece_key(&step.log, number), piece)?;
                    count = number + 1;
                }
                for number in count..*before {
                    t.remove(piece_key(&step.log, number))?;
                }
            }
            Ok(())
        });
        match outcome {
            Ok(()) => {
                self.sled.flush()?;
                self.mark.write(tally)?;
                *standing = tally;
                Ok(())
            }
            Err(TransactionError::Abort(e)) => Err(e),
            Err(TransactionError::Storage(e)) => Err(failed(e)),
        }
    }
}

impl Standing {
    /// What was cosigned last of a log.
    #[must_use]
    pub fn latest(&self, log: &Hash) -> Option<Arc<Latest>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(log).map(Arc::clone)
    }

    /// What was cosigned last of each log.
    #[must_use]
    pub fn all(&self) -> HashMap<Hash, Arc<Latest>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }

    /// How many logs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Follows what was committed.
    pub fn follow(&self, steps: Vec<Step>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.extend(steps.into_iter().map(|step| (step.log, step.to)));
    }
}
