//! `countersign run URL -- ARGS…`: fetches, verifies and runs, without a file in between that
//! somebody could change. On Linux the bytes are in a sealed memory file: sealed before they
//! are verified, so that what was hashed is what runs.

use super::get::FetchArgs;
use super::handover::Handover;
use super::prepared::Prepared;
use crate::fail::Fail;
use crate::place::{Copied, copy};
use crate::receipt::Command as Receipted;
use clap::Args;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Arguments of `run`.
#[derive(Debug, Args)]
// `--version` is the version that is wanted, not ours.
#[command(disable_version_flag = true)]
pub struct RunArgs {
    /// What to fetch.
    #[command(flatten)]
    pub fetch: FetchArgs,
    /// Run this program with the artifact as its first argument, as in `--with sh`
    #[arg(long, value_name = "PROGRAM")]
    pub with: Option<PathBuf>,
    /// Hand over this environment variable (`*` stands for any run of characters), besides what the
    /// policy's run.environment lists; all others are withheld. Without either it gets them all
    #[arg(long, value_name = "NAME")]
    pub env: Vec<String>,
    /// Arguments for what is run, after `--`
    #[arg(last = true, value_name = "ARG")]
    pub args: Vec<OsString>,
}

/// Runs `run`; returns the exit code of what was run (128 and the signal where one ended it).
///
/// # Errors
/// As `get`; exit code 2 where it was verified but cannot be started.
pub fn run(args: &RunArgs) -> Result<i32, Fail> {
    let mut prepared = Prepared::new(&args.fetch)?;
    if let Err(fail) = prepared.check_bundle() {
        return Err(prepared.keep(None, fail));
    }
    let held = Held::new(&prepared.name)?;
    let copied = prepared.download(|reader, limit| copy(reader, &mut held.file(), limit))?;
    let held = held.seal()?;
    // Hashed again where nobody can change them any more: what was hashed as it came could have
    // been written over before it was sealed.
    let copied = Copied {
        over: copied.over,
        ..held.hash()?
    };
    let verdict = prepared
        .settle(&copied)
        .map_err(|f| prepared.keep(Some(&held.path()), f))?;
    prepared.cache(&verdict, &copied);
    let allowed = prepared.policy.run.environment.as_deref();
    let handover = Handover::choose(allowed, &args.env, std::env::vars_os());
    // On the disk before the program starts: it could hinder it afterwards.
    let handed = Some(handover.names.clone());
    prepared.receipt(Receipted::Run, &verdict, &copied, handed)?;
    // Standard output belongs to what is run.
    eprintln!("{}", prepared.line(&verdict, &prepared.name));
    if let Some(line) = handover.line() {
        eprintln!("{line}");
    }
    let path = held.path();
    let mut command = match &args.with {
        Some(program) => {
            let mut command = Command::new(program);
            command.arg(&path);
            command
        }
        None => Command::new(&path),
    };
    handover.apply(&mut command);
    let status = command.args(&args.args).status().map_err(|e| {
        let what = args.with.as_deref().unwrap_or(Path::new(&prepared.name));
        Fail::usage(
            "cannot-run",
            format!("verified, but cannot run {}: {e}", what.display()),
        )
        .hint("a script without `#!`, or for another program, needs --with PROGRAM")
    })?;
    Ok(code(status))
}

fn code(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        if let Some(signal) = status.signal() {
            return 128 + signal;
        }
    }
    status.code().unwrap_or(1)
}

fn cannot_hold(error: &dyn std::fmt::Display) -> Fail {
    Fail::usage(
        "cannot-hold",
        format!("no private place for the program: {error}"),
    )
    .hint("use `countersign get`, and run the file that it places")
}

/// What `file` holds, from its beginning.
fn hash(mut file: impl Read) -> Result<Copied, Fail> {
    copy(&mut file, &mut std::io::sink(), u64::MAX).map_err(|e| cannot_hold(&e.message))
}

#[cfg(target_os = "linux")]
mod held {
    use super::{Copied, Fail, PathBuf, cannot_hold, hash};
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::fs::File;
    use std::io::{Seek as _, SeekFrom};
    use std::os::fd::AsRawFd as _;

