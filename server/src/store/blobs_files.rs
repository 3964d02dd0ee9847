//! Blobs as files at the tlog-tiles paths: temporary file, fsync, rename, fsync of the
//! directory.

use super::{Blobs, StoreError};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Blobs under one directory, which may be served and mirrored as it is.
pub struct FileBlobs {
    root: PathBuf,
}

impl FileBlobs {
    /// Blobs under `root`, which must exist.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
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

    /// Makes the directories above `target`, and notes each whose listing changes.
    fn parents(&self, target: &Path, changed: &mut BTreeSet<PathBuf>) -> Result<(), StoreError> {
        let Some(parent) = target.parent() else {
            return Ok(());
        };
        changed.insert(parent.to_owned());
        if parent.is_dir() {
            return Ok(());
        }
        self.parents(parent, changed)?;
        match fs::create_dir(parent) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(StoreError::io(parent, &e))
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io(path, &e)),
    }
}

impl Blobs for FileBlobs {
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        read(&self.place(path)?)
    }

    fn put(&self, blobs: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        let mut changed = BTreeSet::new();
        for (path, bytes) in blobs {
            let target = self.place(path)?;
            if let Some(standing) = read(&target)? {
                if standing == *bytes {
                    // It may stand since a crash before its directory was synced.
                    changed.extend(target.parent().map(Path::to_owned));
                    continue;
                }
                return Err(StoreError::Damaged(format!(
                    "{} holds other bytes than the log",
                    target.display()
                )));
            }
            self.parents(&target, &mut changed)?;
            let mut name = target.file_name().unwrap_or_default().to_owned();
            name.push(".tmp");
            let temporary = target.with_file_name(name);
            let written = File::create(&temporary)
                .and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all()))
                .and_then(|()| fs::rename(&temporary, &target));
            written.map_err(|e| StoreError::io(&target, &e))?;
        }
        for dir in changed {
            sync_dir(&dir)?;
        }
        Ok(())
    }
}

/// Makes a directory's listing durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| StoreError::io(dir, &e))
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
