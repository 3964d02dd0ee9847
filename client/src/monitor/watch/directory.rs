//! A directory that is watched: every file in it is judged like what is served at an address.

use super::got::{Bytes, Got, Marks, shown};
use super::history::Trust;
use super::known::Verdict;
use super::progress::{File as Remembered, Progress, Seen};
use super::round::Round;
use super::{Context, Place, Shared, Target, dedupe, load};
use crate::cmd::common::now as clock;
use crate::fail::Fail;
use crate::monitor::alert::{Class, Finding};
use crate::monitor::config::{Served, Watch};
use crate::monitor::task::{Gauge, Poll, Task, directory};
use crate::place::open_regular;
use ledger::{from_hex32, hex32};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Files that are looked at in one directory, and directories within each other, at most.
const FILES: usize = 20_000;
const DEPTH: usize = 64;
/// Whoever can write to a disk can set its times: each file is read this often anyway.
const DAY: u64 = 24 * 3600;

/// A directory.
pub(super) struct DirectoryTask {
    name: String,
    root: PathBuf,
    context: Context,
    directory: PathBuf,
    after: Option<Progress>,
}

/// What is in a directory.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    /// Neither files nor directories.
    special: Vec<(PathBuf, &'static str)>,
    unreadable: Vec<(PathBuf, String)>,
    more: bool,
}

impl DirectoryTask {
    pub(super) fn new(
        watch: &Watch,
        root: &Path,
        shared: &Arc<Shared>,
        trust: &Arc<Trust>,
    ) -> Result<Self, Fail> {
        let bad = |why: String| {
            Fail::usage("policy-project", why).detail("watch", root.display().to_string())
        };
        // Which project a file is of may differ from file to file; one that is named must exist.
        let any = trust.policy.projects.first();
        let project = match &watch.project {
            Some(name) => trust.policy.select(Some(name), "").ok(),
            None => any,
        };
        let project = project.ok_or_else(|| bad("the policy has no such project".into()))?;
        let name = format!("watch {}", shown(&root.display().to_string()));
        Ok(Self {
            directory: directory(&shared.state, &name),
            name,
            root: root.to_owned(),
            context: Context {
                shared: shared.clone(),
                trust: trust.clone(),
                project: project.clone(),
                watch: watch.clone(),
                ways: Arc::new([]),
            },
            after: None,
        })
    }

    fn one(&self, path: &Path, remembered: &mut Remembered, out: &mut Poll, now: u64) {
        let text = path.to_string_lossy().into_owned();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let mut context = self.context.clone();
        let project = self.context.watch.project.as_deref();
        match self.context.trust.policy.select(project, &name) {
            Ok(project) => context.project = project.clone(),
            Err(e) => {
                let finding = Finding::new(
                    Class::Tampering,
                    "unknown-file",
                    shown(&text),
                    format!(
                        "the file belongs to no project of the policy: {}",
                        shown(&e.to_string())
                    ),
                )
                .hint("take it away, or add its name to `artifacts` of a project in the policy");
                out.findings.push(finding);
                return;
            }
        }
        let target = Target {
            place: Place::File,
            bundle: (context.watch.kind == Served::Artifact).then(|| format!("{text}.bundle")),
            url: text,
            name,
            version: None,
        };
        let mut seen = std::mem::take(&mut remembered.seen);
        let noted = RefCell::new(std::mem::take(remembered));
        let fetching = |limit: u64, _: Option<&Marks>| {
            let mut noted = noted.borrow_mut();
            read((&context, &target), path, &mut noted, limit, now)
        };
        context.poll(&target, &mut seen, out, now, &fetching);
        *remembered = noted.into_inner();
        remembered.seen = seen;
    }
}

/// Reads a file, unless nothing about it has changed since it was read and was right.
fn read(
    (context, target): (&Context, &Target),
    path: &Path,
    noted: &mut Remembered,
    limit: u64,
    now: u64,
) -> Round {
    let round = |bytes: Bytes, began: u64| Round {
        got: vec![Got::local(&target.url, bytes, began)],
        ended: Instant::now(),
        limit,
    };
    let began = clock();
    let unread = |why: &io::Error| Bytes {
        broken: Some(Fail::unchecked("unreadable", why.to_string())),
        ..Bytes::read(&mut io::empty(), 0, None)
    };
    let open = || {
        let file = open_regular(path)?;
        let stamp = stamp(&file.metadata()?);
        Ok::<_, io::Error>((file, stamp))
    };
    let stands = |digest: &ledger::Hash| {
        let known = context.look(None).known;
        let verdict = known.map(|k| k.verdict(&target.name, None, digest));
        matches!(verdict, Some(Verdict::Stands { .. }))
    };
    let (mut file, stamp) = match open() {
        Ok(found) => found,
        Err(e) => return round(unread(&e), began),
    };
    let young = now.saturating_sub(noted.hashed) < DAY;
    let same = noted.stamp == stamp && young && noted.size <= limit;
    let mut bytes = match from_hex32(&noted.digest).filter(|d| same && stands(d)) {
        Some(sha256) => {
            return round(
                Bytes {
                    sha256,
                    size: noted.size,
                    ..Bytes::read(&mut io::empty(), 0, None)
                },
                began,
            );
        }
        None => Bytes::read(&mut file, limit, None),
    };
    let page = context.watch.kind == Served::Page;
    if bytes.over || page || !stands(&bytes.sha256) {
        // Once more, for the quarantine: what is kept is what is judged.
        let kept = context.shared.quarantine.incoming().ok();
        bytes = match open_regular(path) {
            Ok(mut again) => Bytes::read(&mut again, limit, kept),
            Err(e) => unread(&e),
        };
    }
    *noted = Remembered {
        stamp,
        digest: hex32(&bytes.sha256),
        size: bytes.size,
        hashed: now,
        seen: Seen::default(),
    };
    if bytes.over || bytes.broken.is_some() {
        noted.stamp.clear();
    }
    round(bytes, began)
}

