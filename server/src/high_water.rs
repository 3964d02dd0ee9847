//! The high-water mark: the newest checkpoint that this log has signed, in a file that lies
//! outside the data directory (`serve --high-water FILE`). A data directory that was restored
//! from a backup is whole and sound and knows nothing of what was signed since; only something
//! outside can tell. Before the first signature after a start the mark is compared with the
//! log: it must be a prefix of it. It is raised with each batch, durable before the batch's
//! checkpoint is shown. One server at a time uses it, and before it is raised it must still be
//! what that server wrote: a second one, on a copy of the log, is found out at the first batch.

use crate::datadir::{DataDir, locked};
use crate::error::Error;
use crate::logkeys::LogKeys;
use crate::recover::{edge, standing};
use crate::source::Tiles;
use crate::store::{Blobs, Disk, FileBlobs, Files, Mark, SledHot, StoreError, write_durably};
use crate::view::View;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tlog::tree::root_from_tiles;

/// Bytes of a checkpoint at most; two signatures take under a thousand.
const LONGEST: usize = 64 * 1024;

/// A mark in a file.
pub struct HighWater<F: Files = Disk> {
    path: PathBuf,
    files: F,
    /// What the file holds, as far as we know; `None` where there is none. Another server that
    /// uses the same file changes it, and must not be overwritten.
    known: Mutex<Option<String>>,
    /// Held for as long as this lives.
    _lock: Option<File>,
}

impl HighWater {
    /// The mark at `path`, which nobody else may use meanwhile: `<path>.lock` is locked. The
    /// system frees it with the process, however that ends.
    ///
    /// # Errors
    /// [`Error::HighWater`] where another process has it, or it is no text; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        // One without a directory lies in the working directory, and stays there.
        let path = std::path::absolute(path).map_err(|e| Error::io(path, &e))?;
        let mut name = path.clone().into_os_string();
        name.push(".lock");
        let name = PathBuf::from(name);
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&name);
        let file = file.map_err(|e| Error::io(&name, &e))?;
        locked(&file).map_err(|e| match e {
            rustix::io::Errno::WOULDBLOCK => other(
                &path,
                "another server, or `high-water`, uses it: every log has a mark of its own, and a copy of a log is not served",
            ),
            e => Error::io(&name, &e.into()),
        })?;
        let known = match read(&path) {
            // What is no text is no checkpoint either, which the comparison says.
            Err(Error::HighWater(_)) => Some(String::new()),
            other => other?,
        };
        let known = Mutex::new(known);
        Ok(Self {
            path,
            files: Disk,
            known,
            _lock: Some(file),
        })
    }

    /// Compares the mark with the log at `view`.
    ///
    /// # Errors
    /// [`Error::HighWater`] where there is none, or it is no checkpoint of this log, or the log
    /// is not one that goes on from it; [`Error::Io`], [`Error::Store`].
    pub(crate) fn check(
        &self,
        view: &View,
        blobs: &dyn Blobs,
        keys: &LogKeys,
    ) -> Result<(), Error> {
        let tiles = Tiles {
            blobs,
            size: view.size,
            edge: &view.edge,
        };
        match &*self.known() {
            Some(text) => compare(&self.path, text, view.size, &tiles, keys),
            None => Err(other(
                &self.path,
                "there is none: put it back, or, if this log never had one, make it with `countersign-server high-water`",
            )),
        }
    }
}

impl<F: Files> HighWater<F> {
    /// The mark at `path` by these file operations, for tests: not locked.
    ///
    /// # Errors
    /// As [`HighWater::open`].
    pub fn on(files: F, path: &Path) -> Result<Self, Error> {
        let known = Mutex::new(read(path)?);
        let (path, _lock) = (path.to_owned(), None);
        Ok(Self {
            path,
            files,
            known,
            _lock,
        })
    }

    fn known(&self) -> MutexGuard<'_, Option<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Files> Mark for HighWater<F> {
    fn raise(&self, checkpoint: &str) -> Result<(), StoreError> {
        let mut known = self.known();
        let found = read(&self.path).map_err(|e| StoreError::Damaged(e.to_string()))?;
        if found != *known {
            return Err(StoreError::Damaged(format!(
                "the high-water mark {}: somebody else has changed it since this server wrote it: another server on a copy of this log may have signed another history; stop both, and find out which one was seen",
                self.path.display()
            )));
        }
        write_durably(&self.files, &self.path, checkpoint.as_bytes())?;
        *known = Some(checkpoint.to_owned());
        Ok(())
    }
}

/// The mark's text, or `None` where there is no file.
fn read(path: &Path) -> Result<Option<String>, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, &e)),
    };
    let text = String::from_utf8(bytes).ok();
    let text = text.filter(|text| text.len() <= LONGEST);
    text.map(Some).ok_or_else(|| other(path, "it is no text"))
}

fn other(path: &Path, why: impl std::fmt::Display) -> Error {
    let path = path.display();
    Error::HighWater(format!("the high-water mark {path}: {why}"))
}

/// Compares the mark `text` from `path` with a log of `size` leaves.
fn compare(
    path: &Path,
    text: &str,
    size: u64,
    tiles: &Tiles<'_>,
    keys: &LogKeys,
) -> Result<(), Error> {
    let mark = keys.verify(text).map_err(|e| other(path, e))?;
    if mark.size > size {
        return Err(other(
            path,
            format!(
                "this log has signed a checkpoint of {} leaves, and the data directory has {size}: restore a newer one, or import the rest from a mirror",
                mark.size
            ),
        ));
    }
    let root = root_from_tiles(mark.size, tiles).map_err(StoreError::from)?;
    if root != mark.root {
        return Err(other(
            path,
            format!(
                "this log has signed another tree of {} leaves than the data directory has: it is of another history",
                mark.size
            ),
        ));
    }
    Ok(())
}

/// Makes the mark of a log that had none, or raises it; the server must not run. Returns the
/// size.
///
/// # Errors
/// [`Error`]; [`Error::HighWater`] where the mark at `path` is of another log, beyond this
/// one's checkpoint, or of another history.
pub fn begin(data: &Path, path: &Path) -> Result<u64, Error> {
    let mark = HighWater::open(path)?;
    let dir = DataDir::open(data)?;
    let private = dir.layout.private();
    let keys = dir.layout.keys()?;
    let hot = SledHot::open(&private.join("hot"))?;
    let blobs = FileBlobs::new(&dir.layout.public());
    let head = standing(&hot, &dir.layout)?;
    // What is signed and what the entries come to is one tree, before a mark says so.
    let edge = edge(&hot, &blobs, &head, &keys)?;
    if let Some(text) = &*mark.known() {
        let tiles = Tiles {
            blobs: &blobs,
            size: head.size,
            edge: &edge,
        };
        compare(&mark.path, text, head.size, &tiles, &keys)?;
    }
    mark.raise(&head.checkpoint)?;
    Ok(head.size)
}
