//! A newer view for a bundle: what has been revoked and withdrawn since it was made.
//! `countersign refresh FILE…` writes it into the bundle; `get`, `run` and `verify --online`
//! judge by it.

use super::common::{
    PolicyArgs, load_memory, load_policy, now, refused_to_fail, state_path, write_atomic,
};
use super::history::Against;
use super::learn::learn_shown;
pub(crate) use super::newer::{Taken, take_up};
use super::verify::read_bundle;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::Memory;
use crate::policy::Policy;
use crate::verify::{Artifact, Wanted, verify};
use clap::Args;
use ledger::Hash;
use ledger::bundle::Bundle;
use ledger::leaf::Leaf;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `refresh`.
#[derive(Debug, Args)]
pub struct RefreshArgs {
    /// Artifacts with their bundles beside them as FILE.bundle, or bundles themselves
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// The project, where the policy has several
    #[arg(long)]
    project: Option<String>,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print one JSON object a file
    #[arg(long)]
    json: bool,
}

/// What the bundle's release says of `name`: SHA-256 and size. Proves nothing by itself.
pub(crate) fn released(bundle: &Bundle, name: &str) -> Option<(Hash, u64)> {
    let Ok(Leaf::Statement(leaf)) = Leaf::parse(&bundle.entry.leaf) else {
        return None;
    };
    let subject = leaf.statement.subject.iter().find(|s| s.name == name)?;
    Some((subject.sha256, subject.size?))
}

/// Runs `refresh`.
///
/// # Errors
/// Exit code 3 where a bundle could not be refreshed, 1 where what is known now forbids to trust
/// the release (the bundle then proves it: it is written first), 2 for wrong usage.
pub fn run(args: &RefreshArgs) -> Result<(), Fail> {
    let policy = load_policy(&args.policy)?;
    let state = state_path(&args.policy)?;
    let mut memory = load_memory(&state)?;
    let fetcher = Fetcher::new(args.ca_file.as_deref())?;
    let mut worst: Option<Fail> = None;
    for file in &args.files {
        if let Err(fail) = one(args, file, &fetcher, &policy, (&state, &mut memory)) {
            let fail = fail.detail("file", file.display().to_string());
            if args.json {
                sayln!("{}", fail.json());
            } else {
                eprint!("{}", fail.human());
            }
            fail.keep_graver(&mut worst);
        }
    }
    worst.map_or(Ok(()), |fail| Err(fail.shown()))
}

fn one(
    args: &RefreshArgs,
    file: &Path,
    fetcher: &Fetcher,
    policy: &Policy,
    (state, memory): (&Path, &mut Memory),
) -> Result<(), Fail> {
    let text = file.to_string_lossy();
    let path = match text.strip_suffix(".bundle") {
        Some(_) => file.to_owned(),
        None => PathBuf::from(format!("{text}.bundle")),
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let project = policy
        .select(args.project.as_deref(), &name)
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let mut bundle = read_bundle(&path)?;
    let taken = take_up(fetcher, policy, project, (state, &mut *memory), &mut bundle)?;
    match taken {
        Taken::Not(why) => return Err(why),
        Taken::Newer => {
            let bytes = bundle
                .to_bytes()
                .map_err(|e| Fail::usage("encoding", e.to_string()))?;
            write_atomic(&path, &bytes)?;
        }
        Taken::Current => {}
    }
    // What the release is of is in the bundle; the files themselves are for `verify`.
    let (sha256, size) = released(&bundle, &name).unwrap_or(([0; 32], 0));
    let wanted = Wanted {
        project,
        version: None,
        no_rollback: false,
    };
    let artifact = Artifact {
        name: &name,
        sha256,
        size,
    };
    let verdict = verify(&artifact, &wanted, &bundle, policy, memory, now());
    learn_shown(fetcher, policy, project, (state, memory), &bundle)?;
    let ours = Against { policy, state };
    let verdict = verdict.map_err(|r| refused_to_fail(&r, ours, project, &bundle))?;
    let size = verdict.proven.checkpoint.size;
    let newer = matches!(taken, Taken::Newer);
    if args.json {
        sayln!(
            "{}",
            json!({ "bundle": path.display().to_string(), "refreshed": newer, "treeSize": size,
                "viewTime": verdict.view_time })
        );
    } else {
        let what = if newer { "refreshed" } else { "up to date" };
        sayln!("{what}: {} at tree size {size}", path.display());
    }
    Ok(())
}
