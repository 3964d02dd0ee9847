//! The report's directory: written whole or not at all, and read strictly.

use crate::fail::{Fail, visible};
use crate::place::open_regular;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The directories in it.
const INNER: [&str; 4] = ["proofs", "osv", SAMPLES, NEXT];
/// What a storage watch kept.
pub(crate) const SAMPLES: &str = "samples";
/// What is to be signed next.
pub(crate) const NEXT: &str = "next";
/// Those that are there only where there is something in them, and that whoever hands a report on
/// may keep back.
const OPTIONAL: [&str; 2] = [SAMPLES, NEXT];
/// Files in it, at most.
const MOST: usize = 1_000_000;
/// Things that are no part of a report and are named, at most: of all that are found the gravest is
/// shown.
const MOST_FAILS: usize = 1_000;
/// What a report is called that is being written.
const TEMPORARY: &str = ".countersign-incident-";

/// A file of the report is not what it must be. Names and reasons may be from outside.
pub(crate) fn changed(name: &str, why: impl std::fmt::Display) -> Fail {
    let (name, why) = (visible(name), visible(&why.to_string()));
    Fail::untrusted("file-changed", format!("{name}: {why}"))
        .detail("file", name)
        .hint("the report was changed or damaged: ask whoever gave it to you for the whole of it")
}

/// Something of the report is there and may not be read: nothing is known of it.
pub(crate) fn unreadable(name: &str, e: &io::Error) -> Fail {
    let name = visible(name);
    Fail::unchecked("unreadable", format!("{name} cannot be read: {e}"))
        .detail("file", name)
        .hint("have whoever owns the report let you read it, or give you a copy; or verify a copy without that directory")
}

/// The files of a report, as they lie there.
#[derive(Default)]
pub(crate) struct Listing {
    /// The names of all files, with `/` between.
    pub(crate) names: BTreeSet<String>,
    /// What is neither a file nor one of the report's directories, or may not be read.
    pub(crate) fails: Vec<Fail>,
    /// Of the directories that may be kept back those that are not there.
    pub(crate) absent: Vec<&'static str>,
    /// Directories that may not be read.
    pub(crate) unread: BTreeSet<String>,
}

impl Listing {
    /// Whether what is in a directory can be told.
    pub(crate) fn has(&self, directory: &str) -> bool {
        !self.absent.contains(&directory) && !self.unread.contains(directory)
    }

    fn fail(&mut self, fail: Fail) {
        if self.fails.len() < MOST_FAILS {
            self.fails.push(fail);
        }
    }
}

/// Reads a report.
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    /// The report in `directory`; nothing of it is read yet.
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Where a file of it is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A file's bytes: of a regular file, through no link, up to `max`.
    ///
    /// # Errors
    /// Exit code 1: a report without it is no whole report; 3 where it may not be read.
    pub(crate) fn read(&self, name: &str, max: u64) -> Result<Vec<u8>, Fail> {
        let missing = |e: io::Error| {
            let kind = match e.kind() {
                io::ErrorKind::NotFound => "file-missing",
                io::ErrorKind::PermissionDenied => return unreadable(name, &e),
                _ => "file-unreadable",
            };
            let name = visible(name);
            Fail::untrusted(kind, format!("{name}: {e}"))
                .detail("file", name)
                .hint("a report without it proves less than it says: ask for the whole of it")
        };
        let file = open_regular(&self.path(name)).map_err(missing)?;
        let mut bytes = Vec::new();
        file.take(max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(missing)?;
        if bytes.len() as u64 > max {
            return Err(changed(name, format!("it is larger than {max} bytes")));
        }
        Ok(bytes)
    }

    /// All files in it. Whatever is wrong with one hides no other.
    pub(crate) fn list(&self) -> Listing {
        let mut listing = Listing::default();
        self.list_into("", &mut listing);
        listing.absent = OPTIONAL
            .into_iter()
            .filter(|d| {
                let found = fs::symlink_metadata(self.path(d));
                found.is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
            })
            .collect();
        listing
    }

    fn list_into(&self, under: &str, listing: &mut Listing) {
        let called = match under {
            "" => self.directory.display().to_string(),
            under => format!("{under}/"),
        };
        let entries = match fs::read_dir(self.path(under)) {
            Ok(entries) => entries,
            Err(e) => {
                listing.unread.insert(under.to_owned());
                return listing.fail(unreadable(&called, &e));
            }
        };
        for entry in entries {
            // Of the entry itself, not of what a link leads to.
            let read = entry.and_then(|e| Ok((e.file_name(), e.file_type()?)));
            let (name, kind) = match read {
                Ok(read) => read,
                Err(e) => {
                    listing.unread.insert(under.to_owned());
                    listing.fail(unreadable(&called, &e));
                    continue;
                }
            };
            let Some(name) = name.to_str() else {
                listing.fail(surplus(&name.to_string_lossy()));
                continue;
            };
            let name = match under {
                "" => name.to_owned(),
                under => format!("{under}/{name}"),
            };
            if kind.is_dir() && INNER.contains(&name.as_str()) {
                self.list_into(&name, listing);
            } else if !kind.is_file() || listing.names.len() >= MOST {
                listing.fail(surplus(&name));
            } else {
                listing.names.insert(name);
            }
        }
    }
}

