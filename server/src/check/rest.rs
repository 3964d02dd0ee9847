//! What the databases of a data directory hold: read from copies where no server runs, asked
//! of the server where one does.

use super::report::{Heard, Unchecked};
use super::rows::Rows;
use super::store::{self, Unread};
use super::{Options, bundle_start, files};
use crate::datadir::Layout;
use crate::error::Error;
use crate::operator::{self, Request};
use crate::view::Entry;
use ledger::from_b64;
use rustix::fs::SeekFrom;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{Scope, ScopedJoinHandle};
use tempfile::TempDir;
use tlog::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::tile::{EntryTile, TILE_WIDTH};

/// A place for copies, gone when this is dropped.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new(place: Option<&Path>) -> Result<Self, Error> {
        let place = place.map_or_else(std::env::temp_dir, Path::to_owned);
        // Mode 0700: a copy is as private as what it is of.
        let made = tempfile::Builder::new()
            .prefix("countersign-")
            .tempdir_in(&place);
        made.map(Self).map_err(|e| Error::io(&place, &e))
    }

    /// A copy of the files below `from`.
    pub(crate) fn copy(&self, from: &Path, name: &str) -> Result<PathBuf, Error> {
        let to = self.0.path().join(name);
        copy(from, &to)?;
        Ok(to)
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir(to).map_err(|e| Error::io(to, &e))?;
    for item in fs::read_dir(from).map_err(|e| Error::io(from, &e))? {
        let item = item.map_err(|e| Error::io(from, &e))?;
        let (path, target) = (item.path(), to.join(item.file_name()));
        if path.is_dir() {
            copy(&path, &target)?;
        } else if path.is_file() {
            copy_file(&path, &target).map_err(|e| Error::io(&path, &e))?;
        }
    }
    Ok(())
}

/// Copies what is written of a file: fjall's journal is made large at once, and mostly hole.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(&from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but hole up to its end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        at = rustix::fs::seek(&from, SeekFrom::Hole(data))?;
        from.seek(io::SeekFrom::Start(data))?;
        to.seek(io::SeekFrom::Start(data))?;
        io::copy(&mut (&mut from).take(at - data), &mut to)?;
    }
    Ok(())
}

/// Where a log stands.
#[derive(Debug, Default)]
pub(crate) struct Hot {
    pub(crate) size: u64,
    /// The signed checkpoint.
    pub(crate) note: String,
    /// The last entries, at least those of the partial bundle.
    pub(crate) tail: Vec<Entry>,
    /// Of the hot state: its root and the digest of the folded state.
    root: Option<Hash>,
    pub(crate) fold: Option<Hash>,
}

impl Hot {
    /// What can still be walked where the hot state is lost: the full bundles that stand.
    pub(super) fn without_head(layout: &Layout) -> Result<Self, Unchecked> {
        let mut bundles = 0;
        let stands = |index| {
            let width = TILE_WIDTH;
            layout
                .public()
                .join(EntryTile { index, width }.path())
                .is_file()
        };
        while stands(bundles) {
            bundles += 1;
        }
        Ok(Self {
            size: bundles * u64::from(TILE_WIDTH),
            ..Self::default()
        })
    }

    /// The head's own words and those of its checkpoint are the same.
    pub(super) fn agrees(&self, checkpoint: Option<&Checkpoint>, heard: &mut Heard) {
        let (Some(c), Some(root)) = (checkpoint, self.root) else {
            return;
        };
        if (c.size, c.root) != (self.size, root) {
            let what = format!(
                "it stands at {} leaves and root {}, its checkpoint says {} and {}",
                self.size,
                hex::encode(root),
                c.size,
                hex::encode(c.root)
            );
            heard.find("hot-head", "private/hot", what);
        }
    }
}

/// Reads the hot state of a log that no server runs. `None` where that is a finding.
pub(super) fn hot(
    layout: &Layout,
    scratch: &Scratch,
    options: &Options,
    heard: &mut Heard,
) -> Result<Option<Hot>, Unchecked> {
    let (dir, shown) = (layout.private().join("hot"), "private/hot");
    if !dir.is_dir() {
        heard.find("hot-missing", shown, "it is not there");
        return Ok(None);
    }
    let copied = scratch.copy(&dir, "hot")?;
    let state = match store::hot(&options.program, &copied) {
        Ok(state) => state,
        Err(Unread::Failed(e)) => return Err(e.into()),
        Err(Unread::Damaged(why)) => {
            heard.find("hot-damaged", shown, why);
            return Ok(None);
        }
        Err(Unread::Other(_)) => return Ok(None),
    };
    let Some(head) = state.head else {
        heard.find("hot-missing", shown, "it says nowhere that the log stands");
        return Ok(None);
    };
    let first = state.entries.first().map_or(head.size, |(index, _)| *index);
    let want: Vec<u64> = (first..head.size).collect();
    if !state.entries.iter().map(|(index, _)| index).eq(&want) || first > bundle_start(head.size) {
        let held = state.entries.len();
        let what = format!(
            "the log has {} leaves, and of those from {first} on it holds {held}",
            head.size
        );
        heard.find("hot-entries", shown, what);
    } else if bundle_start(first) != first {
        let what = format!("it begins with entry {first}, in the middle of a bundle");
        heard.find("hot-entries", shown, what);
    }
    // Of entries with a gap those behind the last one are still of use.
    let mut tail: Vec<Entry> = Vec::new();
    for ((index, entry), at) in state.entries.into_iter().rev().zip((0..head.size).rev()) {
        if index != at {
            break;
        }
        tail.push(Entry::from(entry));
    }
    tail.reverse();
    Ok(Some(Hot {
        size: head.size,
        note: head.checkpoint,
        tail,
        root: Some(head.root),
        fold: Some(head.fold),
    }))
}

