//! `export`: the portable form of a log, a tlog-tiles directory (c2sp.org/tlog-tiles) with
//! `state/` beside it. Any web server serves the former; `import` makes a data directory of
//! both. Exporting again into the same directory adds what is new.

use crate::check::Options;
use crate::error::Error;
use crate::frozen::{Frozen, Item, names, own_checkpoint};
use crate::rotation::whole_pairs;
use crate::store::{Blobs as _, Disk, FileBlobs, make_dir, write_durably};
use ledger::Hash;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tlog::checkpoint::Checkpoint;
use tlog::tile::{EntryTile, Tile};

/// Bytes of tiles that are written and synced together, about.
const TOGETHER: usize = 8 << 20;
/// Files of the same.
const FILES: usize = 128;

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Leaves that the directory had before.
    pub had: u64,
    /// Files that were written.
    pub files: u64,
    /// Whether a server ran on the data directory.
    pub live: bool,
}

fn refused(what: impl Into<String>) -> Error {
    Error::Export(what.into())
}

/// Writes the log in `dir` to `out`, which is empty, missing, or an earlier export of it.
///
/// # Errors
/// [`Error::Export`] where `out` is neither, or the log is damaged; and whatever reading or
/// writing says. What was written then has no checkpoint of it yet.
pub fn export(dir: &Path, out: &Path, options: &Options) -> Result<Exported, Error> {
    let frozen = Frozen::open(dir, options)?;
    let before = earlier(out, &frozen)?;
    fs::create_dir_all(out).map_err(|e| Error::io(out, &e))?;
    make_dir(&Disk, &out.join("state"))?;
    // Projects that wait are in no log, so they are not for everybody to read.
    let private = fs::Permissions::from_mode(0o700);
    let state = out.join("state");
    fs::set_permissions(&state, private).map_err(|e| Error::io(&state, &e))?;
    let mut writing = Writing {
        out,
        blobs: FileBlobs::new(out),
        together: Vec::new(),
        bytes: 0,
        files: 0,
        state: BTreeSet::new(),
    };
    frozen.each(|path, item| writing.take(path, item))?;
    let (size, root) = (frozen.checkpoint.size, frozen.checkpoint.root);
    let had = before.map_or(0, |c| c.size);
    forget_partials(out, had, size)?;
    Ok(Exported {
        size,
        root,
        had,
        files: writing.files,
        live: frozen.live(),
    })
}

/// What stands in `out`: an earlier checkpoint of this log, or nothing.
fn earlier(out: &Path, frozen: &Frozen) -> Result<Option<Checkpoint>, Error> {
    if names(out)?.is_empty() {
        return Ok(None);
    }
    let shown = out.display();
    let ours = crate::datadir::Marker::parse(
        &fs::read(out.join("state/log.json"))
            .map_err(|_| refused(format!("{shown} is neither empty nor an export")))?,
        &out.join("state").display().to_string(),
    )?;
    // One that was made before its keys were rotated lists pairs that this log had then.
    let all = frozen.marker.all_vkeys();
    let listed = ours.vkeys.as_deref().unwrap_or_default();
    if ours.origin != frozen.marker.origin || !whole_pairs(listed, &all) {
        return Err(refused(format!(
            "{shown} holds an export of another log, {:?}",
            ours.origin
        )));
    }
    let path = out.join("checkpoint");
    let note = match fs::read(&path) {
        Ok(note) => note,
        // An export that was interrupted.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(&path, &e)),
    };
    let what = format!("the checkpoint in {shown}");
    let there = own_checkpoint(&what, &note, &ours.origin, &all)?;
    let here = frozen.checkpoint.size;
    if there.size > here {
        return Err(refused(format!(
            "{shown} has {} leaves and the log {here}: the log went back, do not serve it; \
             `import` brings the newer ones back",
            there.size
        )));
    }
    if frozen.root_at(there.size)? != there.root {
        return Err(refused(format!(
            "{shown} is of another history: at {} leaves its root is not this log's",
            there.size
        )));
    }
    Ok(Some(there))
}

struct Writing<'a> {
    out: &'a Path,
    blobs: FileBlobs,
    together: Vec<(String, Vec<u8>)>,
    bytes: usize,
    files: u64,
    /// What `state/` has now.
    state: BTreeSet<String>,
}

impl Writing<'_> {
    fn take(&mut self, path: &str, item: Item) -> Result<(), Error> {
        if path == "checkpoint" {
            // All that it covers stands before it does.
            self.flush()?;
            forget(self.out, "state", &self.state)?;
            return self.write(path, item);
        }
        if path.starts_with("state/") {
            self.state.insert(path.to_owned());
            return self.write(path, item);
        }
        // Written whole or not at all, so one of that length is there: whether its bytes are
        // the right ones `check --tiles` can say.
        let there = fs::metadata(self.out.join(path)).map(|m| m.len());
        if there.is_ok_and(|length| item.length().is_ok_and(|l| l == length)) {
            return Ok(());
        }
        let bytes = item.bytes()?;
        self.bytes += bytes.len();
        self.together.push((path.to_owned(), bytes));
        if self.bytes > TOGETHER || self.together.len() >= FILES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.blobs.put(&self.together)?;
        self.files += self.together.len() as u64;
        self.together.clear();
        self.bytes = 0;
        Ok(())
    }

    fn write(&mut self, path: &str, item: Item) -> Result<(), Error> {
        let (target, bytes) = (self.out.join(path), item.bytes()?);
        if fs::read(&target).is_ok_and(|standing| standing == bytes) {
            return Ok(());
        }
        let mut dir = self.out.to_owned();
        let mut parts: Vec<&str> = path.split('/').collect();
        parts.pop();
        for part in parts {
            dir.push(part);
            make_dir(&Disk, &dir)?;
        }
        self.files += 1;
        Ok(write_durably(&Disk, &target, &bytes)?)
    }
}

/// Removes what `state/` had and has no more: a project that no longer waits, say.
fn forget(out: &Path, dir: &str, have: &BTreeSet<String>) -> Result<(), Error> {
    for name in names(&out.join(dir))? {
        let path = format!("{dir}/{name}");
        let at = out.join(&path);
        if at.is_dir() {
            forget(out, &path, have)?;
            // Where it is empty now; else it stays.
            let _ = fs::remove_dir(&at);
        } else if !have.contains(&path) {
            fs::remove_file(&at).map_err(|e| Error::io(&at, &e))?;
        }
    }
    Ok(())
}

/// Removes the partial tiles of an earlier export that the new checkpoint has no use for.
fn forget_partials(out: &Path, had: u64, size: u64) -> Result<(), Error> {
    let of = |size: u64| {
        let mut paths: BTreeSet<String> = (0..8)
            .filter_map(|level| Tile::partial(size, level))
            .map(|tile| tile.path())
            .collect();
        let bundle = Tile::partial(size, 0).map(|tile| EntryTile {
            index: tile.index,
            width: tile.width,
        });
        paths.extend(bundle.map(|b| b.path()));
        paths
    };
    for path in of(had).difference(&of(size)) {
        let at = out.join(path);
        match fs::remove_file(&at) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&at, &e)),
            _ => {}
        }
        if let Some(dir) = at.parent() {
            let _ = fs::remove_dir(dir);
        }
    }
    Ok(())
}
