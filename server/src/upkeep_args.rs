//! The options of the commands that look after a log: `check`, `export`, `import`, `backup`.

use crate::say;
use clap::{Args, ValueEnum};
use countersign_server::Error;
use countersign_server::check::{self, Options, Progress, store::Part};
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
