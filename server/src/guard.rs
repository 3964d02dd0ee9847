//! May the log sign now, and if not, why? The one place that says so. Admission asks before
//! it does any work, the sequencer before each batch does anything, `/readyz` and `/metrics`
//! when they are asked. Nothing is remembered but the clock's course, so that the log goes
//! on by itself when the cause goes; and damage, which stays until the next start.

use crate::clock::{self, ClockError, Course};
use crate::datadir::Layout;
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Descriptors that must be free before a batch: its files, and the store's own.
const DESCRIPTORS: usize = 16;
/// Files that the file system must have room for.
const FILES: u64 = 64;
/// A batch is written into the hot state, a bundle and the index; this many times its bytes.
const COPIES: u64 = 4;
/// How long a good answer stands for admission. The sequencer asks anew each time.
const FRESH: Duration = Duration::from_millis(250);

/// Why the log does not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// What the start, or the check after it, found. It stays until the next start.
    #[error("the log is read-only: {0}")]
    ReadOnly(String),
    /// The operator froze the log, for ever.
    #[error("this log is frozen and takes no more entries: {0}")]
    Frozen(String),
    /// After a start the witnesses are asked first what they have seen.
    #[error("too few witnesses have said yet that this log is what they saw last ({0})")]
    Witnesses(String),
    /// The disk is nearly full.
    #[error("the disk under {dir}/ has {free} MiB free, and {want} MiB must stay free")]
    DiskFull {
        /// Which part of the data directory.
        dir: &'static str,
        /// MiB free.
        free: u64,
        /// MiB wanted.
        want: u64,
    },
    /// The file system has nearly no room for files.
    #[error("the file system under {dir}/ has room for {free} more files, want {FILES}")]
    FilesFull {
        /// Which part of the data directory.
        dir: &'static str,
        /// Files that fit.
        free: u64,
    },
    /// Mounted, or remounted after an error, without writing.
    #[error("the file system under {0}/ is mounted read-only")]
    FileSystemReadOnly(&'static str),
    /// The file system does not answer.
    #[error("the file system under {dir}/ does not say how much is free: {why}")]
    FileSystemSilent {
        /// Which part of the data directory.
        dir: &'static str,
        /// What the system said.
        why: String,
    },
    /// Out of file descriptors.
    #[error("the server has no {DESCRIPTORS} file descriptors free: {0}")]
    Descriptors(String),
    /// The clock is behind the last leaf's time, or was never set.
    #[error("the clock is {by} s behind the time of the last leaf, or of this program's making")]
    ClockBehind {
        /// Seconds.
        by: u64,
    },
    /// The clock went ahead while the server ran.
    #[error("the clock went ahead by {by} s at once")]
    ClockJumped {
        /// Seconds.
        by: u64,
    },
    /// The clock is a very long time after the last leaf.
    #[error("the clock is {days} days after the last leaf: right, or far ahead")]
    ClockAhead {
        /// Days.
        days: u64,
    },
}

impl Cause {
    /// All kinds, for metrics.
    pub const KINDS: [&str; 10] = [
        "read-only",
        "log-frozen",
        "witnesses-asked",
        "disk-full",
        "file-system-read-only",
        "file-system-silent",
        "out-of-descriptors",
        "clock-behind",
        "clock-jumped",
        "clock-ahead",
    ];

    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ReadOnly(_) => "read-only",
            Self::Frozen(_) => "log-frozen",
            Self::Witnesses(_) => "witnesses-asked",
            Self::DiskFull { .. } | Self::FilesFull { .. } => "disk-full",
            Self::FileSystemReadOnly(_) => "file-system-read-only",
            Self::FileSystemSilent { .. } => "file-system-silent",
            Self::Descriptors(_) => "out-of-descriptors",
            Self::ClockBehind { .. } => "clock-behind",
            Self::ClockJumped { .. } => "clock-jumped",
            Self::ClockAhead { .. } => "clock-ahead",
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::ReadOnly(_) => "keep the directory as it is, copy it, and find out why",
            Self::Frozen(_) => {
                "what is in it stays readable and verifiable; publish to the log that the reason names"
            }
            Self::Witnesses(_) => {
                "the log goes on by itself once a quorum of its witnesses has answered; see that they are reached"
            }
            Self::DiskFull { .. } | Self::FilesFull { .. } => {
                "the operator makes room; the log then goes on by itself"
            }
            Self::FileSystemReadOnly(_) | Self::FileSystemSilent { .. } => {
                "the operator looks at the disk and the system's log"
            }
            Self::Descriptors(_) => "the operator raises the limit (ulimit -n, LimitNOFILE)",
            Self::ClockBehind { .. } => {
                "the operator sets the clock; the log goes on once it is right, or see --max-clock-lag"
            }
            Self::ClockJumped { .. } => {
                "the operator sets the clock back, or, if it is right now, restarts the server"
            }
            Self::ClockAhead { .. } => {
                "the operator sets the clock, or, if it is right, starts with a longer --max-quiet-days"
            }
        }
    }

    /// Whether it can go while the server runs.
    #[must_use]
    pub fn passes(&self) -> bool {
        !matches!(self, Self::ReadOnly(_) | Self::Frozen(_))
    }
}

