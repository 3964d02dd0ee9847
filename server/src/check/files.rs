//! What else lies in a log's directories: files that no leaf accounts for, trust documents,
//! projects that wait, the marker and the log's keys.

use super::report::{Heard, Unchecked};
use crate::datadir::{Layout, Marker};
use crate::error::Error;
use crate::logkeys::LogKeys;
use crate::pending::Waiting;
use crate::trust::TrustDocuments;
use ledger::fold::{Fold, check_first_statement};
use ledger::statement::Body;
use ledger::trust::TrustDocument;
use ledger::{Hash, from_hex32, hex32};
use std::fs;
use std::path::{Path, PathBuf};
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, width_at};

/// A file, with its path as it is shown.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) shown: String,
}

fn io(path: &Path, e: &std::io::Error) -> Unchecked {
    Error::io(path, e).into()
}

/// The files and directories right in `dir`, by name; none where there is no such directory.
pub(super) fn listed(dir: &Path, shown: &str) -> Result<Vec<(Found, bool)>, Unchecked> {
    let items = match fs::read_dir(dir) {
        Ok(items) => items,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(dir, &e)),
    };
    let mut all = Vec::new();
    for item in items {
        let item = item.map_err(|e| io(dir, &e))?;
        let name = item.file_name();
        let shown = format!("{shown}{}", name.to_string_lossy());
        let path = item.path();
        // A link counts as what it points to.
        let is_dir = path.is_dir();
        all.push((Found { path, shown }, is_dir));
    }
    all.sort_by(|(a, _), (b, _)| a.shown.cmp(&b.shown));
    Ok(all)
}

/// The bytes of a file that was listed; `None` where it has gone since.
pub(super) fn bytes(found: &Found) -> Result<Option<Vec<u8>>, Unchecked> {
    match fs::read(&found.path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io(&found.path, &e)),
    }
}

/// What a file name below `tile/` says.
enum Named {
    Hashes(Tile),
    Entries(EntryTile),
}

impl Named {
    fn parse(path: &str) -> Option<Self> {
        let entries = EntryTile::parse_path(path).map(Self::Entries);
        let hashes = || Tile::parse_path(path).map(Self::Hashes);
        entries.or_else(|_| hashes()).ok()
    }
    fn width(&self) -> u16 {
        match self {
            Self::Hashes(tile) => tile.width,
            Self::Entries(tile) => tile.width,
        }
    }
    /// Rows that a log of `size` leaves has there.
    fn has(&self, size: u64) -> u16 {
        match self {
            Self::Hashes(tile) => width_at(size, tile.level, tile.index),
            Self::Entries(tile) => width_at(size, 0, tile.index),
        }
    }
}

/// In what sort of directory tiles lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A data directory at rest: full tiles of the log's size, and no others.
    Rest,
    /// One whose server goes on writing.
    Live,
    /// A mirror or export, which may have partial tiles, and more than its checkpoint says.
    Mirror,
}

/// Looks at all names below `tile/` in `root`, shown behind `shown`.
pub(super) fn tiles(
    root: &Path,
    shown: &str,
    size: u64,
    place: Place,
    heard: &mut Heard,
) -> Result<(), Unchecked> {
    let (mut dirs, mut unfinished, mut beyond) = (vec!["tile/".to_owned()], 0u64, 0u64);
    while let Some(dir) = dirs.pop() {
        for (found, is_dir) in listed(&root.join(&dir), &dir)? {
            let path = found.shown;
            if is_dir {
                dirs.push(format!("{path}/"));
                continue;
            }
            let finished = path.strip_suffix(".tmp").unwrap_or(&path);
            let at = format!("{shown}{path}");
            match Named::parse(finished) {
                Some(_) if finished != path => unfinished += 1,
                Some(tile) if tile.width() == tile.has(size) && tile.width() == TILE_WIDTH => {}
                Some(tile) if tile.width() == TILE_WIDTH => match place {
                    Place::Rest => {
                        let what = format!(
                            "it is full, and the log has {size} leaves: the hot state went back, or it was put there"
                        );
                        heard.find("beyond-checkpoint", at, what);
                    }
                    Place::Live => {}
                    Place::Mirror => beyond += 1,
                },
                Some(tile) if place == Place::Mirror => match tile.has(size) {
                    has if has == tile.width() => {}
                    has if has < tile.width() => beyond += 1,
                    has => shorter(root, &path, &tile, has, heard)?,
                },
                _ if place == Place::Mirror => {
                    heard.note("unknown-file", at, "it is no tile");
                }
                _ => heard.find("unknown-file", at, "a log does not write it"),
            }
        }
    }
    if unfinished > 0 {
        let what =
            format!("{unfinished} files that a crash left unfinished; they count for nothing");
        heard.note("unfinished", format!("{shown}tile"), what);
    }
    if beyond > 0 {
        let what = format!("{beyond} files beyond the checkpoint, which says nothing of them");
        heard.note("beyond-checkpoint", format!("{shown}tile"), what);
    }
    Ok(())
}

/// A partial tile of an earlier size must be the beginning of what stands there now.
fn shorter(
    root: &Path,
    path: &str,
    tile: &Named,
    has: u16,
    heard: &mut Heard,
) -> Result<(), Unchecked> {
    let whole = match tile {
        Named::Hashes(tile) => Tile {
            width: has,
            ..*tile
        }
        .path(),
        Named::Entries(tile) => EntryTile {
            width: has,
            ..*tile
        }
        .path(),
    };
    let read = |path: &str| {
        bytes(&Found {
            path: root.join(path),
            shown: String::new(),
        })
    };
    // What is missing was found by the walk.
    let (Some(whole), Some(part)) = (read(&whole)?, read(path)?) else {
        return Ok(());
    };
    let length = match tile {
        Named::Hashes(tile) => Some(usize::from(tile.width) * 32),
        // The lengths of that many entries, each behind its own.
        Named::Entries(tile) => (0..tile.width).try_fold(0usize, |at, _| {
            let (length, _) = whole.get(at..)?.split_first_chunk::<2>()?;
            Some(at + 2 + usize::from(u16::from_be_bytes(*length)))
        }),
    };
    if length.and_then(|length| whole.get(..length)) != Some(part.as_slice()) {
        let what = format!("it is not the beginning of the tile of {has} that stands beside it");
        heard.find("tile-mismatch", path, what);
    }
    Ok(())
}

