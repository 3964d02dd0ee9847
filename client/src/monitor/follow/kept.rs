//! A task's progress: what it saw last, the entries of its projects, and what is still undecided.
//!
//! `entries` is only appended to: a log index in 8 bytes, a length in 4 (both big-endian), the
//! leaf. `progress.json` says how much of it counts, and takes the place of the one before by a
//! rename: so it is never half of a poll.

use super::judge::Pending;
use super::timer::Timer;
use crate::cmd::common::write_private;
use crate::cmd::complete::replay::Known;
use crate::fail::Fail;
use crate::memory::Memory;
use crate::monitor::alert::{Class, Finding};
use ledger::fold::Fold;
use ledger::leaf::Leaf;
use ledger::{API_VERSION, from_hex32, hex32};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tlog::tree::Compact;

/// What is known after a poll.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// The newest checkpoint and heads.
    pub(super) memory: Memory,
    /// The tree of the entries' log indexes.
    pub(super) known: Known,
    /// What the entries come to.
    pub(super) fold: Arc<Fold>,
    /// The tree of all leaves that were read.
    pub(super) read: Compact,
    /// Leaves of kinds that this version does not know.
    pub(super) unknown: u64,
    /// What is neither announced nor alerted yet.
    pub(super) pending: Vec<Pending>,
    /// Since when the log cannot show what it should.
    pub(super) withheld: Timer,
    /// Bytes of `entries` that count.
    length: u64,
    /// Entries that are not in it yet.
    added: Vec<(u64, Vec<u8>)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    api_version: String,
    entries: u64,
    length: u64,
    memory: Memory,
    pending: Vec<Pending>,
    read: Vec<String>,
    read_size: u64,
    unknown: u64,
    withheld: Timer,
}

impl Kept {
    fn new(origin: &str) -> Self {
        Self {
            memory: Memory::default(),
            known: Known::default(),
            fold: Arc::new(Fold::new(origin)),
            read: Compact::new(),
            unknown: 0,
            pending: Vec::new(),
            withheld: Timer::default(),
            length: 0,
            added: Vec::new(),
        }
    }

    /// With an entry, which the fold has taken already.
    pub(super) fn entry(&mut self, index: u64, leaf: Vec<u8>) {
        self.known.push(index);
        self.added.push((index, leaf));
    }

    fn document(&self, length: u64) -> Document {
        let memory = Memory {
            api_version: API_VERSION.to_owned(),
            ..self.memory.clone()
        };
        Document {
            api_version: API_VERSION.to_owned(),
            entries: self.known.tree.size(),
            length,
            memory,
            pending: self.pending.clone(),
            read: self.read.roots().iter().map(hex32).collect(),
            read_size: self.read.size(),
            unknown: self.unknown,
            withheld: self.withheld,
        }
    }

    fn load(directory: &Path, origin: &str) -> Result<Self, String> {
        let mut kept = Self::new(origin);
        let bytes = match std::fs::read(directory.join("progress.json")) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(kept),
            Err(e) => return Err(e.to_string()),
        };
        let value = ledger::json::parse_own(&bytes).map_err(|e| e.to_string())?;
        let document: Document = ledger::json::typed(value).map_err(|e| e.to_string())?;
        if document.api_version != API_VERSION {
            return Err(format!("apiVersion is {:?}", document.api_version));
        }
        let roots: Option<Vec<_>> = document.read.iter().map(|hex| from_hex32(hex)).collect();
        let read = roots.and_then(|roots| Compact::from_roots(document.read_size, roots));
        kept.read = read.ok_or("the tree that was read is malformed")?;
        kept.entries(directory, document.length)?;
        if kept.known.tree.size() != document.entries {
            return Err("entries are missing".into());
        }
        kept.memory = document.memory;
        kept.unknown = document.unknown;
        kept.pending = document.pending;
        kept.withheld = document.withheld;
        Ok(kept)
    }

    /// Takes up the first `length` bytes of the entries.
    fn entries(&mut self, directory: &Path, length: u64) -> Result<(), String> {
        if length == 0 {
            return Ok(());
        }
        let file = File::open(directory.join("entries")).map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        let read = file.take(length).read_to_end(&mut bytes);
        read.map_err(|e| e.to_string())?;
        if bytes.len() as u64 != length {
            return Err("entries are missing".into());
        }
        let fold = Arc::make_mut(&mut self.fold);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (index, leaf, after) = record(rest).ok_or("the entries are malformed")?;
            let parsed = Leaf::parse(leaf).map_err(|e| format!("entry {index}: {e}"))?;
            if self.known.last.is_some_and(|last| index <= last) {
                return Err("the entries are out of order".into());
            }
            // They were accepted when they were kept.
            fold.skip_to(index);
            fold.follow(&parsed, true);
            self.known.push(index);
            rest = after;
        }
        self.length = length;
        Ok(())
    }
}

