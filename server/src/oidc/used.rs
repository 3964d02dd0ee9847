//! Tokens that were used. A platform's token can be shown by whoever gets hold of it, until it
//! ends; here it is good for one key. The same token for the same key is answered as the first
//! time, since an answer can be lost on its way.
//!
//! What was used is written to a file before the certificate is made, so that a restart forgets
//! nothing. The file is not flushed for each: a machine that loses power may forget the last
//! moments, a process that is killed forgets nothing.

use super::error::OidcError;
use crate::error::Error;
use ledger::{Hash, from_hex32, hex32};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Its name in the data directory's private part.
pub const FILE: &str = "oidc-used";
/// Tokens that are remembered at most: those of an hour at a hundred a second, in some 60 MB.
pub const REMEMBERED: usize = 400_000;
/// How often what has ended is looked for, in seconds, and for how long none is taken where there
/// is no room.
const TIDY: u64 = 60;
/// Largest file: one line a token, and as many that have ended.
const MAX_FILE: u64 = 2 * REMEMBERED as u64 * LINE;
/// Bytes of a line at most.
const LINE: u64 = 64 + 1 + 64 + 1 + 20 + 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// Its certificate is being made, or was, before the last start.
    InHand,
    /// Its certificate is the leaf at this index.
    Logged(u64),
}

#[derive(Debug, Clone, Copy)]
struct Use {
    key: Hash,
    /// When it need not be remembered any more, Unix seconds.
    until: u64,
    stand: Stand,
    /// Since this start.
    ours: bool,
}

struct Table {
    uses: HashMap<Hash, Use>,
    file: Option<File>,
    lines: usize,
    tidied: u64,
}

/// Tokens that were used.
pub struct Used {
    path: Option<PathBuf>,
    most: usize,
    table: Mutex<Table>,
}

/// What a token may be used for.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// A certificate, which is not made yet.
    First,
    /// Nothing more: the same was asked for before, and is the leaf at this index.
    Again(u64),
}

impl Used {
    /// Remembers at most `most`, in memory only.
    #[must_use]
    pub fn in_memory(most: usize) -> Self {
        Self {
            path: None,
            most,
            table: Mutex::new(Table {
                uses: HashMap::new(),
                file: None,
                lines: 0,
                tidied: 0,
            }),
        }
    }

    /// Goes on from the file at `path`, made if need be; `now` in Unix seconds.
    ///
    /// # Errors
    /// [`Error::Io`]; a file that cannot be read must not be taken for an empty one.
    pub fn open(path: &Path, now: u64) -> Result<Self, Error> {
        let io = |e: std::io::Error| Error::io(path, &e);
        let mut used = Self::in_memory(REMEMBERED);
        let mut text = String::new();
        match File::open(path) {
            Ok(file) => drop(file.take(MAX_FILE).read_to_string(&mut text).map_err(io)?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(io(e)),
        }
        let table = used.table.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The last line may be half written: its certificate was never made.
        let whole = text
            .split_inclusive('\n')
            .filter_map(|l| l.strip_suffix('\n'));
        for line in whole {
            let mut words = line.split(' ');
            let hash = |word: Option<&str>| word.and_then(from_hex32);
            let (token, key) = (hash(words.next()), hash(words.next()));
            let until = words.next().and_then(|w| w.parse().ok());
            let (Some(token), Some(key), Some(until)) = (token, key, until) else {
                let why = "holds a line that is no use of a token: move the file away; tokens of the last hours can then be used once more".to_owned();
                let path = path.display().to_string();
                return Err(Error::Io { path, why });
            };
            let gone = Use {
                key,
                until,
                stand: Stand::InHand,
                ours: false,
            };
            if until >= now {
                table.uses.insert(token, gone);
            }
        }
        used.path = Some(path.to_owned());
        let mut table = used.table();
        used.rewrite(&mut table).map_err(io)?;
        drop(table);
        Ok(used)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(token: &Hash, key: &Hash, until: u64) -> String {
        format!("{} {} {until}\n", hex32(token), hex32(key))
    }

    /// Writes the file anew, with what is remembered.
    fn rewrite(&self, table: &mut Table) -> std::io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let mut text = String::new();
        for (token, used) in &table.uses {
            let _ = text.write_str(&Self::line(token, &used.key, used.until));
        }
        let new = path.with_extension("new");
        std::fs::write(&new, text)?;
        let file = File::options().append(true).open(&new)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        (table.file, table.lines) = (Some(file), table.uses.len());
        Ok(())
    }

    fn tidy(&self, table: &mut Table, now: u64) -> std::io::Result<()> {
        if now < table.tidied.saturating_add(TIDY) && table.uses.len() < self.most {
            return Ok(());
        }
        if now == table.tidied {
            return Ok(());
        }
        table.tidied = now;
        table.uses.retain(|_, used| used.until >= now);
        if table.lines > 1024 && table.lines > 2 * table.uses.len() {
            self.rewrite(table)?;
        }
        Ok(())
    }

    /// Takes the token with this fingerprint, which ends at `until`, for `key`.
    ///
    /// # Errors
    /// [`OidcError::Replayed`], [`OidcError::InHand`], [`OidcError::TooMany`],
    /// [`OidcError::Authority`] where it cannot be written down.
    pub fn take(&self, token: Hash, key: Hash, until: u64, now: u64) -> Result<Turn, OidcError> {
        let unwritten = |e: std::io::Error| {
            eprintln!("countersign-server: used tokens cannot be written down: {e}");
            OidcError::Authority("it cannot write down which tokens were used".into())
        };
        let mut table = self.table();
        self.tidy(&mut table, now).map_err(unwritten)?;
        match table.uses.get(&token).copied() {
            Some(used) if used.key != key => return Err(OidcError::Replayed),
            Some(Use {
                stand: Stand::Logged(index),
                ..
            }) => return Ok(Turn::Again(index)),
            // Before the start it may or may not have been logged; nobody knows where.
            Some(Use { ours: false, .. }) => return Err(OidcError::Replayed),
            Some(_) => return Err(OidcError::InHand),
            None => {}
        }
        if table.uses.len() >= self.most {
            return Err(OidcError::TooMany(Duration::from_secs(TIDY)));
        }
        if let Some(file) = &mut table.file {
            let line = Self::line(&token, &key, until);
            let end = file.metadata().map_err(unwritten)?.len();
            if let Err(e) = file.write_all(line.as_bytes()) {
                // Half a line, and another behind it, would be none: the next start would refuse both.
                file.set_len(end).map_err(unwritten)?;
                return Err(unwritten(e));
            }
            table.lines += 1;
        }
        let used = Use {
            key,
            until,
            stand: Stand::InHand,
            ours: true,
        };
        table.uses.insert(token, used);
        Ok(Turn::First)
    }

    /// The certificate for the token is the leaf at `index`.
    pub fn logged(&self, token: &Hash, index: u64) {
        if let Some(used) = self.table().uses.get_mut(token) {
            used.stand = Stand::Logged(index);
        }
    }

    /// Nothing was logged for the token: it may be used again. In the file it stays used.
    pub fn give_back(&self, token: &Hash) {
        let mut table = self.table();
        if table
            .uses
            .get(token)
            .is_some_and(|u| u.stand == Stand::InHand)
        {
            table.uses.remove(token);
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().uses.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
