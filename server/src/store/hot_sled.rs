//! The hot state in sled 0.34.7. Measured: what was inserted but not flushed is lost when
//! the process is killed; what was flushed is not. What else a commit takes, [`super::synced`]
//! says; entries are kept in pieces so small that no page of the tree becomes a record that
//! sled does not sync.

mod packs;

use super::files::{Disk, Files};
use super::synced::{Synced, failed};
use super::{Head, Hot, HotBatch, StoreError};
use packs::{ENTRY, PACK, PACK_ENTRIES, join, keys, unpack};
use std::collections::BTreeMap;
use std::path::Path;

const HEAD: &[u8] = b"head";

/// Bounded hot state in one sled directory.
pub struct SledHot<F: Files = Disk> {
    sled: Synced<F>,
}

fn read(bytes: &[u8]) -> Result<Head, StoreError> {
    serde_json::from_slice(bytes)
        .map_err(|e| StoreError::Damaged(format!("hot state: head record: {e}")))
}

impl SledHot {
    /// Opens, or makes, the hot state at `path`.
    ///
    /// # Errors
    /// [`StoreError::Hot`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_on(Disk, path)
    }
}

impl<F: Files> SledHot<F> {
    /// The same, its database file synced by these file operations.
    ///
    /// # Errors
    /// [`StoreError::Hot`], [`StoreError::Io`].
    pub fn open_on(files: F, path: &Path) -> Result<Self, StoreError> {
        // Bounded content wants a small cache.
        let sled = Synced::open_on(files, path, 16 << 20)?;
        Ok(Self { sled })
    }
}

impl<F: Files> SledHot<F> {
    /// Writes all entries anew, those of the batch in the place of what had their indexes. A
    /// server only adds; an import gives the partial bundle again, whole.
    fn replace(&self, writes: &mut sled::Batch, batch: &HotBatch) -> Result<(), StoreError> {
        for kind in [ENTRY, PACK] {
            for item in self.sled.db.scan_prefix([kind]).keys() {
                writes.remove(item.map_err(failed)?);
            }
        }
        let mut entries: BTreeMap<u64, Vec<u8>> = self.entries()?.into_iter().collect();
        entries.extend(batch.entries.iter().cloned());
        entries.retain(|index, _| *index >= batch.drop_below);
        packs::insert(writes, &Vec::from_iter(entries))
    }

    /// Removes what lies below an index; of a pack that goes on above it, the rest is kept.
    fn drop_below(&self, writes: &mut sled::Batch, index: u64) -> Result<(), StoreError> {
        for kind in [ENTRY, PACK] {
            for item in self.sled.db.range(keys(kind, 0..index)).keys() {
                writes.remove(item.map_err(failed)?);
            }
        }
        let cut = index - index % PACK_ENTRIES..index;
        for (first, pack) in join(self.sled.db.range(keys(PACK, cut)))? {
            let mut entries = unpack(first, &pack)?;
            entries.retain(|(at, _)| *at >= index);
            packs::insert(writes, &entries)?;
        }
        Ok(())
    }
}

impl<F: Files> Hot for SledHot<F> {
    fn head(&self) -> Result<Option<Head>, StoreError> {
        self.sled
            .db
            .get(HEAD)
            .map_err(failed)?
            .map(|b| read(&b))
            .transpose()
    }

    fn entries(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut entries = join(self.sled.db.scan_prefix([ENTRY]))?;
        for (first, pack) in join(self.sled.db.scan_prefix([PACK]))? {
            entries.extend(unpack(first, &pack)?);
        }
        Ok(entries)
    }