fn record(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (index, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (leaf, rest) = rest.split_at_checked(length)?;
    Some((u64::from_be_bytes(*index), leaf, rest))
}

/// Where it is kept: what the last poll that was committed came to, and what the last one did.
pub(super) struct Store {
    directory: PathBuf,
    origin: String,
    committed: Option<Kept>,
    polled: Option<Kept>,
}

impl Store {
    pub(super) fn new(state: &Path, task: &str, origin: &str) -> Self {
        Self {
            directory: crate::monitor::task::directory(state, task),
            origin: origin.to_owned(),
            committed: None,
            polled: None,
        }
    }

    /// What a poll begins with. What cannot be read is never taken for nothing.
    pub(super) fn begin(&mut self, subject: &str) -> Result<Kept, Box<Finding>> {
        self.polled = None;
        if let Some(kept) = &self.committed {
            return Ok(kept.clone());
        }
        let kept = Kept::load(&self.directory, &self.origin).map_err(|why| {
            let what = format!("its progress cannot be read: {why}");
            let finding = Finding::new(Class::Operational, "progress-unreadable", subject, what)
                .detail("directory", self.directory.display().to_string())
                .hint("mend or move the directory away; without it, all is read again from the beginning, and a log that was set back is not seen");
            Box::new(finding)
        })?;
        self.committed = Some(kept.clone());
        Ok(kept)
    }

    /// What a poll came to.
    pub(super) fn end(&mut self, kept: Kept) {
        self.polled = Some(kept);
    }

    /// Makes it durable.
    pub(super) fn commit(&mut self) -> Result<(), Fail> {
        let Some(mut kept) = self.polled.take() else {
            return Ok(());
        };
        kept.length = self.write(&kept).inspect_err(|_| {
            // The next poll begins where the last one that is durable ended.
            self.polled = None;
        })?;
        kept.added.clear();
        self.committed = Some(kept);
        Ok(())
    }

    fn write(&self, kept: &Kept) -> Result<u64, Fail> {
        let bad = |e: std::io::Error| {
            Fail::usage(
                "progress-unwritable",
                format!("{}: {e}", self.directory.display()),
            )
            .hint("see that the state directory can be written, and has room")
        };
        std::fs::create_dir_all(&self.directory).map_err(bad)?;
        let mut length = kept.length;
        if !kept.added.is_empty() {
            let path = self.directory.join("entries");
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true);
            let mut file = options.open(path).map_err(bad)?;
            // Behind what counts may stand what a crash left.
            file.set_len(kept.length).map_err(bad)?;
            file.seek(SeekFrom::Start(kept.length)).map_err(bad)?;
            let mut bytes = Vec::new();
            for (index, leaf) in &kept.added {
                bytes.extend_from_slice(&index.to_be_bytes());
                let size = u32::try_from(leaf.len()).unwrap_or(u32::MAX);
                bytes.extend_from_slice(&size.to_be_bytes());
                bytes.extend_from_slice(leaf);
            }
            file.write_all(&bytes).map_err(bad)?;
            file.sync_all().map_err(bad)?;
            length += bytes.len() as u64;
        }
        let text = ledger::json::canonical_of(&kept.document(length))
            .map_err(|e| Fail::usage("progress-unwritable", e.to_string()))?;
        write_private(&self.directory.join("progress.json"), &text)?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn leaf(index: u64) -> Vec<u8> {
        let text =
            format!("{{\"apiVersion\":\"countersign/v1\",\"kind\":\"later\",\"n\":{index}}}");
        text.into_bytes()
    }

    fn store(dir: &Path) -> Store {
        Store::new(dir, "heads x in y", "y")
    }

    /// Polls, with these entries found; commits or not.
    fn poll(store: &mut Store, indexes: &[u64], commit: bool) {
        let mut kept = store.begin("x in y").unwrap();
        for index in indexes {
            kept.entry(*index, leaf(*index));
            kept.read.push([7; 32]);
        }
        store.end(kept);
        if commit {
            store.commit().unwrap();
        }
    }

    #[test]
    fn only_what_was_committed_counts_whatever_a_crash_left_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = store(dir.path());
        poll(&mut one, &[3, 5], true);
        poll(&mut one, &[9], false);
        assert_eq!(one.begin("").unwrap().known.last, Some(5));
        poll(&mut one, &[8], true);
        let known = one.begin("").unwrap();
        let place = one.directory.clone();
        // Half of the next entry was appended, and then the power went.
        let mut bytes = std::fs::read(place.join("entries")).unwrap();
        bytes.extend_from_slice(&[0, 0, 0, 0]);
        std::fs::write(place.join("entries"), &bytes).unwrap();
        let mut two = store(dir.path());
        let again = two.begin("").unwrap();
        assert_eq!(
            (&again.known.tree, again.known.last),
            (&known.known.tree, Some(8))
        );
        assert_eq!(again.read, known.read);
        poll(&mut two, &[11], true);
        assert_eq!(store(dir.path()).begin("").unwrap().known.last, Some(11));
    }

    #[test]
    fn what_cannot_be_read_is_never_taken_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = store(dir.path());
        poll(&mut one, &[3, 5], true);
        let place = one.directory.clone();
        let progress = std::fs::read(place.join("progress.json")).unwrap();
        let entries = std::fs::read(place.join("entries")).unwrap();
        let broken = |name: &str, bytes: &[u8]| {
            std::fs::write(place.join("progress.json"), &progress).unwrap();
            std::fs::write(place.join("entries"), &entries).unwrap();
            std::fs::write(place.join(name), bytes).unwrap();
            let found = store(dir.path()).begin("x in y").unwrap_err();
            assert_eq!(
                (found.class, found.kind.as_str()),
                (Class::Operational, "progress-unreadable")
            );
        };
        broken("progress.json", b"");
        broken("progress.json", b"{}");
        let text = String::from_utf8(progress.clone()).unwrap();
        broken(
            "progress.json",
            text.replace("countersign/v1", "countersign/v9").as_bytes(),
        );
        broken(
            "progress.json",
            text.replace("\"entries\":2", "\"entries\":3").as_bytes(),
        );
        broken("entries", entries.get(..9).unwrap());
        let mut turned = entries.clone();
        *turned.get_mut(7).unwrap() = 6;
        broken("entries", &turned);
    }
}
