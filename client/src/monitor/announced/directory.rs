//! A directory of bundles, envelopes or prepared statements, each of which announces one.

use crate::fail::visible;
use crate::monitor::alert::{Class, Finding};
use crate::place::open_regular;
use ledger::Hash;
use ledger::bundle::{Bundle, MAX_BUNDLE_BYTES};
use ledger::envelope::Envelope;
use ledger::leaf::Leaf;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::Metadata;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files in it at most.
const MOST_FILES: usize = 10_000;
/// Files that cannot be read and are each said.
const MOST_SAID: usize = 16;

/// By which it is told that a file was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    inode: (u64, u64, i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = {
            use std::os::unix::fs::MetadataExt as _;
            (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec())
        };
        #[cfg(not(unix))]
        let inode = (0, 0, 0, 0);
        Self {
            length: meta.len(),
            modified: meta.modified().ok(),
            inode,
        }
    }
}

/// What is announced there.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    files: BTreeMap<OsString, (Stamp, Result<Hash, String>)>,
    known: BTreeSet<Hash>,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            files: BTreeMap::new(),
            known: BTreeSet::new(),
        }
    }

    /// Whether the statement of this PAE hash is announced.
    pub(super) fn knows(&self, pae: &Hash) -> bool {
        self.known.contains(pae)
    }

    /// Reads what was changed since; says what cannot be read. Where the directory itself cannot
    /// be, what it announced before stays announced.
    pub(super) fn refresh(&mut self) -> Vec<Finding> {
        let mut findings = match self.read() {
            Ok(None) => Vec::new(),
            Ok(Some(left)) => vec![self.trouble(
                "announcements-too-many",
                &self.path,
                format!("more than {MOST_FILES} files announce; {left} are not read"),
            )],
            Err(e) => vec![self.trouble("announcements-unreadable", &self.path, e.to_string())],
        };
        let broken = self.files.iter();
        let broken = broken.filter_map(|(name, (_, read))| Some((name, read.as_ref().err()?)));
        for (name, why) in broken.take(MOST_SAID) {
            let path = self.path.join(name);
            findings.push(self.trouble("announcement-broken", &path, why.clone()));
        }
        findings
    }

    fn trouble(&self, kind: &str, path: &Path, why: String) -> Finding {
        let subject = visible(&path.display().to_string());
        let message = format!("what is announced cannot be read: {}", visible(&why));
        Finding::new(Class::Operational, kind, subject, message)
            .hint("what it would announce is taken for unexpected: mend or remove it")
    }

    /// How many files were left out, if any.
    fn read(&mut self) -> std::io::Result<Option<usize>> {
        let mut found = BTreeMap::new();
        let mut left = 0;
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let announces = Path::new(&name).extension();
            if !announces.is_some_and(|e| e == "bundle" || e == "json") {
                continue;
            }
            // Of the entry itself: what a link leads to is announced by nobody.
            let Ok(meta) = entry.path().symlink_metadata() else {
                continue;
            };
            if !meta.is_file() {
                continue;
            }
            if found.len() >= MOST_FILES {
                left += 1;
                continue;
            }
            let stamp = Stamp::of(&meta);
            let kept = self.files.remove(&name).filter(|(s, _)| *s == stamp);
            let kept = kept.unwrap_or_else(|| {
                let read = announced_by(&entry.path(), &stamp);
                (stamp, read)
            });
            found.insert(name, kept);
        }
        self.known = found.values().filter_map(|(_, r)| r.clone().ok()).collect();
        self.files = found;
        Ok((left > 0).then_some(left))
    }
}

/// The PAE hash of the statement that a file announces.
fn announced_by(path: &Path, stamp: &Stamp) -> Result<Hash, String> {
    let file = open_regular(path).map_err(|e| e.to_string())?;
    // Another may have taken its place.
    let meta = file.metadata().map_err(|e| e.to_string())?;
    if Stamp::of(&meta) != *stamp {
        return Err("it changed while it was read".into());
    }
    let mut bytes = Vec::new();
    let most = MAX_BUNDLE_BYTES as u64 + 1;
    let read = file.take(most).read_to_end(&mut bytes);
    read.map_err(|e| e.to_string())?;
    if bytes.len() > MAX_BUNDLE_BYTES {
        return Err("it is too large".into());
    }
    if let Ok(bundle) = Bundle::parse(&bytes) {
        return match Leaf::parse(&bundle.entry.leaf) {
            Ok(Leaf::Statement(leaf)) => Ok(leaf.envelope.pae_hash()),
            Ok(_) => Err("the bundle is of no statement".into()),
            Err(e) => Err(e.to_string()),
        };
    }
    let envelope = Envelope::parse_prepared(&bytes);
    let envelope = envelope.map_err(|e| format!("neither a bundle nor an envelope: {e}"))?;
    Ok(envelope.pae_hash())
}
