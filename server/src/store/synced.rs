//! A sled 0.34.7 database whose flush outlasts a power loss.
//!
//! sled's own flush is not enough for that. On Linux it calls `sync_file_range`, which writes
//! pages back but neither the file's length and block map nor the disk's own cache; and a
//! record larger than 128 KiB goes to a file under `blobs/` that is never synced. So the
//! database file is synced after each flush, and whoever keeps something here keeps it in
//! pieces so small that no page of the tree becomes such a record.

use super::StoreError;
use super::files::{Disk, Files};
use std::path::Path;

/// Most bytes of one value. A page of the tree has up to about 20 of them, and none then
/// reaches 128 KiB.
pub(crate) const PIECE: usize = 4096;

/// A database, and its file.
pub(crate) struct Synced<F: Files = Disk> {
    pub(crate) db: sled::Db,
    files: F,
    file: F::File,
}

pub(crate) fn failed(e: impl std::fmt::Display) -> StoreError {
    StoreError::Hot(e.to_string())
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

impl<F: Files> Synced<F> {
    /// Opens, or makes, the database at `path`, its file synced by these file operations.
    pub(crate) fn open_on(files: F, path: &Path, cache: u64) -> Result<Self, StoreError> {
        forget_unfinished(path)?;
        let db = Self::database(path, cache)?;
        // sled makes its files without syncing their names.
        for dir in [Some(path), path.parent()].into_iter().flatten() {
            files.sync_dir(dir).map_err(|e| StoreError::io(dir, &e))?;
        }
        let at = path.join("db");
        let file = files.open(&at).map_err(|e| StoreError::io(&at, &e))?;
        Ok(Self { db, files, file })
    }

    fn database(path: &Path, cache: u64) -> Result<sled::Db, StoreError> {
        // Flushing is ours to do, at each commit.
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache)
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
                other => return other.map_err(failed),
            }
        }
    }

    /// Makes durable what was written.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(failed)?;
        self.files
            .sync(&self.file)
            .map_err(|e| StoreError::Hot(format!("fsync: {e}")))
    }
}
