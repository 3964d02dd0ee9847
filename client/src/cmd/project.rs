//! `countersign project init|status`; `update` has a file of its own.

use super::authorities::read_authorities;
use super::common::{PassphraseArgs, PolicyArgs, load_policy, log_url, write_atomic};
use super::sign::{send, upload_trust, write_prepared};
use super::signing::{KEY, KeyParser, borrowed, open_all};
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::policy::{Policy, log_keys};
use clap::{Args, Subcommand};
use keys::{KeySource, Signer};
use ledger::envelope::Envelope;
use ledger::hex32;
use ledger::statement::Project;
use ledger::trust::{TrustDocument, TrustString};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The subcommands of `project`.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// Found a project: sign its first statement with every key, submit it, print the trust string
    Init(Box<InitArgs>),
    /// Log a new version: keys, thresholds, prefixes, contact; shows what changes, asks
    Update(Box<super::update::UpdateArgs>),
    /// Ask the log what became of a project
    Status(StatusArgs),
}

/// Arguments of `project init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The project's name: lower-case segments between slashes, such as acme/uploader
    name: String,
    /// A root key: may change the project; keep it offline. May be given several times
    #[arg(long, required = true, value_name = KEY, value_parser = KeyParser)]
    root_key: Vec<KeySource>,
    /// A release key: may publish, and nothing else. May be given several times
    #[arg(long, required_unless_present = "authorities", value_name = KEY, value_parser = KeyParser)]
    release_key: Vec<KeySource>,
    /// In the place of release keys: the file that lists the authorities whose certificates may
    /// publish, and for whom (docs/certificates.md)
    #[arg(long, value_name = "FILE", conflicts_with = "release_key")]
    authorities: Option<PathBuf>,
    /// How many root keys it takes to change the project
    #[arg(long, default_value_t = 1)]
    root_threshold: u64,
    /// How many release keys it takes to publish
    #[arg(long, default_value_t = 1)]
    release_threshold: u64,
    /// The purls that releases carry, such as pkg:generic/acme/uploader. May be given several times
    #[arg(long, required = true, value_name = "PREFIX")]
    purl_prefix: Vec<String>,
    /// The log's URL
    #[arg(long, value_name = "URL")]
    log: String,
    /// A verifier key of the log, as its operator gave it to you; all of them. Never from the network alone
    #[arg(long, required = true, value_name = "VKEY")]
    vkey: Vec<String>,
    /// The witnesses and their quorum, a C2SP tlog-policy without log lines [default: quorum none]
    #[arg(long, value_name = "FILE")]
    witnesses: Option<PathBuf>,
    /// Where a stranger reports a mismatch: a URL or mailto:
    #[arg(long, default_value = "none given")]
    contact: String,
    /// Seconds for which a release key may be used after it is first listed
    #[arg(long, value_name = "SECONDS")]
    max_key_age: Option<u64>,
    /// Where to write the policy for this project
    #[arg(long, value_name = "POLICY")]
    policy_out: PathBuf,
    /// Only write the statement to FILE, to be signed by others and submitted later
    #[arg(long, value_name = "FILE")]
    prepare: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Arguments of `project status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The project's name
    name: String,
    #[command(flatten)]
    policy: PolicyArgs,
    /// The log's URL [default: the policy's]
    #[arg(long, value_name = "URL")]
    log: Option<String>,
    /// Wait for the operator's decision
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this many seconds
    #[arg(long, default_value_t = 600, requires = "wait")]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Runs `project …`.
///
/// # Errors
/// Exit codes 1 to 3.
pub fn run(command: &ProjectCommand) -> Result<(), Fail> {
    match command {
        ProjectCommand::Init(args) => init(args),
        ProjectCommand::Update(args) => super::update::run(args),
        ProjectCommand::Status(args) => status(args),
    }
}

fn init(args: &InitArgs) -> Result<(), Fail> {
    let bad = |kind: &str, e: String| Fail::usage(kind, e);
    let first = args.vkey.first().map(String::as_str).unwrap_or_default();
    let origin = tlog::vkey::VerifierKey::parse(first)
        .map_err(|e| bad("policy-log-key", e.to_string()))?
        .name()
        .to_owned();
    log_keys(&origin, &args.vkey).map_err(|e| bad(e.kind(), e.to_string()))?;
    let witnesses = match &args.witnesses {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| bad("unreadable", format!("{}: {e}", path.display())))?,
        None => "quorum none\n".to_owned(),
    };
    let read = |sources: &[KeySource]| open_all(sources, &args.passphrase);
    let (roots, releases) = (read(&args.root_key)?, read(&args.release_key)?);
    let public = |keys: &[Box<dyn Signer>]| keys.iter().map(|k| k.public_key().clone()).collect();
    let mut purl_prefixes = args.purl_prefix.clone();
    purl_prefixes.sort();
    let project = Project {
        name: args.name.clone(),
        log: origin.clone(),
        version: 1,
        previous: None,
        roots: public(&roots),
        root_threshold: args.root_threshold,
        release_keys: public(&releases),
        release_threshold: args.release_threshold,
        authorities: match &args.authorities {
            Some(path) => read_authorities(path)?,
            None => Vec::new(),
        },
        purl_prefixes,
        contact: args.contact.clone(),
        max_key_age: args.max_key_age,
        policy: None,
    };
    let payload = project
        .to_payload()
        .map_err(|e| bad(e.kind(), e.to_string()))?;
    let signers = [borrowed(&roots), borrowed(&releases)].concat();
    let envelope = Envelope::sign(payload, &signers).map_err(|e| bad(e.kind(), e.to_string()))?;
    let document = TrustDocument::new(
        &origin,
        args.vkey.clone(),
        envelope.pae_hash(),
        &args.name,
        &witnesses,
    );
    let log = args.log.trim_end_matches('/');
    let mut policy =
        Policy::from_trust(&document, Some(log)).map_err(|e| bad(e.kind(), e.to_string()))?;
    if let Some(own) = policy.projects.first_mut() {
        own.purl = project
            .purl_prefixes
            .first()
            .map(|p| p.trim_end_matches('/').to_owned());
    }
    let text = policy.to_toml().map_err(|e| bad(e.kind(), e.to_string()))?;
    let string = TrustString::of(&document).map_err(|e| bad("encoding", e.to_string()))?;
    if let Some(path) = &args.prepare {
        write_prepared(path, &envelope)?;
        write_atomic(&args.policy_out, text.as_bytes())?;
        eprintln!(
            "prepared {}; add signatures with `countersign sign`, then `countersign submit {} --policy {}`\nonce the log has it, publish this trust string outside the log and its storage:",
            path.display(),
            path.display(),
            args.policy_out.display()
        );
        sayln!("{string}");
        return Ok(());
    }
    let fetcher = Fetcher::new(args.ca_file.as_deref())?;
    let accepted = send(&fetcher, log, &envelope)?;
    upload_trust(&fetcher, log, &document)?;
    write_atomic(&args.policy_out, text.as_bytes())?;
    match accepted {
        Some(_) => eprintln!("project {} is in the log", args.name),
        None => eprintln!(
            "project {} waits for the log operator: countersign project status {} --wait --policy {}",
            args.name,
            args.name,
            args.policy_out.display()
        ),
    }
    if policy.witnesses.quorum_none() && !project.authorities.is_empty() {
        eprintln!(
            "warning: no witnesses: clients of this policy refuse every release by certificate, since nobody says when it was public"
        );
    } else if policy.witnesses.quorum_none() {
        eprintln!("warning: no witnesses: clients of this policy rely on the log's own keys alone");
    }
    eprintln!(
        "policy written to {}; publish this trust string outside the log and its storage:",
        args.policy_out.display()
    );
    sayln!("{string}");
    Ok(())
}

fn status(args: &StatusArgs) -> Result<(), Fail> {
    let policy = load_policy(&args.policy)?;
    let log = log_url(args.log.as_deref(), Some(&policy))?;
    let pinned = policy.projects.iter().find(|p| p.name == args.name);
    let id = pinned.map(|p| hex32(&p.id)).ok_or_else(|| {
        Fail::usage(
            "policy-project",
            format!("{:?} is not in the policy", args.name),
        )
    })?;
    let fetcher = Fetcher::new(args.ca_file.as_deref())?;
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let bytes = fetcher.get_bytes(&format!("{log}/api/v1/projects/{id}"), 8 * 1024 * 1024)?;
        let value = ledger::json::parse(&bytes)
            .map_err(|e| Fail::unchecked("bad-answer", e.to_string()))?;
        let state = value
            .get("status")
            .and_then(serde_json::Value::as_str)
            .unwrap_or("unknown")
            .to_owned();
        if args.wait && state == "pending" {
            if Instant::now() >= deadline {
                return Err(Fail::unchecked(
                    "still-pending",
                    "the log's operator has not decided yet",
                )
                .hint("ask the operator, and try again"));
            }
            std::thread::sleep(Duration::from_millis(500));
            continue;
        }
        if args.json {
            sayln!(
                "{}",
                json!({ "project": args.name, "id": id, "status": state })
            );
        } else {
            sayln!("{}", visible(&state));
        }
        return match state.as_str() {
            "refused" => Err(Fail::untrusted(
                "project-refused",
                "the log's operator refused this project",
            )),
            _ => Ok(()),
        };
    }
}
