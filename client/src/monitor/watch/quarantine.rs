//! Where bytes are kept that should not have been served, with how they came: nothing of it is
//! ever executed, or overwritten.

use crate::fail::Fail;
use crate::fetch::Hop;
use ledger::{Hash, hex32};
use serde::Serialize;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;

/// Accounts of how the same bytes came, at most.
const ACCOUNTS: u32 = 100;
/// Bytes of one account at most.
const ACCOUNT: usize = 256 * 1024;
/// What a monitor that was killed left half written is removed after this.
const LEFT: Duration = Duration::from_secs(24 * 3600);
const INCOMING: &str = ".incoming-";

/// The quarantine.
#[derive(Debug)]
pub(super) struct Quarantine {
    directory: PathBuf,
    max: u64,
    used: Mutex<u64>,
}

/// How bytes came.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    /// The address, or the file.
    pub(super) subject: String,
    /// Why they are kept: the finding's kind.
    pub(super) why: String,
    /// As which program it was fetched, and through what.
    pub(super) user_agent: String,
    pub(super) proxy: Option<String>,
    /// Header lines that were sent beside.
    pub(super) request: Vec<(String, String)>,
    /// Every answer, redirects first.
    pub(super) answers: Vec<Hop>,
    /// When it began and ended.
    pub(super) began: String,
    pub(super) ended: String,
    pub(super) size: u64,
    /// Whether these are all bytes that were sent.
    pub(super) whole: bool,
}

/// What became of bytes that were to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// They are there.
    At(PathBuf),
    /// Only the account is: there is no room, or they could not be written.
    AccountOnly(String),
}

impl Quarantine {
    /// Opens it, and removes what a killed monitor left half written.
    pub(super) fn open(state: &Path, max: u64) -> Result<Self, Fail> {
        let directory = state.join("quarantine");
        let bad = |e: io::Error| {
            Fail::usage("unwritable", format!("{}: {e}", directory.display()))
                .hint("the monitor keeps there what should not have been served")
        };
        fs::create_dir_all(&directory).map_err(bad)?;
        set_mode(&directory, 0o700).map_err(bad)?;
        let mut used = 0;
        for entry in fs::read_dir(&directory).map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let Ok(meta) = entry.metadata() else { continue };
            let left = entry.file_name().to_string_lossy().starts_with(INCOMING);
            let age = meta
                .modified()
                .ok()
                .and_then(|t| SystemTime::now().duration_since(t).ok());
            if left && age.is_some_and(|a| a > LEFT) {
                let _ = fs::remove_file(entry.path());
            } else if !left {
                used += meta.len();
            }
        }
        let used = Mutex::new(used);
        Ok(Self {
            directory,
            max,
            used,
        })
    }

    /// A file for bytes that come in; it goes when it is dropped.
    pub(super) fn incoming(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(INCOMING)
            .tempfile_in(&self.directory)
    }

    /// Where bytes of this digest are, or would be.
    pub(super) fn path(&self, digest: &Hash) -> PathBuf {
        self.directory.join(format!("{}.bin", hex32(digest)))
    }

    /// Keeps `file`, whose bytes have `digest`, and the account of how they came; durable when it
    /// returns. The same bytes are kept once.
    pub(super) fn keep(
        &self,
        file: Option<&NamedTempFile>,
        digest: &Hash,
        account: &Account,
    ) -> Kept {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(digest);
        let bytes = if path.exists() {
            Ok(0)
        } else {
            match file {
                None => Err("the bytes could not be written while they came".to_owned()),
                Some(file) => self.bytes(file, &path, *used),
            }
        };
        // Accounts are small: a twentieth more than the whole is theirs.
        let room = (self.max + self.max / 20).saturating_sub(*used);
        let account = self.account(digest, account, room);
        let (kept, added) = match (bytes, account) {
            (Ok(n), Ok(more)) => (Kept::At(path), n + more),
            (Ok(n), Err(_)) => (Kept::At(path), n),
            (Err(why), Ok(more)) => (Kept::AccountOnly(why), more),
            (Err(why), Err(other)) => (Kept::AccountOnly(format!("{why}; {other}")), 0),
        };
        *used += added;
        kept
    }

    fn bytes(&self, file: &NamedTempFile, path: &Path, used: u64) -> Result<u64, String> {
        let size = file.as_file().metadata().map_err(|e| e.to_string())?.len();
        if used.saturating_add(size) > self.max {
            return Err(format!(
                "the quarantine is full: it holds {used} of {} bytes",
                self.max
            ));
        }
        let link = || {
            set_mode(file.path(), 0o400)?;
            file.as_file().sync_all()?;
            // Never in the place of what is there. The temporary name goes with the file.
            fs::hard_link(file.path(), path)?;
            sync(&self.directory)
        };
        match link() {
            Ok(()) => Ok(size),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(0),
            Err(e) => Err(e.to_string()),
        }
    }

    fn account(&self, digest: &Hash, account: &Account, room: u64) -> Result<u64, String> {
        let mut text = serde_json::to_vec_pretty(account).map_err(|e| e.to_string())?;
        text.push(b'\n');
        if text.len() > ACCOUNT || text.len() as u64 > room {
            return Err("there is no room for the account either".into());
        }
        for n in 1..=ACCOUNTS {
            let path = self.directory.join(format!("{}-{n}.json", hex32(digest)));
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            let mut file = match options.open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e.to_string()),
            };
            let written = file
                .write_all(&text)
                .and_then(|()| set_mode(&path, 0o400))
                .and_then(|()| file.sync_all())
                .and_then(|()| sync(&self.directory));
            return written
                .map(|()| text.len() as u64)
                .map_err(|e| e.to_string());
        }
        // How it came is known often enough.
        Ok(0)
    }
}

