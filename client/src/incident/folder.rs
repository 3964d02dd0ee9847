//! The report's directory: written whole or not at all, and read strictly.

use crate::fail::Fail;
use crate::place::open_regular;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The directories in it.
const INNER: [&str; 4] = ["proofs", "osv", "samples", "next"];
/// Files in it, at most.
const MOST: usize = 1_000_000;

/// A file of the report is not what it must be.
pub(crate) fn changed(name: &str, why: impl std::fmt::Display) -> Fail {
    Fail::untrusted("file-changed", format!("{name}: {why}"))
        .detail("file", name)
        .hint("the report was changed or damaged: ask whoever gave it to you for the whole of it")
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
    /// Exit code 1: a report without it is no whole report.
    pub(crate) fn read(&self, name: &str, max: u64) -> Result<Vec<u8>, Fail> {
        let missing = |e: io::Error| {
            let kind = match e.kind() {
                io::ErrorKind::NotFound => "file-missing",
                _ => "file-unreadable",
            };
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

    /// The names of all files in it, with `/` between.
    ///
    /// # Errors
    /// Exit code 2 where the directory cannot be read; 1 where something in it is neither a file
    /// nor one of the report's directories.
    pub(crate) fn list(&self) -> Result<BTreeSet<String>, Fail> {
        let mut names = BTreeSet::new();
        self.list_into("", &mut names)?;
        Ok(names)
    }

    fn list_into(&self, under: &str, names: &mut BTreeSet<String>) -> Result<(), Fail> {
        let directory = self.path(under);
        let bad = |e: io::Error| {
            Fail::usage("unreadable", format!("{}: {e}", directory.display()))
                .hint("give the directory that `countersign incident report --out` wrote")
        };
        for entry in fs::read_dir(&directory).map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let name = entry.file_name();
            let name = name
                .to_str()
                .ok_or_else(|| surplus(&name.to_string_lossy()))?;
            let name = match under {
                "" => name.to_owned(),
                under => format!("{under}/{name}"),
            };
            // Of the entry itself, not of what a link leads to.
            let kind = entry.file_type().map_err(bad)?;
            if kind.is_dir() && INNER.contains(&name.as_str()) {
                self.list_into(&name, names)?;
            } else if !kind.is_file() || names.len() >= MOST {
                return Err(surplus(&name));
            } else {
                names.insert(name);
            }
        }
        Ok(())
    }
}

/// Something stands in the directory that the report does not have.
pub(crate) fn surplus(name: &str) -> Fail {
    Fail::untrusted("file-surplus", format!("{name} is no part of the report"))
        .detail("file", name)
        .hint("take it out, if you put it there; else the report was changed")
}

/// A report that is being written: beside its place, under another name. Dropped without
/// [`Folder::commit`], it is gone.
pub(crate) struct Folder {
    temporary: tempfile::TempDir,
    place: PathBuf,
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
        let made = || -> io::Result<tempfile::TempDir> {
            let temporary = tempfile::Builder::new()
                .prefix(".countersign-incident-")
                .tempdir_in(parent)?;
            for inner in INNER {
                fs::create_dir(temporary.path().join(inner))?;
            }
            set_mode(&temporary.path().join("samples"), 0o700)?;
            Ok(temporary)
        };
        Ok(Self {
            temporary: made().map_err(|e| unwritable(place, &e))?,
            place: place.to_owned(),
        })
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
        let path = self.temporary.path().join(name);
        options
            .open(path)
            .map_err(|e| unwritable(&self.place.join(name), &e))
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
            for inner in INNER {
                fs::File::open(from.join(inner))
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
        let names = Files::new(&place).list().unwrap();
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            ["proofs/1.bundle", "report.json"]
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
        assert_eq!(kind(files.list()), (1, "file-surplus".into()));
        fs::remove_file(dir.path().join("report.json")).unwrap();
        assert_eq!(files.read("elsewhere", 1).unwrap(), b"x");
        assert_eq!(kind(files.read("elsewhere", 0)), (1, "file-changed".into()));
        fs::create_dir(dir.path().join("more")).unwrap();
        assert_eq!(kind(files.list()), (1, "file-surplus".into()));
    }
}
