//! How much was ever committed, in a file of its own beside the state.
//!
//! The store takes a damaged end of its log for a write that was cut off, and comes up as it was
//! before: a witness would then cosign another history. So each commit has a number, and the
//! state a sum over its records; both stand in the state, in the same transaction, and here. A
//! state that is behind its mark, or whose records do not give its sum, was damaged or is an old
//! copy, and nothing is cosigned.
//!
//! The file has two slots of 72 bytes, 512 bytes apart, written in turn, so that a write that is
//! cut off leaves the other: number (u64, big-endian) ‖ sum (32 bytes) ‖ SHA-256 of both.

use crate::store::{StoreError, failed};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use tlog::Hash;
use tlog::hash::sha256;

/// Bytes of a slot.
const SLOT: usize = 72;
/// Bytes from one slot to the next: no two share a sector.
const APART: u64 = 512;

/// How much was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Number of the last commit, from 1; 0 of a new witness.
    pub number: u64,
    /// The sum, modulo 2^256, of the records' hashes. It is against damage: whoever can write to
    /// the directory can make one that fits.
    pub sum: Hash,
}

impl Tally {
    /// Adds the record of a log.
    pub fn add(&mut self, log: &Hash, record: &[u8]) {
        self.shift(&hash(log, record), false);
    }

    /// Takes one away.
    pub fn remove(&mut self, log: &Hash, record: &[u8]) {
        self.shift(&hash(log, record), true);
    }

    fn shift(&mut self, by: &Hash, down: bool) {
        let mut carry = u16::from(down);
        for (digit, add) in self.sum.iter_mut().zip(by).rev() {
            // −a is the complement of a and one more.
            let add = if down { !*add } else { *add };
            let total = u16::from(*digit) + u16::from(add) + carry;
            [_, *digit] = total.to_be_bytes();
            carry = total >> 8;
        }
    }

    /// Number and sum, 40 bytes.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [&self.number.to_be_bytes()[..], &self.sum].concat()
    }

    /// Reads what [`Tally::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (number, sum) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            number: u64::from_be_bytes(*number),
            sum: sum.try_into().ok()?,
        })
    }
}

fn hash(log: &Hash, record: &[u8]) -> Hash {
    sha256(&[log.as_slice(), record].concat())
}

/// The file.
#[derive(Debug)]
pub struct Mark(File);

impl Mark {
    /// Opens it, and makes an empty one where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.mode(0o600);
        Ok(Self(options.open(path).map_err(failed)?))
    }

    /// The newest slot that is whole; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read.
    pub fn read(&self) -> Result<Option<Tally>, StoreError> {
        let slots = [self.slot(0)?, self.slot(1)?];
        Ok(slots.into_iter().flatten().max_by_key(|t| t.number))
    }

    /// A slot, where it is whole.
    fn slot(&self, slot: u64) -> Result<Option<Tally>, StoreError> {
        let mut bytes = [0; SLOT];
        match self.0.read_exact_at(&mut bytes, slot * APART) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(failed(e)),
        }
        let (body, sum) = bytes.split_at(SLOT - 32);
        Ok(Tally::from_bytes(body).filter(|_| sha256(body) == sum))
    }

    /// Writes the tally of a commit; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn write(&self, tally: Tally) -> Result<(), StoreError> {
        let body = tally.to_bytes();
        let bytes = [body.as_slice(), &sha256(&body)].concat();
        let at = tally.number % 2 * APART;
        let written = self.0.write_all_at(&bytes, at);
        written.and_then(|()| self.0.sync_data()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_added_and_taken_away_is_as_before() {
        let mut tally = Tally::default();
        tally.add(&[1; 32], b"one");
        let one = tally;
        tally.add(&[2; 32], b"two");
        let both = tally;
        tally.remove(&[1; 32], b"one");
        tally.add(&[1; 32], b"one");
        assert_eq!(tally, both);
        tally.remove(&[2; 32], b"two");
        assert_eq!(tally, one);
        tally.remove(&[1; 32], b"one");
        assert_eq!(tally, Tally::default());
        assert_ne!(one.sum, both.sum);
        // The order in which records came is no matter; which log's they are is.
        let mut other = Tally::default();
        other.add(&[2; 32], b"one");
        assert_ne!(other.sum, one.sum);
    }

    #[test]
    fn a_write_that_is_cut_off_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mark = Mark::open(&path).unwrap();
        assert_eq!(mark.read().unwrap(), None);
        let at = |number| Tally {
            number,
            sum: [number as u8; 32],
        };
        for number in 0..5 {
            mark.write(at(number)).unwrap();
            assert_eq!(mark.read().unwrap(), Some(at(number)));
        }
        let whole = std::fs::read(&path).unwrap();
        // Slot 0 holds number 4, slot 1 number 3.
        for byte in 0..SLOT {
            let mut bytes = whole.clone();
            bytes[byte] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Mark::open(&path).unwrap().read().unwrap(), Some(at(3)));
            bytes[APART as usize + byte] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Mark::open(&path).unwrap().read().unwrap(), None);
        }
    }
}
