//! Every checkpoint that anybody was ever shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tlog::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::hash::sha256;
use tlog::note::Note;
use tlog::vkey::VerifierKey;

/// Checkpoints by size, each signed by every key of the log.
#[derive(Debug)]
pub struct Seen {
    origin: String,
    vkeys: Vec<VerifierKey>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    shown: BTreeMap<u64, Shown>,
    /// Sizes whose root nobody has compared yet.
    fresh: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Shown {
    root: Hash,
    /// Of the signed note: signatures of equal notes are verified once.
    note: Hash,
}

impl Seen {
    /// Nothing yet, of the log with these keys.
    #[must_use]
    pub fn new(origin: &str, vkeys: Vec<VerifierKey>) -> Self {
        Self {
            origin: origin.to_owned(),
            vkeys,
            known: Mutex::default(),
        }
    }

    /// Takes in a signed checkpoint; gives its size and root.
    ///
    /// # Errors
    /// A sentence that begins with `inconsistent` where another root was shown at its size;
    /// or it is not signed by every key.
    pub fn take(&self, note: &[u8]) -> Result<(u64, Hash), String> {
        let digest = sha256(note);
        let parsed = Note::parse(note).map_err(|e| e.to_string())?;
        let checkpoint = Checkpoint::parse(&parsed.text).map_err(|e| e.to_string())?;
        let (size, root) = (checkpoint.size, checkpoint.root);
        let known = self.lock().shown.get(&size).copied();
        if known.is_some_and(|k| k.note == digest) {
            return Ok((size, root));
        }
        let by = parsed.verify(&self.vkeys).map_err(|e| e.to_string())?;
        if by.len() != self.vkeys.len() || checkpoint.origin != self.origin {
            return Err(format!(
                "the checkpoint at {size} is not signed by every key of {}",
                self.origin
            ));
        }
        if known.is_some_and(|k| k.root != root) {
            return Err(format!("inconsistent: two checkpoints of size {size}"));
        }
        let mut known = self.lock();
        let shown = Shown { root, note: digest };
        // Two threads may have come here at once, each with its own.
        match known.shown.insert(size, shown) {
            Some(before) if before.root != root => {
                return Err(format!("inconsistent: two checkpoints of size {size}"));
            }
            Some(_) => {}
            None => {
                known.fresh.insert(size);
            }
        }
        Ok((size, root))
    }

    /// The largest size shown.
    #[must_use]
    pub fn largest(&self) -> u64 {
        let known = self.lock();
        known.shown.keys().next_back().copied().unwrap_or(0)
    }

    /// How many of different sizes were shown.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lock().shown.len() as u64
    }

    /// The checkpoint shown at the smallest size that is at least `size`.
    #[must_use]
    pub fn from(&self, size: u64) -> Option<(u64, Hash)> {
        let known = self.lock();
        let (size, shown) = known.shown.range(size..).next()?;
        Some((*size, shown.root))
    }

    /// Those of up to `size` that were not taken from here before, to be compared.
    #[must_use]
    pub fn fresh(&self, size: u64) -> Vec<(u64, Hash)> {
        let mut known = self.lock();
        let later = known.fresh.split_off(&(size + 1));
        let due = std::mem::replace(&mut known.fresh, later);
        let root = |size: u64| Some((size, known.shown.get(&size)?.root));
        due.into_iter().filter_map(root).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
