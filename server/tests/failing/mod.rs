//! Store parts that fail where a test says so: each changing step of the store is counted,
//! can be failed before or after it took effect, and each write can be torn. What was done
//! is kept as a journal, from which [`power::Journal`] tells what a power loss would leave.
#![allow(clippy::unwrap_used, dead_code)]

pub mod model;
pub mod power;

use countersign_server::store::{
    DigestHit, Disk, Files, Head, Hot, HotBatch, Index, IndexBatch, ProjectHit, SavedState,
    StoreError,
};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// One changing step of the store. Everything that tests do with steps is decided by a
/// `match` on this, so that a new step cannot be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    CreateDir(PathBuf),
    Create(PathBuf),
    Write(PathBuf, Vec<u8>),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncDir(PathBuf),
    Remove(PathBuf),
    HotCommit,
    IndexApply,
}

/// What a failing step has done when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    Torn,
    All,
}

impl Step {
    /// The ways in which this step can fail.
    pub fn effects(&self) -> &'static [Effect] {
        match self {
            Self::Write(..) => &[Effect::Nothing, Effect::Torn, Effect::All],
            // Names change whole or not at all; a torn sync is a matter of power loss. The
            // databases' own writes are atomic, or they are not the databases we chose.
            Self::CreateDir(_)
            | Self::Create(_)
            | Self::Sync(_)
            | Self::Rename(..)
            | Self::SyncDir(_)
            | Self::Remove(_)
            | Self::HotCommit
            | Self::IndexApply => &[Effect::Nothing, Effect::All],
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateDir(_) => "create-dir",
            Self::Create(_) => "create",
            Self::Write(..) => "write",
            Self::Sync(_) => "sync",
            Self::Rename(..) => "rename",
            Self::SyncDir(_) => "sync-dir",
            Self::Remove(_) => "remove",
            Self::HotCommit => "hot-commit",
            Self::IndexApply => "index-apply",
        }
    }
}

#[derive(Default)]
struct State {
    recording: bool,
    steps: Vec<Step>,
    fail: Option<(usize, Effect)>,
    /// Whether every step after the failed one fails too, as after a crash.
    dies: bool,
    dead: bool,
}

/// The switch that all failing parts of one store share.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// Counts from now on, and fails step `at` (from 0) with `effect`; where `dies`, also all
    /// that come after it.
    pub fn arm(&self, fail: Option<(usize, Effect)>, dies: bool) {
        *self.0.lock().unwrap() = State {
            recording: true,
            fail,
            dies,
            ..State::default()
        };
    }

    pub fn disarm(&self) {
        *self.0.lock().unwrap() = State::default();
    }

    pub fn steps(&self) -> Vec<Step> {
        self.0.lock().unwrap().steps.clone()
    }

    /// Whether the armed step was reached.
    pub fn struck(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.fail.is_some_and(|(at, _)| state.steps.len() > at)
    }

    /// Notes a step; the effect with which it has to fail, if it has to.
    fn enter(&self, step: Step) -> Option<Effect> {
        let mut state = self.0.lock().unwrap();
        if !state.recording {
            return None;
        }
        if state.dead {
            return Some(Effect::Nothing);
        }
        let at = state.steps.len();
        state.steps.push(step);
        let effect = state.fail.filter(|(n, _)| *n == at).map(|(_, e)| e);
        state.dead = effect.is_some() && state.dies;
        effect
    }

    fn file<T>(
        &self,
        step: Step,
        torn: impl FnOnce() -> io::Result<()>,
        run: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let failure = || io::Error::other("injected failure");
        match self.enter(step) {
            None => run(),
            Some(Effect::Nothing) => Err(failure()),
            Some(Effect::Torn) => torn().and_then(|()| Err(failure())),
            Some(Effect::All) => run().and_then(|_| Err(failure())),
        }
    }

    fn part(
        &self,
        step: Step,
        failure: StoreError,
        run: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self.enter(step) {
            None => run(),
            Some(Effect::All) => run().and(Err(failure)),
            Some(Effect::Nothing | Effect::Torn) => Err(failure),
        }
    }
}

