//! The high-water mark: the newest checkpoint that this log has signed, in a file that lies
//! outside the data directory (`serve --high-water FILE`). A data directory that was restored
//! from a backup is whole and sound and knows nothing of what was signed since; only something
//! outside can tell. Before the first signature after a start the mark is compared with the
//! log: it must be a prefix of it. It is raised with each batch, durable before the batch's
//! checkpoint is shown.

use crate::datadir::DataDir;
use crate::error::Error;
use crate::logkeys::LogKeys;
use crate::recover::standing;
use crate::source::Tiles;
use crate::store::{Blobs, Disk, Files, Mark, SledHot, StoreError, write_durably};
use crate::view::View;
use std::path::{Path, PathBuf};
use tlog::tree::root_from_tiles;

/// Bytes of a checkpoint at most; two signatures take under a thousand.
const LONGEST: usize = 64 * 1024;

/// A mark in a file.
pub struct HighWater<F: Files = Disk> {
    path: PathBuf,
    files: F,
}

impl HighWater {
    /// The mark at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self::on(Disk, path)
    }
}

impl<F: Files> HighWater<F> {
    /// The same, by these file operations.
    #[must_use]
    pub fn on(files: F, path: &Path) -> Self {
        let path = path.to_owned();
        Self { path, files }
    }
}

impl<F: Files> Mark for HighWater<F> {
    fn raise(&self, checkpoint: &str) -> Result<(), StoreError> {
        write_durably(&self.files, &self.path, checkpoint.as_bytes())
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

/// Compares the mark at `path` with the log at `view`.
///
/// # Errors
/// [`Error::HighWater`] where the file is missing or is no checkpoint of this log, or where the
/// log is not one that goes on from it; [`Error::Io`], [`Error::Store`].
pub(crate) fn check(
    path: &Path,
    view: &View,
    blobs: &dyn Blobs,
    keys: &LogKeys,
) -> Result<(), Error> {
    let text = read(path)?.ok_or_else(|| {
        other(
            path,
            "there is none: put it back, or, if this log never had one, make it with `countersign-server high-water`",
        )
    })?;
    let mark = keys.verify(&text).map_err(|e| other(path, e))?;
    if mark.size > view.size {
        return Err(other(
            path,
            format!(
                "this log has signed a checkpoint of {} leaves, and the data directory has {}: restore a newer one, or import the rest from a mirror",
                mark.size, view.size
            ),
        ));
    }
    let tiles = Tiles {
        blobs,
        size: view.size,
        edge: &view.edge,
    };
    let root = root_from_tiles(mark.size, &tiles).map_err(StoreError::from)?;
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
/// [`Error`]; [`Error::HighWater`] where the mark at `path` is of another log or beyond this
/// one's checkpoint.
pub fn begin(data: &Path, path: &Path) -> Result<u64, Error> {
    let dir = DataDir::open(data)?;
    let private = dir.layout.private();
    let keys = LogKeys::load(&private, &dir.origin)?;
    let hot = SledHot::open(&private.join("hot"))?;
    let head = standing(&hot, &dir.layout)?;
    keys.verify(&head.checkpoint)?;
    if let Some(text) = read(path)? {
        let mark = keys.verify(&text).map_err(|e| other(path, e))?;
        if mark.size > head.size || (mark.size == head.size && mark.root != head.root) {
            return Err(other(
                path,
                format!(
                    "it is at {} leaves, beyond the {} of the data directory, and is not lowered",
                    mark.size, head.size
                ),
            ));
        }
    }
    HighWater::new(path).raise(&head.checkpoint)?;
    Ok(head.size)
}
