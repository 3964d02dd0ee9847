//! The hot state in sled 0.34.7. Measured: what was inserted but not flushed is lost when
//! the process is killed; what was flushed is not. So a commit returns after the flush.

use super::{Head, Hot, HotBatch, StoreError};
use std::path::Path;

const HEAD: &[u8] = b"head";
/// Entries: this byte, then the index in big-endian.
const ENTRY: u8 = b'e';

/// Bounded hot state in one sled directory.
pub struct SledHot {
    db: sled::Db,
}

fn failed(e: impl std::fmt::Display) -> StoreError {
    StoreError::Hot(e.to_string())
}

fn key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY; 9];
    for (to, from) in key.iter_mut().skip(1).zip(index.to_be_bytes()) {
        *to = from;
    }
    key
}

fn index_of(key: &[u8]) -> Result<u64, StoreError> {
    let bytes = key.get(1..).and_then(|b| <[u8; 8]>::try_from(b).ok());
    bytes
        .map(u64::from_be_bytes)
        .ok_or_else(|| StoreError::Damaged("hot state: an entry's key has another length".into()))
}

fn read(bytes: &[u8]) -> Result<Head, StoreError> {
    serde_json::from_slice(bytes)
        .map_err(|e| StoreError::Damaged(format!("hot state: head record: {e}")))
}

/// Removes snapshots that a full disk or a crash kept from being finished. sled 0.34.7 takes
/// `snap.*.generating` for the newest snapshot and then calls its data corrupted; without it
/// it opens from the one before and its log, which hold everything that was flushed.
fn forget_unfinished(path: &Path) -> Result<(), StoreError> {
    let Ok(items) = std::fs::read_dir(path) else {
        return Ok(());
    };
    for item in items {
        let item = item.map_err(|e| StoreError::io(path, &e))?;
        let name = item.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(item.path()).map_err(|e| StoreError::io(&item.path(), &e))?;
        }
    }
    Ok(())
}

impl SledHot {
    /// Opens, or makes, the hot state at `path`.
    ///
    /// # Errors
    /// [`StoreError::Hot`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        forget_unfinished(path)?;
        // Bounded content wants a small cache; flushing is ours to do, at each commit.
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(16 << 20)
            .flush_every_ms(None);
        // A database that this process just closed frees its lock from a thread of its own.
        let mut patience = 100;
        loop {
            match config.open() {
                Err(sled::Error::Io(e))
                    if patience > 0 && e.to_string().contains("acquire lock") =>
                {
                    patience -= 1;
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                other => {
                    return Ok(Self {
                        db: other.map_err(failed)?,
                    });
                }
            }
        }
    }
}

impl Hot for SledHot {
    fn head(&self) -> Result<Option<Head>, StoreError> {
        self.db
            .get(HEAD)
            .map_err(failed)?
            .map(|b| read(&b))
            .transpose()
    }

    fn entries(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.db
            .scan_prefix([ENTRY])
            .map(|item| {
                let (k, v) = item.map_err(failed)?;
                Ok((index_of(&k)?, v.to_vec()))
            })
            .collect()
    }

    fn commit(&self, expected: Option<&Head>, batch: &HotBatch) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        for item in self.db.range(key(0)..key(batch.drop_below)).keys() {
            writes.remove(item.map_err(failed)?);
        }
        for (index, entry) in &batch.entries {
            writes.insert(&key(*index), entry.as_slice());
        }
        writes.insert(HEAD, serde_json::to_vec(&batch.head).map_err(failed)?);
        let outcome = self.db.transaction(|t| {
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
        self.db.flush().map_err(failed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
}