/// What is left of a torn step that takes effect whole or not at all.
fn whole() -> io::Result<()> {
    Ok(())
}

/// Real files; the path is kept for the journal.
pub struct Named {
    file: File,
    path: PathBuf,
}

impl Files for Faults {
    type File = Named;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.file(Step::CreateDir(dir.into()), whole, || Disk.create_dir(dir))
    }
    fn create(&self, path: &Path) -> io::Result<Named> {
        let file = self.file(Step::Create(path.into()), whole, || Disk.create(path))?;
        Ok(Named {
            file,
            path: path.into(),
        })
    }
    fn open(&self, path: &Path) -> io::Result<Named> {
        // Changes nothing.
        Ok(Named {
            file: Disk.open(path)?,
            path: path.into(),
        })
    }
    fn write(&self, file: &mut Named, bytes: &[u8]) -> io::Result<()> {
        let step = Step::Write(file.path.clone(), bytes.to_vec());
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let copy = &mut file.file.try_clone()?;
        self.file(
            step,
            || Disk.write(copy, half),
            || Disk.write(&mut file.file, bytes),
        )
    }
    fn sync(&self, file: &Named) -> io::Result<()> {
        self.file(Step::Sync(file.path.clone()), whole, || {
            Disk.sync(&file.file)
        })
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.file(Step::Rename(from.into(), to.into()), whole, || {
            Disk.rename(from, to)
        })
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.file(Step::SyncDir(dir.into()), whole, || Disk.sync_dir(dir))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.file(Step::Remove(path.into()), whole, || Disk.remove(path))
    }
}

/// A hot state whose commits can fail, before or after they took effect.
pub struct FaultyHot<H> {
    pub inner: H,
    pub faults: Faults,
}

impl<H: Hot> Hot for FaultyHot<H> {
    fn head(&self) -> Result<Option<Head>, StoreError> {
        self.inner.head()
    }
    fn entries(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.inner.entries()
    }
    fn commit(&self, expected: Option<&Head>, batch: &HotBatch) -> Result<(), StoreError> {
        let failure = StoreError::Hot("injected failure".into());
        self.faults.part(Step::HotCommit, failure, || {
            self.inner.commit(expected, batch)
        })
    }
}

/// An index whose batches can fail, before or after they took effect.
pub struct FaultyIndex<I: ?Sized> {
    pub faults: Faults,
    pub inner: std::sync::Arc<I>,
}

impl<I: Index + ?Sized> Index for FaultyIndex<I> {
    fn size(&self) -> Result<u64, StoreError> {
        self.inner.size()
    }
    fn apply(&self, batch: &IndexBatch) -> Result<(), StoreError> {
        let failure = StoreError::Index("injected failure".into());
        self.faults
            .part(Step::IndexApply, failure, || self.inner.apply(batch))
    }
    fn state(&self) -> Result<SavedState, StoreError> {
        self.inner.state()
    }
    fn by_pae(&self, pae: &tlog::Hash) -> Result<Option<u64>, StoreError> {
        self.inner.by_pae(pae)
    }
    fn by_purl(&self, purl: &tlog::Hash, below: u64) -> Result<Option<u64>, StoreError> {
        self.inner.by_purl(purl, below)
    }
    fn by_digest(&self, digest: &tlog::Hash, limit: usize) -> Result<Vec<DigestHit>, StoreError> {
        self.inner.by_digest(digest, limit)
    }
    fn by_project(
        &self,
        project: &tlog::Hash,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ProjectHit>, StoreError> {
        self.inner.by_project(project, from, limit)
    }
}

/// Copies a directory. Files under `public` never change in place, so there they are linked.
pub fn copy_dir(from: &Path, to: &Path, link: bool) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let (source, target) = (item.path(), to.join(item.file_name()));
        let kind = item.file_type().unwrap();
        if kind.is_dir() {
            copy_dir(&source, &target, link || item.file_name() == "public");
        } else if kind.is_file() && link {
            fs::hard_link(&source, &target).unwrap();
        } else if kind.is_file() {
            fs::copy(&source, &target).unwrap();
        }
    }
}