/// Bytes without which no store is opened: opening writes, and what is half written there is
/// trouble at the next start.
const ROOM_TO_OPEN: u64 = 16 << 20;

/// What is written to, which may lie on file systems of its own.
fn places(layout: &Layout) -> Vec<(&'static str, PathBuf)> {
    let private = layout.private();
    let all = vec![
        ("public", layout.public()),
        ("private/hot", private.join("hot")),
        ("private/index", private.join("index")),
        ("private", private),
    ];
    all.into_iter().filter(|(_, path)| path.exists()).collect()
}

/// Whether there is room to open the store below `layout`.
///
/// # Errors
/// [`Cause::DiskFull`], [`Cause::FileSystemSilent`].
pub fn room_to_open(layout: &Layout) -> Result<(), Cause> {
    for (dir, path) in places(layout) {
        let silent = |e: rustix::io::Errno| Cause::FileSystemSilent {
            dir,
            why: e.to_string(),
        };
        let found = statvfs(&path).map_err(silent)?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < ROOM_TO_OPEN {
            let (free, want) = (free >> 20, ROOM_TO_OPEN >> 20);
            return Err(Cause::DiskFull { dir, free, want });
        }
    }
    Ok(())
}

/// The operator's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that must stay free; 0 does not look.
    pub reserve: u64,
    /// Seconds that the clock may be behind the last leaf.
    pub max_clock_lag: u64,
    /// Days after the last leaf that the clock is believed; 0 is no limit.
    pub max_quiet_days: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reserve: 64 << 20,
            max_clock_lag: 300,
            max_quiet_days: 366,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    good: Option<Instant>,
    said: Option<&'static str>,
}

/// Watches what signing needs.
#[derive(Debug)]
pub struct Guard {
    settings: Settings,
    places: Vec<(&'static str, PathBuf)>,
    read_only: OnceLock<String>,
    /// Why the operator froze the log.
    frozen: Option<String>,
    /// Why the witnesses' answers do not suffice yet, while they do not.
    asking: Mutex<Option<String>>,
    state: Mutex<State>,
    course: Course,
}

impl Guard {
    /// A guard that knows only what the start found.
    #[must_use]
    pub fn unwatched(read_only: Option<String>) -> Self {
        let settings = Settings::default();
        Self {
            settings,
            places: Vec::new(),
            read_only: read_only.map_or_else(OnceLock::new, OnceLock::from),
            frozen: None,
            asking: Mutex::default(),
            state: Mutex::default(),
            course: Course::default(),
        }
    }

    /// Forbids signing until the next start. The first reason stands.
    pub(crate) fn latch(&self, why: String) {
        if self.read_only.set(why).is_ok() {
            let why = self.read_only().unwrap_or_default();
            eprintln!("countersign-server: READ-ONLY, this log does not sign from now on: {why}");
        }
    }

    /// The same, of a log that was frozen, and why.
    #[must_use]
    pub(crate) fn frozen(self, why: Option<String>) -> Self {
        Self {
            frozen: why,
            ..self
        }
    }