    fn commit(&self, expected: Option<&Head>, batch: &HotBatch) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        let below = expected.map_or(0, |head| head.size);
        if batch
            .entries
            .first()
            .is_some_and(|(first, _)| *first < below)
        {
            self.replace(&mut writes, batch)?;
        } else {
            self.drop_below(&mut writes, batch.drop_below)?;
            packs::insert(&mut writes, &batch.entries)?;
        }
        writes.insert(HEAD, serde_json::to_vec(&batch.head).map_err(failed)?);
        let outcome = self.sled.db.transaction(|t| {
            let found = match t.get(HEAD)? {
                Some(bytes) => Some(
                    read(&bytes).map_err(sled::transaction::ConflictableTransactionError::Abort)?,
                ),
                None => None,
            };
            if found.as_ref() != expected {
                return Err(sled::transaction::ConflictableTransactionError::Abort(
                    StoreError::Conflict {
                        expected: expected.map_or(0, |h| h.size),
                        found: found.map_or(0, |h| h.size),
                    },
                ));
            }
            t.apply_batch(&writes)?;
            Ok(())
        });
        match outcome {
            Ok(()) => {}
            Err(sled::transaction::TransactionError::Abort(e)) => return Err(e),
            Err(sled::transaction::TransactionError::Storage(e)) => return Err(failed(e)),
        }
        self.sled.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::synced::PIECE;
    use super::*;

    fn head(size: u64) -> Head {
        Head {
            epoch: 1,
            size,
            root: [size as u8; 32],
            fold: [0; 32],
            checkpoint: format!("note {size}"),
        }
    }

