//! What an import writes, and the memory of what was verified: a digest of each file, so that
//! only the bytes that the walk saw are written, though they are read twice.

use super::Refused;
use crate::check::{Heard, Progress, Shown};
use crate::datadir::Layout;
use crate::error::Error;
use crate::frozen::names;
use crate::pending::Waiting;
use crate::store::{Blobs as _, Disk, FileBlobs, make_dir, write_durably};
use crate::trust::TrustDocuments;
use ledger::walk::{At, Finding, Observer};
use ledger::{Hash, from_hex32, sha256};
use std::fs;
use std::path::Path;
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, parse_bundle};

/// Files that are written and synced together.
const TOGETHER: usize = 64;

/// Hears the walk, then copies.
pub(super) struct Copying {
    pub(super) heard: Heard,
    shown: Shown,
    /// Full tiles and bundles, with their digests.
    full: Vec<(String, Hash)>,
    /// The partial bundle.
    partial: Option<(u16, Vec<u8>)>,
}

impl Observer for Copying {
    fn bundle(&mut self, tile: &EntryTile, bytes: &[u8], at: &At<'_>) {
        self.shown.at(at.size);
        if tile.width == TILE_WIDTH {
            self.full.push((tile.path(), sha256(bytes)));
        } else {
            self.partial = Some((tile.width, bytes.to_vec()));
        }
    }
    fn tile(&mut self, tile: &Tile, bytes: &[u8]) {
        if tile.width == TILE_WIDTH {
            self.full.push((tile.path(), sha256(bytes)));
        }
    }
    fn finding(&mut self, finding: Finding) {
        self.heard.finding(finding);
    }
}

impl Copying {
    pub(super) fn new(progress: Progress, size: u64) -> Self {
        Self {
            heard: Heard::default(),
            shown: Shown::new(progress, size),
            full: Vec::new(),
            partial: None,
        }
    }

    pub(super) fn ended(&self) {
        self.shown.end();
    }

    /// Writes what `blobs` lacks of the full tiles and bundles in `from`.
    pub(super) fn blobs(&self, from: &Path, blobs: &FileBlobs) -> Result<(), Error> {
        for part in self.full.chunks(TOGETHER) {
            let mut together = Vec::with_capacity(part.len());
            for (path, digest) in part {
                let at = from.join(path);
                let bytes = fs::read(&at).map_err(|e| Error::io(&at, &e))?;
                if sha256(&bytes) != *digest {
                    return Err(Refused::Changed(path.clone()).into());
                }
                together.push((path.clone(), bytes));
            }
            blobs.put(&together)?;
        }
        Ok(())
    }

    /// The entries of the partial bundle.
    pub(super) fn tail(self) -> Result<Vec<Vec<u8>>, Error> {
        let Some((width, bytes)) = self.partial else {
            return Ok(Vec::new());
        };
        let entries = parse_bundle(&bytes, width);
        entries.map_err(|e| Refused::Unreadable(e.to_string()).into())
    }
}

/// Copies what lies beside the tiles, if it is an export: trust documents, and, into a log
/// that is made anew, projects that wait. What is not as it was written stops the import.
pub(super) fn state(
    from: &Path,
    layout: &Layout,
    anew: bool,
    origin: &str,
    vkeys: &[String],
) -> Result<(), Error> {
    let (state, public, private) = (from.join("state"), layout.public(), layout.private());
    let bad = |path: &str, what: String| Refused::NotSound {
        found: 1,
        first: Finding::new("import-state", path, what),
    };
    let trust = |hash: &Hash, bytes: &[u8], path: &str| {
        let checked = TrustDocuments::check(hash, bytes, origin, vkeys);
        checked.map(drop).map_err(|e| bad(path, e.to_string()))
    };
    copy(
        &state.join("trust"),
        "state/trust",
        &public.join("trust"),
        trust,
    )?;
    if !anew {
        return Ok(());
    }
    let waits = |id: &Hash, bytes: &[u8], path: &str| {
        let one = Waiting::read(*id, bytes).map(drop);
        one.ok_or_else(|| bad(path, "it is not a pending project as it was written".into()))
    };
    copy(
        &state.join("pending"),
        "state/pending",
        &private.join("pending"),
        waits,
    )?;
    let waiting = private.join("pending-trust");
    for project in names(&state.join("pending-trust"))? {
        if from_hex32(&project).is_none() {
            continue;
        }
        make_dir(&Disk, &waiting)?;
        let (dir, shown) = (
            state.join("pending-trust").join(&project),
            format!("state/pending-trust/{project}"),
        );
        copy(&dir, &shown, &waiting.join(&project), trust)?;
    }
    Ok(())
}

/// Copies the documents in `from` that `to` lacks, each named by a hash and checked first.
fn copy(
    from: &Path,
    shown: &str,
    to: &Path,
    check: impl Fn(&Hash, &[u8], &str) -> Result<(), Refused>,
) -> Result<(), Error> {
    for name in names(from)? {
        let Some(hash) = name.strip_suffix(".json").and_then(from_hex32) else {
            continue;
        };
        let (source, target) = (from.join(&name), to.join(&name));
        if target.exists() {
            continue;
        }
        let bytes = fs::read(&source).map_err(|e| Error::io(&source, &e))?;
        check(&hash, &bytes, &format!("{shown}/{name}"))?;
        make_dir(&Disk, to)?;
        write_durably(&Disk, &target, &bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_bytes_that_were_verified_are_written() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut copying = Copying::new(Progress::Silent, 256);
        for path in ["tile/0/000", "tile/entries/000"] {
            let at = from.path().join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(&at, path).unwrap();
            let digest = sha256(path.as_bytes());
            copying.full.push((path.to_owned(), digest));
        }
        // Between the walk and the copy.
        fs::write(from.path().join("tile/entries/000"), "other").unwrap();
        let blobs = FileBlobs::new(to.path());
        let refused = copying.blobs(from.path(), &blobs).unwrap_err();
        assert_eq!(refused.kind(), "import-changed");
        assert!(!to.path().join("tile").exists());
        fs::write(from.path().join("tile/entries/000"), "tile/entries/000").unwrap();
        copying.blobs(from.path(), &blobs).unwrap();
        let written = fs::read(to.path().join("tile/entries/000")).unwrap();
        assert_eq!(written, b"tile/entries/000");
    }
}
