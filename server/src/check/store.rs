//! What the two databases hold, read from copies by a child process. Opening sled or fjall
//! writes, and a check must change nothing, so the copies; and both may end the process on
//! files that are damaged, which must be a finding and not the end of the check, so the
//! child. It prints one JSON value a line.

use super::rows::Rows;
use crate::error::Error;
use crate::store::{FjallIndex, Head, Hot as _, Index as _, SledHot, StoreError};
use ledger::{b64, from_b64};
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How long the child may say nothing. A database that is merely large keeps it talking.
const PATIENCE: Duration = Duration::from_secs(120);
/// Rows after which the child says that it is still at it.
const ROWS: u64 = 100_000;
/// Bytes kept of what the child says on standard error.
const LAST_WORDS: usize = 2000;

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The hot state.
    Hot,
    /// The index.
    Index,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Index => "index",
        }
    }
}

/// What the hot state holds.
#[derive(Debug, Clone, Default)]
pub struct HotState {
    /// Where the log stands.
    pub head: Option<Head>,
    /// The entries, in order of index.
    pub entries: Vec<(u64, Vec<u8>)>,
}

/// Why a database could not be read.
#[derive(Debug, Clone)]
pub enum Unread {
    /// It is damaged: what it, or the end of the process that read it, says.
    Damaged(String),
    /// The index is another version's, at this size; that is no damage.
    Other(u64),
    /// No verdict is possible.
    Failed(Error),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Head(Option<Head>),
    Entry(u64, String),
    /// Leaves indexed; the rows follow.
    Size(u64),
    StillAtIt(u64),
    Rows(Rows),
    Error(String),
    Other(u64),
    Done,
}

/// The child's part: reads all of the database in `dir`, which is a copy, and prints it.
///
/// # Errors
/// [`Error::Io`] where nobody listens. What is wrong with the database is printed.
pub fn print(part: Part, dir: &Path) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let read = match part {
        Part::Hot => print_hot(dir, &mut out),
        Part::Index => print_index(dir, &mut out),
    };
    let last = match read {
        Ok(()) => Line::Done,
        Err(StoreError::OtherIndex(size)) => Line::Other(size),
        Err(e) => Line::Error(e.to_string()),
    };
    say(&mut out, &last)?;
    Ok(())
}

fn say(out: &mut impl Write, line: &Line) -> Result<(), StoreError> {
    let failed = |e: std::io::Error| StoreError::io(Path::new("standard output"), &e);
    serde_json::to_writer(&mut *out, line).map_err(|e| failed(e.into()))?;
    out.write_all(b"\n")
        .and_then(|()| out.flush())
        .map_err(failed)
}

fn print_hot(dir: &Path, out: &mut impl Write) -> Result<(), StoreError> {
    let hot = SledHot::open(dir)?;
    say(out, &Line::Head(hot.head()?))?;
    for (index, entry) in hot.entries()? {
        say(out, &Line::Entry(index, b64(&entry)))?;
    }
    Ok(())
}

fn print_index(dir: &Path, out: &mut impl Write) -> Result<(), StoreError> {
    let index = FjallIndex::open(dir)?;
    say(out, &Line::Size(index.size()?))?;
    let (mut rows, mut seen) = (Rows::default(), 0u64);
    index.each_row(|table, key, value| {
        seen += 1;
        if seen.is_multiple_of(ROWS) {
            say(out, &Line::StillAtIt(seen))?;
        }
        rows.stored(table, key, value)
    })?;
    rows.at(index.state()?.last_time);
    say(out, &Line::Rows(rows))
}

/// Reads the hot state in `dir`, a copy, by a child process of `program`.
///
/// # Errors
/// [`Unread`].
pub fn hot(program: &Path, dir: &Path) -> Result<HotState, Unread> {
    let mut state = HotState::default();
    run(program, Part::Hot, dir, |line| match line {
        Line::Head(head) => {
            state.head = head;
            Some(())
        }
        Line::Entry(index, entry) => {
            state.entries.push((index, from_b64(&entry)?));
            Some(())
        }
        _ => None,
    })?;
    Ok(state)
}

/// Reads the index in `dir`, a copy, by a child process of `program`: its rows. `size` is told
/// first how many leaves are indexed.
///
/// # Errors
/// [`Unread`].
pub fn index(program: &Path, dir: &Path, mut size: impl FnMut(u64)) -> Result<Rows, Unread> {
    let mut all = Rows::default();
    run(program, Part::Index, dir, |line| match line {
        Line::Rows(rows) => {
            all = rows;
            Some(())
        }
        Line::Size(indexed) => {
            size(indexed);
            Some(())
        }
        Line::StillAtIt(_) => Some(()),
        _ => None,
    })?;
    Ok(all)
}

/// A child process that does not outlive its use.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(
    program: &Path,
    part: Part,
    dir: &Path,
    mut take: impl FnMut(Line) -> Option<()>,
) -> Result<(), Unread> {
    let failed = |e: std::io::Error| Unread::Failed(Error::io(program, &e));
    let child = Command::new(program)
        .args(["read-store", part.word()])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut child = Reaped(child);
    let (Some(stdout), Some(mut stderr)) = (child.0.stdout.take(), child.0.stderr.take()) else {
        return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
    };
    let (lines, said) = channel();
    // They end with the child, whose end of the pipes closes then.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let last_words = std::thread::spawn(move || {
        let mut words = Vec::new();
        let _ = stderr.read_to_end(&mut words);
        words.truncate(LAST_WORDS);
        String::from_utf8_lossy(&words).into_owned()
    });
    loop {
        match said.recv_timeout(PATIENCE) {
            Ok(line) => {
                let taken = match serde_json::from_str(&line) {
                    Ok(Line::Done) => return Ok(()),
                    Ok(Line::Error(why)) => return Err(Unread::Damaged(why)),
                    Ok(Line::Other(size)) => return Err(Unread::Other(size)),
                    Ok(line) => take(line),
                    Err(_) => None,
                };
                if taken.is_none() {
                    return Err(failed(std::io::ErrorKind::InvalidData.into()));
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let seconds = PATIENCE.as_secs();
                let why = format!("reading it makes no progress in {seconds} s");
                return Err(Unread::Damaged(why));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = child.0.wait().map_err(failed)?;
                let words = last_words.join().unwrap_or_default();
                let words = words.lines().find(|l| !l.trim().is_empty());
                let words = words.unwrap_or("it said nothing");
                let why = format!("reading it ends the process ({status}): {words}");
                return Err(Unread::Damaged(why));
            }
        }
    }
}