/// Something stands in the directory that the report does not have.
pub(crate) fn surplus(name: &str) -> Fail {
    let name = visible(name);
    Fail::untrusted("file-surplus", format!("{name} is no part of the report"))
        .detail("file", name)
        .hint("take it out, if you put it there; else the report was changed")
}

/// A report that is being written: beside its place, under another name. Dropped without
/// [`Folder::commit`], it is gone.
pub(crate) struct Folder {
    temporary: tempfile::TempDir,
    place: PathBuf,
    left: Vec<PathBuf>,
}

impl Folder {
    /// Begins one that will stand at `place`, where there must be nothing but an empty directory.
    ///
    /// # Errors
    /// Exit code 2.
    pub(crate) fn begin(place: &Path) -> Result<Self, Fail> {
        free(place)?;
        let parent = match place.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let left = left(parent);
        let made = || -> io::Result<tempfile::TempDir> {
            let temporary = tempfile::Builder::new()
                .prefix(TEMPORARY)
                .tempdir_in(parent)?;
            for inner in INNER.iter().filter(|d| !OPTIONAL.contains(d)) {
                fs::create_dir(temporary.path().join(inner))?;
            }
            Ok(temporary)
        };
        Ok(Self {
            temporary: made().map_err(|e| unwritable(place, &e))?,
            place: place.to_owned(),
            left,
        })
    }

    /// What runs that were ended left beside its place, and those write that are at work: that
    /// cannot be told, so nothing of it is taken away.
    pub(crate) fn left(&self) -> &[PathBuf] {
        &self.left
    }

    /// What was written until now, for reading.
    pub(crate) fn files(&self) -> Files {
        Files::new(self.temporary.path())
    }

