//! `countersign verify FILE…`: offline; opens no socket, but with `--online`.

use super::cached::{self, CacheArgs, Cached, Verified};
use super::common::{
    PolicyArgs, hash_file, load_memory, load_policy, now, refused_to_fail, remember, state_path,
    warn_once,
};
use super::history::Against;
use super::learn::learn_refused;
use super::receipts::{ReceiptArgs, Trusted};
use super::refresh::take_up;
use super::statement::said;
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::memory::Memory;
use crate::policy::{Policy, ProjectPolicy};
use crate::receipt::Command;
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
    /// The files to verify; each has its bundle beside it as FILE.bundle, or was verified here before
    /// under whatever name: then the bundle is found by the file's digest
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
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    receipts: ReceiptArgs,
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
    let certified = v
        .certified
        .as_ref()
        .map(|c| json!({ "issuer": c.issuer, "notAfter": c.not_after, "san": c.san }));
    let mut value = json!({
        "verdict": "verified", "file": file, "project": project, "projectId": hex32(&v.proven.project),
        "artifact": v.proven.artifact, "version": v.version, "purl": v.purl, "sha256": hex32(sha256), "size": size,
        "log": policy.log.origin, "index": v.index, "statement": hex32(&v.pae_hash),
        "keys": v.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "authorisedBy": { "version": v.authorised_by.0, "index": v.authorised_by.1 },
        "treeSize": v.proven.checkpoint.size, "firstPublic": v.first_public, "viewTime": v.view_time,
    });
    if let (Some(fields), Some(certified)) = (value.as_object_mut(), certified) {
        fields.insert("certified".into(), certified);
    }
    value
}