    /// The bytes in memory, without a name in any file system.
    pub struct Held(File);

    impl Held {
        pub fn new(_name: &str) -> Result<Self, Fail> {
            // Not close-on-exec: a script's interpreter opens /proc/self/fd/N after the exec.
            let flags = MemfdFlags::ALLOW_SEALING;
            // Kernels before 6.3 do not know EXEC, and do not need it.
            let fd = memfd_create("countersign", flags | MemfdFlags::EXEC)
                .or_else(|e| {
                    if e == rustix::io::Errno::INVAL {
                        memfd_create("countersign", flags)
                    } else {
                        Err(e)
                    }
                })
                .map_err(|e| cannot_hold(&e))?;
            Ok(Self(File::from(fd)))
        }

        pub fn file(&self) -> &File {
            &self.0
        }

        /// From here on nobody can change the bytes, we neither.
        pub fn seal(self) -> Result<Self, Fail> {
            let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
            fcntl_add_seals(&self.0, seals).map_err(|e| cannot_hold(&e))?;
            Ok(self)
        }

        pub fn hash(&self) -> Result<Copied, Fail> {
            let mut file = &self.0;
            file.seek(SeekFrom::Start(0)).map_err(|e| cannot_hold(&e))?;
            hash(file)
        }

        pub fn path(&self) -> PathBuf {
            format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod held {
    use super::{Copied, Fail, PathBuf, cannot_hold, hash};
    use std::fs::{File, OpenOptions};
    use tempfile::TempDir;

    /// A file in a directory that only its owner can enter, deleted with it.
    pub struct Held {
        file: Option<File>,
        path: PathBuf,
        _directory: TempDir,
    }

    impl Held {
        pub fn new(name: &str) -> Result<Self, Fail> {
            // Private on Unix (0700); on Windows the user's own temporary directory is.
            let directory = TempDir::new().map_err(|e| cannot_hold(&e))?;
            let path = directory.path().join(name);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            {
                use std::os::unix::fs::OpenOptionsExt as _;
                options.mode(0o700);
            }
            let file = options.open(&path).map_err(|e| cannot_hold(&e))?;
            Ok(Self {
                file: Some(file),
                path,
                _directory: directory,
            })
        }

        pub fn file(&self) -> HeldFile<'_> {
            HeldFile(self.file.as_ref())
        }

        /// Closes the file: one that is open for writing cannot be run.
        pub fn seal(mut self) -> Result<Self, Fail> {
            if let Some(file) = self.file.take() {
                file.sync_all().map_err(|e| cannot_hold(&e))?;
            }
            Ok(self)
        }

        pub fn hash(&self) -> Result<Copied, Fail> {
            hash(File::open(&self.path).map_err(|e| cannot_hold(&e))?)
        }

        pub fn path(&self) -> PathBuf {
            self.path.clone()
        }
    }

    /// The file as long as it is open.
    pub struct HeldFile<'a>(Option<&'a File>);

    impl std::io::Write for HeldFile<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.ok_or(std::io::ErrorKind::BrokenPipe)?.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}

use held::Held;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_is_judged_is_what_was_sealed_not_what_came() {
        let held = Held::new("tool").unwrap();
        let copied = copy(&mut &b"genuine"[..], &mut held.file(), 7).unwrap();
        // As another process of the same user could, before the seal.
        #[cfg(target_os = "linux")]
        {
            let mut other = std::fs::File::options()
                .write(true)
                .open(held.path())
                .unwrap();
            other.write_all(b"changed").unwrap();
            drop(other);
        }
        #[cfg(not(target_os = "linux"))]
        std::fs::write(held.path(), b"changed").unwrap();
        let held = held.seal().unwrap();
        let sealed = held.hash().unwrap();
        assert_eq!(copied.sha256, ledger::sha256(b"genuine"));
        assert_eq!(sealed.sha256, ledger::sha256(b"changed"));
        assert_eq!((sealed.size, sealed.over), (7, false));
    }
}