    /// Writes a file of it.
    ///
    /// # Errors
    /// Exit code 2.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Fail> {
        let mut file = self.create(name, 0o644)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|e| unwritable(&self.place.join(name), &e))
    }

    /// An empty file of it.
    ///
    /// # Errors
    /// Exit code 2.
    #[cfg_attr(not(unix), allow(unused_variables))]
    pub(crate) fn create(&self, name: &str, mode: u32) -> Result<fs::File, Fail> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(mode);
        }
        let bad = |e: io::Error| unwritable(&self.place.join(name), &e);
        let path = self.temporary.path().join(name);
        if let Some((directory, _)) = name.split_once('/')
            && OPTIONAL.contains(&directory)
        {
            self.make(directory).map_err(bad)?;
        }
        options.open(path).map_err(bad)
    }

    /// A directory that is there only where something is in it. Samples are for their owner alone.
    fn make(&self, directory: &str) -> io::Result<()> {
        let path = self.temporary.path().join(directory);
        match fs::create_dir(&path) {
            Ok(()) if directory == SAMPLES => set_mode(&path, 0o700),
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    /// Puts it in its place, durable.
    ///
    /// # Errors
    /// Exit code 2, and then nothing is there.
    pub(crate) fn commit(self) -> Result<(), Fail> {
        let bad = |e: io::Error| unwritable(&self.place, &e);
        free(&self.place)?;
        let from = self.temporary.path();
        set_mode(from, 0o755).map_err(bad)?;
        if cfg!(unix) {
            for inner in INNER.map(|d| from.join(d)).iter().filter(|d| d.exists()) {
                fs::File::open(inner)
                    .and_then(|d| d.sync_all())
                    .map_err(bad)?;
            }
        } else if self.place.exists() {
            // Elsewhere a directory takes no other's place, not even that of an empty one.
            fs::remove_dir(&self.place).map_err(bad)?;
        }
        fs::rename(from, &self.place).map_err(bad)?;
        let _ = self.temporary.keep();
        if let Some(parent) = self.place.parent()
            && cfg!(unix)
            && let Ok(parent) = fs::File::open(parent)
        {
            let _ = parent.sync_all();
        }
        Ok(())
    }
}

/// What has the name of a report that is being written.
fn left(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = entries.filter(|e| e.file_name().to_string_lossy().starts_with(TEMPORARY));
    let mut all: Vec<PathBuf> = ours.map(|e| e.path()).collect();
    all.sort();
    all
}

fn unwritable(place: &Path, e: &io::Error) -> Fail {
    Fail::usage("unwritable", format!("{}: {e}", place.display()))
        .hint("choose a place that can be written; nothing was left there")
}

fn free(place: &Path) -> Result<(), Fail> {
    let taken = |why: &str| {
        Err(
            Fail::usage("out-not-empty", format!("{} {why}", place.display()))
                .hint("a report is evidence and is never written over: give a new directory"),
        )
    };
    match fs::read_dir(place) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => taken("is not empty"),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => taken("is no directory that can be written"),
    }
}

#[cfg_attr(not(unix), allow(unused_variables, clippy::unnecessary_wraps))]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn kind<T>(result: Result<T, Fail>) -> (u8, String) {
        let fail = result.err().unwrap();
        (fail.code, fail.kind)
    }

    #[test]
    fn a_report_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("report");
        let folder = Folder::begin(&place).unwrap();
        folder.write("report.json", b"{}").unwrap();
        assert!(!place.exists());
        drop(folder);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        // An empty directory may be there, and anything else is left as it is.
        fs::create_dir(&place).unwrap();
        let folder = Folder::begin(&place).unwrap();
        folder.write("report.json", b"{}").unwrap();
        folder.write("proofs/1.bundle", b"x").unwrap();
        folder.commit().unwrap();
        let listing = Files::new(&place).list();
        assert_eq!(
            listing.names.into_iter().collect::<Vec<_>>(),
            ["proofs/1.bundle", "report.json"]
        );
        assert_eq!(
            (listing.fails, listing.absent),
            (vec![], vec![SAMPLES, NEXT])
        );
        let taken = (2, "out-not-empty".to_owned());
        assert_eq!(kind(Folder::begin(&place)), taken);
        assert_eq!(kind(Folder::begin(&place.join("report.json"))), taken);
        assert_eq!(fs::read(place.join("report.json")).unwrap(), b"{}");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_of_a_report_is_neither_read_nor_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path());
        fs::write(dir.path().join("elsewhere"), "x").unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join("report.json")).unwrap();
        assert_eq!(kind(files.read("report.json", 9)).1, "file-unreadable");
        assert_eq!(kind(files.read("report.md", 9)), (1, "file-missing".into()));
        let found = || {
            let all = files.list().fails;
            all.into_iter()
                .map(|f| (f.code, f.kind))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(), [(1, "file-surplus".to_owned())]);
        fs::remove_file(dir.path().join("report.json")).unwrap();
        assert_eq!(files.read("elsewhere", 1).unwrap(), b"x");
        assert_eq!(kind(files.read("elsewhere", 0)), (1, "file-changed".into()));
        fs::create_dir(dir.path().join("more")).unwrap();
        fs::write(dir.path().join("b\u{1b}\n"), "x").unwrap();
        assert_eq!(found(), [(1, "file-surplus".to_owned())]);
        assert!(files.list().names.contains("b\u{1b}\n"));
        let said = surplus("b\u{1b}\n");
        assert!(!said.message.contains(['\u{1b}', '\n']), "{said:?}");
        assert_eq!(said.details, changed("b\u{1b}\n", "x").details);
    }
}