    #[test]
    fn an_unfinished_snapshot_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let first = HotBatch {
            head: head(3),
            entries: Vec::new(),
            drop_below: 0,
        };
        let hot = SledHot::open(dir.path()).unwrap();
        hot.commit(None, &first).unwrap();
        drop(hot);
        // As a full disk, or a crash while it is written, leaves it.
        let unfinished = dir.path().join("snap.00000000000FFFFF.generating");
        std::fs::write(&unfinished, []).unwrap();
        let hot = SledHot::open(dir.path()).unwrap();
        assert_eq!(hot.head().unwrap(), Some(head(3)));
        assert!(!unfinished.exists());
    }

    #[test]
    fn a_commit_is_a_compare_and_swap_and_survives_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let hot = SledHot::open(dir.path()).unwrap();
        assert_eq!(hot.head().unwrap(), None);
        let first = HotBatch {
            head: head(3),
            entries: (0..3).map(|i| (i, vec![i as u8])).collect(),
            drop_below: 0,
        };
        hot.commit(None, &first).unwrap();
        // Whoever still believes the log to be empty, or of another epoch, is refused whole.
        let late = HotBatch {
            head: head(9),
            entries: vec![(8, vec![8])],
            drop_below: 3,
        };
        assert_eq!(
            hot.commit(None, &late),
            Err(StoreError::Conflict {
                expected: 0,
                found: 3
            })
        );
        let other = Head {
            epoch: 2,
            ..head(3)
        };
        assert_eq!(
            hot.commit(Some(&other), &late),
            Err(StoreError::Conflict {
                expected: 3,
                found: 3
            })
        );
        assert_eq!(hot.entries().unwrap().len(), 3);
        let next = HotBatch {
            head: head(4),
            entries: vec![(3, vec![3])],
            drop_below: 2,
        };
        hot.commit(Some(&head(3)), &next).unwrap();
        drop(hot);
        let hot = SledHot::open(dir.path()).unwrap();
        assert_eq!(hot.head().unwrap(), Some(head(4)));
        assert_eq!(hot.entries().unwrap(), vec![(2, vec![2]), (3, vec![3])]);
    }

    #[test]
    fn entries_of_any_size_come_back_and_never_go_to_files_that_sled_does_not_sync() {
        let dir = tempfile::tempdir().unwrap();
        let sizes = [
            0,
            1,
            PIECE - 5,
            PIECE - 4,
            PIECE - 3,
            PIECE,
            PIECE + 1,
            65_535,
        ];
        let entry = |i: u64| {
            let size = sizes.get(i as usize).copied().unwrap_or(65_535);
            (i, (0..size).map(|b| (b as u64 ^ i) as u8).collect())
        };
        let mut standing = None;
        {
            let hot = SledHot::open(dir.path()).unwrap();
            for step in 0..6u64 {
                let batch = HotBatch {
                    head: head(step * 16 + 16),
                    entries: (step * 16..step * 16 + 16).map(entry).collect(),
                    drop_below: step.saturating_sub(3) * 16,
                };
                hot.commit(standing.as_ref(), &batch).unwrap();
                standing = Some(batch.head);
                let spilled = std::fs::read_dir(dir.path().join("blobs")).unwrap().count();
                assert_eq!(spilled, 0, "after batch {step}");
            }
        }
        let hot = SledHot::open(dir.path()).unwrap();
        let held: Vec<(u64, Vec<u8>)> = (32..96).map(entry).collect();
        assert_eq!(hot.entries().unwrap(), held);
    }

    #[test]
    fn entries_that_are_given_again_take_the_place_of_those_that_stood() {
        let dir = tempfile::tempdir().unwrap();
        let hot = SledHot::open(dir.path()).unwrap();
        let entries = |r: std::ops::Range<u64>| r.map(|i| (i, vec![i as u8; 3000])).collect();
        let batch = |size, entries, drop_below| HotBatch {
            head: head(size),
            entries,
            drop_below,
        };
        hot.commit(None, &batch(5, entries(2..5), 0)).unwrap();
        hot.commit(Some(&head(5)), &batch(6, entries(5..6), 0))
            .unwrap();
        hot.commit(Some(&head(6)), &batch(300, entries(4..300), 3))
            .unwrap();
        let held: Vec<(u64, Vec<u8>)> = entries(3..300);
        assert_eq!(hot.entries().unwrap(), held);
    }

    #[test]
    fn entries_of_a_version_before_packs_are_read_and_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |i: u64, size: usize| (i, vec![i as u8; size]);
        {
            let hot = SledHot::open(dir.path()).unwrap();
            let mut writes = sled::Batch::default();
            for index in 250..260u64 {
                let key = [b"e".as_slice(), &index.to_be_bytes()].concat();
                writes.insert(key, vec![index as u8; PIECE]);
            }
            let second = [b"e".as_slice(), &259u64.to_be_bytes(), &[0, 1]].concat();
            writes.insert(second, vec![3; 9]);
            writes.insert(HEAD, serde_json::to_vec(&head(260)).unwrap());
            hot.sled.db.apply_batch(writes).unwrap();
            hot.sled.db.flush().unwrap();
        }
        let hot = SledHot::open(dir.path()).unwrap();
        let mut held: Vec<_> = (250..259).map(|i| entry(i, PIECE)).collect();
        held.push(entry(259, PIECE + 9));
        assert_eq!(hot.entries().unwrap(), held);
        let next = HotBatch {
            head: head(262),
            entries: vec![entry(260, 0), entry(261, 1)],
            drop_below: 256,
        };
        hot.commit(Some(&head(260)), &next).unwrap();
        held.drain(..6);
        held.extend(next.entries);
        assert_eq!(hot.entries().unwrap(), held);
    }

    #[test]
    fn a_pack_that_lacks_bytes_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let hot = SledHot::open(dir.path()).unwrap();
        let batch = HotBatch {
            head: head(3),
            entries: (0..3).map(|i| (i, vec![i as u8; PIECE])).collect(),
            drop_below: 0,
        };
        hot.commit(None, &batch).unwrap();
        let keys: Vec<_> = hot.sled.db.scan_prefix([PACK]).keys().collect();
        assert_eq!(keys.len(), 4, "12,300 bytes in pieces of {PIECE}");
        for key in keys {
            let key = key.unwrap();
            let piece = hot.sled.db.remove(&key).unwrap().unwrap();
            let found = hot.entries().map_err(|e| e.kind());
            assert_eq!(found, Err("store-damaged"));
            hot.sled.db.insert(key, piece).unwrap();
        }
        assert_eq!(hot.entries().unwrap(), batch.entries);
    }
}