#[cfg_attr(not(unix), allow(unused_variables))]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A name is durable with its directory; not every system can sync one.
fn sync(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ledger::sha256;

    fn account() -> Account {
        Account {
            subject: "https://storage.example/tool".into(),
            why: "bytes-not-logged".into(),
            user_agent: "curl/8.5.0".into(),
            proxy: None,
            request: Vec::new(),
            answers: Vec::new(),
            began: String::new(),
            ended: String::new(),
            size: 3,
            whole: true,
        }
    }

    fn came(quarantine: &Quarantine, bytes: &[u8]) -> NamedTempFile {
        let mut file = quarantine.incoming().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn bytes_are_kept_once_for_nobody_to_run_and_each_account_beside() {
        let state = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(state.path(), 1 << 20).unwrap();
        let digest = sha256(b"bad");
        let path = quarantine.path(&digest);
        for _ in 0..2 {
            let file = came(&quarantine, b"bad");
            let kept = quarantine.keep(Some(&file), &digest, &account());
            assert_eq!(kept, Kept::At(path.clone()));
        }
        assert_eq!(fs::read(&path).unwrap(), b"bad");
        let directory = path.parent().unwrap();
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let hash = hex32(&digest);
        let want = ["-1.json", "-2.json", ".bin"].map(|end| format!("{hash}{end}"));
        assert_eq!(names, want);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o7777;
            assert_eq!((mode(&path), mode(directory)), (0o400, 0o700));
        }
    }

    #[test]
    fn a_full_quarantine_overwrites_nothing_and_keeps_the_account() {
        let state = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(state.path(), 100_000).unwrap();
        let (first, second) = (vec![1; 90_000], vec![2; 20_000]);
        let file = came(&quarantine, &first);
        quarantine.keep(Some(&file), &sha256(&first), &account());
        drop(file);
        // What it holds is counted again by whoever opens it next.
        let quarantine = Quarantine::open(state.path(), 100_000).unwrap();
        let file = came(&quarantine, &second);
        let kept = quarantine.keep(Some(&file), &sha256(&second), &account());
        assert!(matches!(kept, Kept::AccountOnly(_)), "{kept:?}");
        assert!(quarantine.path(&sha256(&first)).exists());
        assert!(!quarantine.path(&sha256(&second)).exists());
        let json = format!("{}-1.json", hex32(&sha256(&second)));
        assert!(quarantine.directory.join(json).exists());
    }

    #[test]
    fn what_was_left_half_written_goes_when_it_is_old() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("quarantine");
        fs::create_dir_all(&directory).unwrap();
        let (old, new) = (directory.join(".incoming-a"), directory.join(".incoming-b"));
        for path in [&old, &new] {
            fs::write(path, "x").unwrap();
        }
        let ago = SystemTime::now() - 2 * LEFT;
        let file = fs::File::options().write(true).open(&old).unwrap();
        file.set_modified(ago).unwrap();
        Quarantine::open(state.path(), 1).unwrap();
        assert!(!old.exists() && new.exists());
    }
}
