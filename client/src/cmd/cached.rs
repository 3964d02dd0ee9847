//! Bundles of what was verified, kept by the artifact's digest beside the state file, so that a
//! file that was renamed or installed still verifies (docs/formats.md, "Cached bundles").
//!
//! Nothing is trusted for being here: a cached bundle is verified as any other. What was changed in
//! the directory makes a verification fail, and never pass.

use super::common::{now, warn_once, write_private};
use crate::fail::Fail;
use crate::memory::{Memory, lock};
use crate::policy::{Policy, ProjectPolicy};
use crate::verify::{Artifact, Verdict, Wanted, verify};
use clap::Args;
use ledger::bundle::{Bundle, MAX_BUNDLE_BYTES};
use ledger::leaf::Leaf;
use ledger::statement::Body;
use ledger::{Hash, hex32};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;

/// Whether bundles are cached.
#[derive(Debug, Clone, Args)]
pub struct CacheArgs {
    /// Neither keep the bundle of what was verified, nor look for one by the file's digest
    #[arg(long)]
    pub no_cache: bool,
}

/// Where the bundles are that belong to a state file.
pub(crate) fn directory(state: &Path) -> PathBuf {
    state.parent().unwrap_or(Path::new("")).join("bundles")
}

/// Where the bundle of an artifact of this digest is.
fn place(state: &Path, sha256: &Hash) -> PathBuf {
    directory(state).join(format!("{}.bundle", hex32(sha256)))
}

/// A cached bundle that says of a digest what was released with it; nothing of it is verified.
pub(crate) struct Cached {
    pub(crate) path: PathBuf,
    pub(crate) bundle: Bundle,
    /// The names that the release gives to artifacts of the digest; there is one at least.
    pub(crate) names: Vec<String>,
    project: Hash,
}

impl Cached {
    /// Whether it speaks of a release of `project`; where it does not, that is said.
    pub(crate) fn is_of(&self, project: &ProjectPolicy) -> bool {
        let is = self.project == project.id;
        if !is {
            ignored(&self.path, "it is of another project");
        }
        is
    }
}

fn ignored(path: &Path, why: impl std::fmt::Display) {
    let fail = Fail::unchecked("cached-bundle", format!("{}: {why}", path.display()))
        .hint("the cached bundle is ignored; it can be deleted");
    eprint!("warning: {}", fail.human());
}

/// The bytes of a cached file. What is no plain file (a link, a pipe) is not opened.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let file = match path.symlink_metadata() {
        Ok(m) if m.is_file() => File::open(path),
        Ok(_) => return Err("it is no plain file".into()),
        Err(e) => Err(e),
    };
    let mut bytes = Vec::new();
    match file.and_then(|f| f.take(MAX_BUNDLE_BYTES as u64 + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

/// The cached bundle for a file of this digest. One that is damaged, or speaks of something else
/// than the digest or the policy's log, is no bundle, and that is said.
pub(crate) fn find(state: &Path, policy: &Policy, sha256: &Hash) -> Option<Cached> {
    let path = place(state, sha256);
    let found = read(&path).and_then(|bytes| match bytes {
        Some(bytes) => about(&bytes, policy, sha256).map(Some),
        None => Ok(None),
    });
    match found {
        Ok(found) => found.map(|(bundle, names, project)| Cached {
            path,
            bundle,
            names,
            project,
        }),
        Err(why) => {
            ignored(&path, why);
            None
        }
    }
}

type About = (Bundle, Vec<String>, Hash);

fn about(bytes: &[u8], policy: &Policy, sha256: &Hash) -> Result<About, String> {
    let bundle = Bundle::parse(bytes).map_err(|e| e.to_string())?;
    let view = bundle
        .latest
        .as_ref()
        .map_or(&bundle.first, |l| &l.checkpoint);
    let note = Note::parse(view.as_bytes()).map_err(|e| e.to_string())?;
    let view = Checkpoint::parse(&note.text).map_err(|e| e.to_string())?;
    if view.origin != policy.log.origin {
        return Err("it is of another log".into());
    }
    let Ok(Leaf::Statement(leaf)) = Leaf::parse(&bundle.entry.leaf) else {
        return Err("it is of no release".into());
    };
    let Body::Release(release) = &leaf.statement.body else {
        return Err("it is of no release".into());
    };
    let subjects = leaf.statement.subject.iter();
    let names: Vec<String> = subjects
        .filter(|s| s.sha256 == *sha256)
        .map(|s| s.name.clone())
        .collect();
    if names.is_empty() {
        return Err("its release has no artifact of this digest".into());
    }
    Ok((bundle, names, release.package_id))
}

/// What was verified, and by what.
pub(crate) struct Verified<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) project: &'a ProjectPolicy,
    pub(crate) memory: &'a Memory,
    pub(crate) artifact: Artifact<'a>,
    pub(crate) bundle: &'a Bundle,
    pub(crate) verdict: &'a Verdict,
}

impl Verified<'_> {
    /// Keeps the bundle, where what is there already does not verify or is no newer. Where it cannot
    /// be kept this is said, and nothing is lost by it but the file's verification elsewhere.
    pub(crate) fn keep(&self, args: &CacheArgs, state: &Path) {
        if args.no_cache {
            return;
        }
        if let Err(fail) = self.store(state) {
            warn_once("the bundle is not cached", &fail);
        }
    }

    fn store(&self, state: &Path) -> Result<(), Fail> {
        let bytes = self.bundle.to_bytes();
        let bytes = bytes.map_err(|e| Fail::usage("encoding", e.to_string()))?;
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Ok(());
        }
        let path = place(state, &self.artifact.sha256);
        if read(&path).is_ok_and(|there| there.as_ref() == Some(&bytes)) {
            return Ok(());
        }
        // So that of two processes the one with the older view does not write last.
        let _lock = lock(state).map_err(|e| {
            Fail::usage("state-unwritable", e.to_string())
                .hint("give --state FILE in a directory that can be written, or --no-cache")
        })?;
        if let Ok(Some(there)) = read(&path)
            && self.no_older(&there)
        {
            return Ok(());
        }
        let directory = directory(state);
        std::fs::create_dir_all(&directory).map_err(|e| {
            Fail::usage("unwritable", format!("{}: {e}", directory.display()))
                .hint("give --state FILE in a directory that can be written, or --no-cache")
        })?;
        // By rename: a link that has the name is replaced, and what it leads to stays.
        write_private(&path, &bytes)
    }

    /// Whether the bundle that is there verifies the artifact too, at a view that is not older.
    fn no_older(&self, there: &[u8]) -> bool {
        let Ok(there) = Bundle::parse(there) else {
            return false;
        };
        let wanted = Wanted {
            project: self.project,
            version: None,
            no_rollback: false,
        };
        let verdict = verify(
            &self.artifact,
            &wanted,
            &there,
            self.policy,
            self.memory,
            now(),
        );
        let view = |v: &Verdict| (v.proven.checkpoint.size, v.view_time);
        verdict.is_ok_and(|v| view(&v) >= view(self.verdict))
    }
}