/// The marker: which log and which vkeys. `None` where it does not say.
pub(super) fn marker(
    bytes: &[u8],
    shown: &str,
    heard: &mut Heard,
) -> Result<Option<Marker>, Unchecked> {
    match Marker::parse(bytes, "the directory") {
        // Not damage, as far as this program can tell.
        Err(e @ Error::NewerFormat { .. }) => Err(e.into()),
        Err(e) => {
            heard.find("log-json", shown, e);
            Ok(None)
        }
        Ok(marker) => {
            if marker.to_bytes().ok().as_deref() != Some(bytes) {
                heard.find("log-json", shown, "it is not as it was written");
            }
            Ok(Some(marker))
        }
    }
}

/// The log's keys load, are as they were written, and are those of `marker`.
pub(super) fn keys(layout: &Layout, marker: &Marker, heard: &mut Heard) -> Option<Vec<String>> {
    let private = layout.private();
    let keys = match LogKeys::load(&private, marker) {
        Ok(keys) => keys,
        Err(e) => {
            heard.find("log-keys", "private", e);
            return None;
        }
    };
    for (name, written) in LogKeys::as_written(&private, marker) {
        if !written {
            heard.find(
                "log-keys",
                format!("private/{name}"),
                "it is not as it was written",
            );
        }
    }
    let vkeys = keys.vkeys();
    if let Some(said) = &marker.vkeys
        && *said != vkeys
    {
        let what = "the keys in private/ are others than the vkeys that it lists";
        heard.find("log-keys", "log.json", what);
    }
    Some(vkeys)
}

/// What is known of the log when its other files are looked at.
pub(super) struct Known<'a> {
    pub(super) origin: &'a str,
    /// Of every pair that signs or ever signed: documents of earlier pairs stay.
    pub(super) vkeys: &'a [String],
    /// The ledger's state, where every leaf could be folded.
    pub(super) fold: Option<&'a Fold>,
    pub(super) live: bool,
}

/// The trust documents in `dir`.
pub(super) fn trust(
    dir: &Path,
    shown: &str,
    known: &Known<'_>,
    heard: &mut Heard,
) -> Result<(), Unchecked> {
    for (found, _) in listed(dir, shown)? {
        let Some(document) = document(&found, known, heard)? else {
            continue;
        };
        let id = document.project.id;
        let Some(fold) = known.fold else { continue };
        let name = fold.project(&id).map(|p| &p.current().project.name);
        if name != Some(&document.project.name) && !(known.live && name.is_none()) {
            let (id, name) = (hex32(&id), &document.project.name);
            let what = format!("no project {id} of the name {name:?} is in the log");
            heard.find("trust-unknown-project", found.shown, what);
        }
    }
    Ok(())
}

/// The trust documents of projects that wait: in `dir`, a directory each.
pub(super) fn pending_trust(
    dir: &Path,
    shown: &str,
    known: &Known<'_>,
    heard: &mut Heard,
) -> Result<(), Unchecked> {
    for (project, is_dir) in listed(dir, shown)? {
        let id = project
            .path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(from_hex32);
        let (Some(id), true) = (id, is_dir) else {
            heard.note("unknown-file", project.shown, "it is no project's");
            continue;
        };
        for (found, _) in listed(&project.path, &format!("{}/", project.shown))? {
            let Some(document) = document(&found, known, heard)? else {
                continue;
            };
            if document.project.id != id {
                heard.find(
                    "trust-unknown-project",
                    found.shown,
                    "it is of another project",
                );
            }
        }
    }
    Ok(())
}

fn named_by_hash(found: &Found) -> Option<Hash> {
    let name = found.path.file_name()?.to_str()?;
    from_hex32(name.strip_suffix(".json")?)
}

fn document(
    found: &Found,
    known: &Known<'_>,
    heard: &mut Heard,
) -> Result<Option<TrustDocument>, Unchecked> {
    let Some(hash) = named_by_hash(found) else {
        heard.note("unknown-file", &found.shown, "it is no trust document");
        return Ok(None);
    };
    let Some(bytes) = bytes(found)? else {
        return Ok(None);
    };
    match TrustDocuments::check(&hash, &bytes, known.origin, known.vkeys) {
        Ok(document) => Ok(Some(document)),
        Err(e) => {
            heard.find(e.kind(), &found.shown, e);
            Ok(None)
        }
    }
}

/// The projects that wait, in `dir`.
pub(super) fn pending(dir: &Path, shown: &str, heard: &mut Heard) -> Result<(), Unchecked> {
    for (found, _) in listed(dir, shown)? {
        let Some(id) = named_by_hash(&found) else {
            heard.note("unknown-file", found.shown, "it is no pending project");
            continue;
        };
        let Some(bytes) = bytes(&found)? else {
            continue;
        };
        let Some(one) = Waiting::read(id, &bytes) else {
            heard.find(
                "pending",
                found.shown,
                "it is not a pending project as it was written",
            );
            continue;
        };
        if let Body::Project(project) = &one.statement.body
            && let Err(e) = check_first_statement(&one.envelope, project)
        {
            heard.find("pending", found.shown, e);
        }
    }
    Ok(())
}
