//! `countersign trust init|show`: first trust, from one short string.

use super::common::{PolicyArgs, load_policy, write_atomic};
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::policy::Policy;
use clap::{Args, Subcommand};
use ledger::hex32;
use ledger::trust::{MAX_TRUST_BYTES, TrustDocument, TrustString};
use serde_json::json;
use std::path::PathBuf;

/// The subcommands of `trust`.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Make a policy from the trust string that a project publishes outside its storage
    Init(InitArgs),
    /// Say in plain words whom a policy trusts
    Show(ShowArgs),
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

/// Runs `trust …`.
///
/// # Errors
/// Exit code 1 where the document is not the one that the string pins.
pub fn run(command: &TrustCommand) -> Result<(), Fail> {
    match command {
        TrustCommand::Init(args) => init(args),
        TrustCommand::Show(args) => show(args),
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
        let projects: Vec<_> = policy
            .projects
            .iter()
            .map(|p| json!({ "id": hex32(&p.id), "name": p.name }))
            .collect();
        let vkeys: Vec<String> = policy.log.vkeys.iter().map(ToString::to_string).collect();
        sayln!(
            "{}",
            json!({ "log": { "origin": policy.log.origin, "url": policy.log.url, "vkeys": vkeys },
            "projects": projects, "witnesses": policy.witnesses_text, "minAge": policy.min_age, "maxAge": policy.max_age })
        );
    } else {
        say!("{}", plain(&policy));
    }
    Ok(())
}

fn plain(policy: &Policy) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Trusts the log {} when all of its {} keys have signed:",
        policy.log.origin,
        policy.log.vkeys.len()
    );
    for key in &policy.log.vkeys {
        let _ = writeln!(out, "  {key}");
    }
    if policy.witnesses.quorum_none() {
        let _ = writeln!(
            out,
            "No witness is asked for: this log alone could show you another history than others see."
        );
    } else {
        let _ = writeln!(out, "And when this witness quorum has cosigned:");
        for line in policy.witnesses_text.lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    for p in &policy.projects {
        let _ = writeln!(
            out,
            "Trusts the project {} pinned to its first statement {}",
            p.name,
            hex32(&p.id)
        );
    }
    out
}
