//! `countersign get URL|NAME`: fetches an artifact with its bundle; the file gets its name only
//! after it is verified.

use super::cached::CacheArgs;
use super::common::PolicyArgs;
use super::prepared::Prepared;
use super::receipts::ReceiptArgs;
use super::verify::verdict_json;
use crate::fail::Fail;
use crate::place::{Placed, copy};
use crate::receipt::Command;
use clap::Args;
use std::path::{Path, PathBuf};

/// What to fetch, and whom to trust for it; shared with `run`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The artifact's address; its bundle is at the same address with `.bundle` added. Or
    /// PROJECT[@VERSION|@latest][/ARTIFACT], looked up in the project's proven history
    #[arg(value_name = "URL|NAME")]
    pub what: String,
    /// Whom to trust.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// The project, where the policy has several
    #[arg(long)]
    pub project: Option<String>,
    /// The version that it must be; without it, nothing older than what is remembered is taken, but by
    /// name where all that is newer was withdrawn, revoked or ended, which is then said
    #[arg(long)]
    pub version: Option<String>,
    /// The name that the artifact was released under [default: the last part of the address]
    #[arg(long)]
    pub name: Option<String>,
    /// The bundle's address, where it is another
    #[arg(long, value_name = "URL")]
    pub bundle_url: Option<String>,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Keep what is refused in this directory, as evidence
    #[arg(long, value_name = "DIR")]
    pub save_refused: Option<PathBuf>,
    /// Whether bundles are cached.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// Whether a receipt is written.
    #[command(flatten)]
    pub receipts: ReceiptArgs,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
// `--version` is the version that is wanted, not ours.
#[command(disable_version_flag = true)]
pub struct GetArgs {
    /// What to fetch.
    #[command(flatten)]
    pub fetch: FetchArgs,
    /// Where it goes: a file, a directory, or `-` for standard output [default: its name, here]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl GetArgs {
    /// Whether standard output is for the artifact, and nothing else.
    pub(crate) fn to_stdout(&self) -> bool {
        self.output.as_deref() == Some(Path::new("-"))
    }
}

/// Runs `get`.
///
/// # Errors
/// Exit code 1 where it is refused, 3 where it could not be fetched, 2 for wrong usage. No
/// file has the destination's name then, unless it was there before.
pub fn run(args: &GetArgs) -> Result<(), Fail> {
    let mut prepared = Prepared::new(&args.fetch)?;
    if let Err(fail) = prepared.check_bundle() {
        return Err(prepared.keep(None, fail));
    }
    let to_stdout = args.to_stdout();
    let destination = match &args.output {
        Some(path) if path.is_dir() => path.join(&prepared.name),
        Some(path) => path.clone(),
        None => PathBuf::from(&prepared.name),
    };
    // For standard output it is held back in a temporary file until it is verified, then copied.
    let mut placed = match to_stdout {
        true => Placed::held_back()?,
        false => Placed::new_in(&destination)?,
    };
    let copied = prepared.download(|reader, limit| placed.fill(reader, limit))?;
    // First remembered, then placed: where nothing can be remembered at all, nothing is placed.
    let verdict = prepared
        .settle(&copied)
        .map_err(|f| prepared.keep(Some(placed.path()), f))?;
    prepared.receipt(Command::Get, &verdict, &copied, None)?;
    if to_stdout {
        // The bytes are hashed again on their way out: what is written is what was verified.
        let mut file = placed.reopen()?;
        let out = copy(&mut file, &mut std::io::stdout().lock(), copied.size)?;
        if out.over || out.sha256 != copied.sha256 {
            return Err(Fail::untrusted(
                "changed-on-disk",
                "the temporary file was changed after it was verified: discard the output",
            ));
        }
    } else {
        placed.commit()?;
    }
    prepared.cache(&verdict, &copied);
    let shown = if to_stdout {
        "-".to_owned()
    } else {
        destination.display().to_string()
    };
    let line = if args.json {
        verdict_json(
            &verdict,
            &prepared.policy,
            &prepared.project.name,
            &shown,
            &copied.sha256,
            copied.size,
        )
        .to_string()
    } else {
        prepared.line(&verdict, &shown)
    };
    if to_stdout {
        eprintln!("{line}")
    } else {
        sayln!("{line}");
    }
    Ok(())
}