/// The verdict for a person.
#[must_use]
pub fn verdict_line(v: &Verdict, policy: &Policy, project: &str, file: &str) -> String {
    let keys: Vec<String> = v
        .keys
        .iter()
        .map(|k| k.to_string().chars().take(16).collect())
        .collect();
    let certified = v.certified.as_ref().map_or_else(String::new, |c| {
        let (san, issuer) = (visible(&c.san), visible(&c.issuer));
        format!(" certified for {san}, attested by {issuer}")
    });
    format!(
        "verified: {file} is {} of {project} {}\n  log {} entry {}, tree size {}; signed by key {}{certified}, authorised by project version {} (entry {})",
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
            let ours = Against {
                policy: &policy,
                state: &state,
            };
            match said(file, named, ours, &mut memory, args.json) {
                Ok(line) => sayln!("{line}"),
                Err(fail) => refuse(args, file, fail, &mut worst),
            }
            continue;
        }
        if let Err(fail) = one(args, file, &policy, (&state, &mut memory), fetcher.as_ref()) {
            refuse(args, file, fail, &mut worst);
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

/// A file, and the bundle that is to verify it.
struct Source<'a> {
    name: String,
    project: &'a ProjectPolicy,
    bundle: Bundle,
    sha256: ledger::Hash,
    size: u64,
    /// Where the bundle was, if it was found by the file's digest, and the names that its release has
    /// for the file.
    cached: Option<(PathBuf, Vec<String>)>,
}

impl<'a> Source<'a> {
    fn find(
        args: &VerifyArgs,
        file: &Path,
        policy: &'a Policy,
        state: &Path,
    ) -> Result<Self, Fail> {
        let own = file.file_name().unwrap_or_default().to_string_lossy();
        let select = |name: &str| {
            let found = policy.select(args.project.as_deref(), name);
            found.map_err(|e| Fail::usage(e.kind(), e.to_string()))
        };
        let mut beside = file.as_os_str().to_owned();
        beside.push(".bundle");
        let beside = PathBuf::from(beside);
        let none = |path: &Path| {
            let found = path.symlink_metadata();
            found.is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
        };
        if args.bundle.is_none()
            && !args.cache.no_cache
            && none(&beside)
            // A file that cannot be read has no digest; what is said is that it has no bundle.
            && let Ok((sha256, size)) = hash_file(file, |_| {})
            && let Some(cached) = cached::find(state, policy, &sha256)
        {
            // The file's own name, if the release has it too: then it was not renamed.
            let released = cached.names.iter().find(|n| **n == own);
            let released = released.or(cached.names.first());
            let name = args.name.as_ref().or(released).cloned();
            let name = name.unwrap_or_default();
            let project = select(&name)?;
            if cached.is_of(project) {
                let Cached {
                    path,
                    bundle,
                    names,
                    ..
                } = cached;
                return Ok(Self {
                    name,
                    project,
                    bundle,
                    sha256,
                    size,
                    cached: Some((path, names)),
                });
            }
        }
        let name = args.name.clone().unwrap_or_else(|| own.into_owned());
        let project = select(&name)?;
        let bundle = read_bundle(args.bundle.as_ref().unwrap_or(&beside)).map_err(|fail| {
            if args.bundle.is_some() || args.cache.no_cache || fail.kind != "no-bundle" {
                return fail;
            }
            fail.detail("cache", cached::directory(state).display().to_string())
                .hint("fetch the bundle that ships beside the artifact, or name it with --bundle; one is kept for each file that was verified here, whatever its name is now, and for this there is none")
        })?;
        let (sha256, size) = hash_file(file, |_| {})?;
        Ok(Self {
            name,
            project,
            bundle,
            sha256,
            size,
            cached: None,
        })
    }
}

fn one(
    args: &VerifyArgs,
    file: &Path,
    policy: &Policy,
    (state, memory): (&Path, &mut Memory),
    fetcher: Option<&Fetcher>,
) -> Result<(), Fail> {
    let mut source = Source::find(args, file, policy, state)?;
    let project = source.project;
    let from = source
        .cached
        .as_ref()
        .map(|(path, _)| path.display().to_string());
    let said_from = |fail: Fail| match &from {
        Some(path) => fail.detail("bundle", path.as_str()),
        None => fail,
    };
    if let Some(fetcher) = fetcher {
        let at = (state, &mut *memory);
        take_up(fetcher, policy, project, at, &mut source.bundle)
            .map_err(said_from)?
            .warn();
    }
    let bundle = &source.bundle;
    let wanted = Wanted {
        project,
        version: args.version.as_deref(),
        no_rollback: false,
    };
    let artifact = Artifact {
        name: &source.name,
        sha256: source.sha256,
        size: source.size,
    };
    let verdict = loop {
        let verdict = crate::verify::verify(&artifact, &wanted, bundle, policy, memory, now())
            .map_err(|r| {
                learn_refused(state, memory, policy, project, bundle, &r);
                said_from(refused_to_fail(
                    &r,
                    Against { policy, state },
                    project,
                    bundle,
                ))
            })?;
        match remember(state, memory, policy, &verdict.proven) {
            Ok(true) => break verdict,
            // By what another process has remembered meanwhile.
            Ok(false) => {}
            // A place that cannot be written does not make the file bad: say it, go on.
            Err(e) => {
                warn_once("not remembered", &e);
                break verdict;
            }
        }
    };
    args.receipts
        .keep(&Trusted {
            command: Command::Verify,
            policy,
            project,
            verdict: &verdict,
            sha256: source.sha256,
            size: source.size,
            url: None,
            environment: None,
        })
        .map_err(said_from)?;
    let shown = file.display().to_string();
    if args.json {
        let (sha256, size) = (&source.sha256, source.size);
        let mut value = verdict_json(&verdict, policy, &project.name, &shown, sha256, size);
        if let (Some(path), Some(fields)) = (from, value.as_object_mut()) {
            fields.insert("bundle".into(), path.into());
        }
        sayln!("{value}");
    } else {
        sayln!("{}", verdict_line(&verdict, policy, &project.name, &shown));
        if let Some((path, names)) = &source.cached {
            sayln!("  by the cached bundle {}", path.display());
            if args.name.is_none() {
                sayln!("  released as {}", visible(&names.join(", ")));
            }
        }
    }
    let verified = Verified {
        policy,
        project,
        memory,
        artifact,
        bundle,
        verdict: &verdict,
    };
    verified.keep(&args.cache, state);
    Ok(())
}
