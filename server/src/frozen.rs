//! A whole log at one moment, to be carried elsewhere: by `export` as a directory, by
//! `backup` as a file. Both have the same items in the same order, the checkpoint last, so
//! that what has a checkpoint is complete.

use crate::check::{self, Heard, Options};
use crate::datadir::{Layout, Marker, Reading};
use crate::error::Error;
use crate::source::{LogSource, Tiles, full_tiles_edge};
use crate::store::{FileBlobs, StoreError};
use crate::view::Entry;
use ledger::Hash;
use ledger::walk::{Source as _, Unreadable};
use std::fs;
use std::path::{Path, PathBuf};
use tlog::checkpoint::Checkpoint;
use tlog::hash::leaf_hash;
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, width_at};
use tlog::tree::{Edge, root_from_tiles};

const WIDTH: u64 = TILE_WIDTH as u64;

/// A log at one moment. No server starts on its directory until this is dropped, unless one
/// ran before.
pub(crate) struct Frozen {
    pub(crate) layout: Layout,
    pub(crate) marker: Marker,
    pub(crate) checkpoint: Checkpoint,
    note: String,
    blobs: FileBlobs,
    tail: Vec<Entry>,
    edge: Edge,
    _reading: Reading,
}

/// What lies at a path.
pub(crate) enum Item {
    /// The same bytes as this file.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl Item {
    /// How many bytes.
    pub(crate) fn length(&self) -> Result<u64, Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(path) => {
                let metadata = fs::metadata(path).map_err(|e| Error::io(path, &e))?;
                Ok(metadata.len())
            }
        }
    }

    /// The bytes.
    pub(crate) fn bytes(self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::File(path) => fs::read(&path).map_err(|e| Error::io(&path, &e)),
        }
    }
}

fn refused(what: impl Into<String>) -> Error {
    Error::Export(what.into())
}

impl Frozen {
    /// Reads where the log in `dir` stands, and checks that its checkpoint is its own and is
    /// that of the tree at its right edge. What lies to the left is not read here.
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Self, Error> {
        let layout = Layout::new(dir);
        layout.origin()?;
        let marker = layout.read_marker()?;
        let vkeys = marker.vkeys.clone().unwrap_or_default();
        let reading = Reading::begin(&layout)?;
        let hot = match &reading {
            Reading::Live => {
                let (hot, read_only) = check::asked(&layout)?;
                if let Some(why) = read_only {
                    return Err(refused(format!("the running server does not sign: {why}")));
                }
                hot
            }
            Reading::Rest(_) => check::at_rest(&layout, options)?,
        };
        let checkpoint = own_checkpoint(
            "the log's checkpoint",
            hot.note.as_bytes(),
            &marker.origin,
            &vkeys,
        )?;
        let blobs = FileBlobs::new(&layout.public());
        let held = hot.size - hot.tail.len() as u64;
        let mut edge = full_tiles_edge(&blobs, held)?;
        let hashes: Vec<Hash> = hot.tail.iter().map(|e| leaf_hash(e)).collect();
        edge.append(&hashes);
        if checkpoint.size != hot.size || edge.root() != checkpoint.root {
            return Err(refused(
                "the right edge of the tree is not what was signed: run `countersign-server check`",
            ));
        }
        Ok(Self {
            layout,
            marker,
            checkpoint,
            note: hot.note,
            blobs,
            tail: hot.tail,
            edge,
            _reading: reading,
        })
    }

    /// Whether a server ran on the directory.
    pub(crate) fn live(&self) -> bool {
        matches!(self._reading, Reading::Live)
    }

    /// The root of the tree over the first `size` leaves.
    pub(crate) fn root_at(&self, size: u64) -> Result<Hash, Error> {
        let tiles = Tiles {
            blobs: &self.blobs,
            size: self.checkpoint.size,
            edge: &self.edge,
        };
        Ok(root_from_tiles(size, &tiles).map_err(StoreError::from)?)
    }

