//! The files under a path, shown on all cores.

use super::{Index, Scanner, Seen};
use crate::contents::{Limits, Place, Problem, walk};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use walkdir::WalkDir;

/// Files that wait for a core.
const WAITING: usize = 1024;

/// What is no file of its own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Symbolic links, which are not followed.
    pub(crate) links: u64,
    /// Devices, pipes and sockets, which hold nothing.
    pub(crate) special: u64,
    /// Where the kernel shows itself as files.
    pub(crate) skipped: Vec<PathBuf>,
    /// What could not be listed.
    pub(crate) unreadable: Vec<(PathBuf, String)>,
}

/// Looks through all of `paths`, on `threads` threads. `progress` is told of the bytes that were read.
pub(crate) fn scan(
    paths: &[PathBuf],
    index: &Index,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> (Seen, Beside) {
    let (sender, receiver) = sync_channel(WAITING);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1))
            .map(|_| scope.spawn(|| work(&receiver, index, progress)))
            .collect();
        let mut beside = Beside::default();
        for path in paths {
            list(path, &sender, &mut beside);
        }
        drop(sender);
        let mut seen = Seen::default();
        for worker in workers {
            match worker.join() {
                Ok(part) => seen.merge(part),
                // What a thread did not look at must not pass for looked at.
                Err(_) => seen.problems.push((
                    Place::of(Path::new("")),
                    Problem::Unreadable("a thread of the scan ended early".into()),
                )),
            }
        }
        (seen, beside)
    })
}

fn work(files: &Mutex<Receiver<PathBuf>>, index: &Index, progress: &(dyn Fn(u64) + Sync)) -> Seen {
    let limits = Limits::default();
    let told = |n: u64| progress(n);
    let mut scanner = Scanner {
        index,
        seen: Seen::default(),
        progress: &told,
    };
    loop {
        let next = files.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(path) = next else {
            return scanner.seen;
        };
        walk(&path, &limits, &mut scanner);
    }
}

fn list(path: &Path, files: &SyncSender<PathBuf>, beside: &mut Beside) {
    let mut entries = WalkDir::new(path).follow_links(false).into_iter();
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                let at = e.path().unwrap_or(path).to_owned();
                let why = e
                    .io_error()
                    .map_or_else(|| e.to_string(), ToString::to_string);
                beside.unreadable.push((at, why));
                continue;
            }
        };
        let kind = entry.file_type();
        if kind.is_dir() {
            if is_kernel(entry.path()) {
                beside.skipped.push(entry.path().to_owned());
                entries.skip_current_dir();
            }
        } else if kind.is_symlink() {
            beside.links += 1;
        } else if kind.is_file() {
            // All who take them are gone only where they panicked, which is told.
            let _ = files.send(entry.into_path());
        } else {
            beside.special += 1;
        }
    }
}

/// Whether it is in no file system of files, but in one by which the kernel shows itself: some of what
/// is there has no end.
#[cfg(target_os = "linux")]
fn is_kernel(directory: &Path) -> bool {
    // As statfs(2) has them: proc, sysfs, cgroup, cgroup2, debugfs, tracefs, devpts, bpf, securityfs,
    // pstore, efivarfs, configfs, mqueue, fusectl, selinuxfs.
    const MAGIC: [i64; 15] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x6462_6720,
        0x7472_6163,
        0x1cd1,
        0xcafe_4a11,
        0x7363_6673,
        0x6165_676c,
        0xde5e_81e4,
        0x6265_6570,
        0x1980_0202,
        0x6573_5543,
        0xf97c_ff8c,
    ];
    rustix::fs::statfs(directory).is_ok_and(|s| MAGIC.contains(&s.f_type))
}

#[cfg(not(target_os = "linux"))]
fn is_kernel(_: &Path) -> bool {
    false
}
