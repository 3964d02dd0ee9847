//! A verified copy of a log that any web server can serve, at the paths of c2sp.org/tlog-tiles.
//!
//! Full tiles and bundles are written as the walk goes, whole and durable; what is partial, and
//! the checkpoint, last, once all was found sound: before that, the copy says what it said
//! before. A full tile never changes; one that is there and is another is not written over.

use super::report::Found;
use super::seen::{Point, unwritable};
use crate::fail::Fail;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tlog::tile::{EntryTile, TILE_WIDTH, Tile};

/// What is not finished, until it has its name.
const UNFINISHED: &str = ".unfinished";

/// The copy.
pub(crate) struct Mirror {
    root: PathBuf,
    /// Its place, whatever it is called.
    pub(crate) name: String,
    /// Directories with names that may not be durable.
    unsynced: BTreeSet<PathBuf>,
    /// What is written last.
    last: Vec<(String, Vec<u8>)>,
}

impl Mirror {
    /// The copy in `root`, which is made where it is not there.
    pub(crate) fn open(root: &Path) -> Result<Self, Fail> {
        std::fs::create_dir_all(root).map_err(|e| unwritable(root, &e))?;
        let place = root.canonicalize().map_err(|e| unwritable(root, &e))?;
        let list = std::fs::read_dir(root).map_err(|e| unwritable(root, &e))?;
        for item in list {
            let name = item.map_err(|e| unwritable(root, &e))?.file_name();
            if ![UNFINISHED, "tile", "checkpoint"]
                .iter()
                .any(|n| name == *n)
            {
                return Err(Fail::usage(
                    "mirror-of-another",
                    format!("{} holds {name:?}, which no mirror does", root.display()),
                )
                .hint("name a directory of its own with --mirror"));
            }
        }
        Ok(Self {
            root: root.to_owned(),
            name: place.display().to_string(),
            unsynced: BTreeSet::new(),
            last: Vec::new(),
        })
    }

    /// The checkpoint that it has been serving.
    pub(crate) fn checkpoint(&self) -> Result<Option<Point>, Fail> {
        let path = self.root.join("checkpoint");
        let note = match std::fs::read_to_string(&path) {
            Ok(note) => note,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unwritable(&path, &e)),
        };
        let point = Point::parse("the mirror's", &note);
        point.map(Some).ok_or_else(|| {
            Fail::usage(
                "mirror-of-another",
                format!("{} is no checkpoint", path.display()),
            )
            .hint("move it away, or name another directory with --mirror")
        })
    }

    /// Whether a full file of a log of `size` leaves is missing, or has another length than it can
    /// have: somebody took it away, or a volume is not there.
    pub(crate) fn lacks(&self, size: u64) -> bool {
        let lengths = |path: String| std::fs::metadata(self.root.join(path)).map_or(0, |m| m.len());
        let bundle = |index| {
            let width = TILE_WIDTH;
            lengths(EntryTile { index, width }.path()) > 0
        };
        let full = |level: u8| size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
        let tile = |level, index| {
            let width = TILE_WIDTH;
            let tile = Tile {
                level,
                index,
                width,
            };
            lengths(tile.path()) == 32 * u64::from(TILE_WIDTH)
        };
        let tiles = || (0..8).all(|level| (0..full(level)).all(|index| tile(level, index)));
        !((0..full(0)).all(bundle) && tiles())
    }

    /// Writes a full tile; keeps a partial one for the end.
    pub(crate) fn put(
        &mut self,
        path: String,
        width: u16,
        bytes: &[u8],
    ) -> Result<Option<Found>, Fail> {
        if width != TILE_WIDTH {
            self.last.push((path, bytes.to_vec()));
            return Ok(None);
        }
        self.write(&path, bytes)
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<Option<Found>, Fail> {
        let to = self.root.join(path);
        match std::fs::read(&to) {
            Ok(there) if there == bytes => return Ok(None),
            Ok(_) => {
                let what = "the mirror has another: either it is damaged, or the log serves another history than it did; it was not written over";
                return Ok(Some(Found::new("mirror-differs", path, what)));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(unwritable(&to, &e)),
        }
        self.replace(&to, bytes)?;
        Ok(None)
    }

    fn replace(&mut self, to: &Path, bytes: &[u8]) -> Result<(), Fail> {
        let from = self.root.join(UNFINISHED);
        let failed = |e: std::io::Error| unwritable(to, &e);
        if let Some(parent) = to.parent() {
            // Every directory down to it may have been made just now.
            let down = parent.ancestors().take_while(|d| *d != self.root);
            self.unsynced.extend(down.map(Path::to_owned));
            self.unsynced.insert(self.root.clone());
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file = File::create(&from).map_err(failed)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&from, to))
            .map_err(failed)
    }

    /// Makes all names durable.
    pub(crate) fn sync(&mut self) -> Result<(), Fail> {
        for dir in std::mem::take(&mut self.unsynced) {
            // Not every system can sync a directory.
            if cfg!(unix) {
                let synced = File::open(&dir).and_then(|d| d.sync_all());
                synced.map_err(|e| unwritable(&dir, &e))?;
            }
        }
        Ok(())
    }

    /// Writes what is last, and then the checkpoint that covers all of it.
    pub(crate) fn finish(&mut self, checkpoint: &str) -> Result<Option<Found>, Fail> {
        for (path, bytes) in std::mem::take(&mut self.last) {
            let differs = self.write(&path, &bytes)?;
            if differs.is_some() {
                return Ok(differs);
            }
        }
        self.sync()?;
        let to = self.root.join("checkpoint");
        if std::fs::read(&to).is_ok_and(|there| there == checkpoint.as_bytes()) {
            return Ok(None);
        }
        self.replace(&to, checkpoint.as_bytes())?;
        self.sync()?;
        Ok(None)
    }

    /// Nothing that a run was kept from finishing stays.
    pub(crate) fn tidy(&self) {
        let _ = std::fs::remove_file(self.root.join(UNFINISHED));
    }
}