    /// Gives each item with its path, in order: what names the log, tiles and bundles, what
    /// else there is, and the checkpoint.
    pub(crate) fn each(
        &self,
        mut each: impl FnMut(&str, Item) -> Result<(), Error>,
    ) -> Result<(), Error> {
        each("state/log.json", Item::Bytes(self.marker.to_bytes()?))?;
        self.tiles(&mut each)?;
        let (public, private) = (self.layout.public(), self.layout.private());
        documents(&public.join("trust"), "state/trust", &mut each)?;
        documents(&private.join("pending"), "state/pending", &mut each)?;
        for project in names(&private.join("pending-trust"))? {
            let (dir, shown) = (
                private.join("pending-trust").join(&project),
                format!("state/pending-trust/{project}"),
            );
            if dir.is_dir() {
                documents(&dir, &shown, &mut each)?;
            }
        }
        each("checkpoint", Item::Bytes(self.note.clone().into_bytes()))
    }

    fn tiles(&self, each: &mut impl FnMut(&str, Item) -> Result<(), Error>) -> Result<(), Error> {
        let (size, public) = (self.checkpoint.size, self.layout.public());
        let source = LogSource {
            blobs: &self.blobs,
            size,
            tail: &self.tail,
        };
        for index in 0..size.div_ceil(WIDTH) {
            let bundle = EntryTile {
                index,
                width: width_at(size, 0, index),
            };
            let path = bundle.path();
            let file = public.join(&path);
            let item = if bundle.width == TILE_WIDTH && file.is_file() {
                Item::File(file)
            } else {
                let failed = |e| match e {
                    Unreadable::Missing => refused(format!("{path} is missing")),
                    Unreadable::TooLong => refused(format!("{path} is too long")),
                    Unreadable::Failed(why) => refused(why),
                };
                Item::Bytes(source.bundle(&bundle).map_err(failed)?)
            };
            each(&path, item)?;
        }
        for level in 0..8 {
            for index in 0..size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0) {
                let width = TILE_WIDTH;
                let tile = Tile {
                    level,
                    index,
                    width,
                };
                each(&tile.path(), Item::File(public.join(tile.path())))?;
            }
            if let Some(tile) = Tile::partial(size, level) {
                each(&tile.path(), Item::Bytes(self.edge.partial(level).concat()))?;
            }
        }
        Ok(())
    }
}

/// Reads a checkpoint of this log: signed by both keys of one of its pairs.
pub(crate) fn own_checkpoint(
    what: &str,
    note: &[u8],
    origin: &str,
    vkeys: &[String],
) -> Result<Checkpoint, Error> {
    let mut heard = Heard::default();
    let checkpoint = check::signed_by(&mut heard, what, note, origin, vkeys)?;
    let bad = heard.findings.into_iter().next();
    match (bad, checkpoint) {
        (None, Some(checkpoint)) => Ok(checkpoint),
        (Some(bad), _) => Err(refused(format!("{what}: {}", bad.what))),
        (None, None) => Err(refused(format!("{what} is no checkpoint"))),
    }
}

/// The names in a directory, in order; none where it is missing.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let items = match fs::read_dir(dir) {
        Ok(items) => items,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(dir, &e)),
    };
    let mut names = Vec::new();
    for item in items {
        let name = item.map_err(|e| Error::io(dir, &e))?.file_name();
        // Whatever is named otherwise is not ours.
        names.extend(name.into_string());
    }
    names.sort();
    Ok(names)
}

/// The JSON files right in `dir`.
fn documents(
    dir: &Path,
    shown: &str,
    each: &mut impl FnMut(&str, Item) -> Result<(), Error>,
) -> Result<(), Error> {
    for name in names(dir)? {
        if !name.ends_with(".json") {
            continue;
        }
        let path = dir.join(&name);
        match fs::read(&path) {
            Ok(bytes) => each(&format!("{shown}/{name}"), Item::Bytes(bytes))?,
            // Admitted or refused in this moment.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io(&path, &e)),
        }
    }
    Ok(())
}
