//! What a power loss leaves of the file operations in a journal. Two things become durable,
//! each by its own sync: a file's bytes, and the names in a directory. What was not synced
//! may be there or not; [`Loss`] names the ways that are tried.

use super::Step;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// What survives of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    Unsynced,
    /// Every name, but no bytes.
    Bytes,
    /// Every name, and half of the bytes.
    HalfOfBytes,
    /// No names, but every byte, in files whose names are durable.
    Names,
}

pub const LOSSES: [Loss; 4] = [Loss::Unsynced, Loss::Bytes, Loss::HalfOfBytes, Loss::Names];

/// New files by their paths; directories have no bytes.
pub type Left = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// The state of what steps made, on top of what stood before and is durable.
#[derive(Default)]
pub struct Journal {
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Bytes as seen, and as synced.
    files: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Journal {
    pub fn of(steps: &[Step]) -> Self {
        let mut journal = Self::default();
        for step in steps {
            journal.take(step);
        }
        journal
    }

    pub fn take(&mut self, step: &Step) {
        match step {
            Step::CreateDir(path) => {
                self.names.entry(path.clone()).or_insert(Node::Dir);
            }
            Step::Create(path) => match self.names.get(path) {
                Some(Node::File(n)) => self.files[*n].0.clear(),
                _ => {
                    self.names
                        .insert(path.clone(), Node::File(self.files.len()));
                    self.files.push(Default::default());
                }
            },
            Step::Write(path, bytes) => {
                if let Some(Node::File(n)) = self.names.get(path) {
                    self.files[*n].0.extend_from_slice(bytes);
                }
            }
            Step::Sync(path) => {
                if let Some(Node::File(n)) = self.names.get(path) {
                    let (seen, synced) = &mut self.files[*n];
                    synced.clone_from(seen);
                }
            }
            Step::Rename(from, to) => {
                let node = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), node);
            }
            Step::SyncDir(dir) => {
                let inside = |path: &PathBuf| path.parent() == Some(dir);
                self.durable.retain(|path, _| !inside(path));
                let now = self.names.iter().filter(|(path, _)| inside(path));
                self.durable
                    .extend(now.map(|(path, node)| (path.clone(), *node)));
            }
            Step::Remove(path) => {
                self.names.remove(path);
            }
            // The databases keep their own files.
            Step::HotCommit | Step::IndexApply => {}
        }
    }

    /// What is seen while the power is on.
    pub fn seen(&self) -> Left {
        self.left(&self.names, |(seen, _)| seen.clone())
    }

    /// What is left after the power went.
    pub fn after(&self, loss: Loss) -> Left {
        match loss {
            Loss::Unsynced => self.left(&self.durable, |(_, synced)| synced.clone()),
            Loss::Bytes => self.left(&self.names, |(_, synced)| synced.clone()),
            Loss::HalfOfBytes => self.left(&self.names, |(seen, synced)| {
                let half = seen.get(..seen.len() / 2).unwrap_or_default();
                if seen == synced { seen } else { half }.to_vec()
            }),
            Loss::Names => self.left(&self.durable, |(seen, _)| seen.clone()),
        }
    }

    fn left(
        &self,
        names: &BTreeMap<PathBuf, Node>,
        bytes: impl Fn(&(Vec<u8>, Vec<u8>)) -> Vec<u8>,
    ) -> Left {
        // A name is lost with any directory above it that was made here and is lost.
        let reachable = |path: &Path| {
            path.ancestors()
                .skip(1)
                .all(|a| names.contains_key(a) || !self.names.contains_key(a))
        };
        let kept = names.iter().filter(|(path, _)| reachable(path));
        kept.map(|(path, node)| {
            let content = match node {
                Node::Dir => None,
                Node::File(n) => Some(bytes(&self.files[*n])),
            };
            (path.clone(), content)
        })
        .collect()
    }
}

/// Makes what is left, below `to` where the journal was written below `from`.
pub fn restore(left: &Left, from: &Path, to: &Path) {
    for (path, content) in left {
        let target = to.join(path.strip_prefix(from).unwrap());
        match content {
            None => fs::create_dir_all(&target).unwrap(),
            Some(bytes) => fs::write(&target, bytes).unwrap(),
        }
    }
}
