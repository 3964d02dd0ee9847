//! The options of the commands that look after a log: `check`, `export`, `import`, `backup`.

use crate::say;
use clap::{Args, ValueEnum};
use countersign_server::check::{self, Options, Progress, store::Part};
use countersign_server::{Error, backup, export, import};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

/// One of the databases.
#[derive(Clone, Copy, ValueEnum)]
pub enum PartArg {
    /// private/hot
    Hot,
    /// private/index
    Index,
}

impl From<PartArg> for Part {
    fn from(part: PartArg) -> Self {
        match part {
            PartArg::Hot => Self::Hot,
            PartArg::Index => Self::Index,
        }
    }
}

/// What to check, and how.
#[derive(Args)]
pub struct CheckArgs {
    #[command(flatten)]
    what: What,
    /// A vkey that must have signed the checkpoint; may be given more than once. With --data
    /// the log's own are taken if none is given. With --tiles they must be given, and should
    /// come from where you trust them (`countersign-server vkeys`, a policy), not from what is
    /// checked.
    #[arg(long, value_name = "VKEY")]
    vkey: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Keep in FILE how far the check has come: one that is begun again with it does not
    /// verify the same signatures again. Whoever can write FILE can have them left out.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// The log's high-water mark: the log must go on from it.
    #[arg(long, value_name = "FILE", requires = "data")]
    high_water: Option<PathBuf>,
    /// Make copies of the databases below DIR (else where temporary files go); they are as
    /// large as private/hot and private/index.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Threads that verify (else one a core).
    #[arg(long, value_name = "N")]
    workers: Option<NonZero<usize>>,
    /// Show no progress.
    #[arg(long)]
    quiet: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The log's directory; a server may run on it.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A tlog-tiles directory: an export, or a mirror with its checkpoint.
    #[arg(long, value_name = "DIR", requires = "vkey")]
    tiles: Option<PathBuf>,
}

/// This program, to be started again for what may end the process.
fn this() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(|e| Error::Io {
        path: "this program".into(),
        why: e.to_string(),
    })
}

impl CheckArgs {
    /// Checks, and says what was found.
    ///
    /// # Errors
    /// Where nobody reads it.
    pub fn run(self) -> Result<ExitCode, Error> {
        let options = Options {
            vkeys: self.vkey,
            resume: self.resume,
            high_water: self.high_water,
            scratch: self.scratch,
            workers: self.workers,
            progress: if self.quiet {
                Progress::Silent
            } else {
                Progress::Shown
            },
            ..Options::new(this()?)
        };
        let report = match (self.what.data, self.what.tiles) {
            (Some(dir), _) => check::data(&dir, &options),
            (_, dir) => check::tiles(&dir.unwrap_or_default(), &options),
        };
        say(&if self.json {
            format!("{}\n", report.json())
        } else {
            report.text()
        })?;
        Ok(ExitCode::from(report.verdict().code()))
    }
}

/// Where copies of the databases go.
#[derive(Args)]
struct Scratch {
    /// Make copies of the hot state below DIR (else where temporary files go).
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

impl Scratch {
    fn options(self) -> Result<Options, Error> {
        Ok(Options {
            scratch: self.scratch,
            progress: Progress::Shown,
            ..Options::new(this()?)
        })
    }
}

/// What to export, and whereto.
#[derive(Args)]
pub struct ExportArgs {
    /// The log's directory; a server may run on it.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A directory that is empty, or is an earlier export of this log, to which what is new is
    /// added; made if need be.
    #[arg(long, value_name = "TILEDIR")]
    out: PathBuf,
    #[command(flatten)]
    scratch: Scratch,
}

impl ExportArgs {
    /// Exports.
    ///
    /// # Errors
    /// [`Error`].
    pub fn run(self) -> Result<(), Error> {
        let done = export::export(&self.data, &self.out, &self.scratch.options()?)?;
        say(&format!(
            "{} leaves, {} new, {} files written, root {}\n",
            done.size,
            done.size - done.had,
            done.files,
            ledger::hex32(&done.root)
        ))
    }
}

/// What to back up, and whereto.
#[derive(Args)]
pub struct BackupArgs {
    /// The log's directory; a server may run on it.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The tar file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Put the log's private keys in, unencrypted: whoever has the file can sign as the log.
    #[arg(long)]
    with_private_keys: bool,
    #[command(flatten)]
    scratch: Scratch,
}

impl BackupArgs {
    /// Backs up.
    ///
    /// # Errors
    /// [`Error`].
    pub fn run(self) -> Result<(), Error> {
        let options = self.scratch.options()?;
        let done = backup::backup(&self.data, &self.out, self.with_private_keys, &options)?;
        if self.with_private_keys {
            eprintln!(
                "warning: {} holds the log's private keys, unencrypted: whoever reads it can sign as the log",
                self.out.display()
            );
        }
        say(&format!(
            "{} leaves, {} files, root {}\n",
            done.size,
            done.files,
            ledger::hex32(&done.root)
        ))
    }
}

/// What to import, and where.
#[derive(Args)]
pub struct ImportArgs {
    /// An export, or a mirror of this log with its checkpoint.
    #[arg(value_name = "TILEDIR")]
    from: PathBuf,
    /// A data directory with this log's log.json and keys, in which the log is missing or
    /// behind; no server may run on it.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    scratch: Scratch,
}

impl ImportArgs {
    /// Imports.
    ///
    /// # Errors
    /// [`Error`].
    pub fn run(self) -> Result<(), Error> {
        let done = import::import(&self.from, &self.data, &self.scratch.options()?)?;
        eprintln!(
            "warning: the log goes on from here. If it ever showed a larger checkpoint, import that first: to \
             sign from an older one is to sign another history"
        );
        say(&format!(
            "{} leaves, {} new, root {}\n",
            done.size,
            done.size - done.had.unwrap_or_default(),
            ledger::hex32(&done.root)
        ))
    }
}
