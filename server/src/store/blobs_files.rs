//! Blobs as files at the tlog-tiles paths: temporary file, fsync, rename, fsync of the
//! directory and of each one above it that this process has not synced yet.

use super::files::{Disk, Files, place};
use super::{Blobs, StoreError};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Blobs under one directory, which may be served and mirrored as it is.
pub struct FileBlobs<F: Files = Disk> {
    root: PathBuf,
    files: F,
    /// Directories whose names are durable, as this process made sure: one that merely
    /// stands may stand since a crash before its parent was synced.
    settled: Mutex<BTreeSet<PathBuf>>,
}

impl FileBlobs {
    /// Blobs under `root`, which must exist.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self::on(Disk, root)
    }
}

impl<F: Files> FileBlobs<F> {
    /// The same, by these file operations.
    #[must_use]
    pub fn on(files: F, root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files,
            settled: Mutex::default(),
        }
    }

    fn place(&self, path: &str) -> Result<PathBuf, StoreError> {
        // Names come from tile coordinates; this keeps a mistake there inside the directory.
        let plain = !path.is_empty()
            && path
                .split('/')
                .all(|s| !s.is_empty() && !s.starts_with('.') && !s.contains(['\\', '\0']));
        if plain {
            Ok(self.root.join(path))
        } else {
            Err(StoreError::Damaged(format!("blob name {path:?}")))
        }
    }

    /// Makes the directories between the root and `target`, and notes each directory whose
    /// listing is not durable yet.
    fn parents(&self, target: &Path, changed: &mut Changed) -> Result<(), StoreError> {
        let Some(parent) = target.parent() else {
            return Ok(());
        };
        changed.listings.insert(parent.to_owned());
        if parent == self.root || changed.above.contains(parent) || self.is_settled(parent) {
            return Ok(());
        }
        self.parents(parent, changed)?;
        changed.above.insert(parent.to_owned());
        if parent.is_dir() {
            return Ok(());
        }
        match self.files.create_dir(parent) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(StoreError::io(parent, &e))
            }
            _ => Ok(()),
        }
    }

    fn is_settled(&self, dir: &Path) -> bool {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.contains(dir)
    }
}

/// What a put has changed and not synced yet.
#[derive(Default)]
struct Changed {
    /// Directories to sync.
    listings: BTreeSet<PathBuf>,
    /// Directories whose own names that makes durable.
    above: BTreeSet<PathBuf>,
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io(path, &e)),
    }
}

impl<F: Files> Blobs for FileBlobs<F> {
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        read(&self.place(path)?)
    }

    fn put(&self, blobs: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        let mut changed = Changed::default();
        for (path, bytes) in blobs {
            let target = self.place(path)?;
            match read(&target)? {
                // It may stand since a crash before its directory was synced.
                Some(standing) if standing == *bytes => self.parents(&target, &mut changed)?,
                Some(_) => {
                    return Err(StoreError::Damaged(format!(
                        "{} holds other bytes than the log",
                        target.display()
                    )));
                }
                None => {
                    self.parents(&target, &mut changed)?;
                    place(&self.files, &target, bytes)?;
                }
            }
        }
        for dir in changed.listings {
            self.files
                .sync_dir(&dir)
                .map_err(|e| StoreError::io(&dir, &e))?;
        }
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.append(&mut changed.above);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_same_bytes_again_change_nothing_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::new(dir.path());
        let blob = |b: u8| vec![("tile/0/x001/067".to_owned(), vec![b; 8])];
        blobs.put(&blob(1)).unwrap();
        blobs.put(&blob(1)).unwrap();
        assert!(matches!(blobs.put(&blob(2)), Err(StoreError::Damaged(_))));
        assert_eq!(blobs.get("tile/0/x001/067").unwrap(), Some(vec![1; 8]));
        assert_eq!(blobs.get("tile/0/x001/068").unwrap(), None);
        assert_eq!(
            fs::read_dir(dir.path().join("tile/0/x001"))
                .unwrap()
                .count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn names_stay_inside_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::new(&dir.path().join("public"));
        for bad in [
            "../private/key",
            "/etc/passwd",
            "tile//0",
            "",
            "tile/./0",
            "tile/.hidden",
        ] {
            assert!(
                matches!(blobs.get(bad), Err(StoreError::Damaged(_))),
                "{bad}"
            );
        }
    }
}