/// What tells a changed file from an unchanged one.
fn stamp(meta: &Metadata) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        format!(
            "{} {} {}.{} {}.{}",
            meta.len(),
            meta.ino(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec()
        )
    }
    #[cfg(not(unix))]
    {
        format!("{} {:?}", meta.len(), meta.modified().ok())
    }
}

/// Everything below `root`, in order; links are not followed.
fn walk(root: &Path) -> Found {
    let mut found = Found::default();
    let mut left: Vec<(PathBuf, usize)> = vec![(root.to_owned(), 0)];
    while let Some((directory, depth)) = left.pop() {
        let entries = std::fs::read_dir(&directory).and_then(|entries| {
            let mut all = Vec::new();
            for entry in entries.take(FILES + 1) {
                let entry = entry?;
                all.push((entry.path(), entry.file_type()?));
            }
            Ok(all)
        });
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(e) => {
                found.unreadable.push((directory, e.to_string()));
                continue;
            }
        };
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (path, kind) in entries {
            if found.files.len() + left.len() + found.special.len() >= FILES {
                found.more = true;
                return found;
            }
            if kind.is_dir() && depth < DEPTH {
                left.push((path, depth + 1));
            } else if kind.is_dir() {
                let why = format!("it lies more than {DEPTH} directories deep");
                found.unreadable.push((path, why));
            } else if kind.is_file() {
                found.files.push(path);
            } else if kind.is_symlink() {
                found.special.push((path, "a symbolic link"));
            } else {
                found.special.push((path, "a device, pipe or socket"));
            }
        }
    }
    found
}

impl Found {
    /// What is not looked at, and why.
    fn say(&self, root: &Path, out: &mut Poll) {
        let mut find = |kind: &str, path: &Path, message: String, hint: &str| {
            let subject = shown(&path.display().to_string());
            let finding = Finding::new(Class::Degraded, kind, subject, message);
            out.findings.push(finding.hint(hint));
        };
        for (path, what) in &self.special {
            let message = format!("it is {what}, so what it leads to is not looked at");
            find(
                "special-file",
                path,
                message,
                "put a file there, or watch what it leads to",
            );
        }
        for (path, why) in &self.unreadable {
            let message = format!("it cannot be looked at: {}", shown(why));
            find("unreadable", path, message, "let the monitor read it");
        }
        if self.more {
            let message = format!("it has more than {FILES} files, and not all are looked at");
            find(
                "too-many-files",
                root,
                message,
                "watch its subdirectories one by one",
            );
        }
        if self.more || !self.unreadable.is_empty() {
            out.whole = false;
        }
    }
}

impl Task for DirectoryTask {
    fn name(&self) -> &str {
        &self.name
    }

    fn every(&self) -> u64 {
        self.context.watch.every
    }

    fn poll(&mut self, now: u64) -> Poll {
        let mut out = Poll {
            whole: true,
            ..Poll::default()
        };
        self.after = None;
        let (mut progress, commit) = load(&self.directory, &self.name, &mut out);
        let found = walk(&self.root);
        found.say(&self.root, &mut out);
        let mut after = BTreeMap::new();
        let bundle = |p: &&PathBuf| p.extension().is_none_or(|e| e != "bundle");
        for path in found.files.iter().filter(bundle) {
            let key = path.strip_prefix(&self.root).unwrap_or(path);
            // Names that are no text share no memory with others.
            let key = match key.to_str() {
                Some(key) => key.to_owned(),
                None => format!("{key:?}"),
            };
            let mut remembered = progress.files.remove(&key).unwrap_or_default();
            self.one(path, &mut remembered, &mut out, now);
            after.insert(key, remembered);
        }
        dedupe(&mut out.findings);
        out.gauges.push(Gauge {
            name: "watched_files",
            help: "Files of this watch that were looked at.",
            labels: Vec::new(),
            value: after.len() as f64,
        });
        progress.files = after;
        self.after = commit.then_some(progress);
        out
    }

    fn commit(&mut self) -> Result<(), Fail> {
        Progress::commit(&mut self.after, &self.directory)
    }
}
