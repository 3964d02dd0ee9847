//! `countersign verify FILE…`: offline; opens no socket, but with `--online`.

use super::common::{
    PolicyArgs, hash_file, load_memory, load_policy, now, refused_to_fail, remember, state_path,
};
use super::learn::learn_refused;
use super::refresh::take_up;
use super::statement::said;
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::memory::Memory;
use crate::policy::Policy;
use crate::verify::{Artifact, Verdict, Wanted};
use clap::Args;
use ledger::bundle::{Bundle, MAX_BUNDLE_BYTES};
use ledger::hex32;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The files to verify; each has its bundle beside it as FILE.bundle
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// The bundle, where it is not beside the file
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The project, where the policy has several
    #[arg(long)]
    project: Option<String>,
    /// The name that the file was released under, where it was renamed
    #[arg(long)]
    name: Option<String>,
    /// The version that it must be
    #[arg(long)]
    version: Option<String>,
    /// FILEs are bundles of statements of any kind, as `keys show --proofs` writes them: verify that
    /// each is in the log, said for this project by keys that could, and say what it says and whether
    /// that stands, is void, withdrawn or replaced. Which files may be used is asked without this
    #[arg(long, conflicts_with_all = ["online", "bundle", "name", "version"])]
    statement: bool,
    /// First ask the log what was revoked or withdrawn since the bundle was made; where it cannot
    /// be reached, the policy's max-age decides whether the bundle's own view is new enough
    #[arg(long)]
    online: bool,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE", requires = "online")]
    ca_file: Option<PathBuf>,
    /// Print one JSON object a file
    #[arg(long)]
    json: bool,
}

/// Reads a bundle file.
///
/// # Errors
/// Exit code 3 where there is none, 1 where it is malformed.
pub fn read_bundle(path: &Path) -> Result<Bundle, Fail> {
    let missing = |e: std::io::Error| {
        Fail::unchecked("no-bundle", format!("bundle {}: {e}", path.display()))
            .hint("fetch the bundle that ships beside the artifact, or name it with --bundle")
    };
    let file = std::fs::File::open(path).map_err(missing)?;
    let mut bytes = Vec::new();
    file.take(MAX_BUNDLE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(missing)?;
    parse_bundle(&bytes)
}

/// Parses a bundle.
///
/// # Errors
/// Exit code 1.
pub fn parse_bundle(bytes: &[u8]) -> Result<Bundle, Fail> {
    Bundle::parse(bytes).map_err(|e| {
        Fail::untrusted(e.kind(), e.to_string())
            .hint("fetch the bundle again; if it stays so, tell the project")
    })
}

/// The verdict for a script.
#[must_use]
pub fn verdict_json(
    v: &Verdict,
    policy: &Policy,
    project: &str,
    file: &str,
    sha256: &ledger::Hash,
    size: u64,
) -> Value {
    json!({
        "verdict": "verified", "file": file, "project": project, "projectId": hex32(&v.proven.project),
        "artifact": v.proven.artifact, "version": v.version, "purl": v.purl, "sha256": hex32(sha256), "size": size,
        "log": policy.log.origin, "index": v.index, "statement": hex32(&v.pae_hash),
        "keys": v.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "authorisedBy": { "version": v.authorised_by.0, "index": v.authorised_by.1 },
        "treeSize": v.proven.checkpoint.size, "firstPublic": v.first_public, "viewTime": v.view_time,
    })
}

/// The verdict for a person.
#[must_use]
pub fn verdict_line(v: &Verdict, policy: &Policy, project: &str, file: &str) -> String {
    let keys: Vec<String> = v
        .keys
        .iter()
        .map(|k| k.to_string().chars().take(16).collect())
        .collect();
    format!(
        "verified: {file} is {} of {project} {}\n  log {} entry {}, tree size {}; signed by key {}, authorised by project version {} (entry {})",
        v.proven.artifact,
        visible(&v.version),
        policy.log.origin,
        v.index,
        v.proven.checkpoint.size,
        keys.join(", "),
        v.authorised_by.0,
        v.authorised_by.1
    )
}

/// Runs `verify`: every file is tried, the worst outcome is the exit code.
///
/// # Errors
/// The first failure of the highest concern: 1 before 3 before 2.
pub fn run(args: &VerifyArgs) -> Result<(), Fail> {
    if args.files.len() > 1 && (args.bundle.is_some() || args.name.is_some()) {
        return Err(Fail::usage(
            "contradictory-arguments",
            "--bundle and --name belong to one file, and several are given",
        ));
    }
    let policy = load_policy(&args.policy)?;
    let state = state_path(&args.policy)?;
    let mut memory = load_memory(&state)?;
    let fetcher = args
        .online
        .then(|| Fetcher::new(args.ca_file.as_deref()))
        .transpose()?;
    let mut worst: Option<Fail> = None;
    for file in &args.files {
        if args.statement {
            let named = args.project.as_deref();
            match said(file, named, &policy, &memory, args.json) {
                Ok(line) => sayln!("{line}"),
                Err(fail) => refuse(args, file, fail, &mut worst),
            }
            continue;
        }
        match one(args, file, &policy, (&state, &mut memory), fetcher.as_ref()) {
            Ok((verdict, line)) => {
                sayln!("{line}");
                // A place that cannot be written does not make the file bad: say it, go on.
                if let Err(e) = remember(&state, &mut memory, &policy, &verdict.proven) {
                    eprint!("warning: not remembered: {}", e.human());
                }
            }
            Err(fail) => refuse(args, file, fail, &mut worst),
        }
    }
    worst.map_or(Ok(()), |fail| Err(fail.shown()))
}

fn refuse(args: &VerifyArgs, file: &Path, fail: Fail, worst: &mut Option<Fail>) {
    let fail = fail.detail("file", file.display().to_string());
    if args.json {
        sayln!("{}", fail.json());
    } else {
        eprint!("{}", fail.human());
    }
    fail.keep_graver(worst);
}

fn one(
    args: &VerifyArgs,
    file: &Path,
    policy: &Policy,
    (state, memory): (&Path, &mut Memory),
    fetcher: Option<&Fetcher>,
) -> Result<(Verdict, String), Fail> {
    let own = file
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name = args.name.clone().unwrap_or(own);
    let project = policy
        .select(args.project.as_deref(), &name)
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let beside = || {
        let mut path = file.as_os_str().to_owned();
        path.push(".bundle");
        PathBuf::from(path)
    };
    let mut bundle = read_bundle(&args.bundle.clone().unwrap_or_else(beside))?;
    if let Some(fetcher) = fetcher {
        take_up(fetcher, policy, project, (state, &mut *memory), &mut bundle)?.warn();
    }
    let (sha256, size) = hash_file(file, |_| {})?;
    let wanted = Wanted {
        project,
        version: args.version.as_deref(),
        no_rollback: false,
    };
    let artifact = Artifact {
        name: &name,
        sha256,
        size,
    };
    let verdict = crate::verify::verify(&artifact, &wanted, &bundle, policy, memory, now())
        .map_err(|r| {
            learn_refused(state, memory, policy, project, &bundle);
            refused_to_fail(&r, policy, project, &bundle)
        })?;
    let shown = file.display().to_string();
    let line = if args.json {
        verdict_json(&verdict, policy, &project.name, &shown, &sha256, size).to_string()
    } else {
        verdict_line(&verdict, policy, &project.name, &shown)
    };
    Ok((verdict, line))
}