    /// Forbids signing while the witnesses are asked, and `why` they do not suffice yet.
    pub(crate) fn ask(&self, why: Option<String>) {
        *self.asking.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn asked(&self) -> Result<(), Cause> {
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking
            .clone()
            .map_or(Ok(()), |why| Err(Cause::Witnesses(why)))
    }

    /// The same, watching the file systems of `layout` too.
    #[must_use]
    pub fn watching(self, layout: &Layout, settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            places: places(layout),
            ..self
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the start, or the check after it, found, where that forbids signing.
    #[must_use]
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.get().map(String::as_str)
    }

    /// May the log sign a batch of about `bytes` bytes after a leaf of the time `last`?
    ///
    /// # Errors
    /// The first [`Cause`] that forbids it.
    pub fn may_sign(&self, last: u64, bytes: u64) -> Result<(), Cause> {
        let verdict = self.may_write(bytes).and_then(|()| {
            self.asked()?;
            self.clock(crate::log::unix_now(), clock::uptime(), last)
        });
        let mut state = self.state();
        state.good = verdict.is_ok().then(Instant::now);
        let kind = verdict.as_ref().err().map(Cause::kind);
        if state.said != kind {
            state.said = kind;
            match &verdict {
                Ok(()) => eprintln!("countersign-server: this log signs again"),
                // Whoever found this one has said so.
                Err(Cause::ReadOnly(_)) => {}
                Err(e) => eprintln!(
                    "countersign-server: this log does not sign now: {e} ({})",
                    e.hint()
                ),
            }
        }
        verdict
    }

    /// The same, for admission: a good answer stands for a moment.
    ///
    /// # Errors
    /// As [`Guard::may_sign`].
    pub fn may_sign_soon(&self, last: u64) -> Result<(), Cause> {
        let good = self.state().good.is_some_and(|at| at.elapsed() < FRESH);
        if good && self.read_only().is_none() {
            return Ok(());
        }
        self.may_sign(last, 0)
    }

    /// May about `bytes` bytes be written, whatever the clock says?
    ///
    /// # Errors
    /// The first [`Cause`] that forbids it.
    pub fn may_write(&self, bytes: u64) -> Result<(), Cause> {
        if let Some(why) = self.read_only() {
            return Err(Cause::ReadOnly(why.to_owned()));
        }
        if let Some(why) = &self.frozen {
            return Err(Cause::Frozen(why.clone()));
        }
        for (dir, path) in &self.places {
            let silent = |e: rustix::io::Errno| Cause::FileSystemSilent {
                dir,
                why: e.to_string(),
            };
            let found = statvfs(path).map_err(silent)?;
            if found.f_flag.contains(StatVfsMountFlags::RDONLY) {
                return Err(Cause::FileSystemReadOnly(dir));
            }
            if self.settings.reserve == 0 {
                continue;
            }
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let want = bytes
                .saturating_mul(COPIES)
                .saturating_add(self.settings.reserve);
            if free < want {
                let (free, want) = (free >> 20, want.div_ceil(1 << 20));
                return Err(Cause::DiskFull { dir, free, want });
            }
            // Where a file system counts no files, it says that it has none.
            if found.f_files > 0 && found.f_favail < FILES {
                let free = found.f_favail;
                return Err(Cause::FilesFull { dir, free });
            }
        }
        self.descriptors()
    }

    fn descriptors(&self) -> Result<(), Cause> {
        let Some((_, path)) = self.places.first() else {
            return Ok(());
        };
        let short = |e: std::io::Error| Cause::Descriptors(e.to_string());
        let first = File::open(path).map_err(short)?;
        let more: Result<Vec<File>, _> = (1..DESCRIPTORS).map(|_| first.try_clone()).collect();
        more.map(drop).map_err(short)
    }

    /// Times of leaves never go back, so one leaf of a wrong time in the future would be for
    /// ever: a clock that jumps ahead is as much a reason to stop as one that went back.
    fn clock(&self, wall: u64, boot: u64, last: u64) -> Result<(), Cause> {
        let cause = |e| match e {
            ClockError::Behind { by } => Cause::ClockBehind { by },
            ClockError::Jumped { by } => Cause::ClockJumped { by },
        };
        clock::not_behind(wall, last, self.settings.max_clock_lag).map_err(cause)?;
        let days = wall.saturating_sub(last) / 86_400;
        if last > 0 && self.settings.max_quiet_days > 0 && days > self.settings.max_quiet_days {
            return Err(Cause::ClockAhead { days });
        }
        self.course.follow(wall, boot).map_err(cause)
    }

    /// Bytes free where there are fewest, if the file systems say so.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        let free = |(_, path): &(_, PathBuf)| {
            let found = statvfs(path).ok()?;
            Some(found.f_bavail.saturating_mul(found.f_frsize))
        };
        self.places.iter().filter_map(free).min()
    }
}

#[cfg(test)]
mod tests;