/// Asks the running server where its log stands.
pub(super) fn snapshot(layout: &Layout, heard: &mut Heard) -> Result<Hot, Unchecked> {
    let (hot, read_only) = asked(layout)?;
    if let Some(why) = read_only {
        heard.find(
            "read-only",
            "private",
            format!("the running server does not sign: {why}"),
        );
    }
    Ok(hot)
}

/// Asks the running server: where its log stands, and why it does not sign.
pub(crate) fn asked(layout: &Layout) -> Result<(Hot, Option<String>), Error> {
    let answer = operator::call(&layout.socket(), &Request::Snapshot)?;
    let parsed = || {
        let entries = answer.get("tail")?.as_array()?.iter();
        let tail = entries.map(|e| Some(Entry::from(from_b64(e.as_str()?)?)));
        Some(Hot {
            size: answer.get("size")?.as_u64()?,
            note: answer.get("checkpoint")?.as_str()?.to_owned(),
            tail: tail.collect::<Option<_>>()?,
            ..Hot::default()
        })
    };
    let hot = parsed().filter(|hot| hot.tail.len() as u64 <= hot.size);
    let hot = hot.ok_or_else(|| Error::Operator("the server's answer is not a snapshot".into()))?;
    let read_only = answer.get("readOnly").and_then(|w| w.as_str());
    Ok((hot, read_only.map(str::to_owned)))
}

/// An index that is being read, from a copy.
pub(super) struct IndexRead<'scope> {
    told: Receiver<u64>,
    indexed: Option<u64>,
    reader: ScopedJoinHandle<'scope, Result<Rows, Unread>>,
}

const INDEX: &str = "private/index";

impl<'scope> IndexRead<'scope> {
    /// Begins; `None` where there is no index, which the next start makes anew.
    pub(super) fn begin(
        scope: &'scope Scope<'scope, '_>,
        layout: &Layout,
        scratch: &Scratch,
        options: &Options,
    ) -> Result<Option<Self>, Unchecked> {
        let dir = layout.private().join("index");
        if files::listed(&dir, "")?.is_empty() {
            return Ok(None);
        }
        let (copied, program) = (scratch.copy(&dir, "index")?, options.program.clone());
        let (tell, told) = channel();
        let read = move || {
            store::index(&program, &copied, |size| {
                let _ = tell.send(size);
            })
        };
        Ok(Some(Self {
            told,
            indexed: None,
            reader: scope.spawn(read),
        }))
    }

    /// How far it is, before its rows are read.
    pub(super) fn size(&mut self) -> Option<u64> {
        self.indexed = self.told.recv().ok();
        self.indexed
    }

    /// Compares it with the rows that the log gives for as many leaves.
    pub(super) fn compare(
        self,
        want: Option<Rows>,
        size: u64,
        heard: &mut Heard,
    ) -> Result<(), Unchecked> {
        let hint = "it follows from the rest: move it away, and the next start makes it anew";
        let ahead = |indexed: u64| {
            let what =
                format!("it has {indexed} entries, and the log {size}: the hot state went back");
            ledger::walk::Finding::new("index-ahead", INDEX, what)
        };
        let mut rows = match self.reader.join() {
            Ok(Ok(rows)) => rows,
            Ok(Err(Unread::Failed(e))) => return Err(e.into()),
            Ok(Err(Unread::Other(indexed))) if indexed > size => {
                heard.finding(ahead(indexed));
                return Ok(());
            }
            Ok(Err(Unread::Other(_))) => {
                let what = "another version made it; the next start makes it anew";
                heard.note("index-other-version", INDEX, what);
                return Ok(());
            }
            Ok(Err(Unread::Damaged(why))) => {
                heard.find("index-damaged", INDEX, format!("{why}; {hint}"));
                return Ok(());
            }
            Err(_) => {
                return Err(Unchecked {
                    kind: "index",
                    why: "the thread that reads it failed".into(),
                });
            }
        };
        let indexed = self.indexed.unwrap_or_default();
        if indexed > size {
            heard.finding(ahead(indexed));
            return Ok(());
        }
        let mut want = want;
        if indexed < size {
            let what =
                format!("it has {indexed} of {size} entries; it catches up at the next start");
            heard.note("index-behind", INDEX, what);
            rows.behind();
            want.iter_mut().for_each(Rows::behind);
        }
        for (table, got, want) in want.map(|want| rows.differ(&want)).unwrap_or_default() {
            let what = format!(
                "{table}: it has {got} rows, the log gives {want}, and they are not the same; {hint}"
            );
            heard.find("index-differs", INDEX, what);
        }
        Ok(())
    }
}
