//! `countersign trust init|show|check`; `update` has a file of its own: first trust, from one short string.

use super::common::{PolicyArgs, load_policy, write_atomic};
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::policy::Policy;
use crate::policy::weak::{Weak, weaknesses};
use crate::policy::words::plain;
use clap::{Args, Subcommand};
use ledger::hex32;
use ledger::trust::{MAX_TRUST_BYTES, TrustDocument, TrustString};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The subcommands of `trust`.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Make a policy from the trust string that a project publishes outside its storage
    Init(InitArgs),
    /// Say in plain words whom a policy trusts
    Show(ShowArgs),
    /// Explain a policy, and warn of what is weak about it
    Check(CheckArgs),
    /// Follow what the project recommends: log keys and witnesses; shows what changes, asks
    Update(super::follow::UpdateArgs),
}

/// Arguments of `trust init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// countersign1:<origin>:<project>:<code>
    string: String,
    /// The log's URL [default: https://<origin>]
    #[arg(long, value_name = "URL")]
    log: Option<String>,
    /// Where to write the policy
    #[arg(long, value_name = "POLICY")]
    out: PathBuf,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Arguments of `trust show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `trust check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The policy file
    #[arg(value_name = "POLICY")]
    file: PathBuf,
    /// Warnings are failures: exit code 1
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `trust …`.
///
/// # Errors
/// Exit code 1 where the document is not the one that the string pins.
pub fn run(command: &TrustCommand) -> Result<(), Fail> {
    match command {
        TrustCommand::Init(args) => init(args),
        TrustCommand::Show(args) => show(args),
        TrustCommand::Check(args) => check(args),
        TrustCommand::Update(args) => super::follow::run(args),
    }
}

fn init(args: &InitArgs) -> Result<(), Fail> {
    let string = TrustString::parse(&args.string).map_err(|e| {
        Fail::usage(e.kind(), e.to_string())
            .hint("copy the whole string from the project's own site or repository")
    })?;
    if args.out.exists() {
        return Err(
            Fail::usage("exists", format!("{} exists already", args.out.display()))
                .hint("move it away, or choose another --out"),
        );
    }
    let log = args
        .log
        .clone()
        .unwrap_or_else(|| format!("https://{}", string.origin));
    let log = log.trim_end_matches('/');
    let fetcher = Fetcher::new(args.ca_file.as_deref())?;
    let bytes = fetcher.get_bytes(
        &format!("{log}/api/v1/trust/{}", string.hash_prefix()),
        MAX_TRUST_BYTES,
    )?;
    let document = TrustDocument::parse(&bytes)
        .map_err(|e| Fail::untrusted(e.kind(), e.to_string()).detail("log", log))?;
    if !string.matches(&document) {
        let got = TrustString::of(&document).map_or_else(|e| e.to_string(), |s| s.to_string());
        return Err(Fail::untrusted(
            "trust-string-mismatch",
            "the log served a trust document that this string does not pin",
        )
        .detail("expected", string.to_string())
        .detail("got", got)
        .hint(
            "check the string against the project's own site; if it is right, the log is lying",
        ));
    }
    let policy = Policy::from_trust(&document, Some(log))
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let text = policy
        .to_toml()
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    write_atomic(&args.out, text.as_bytes())?;
    eprint!("{}", plain(&policy));
    eprintln!("policy written to {}", args.out.display());
    Ok(())
}

fn show(args: &ShowArgs) -> Result<(), Fail> {
    let policy = load_policy(&args.policy)?;
    if args.json {
        sayln!("{}", shown(&policy));
    } else {
        say!("{}", plain(&policy));
    }
    Ok(())
}

/// A policy for a script.
fn shown(policy: &Policy) -> Value {
    let projects: Vec<Value> = policy
        .projects
        .iter()
        .map(|p| {
            json!({ "id": hex32(&p.id), "name": p.name, "artifacts": p.artifacts, "minIndex": p.min_index,
                "minVersion": p.min_version, "minAge": policy.min_age_of(p), "maxAge": policy.max_age_of(p) })
        })
        .collect();
    let vkeys: Vec<String> = policy.log.vkeys.iter().map(ToString::to_string).collect();
    json!({ "log": { "origin": policy.log.origin, "url": policy.log.url, "vkeys": vkeys },
        "projects": projects, "witnesses": policy.witnesses_text, "minAge": policy.min_age, "maxAge": policy.max_age })
}

fn check(args: &CheckArgs) -> Result<(), Fail> {
    let policy = load_policy(&PolicyArgs {
        policy: Some(args.file.clone()),
        state: None,
    })?;
    let mut weak = weaknesses(&policy);
    weak.extend(writable(&args.file));
    if args.json {
        let list = weak
            .iter()
            .map(|w| json!({ "kind": w.kind, "message": w.why }));
        let mut value = shown(&policy);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("warnings".into(), list.collect());
        }
        sayln!("{value}");
    } else {
        say!("{}", plain(&policy));
        for w in &weak {
            sayln!("warning: {} [{}]", visible(&w.why), w.kind);
        }
    }
    if !args.strict || weak.is_empty() {
        return Ok(());
    }
    let kinds: Vec<&str> = weak.iter().map(|w| w.kind).collect();
    let fail = Fail::untrusted("weak-policy", "the policy is weak")
        .detail("warnings", kinds.join(", "))
        .hint("mend what is warned of, or leave out --strict");
    // The one JSON object has the warnings.
    Err(fail.shown_if(args.json))
}

/// Who can write the policy decides whom it trusts.
#[cfg(unix)]
fn writable(file: &Path) -> Option<Weak> {
    use std::os::unix::fs::PermissionsExt as _;
    let file = file.canonicalize().ok()?;
    let mode = |path: &Path| Some(path.metadata().ok()?.permissions().mode());
    // Where a directory is sticky, nobody replaces the files of others.
    let open_directory = |m: u32| m & 0o022 != 0 && m & 0o1000 == 0;
    let at = if mode(&file)? & 0o022 != 0 {
        file.as_path()
    } else {
        file.parent()
            .filter(|d| mode(d).is_some_and(open_directory))?
    };
    let why = format!("others than its owner can write {}", at.display());
    let kind = "writable-by-others";
    Some(Weak { kind, why })
}

#[cfg(not(unix))]
fn writable(_file: &Path) -> Option<Weak> {
    None
}
