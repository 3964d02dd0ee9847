//! `countersign publish FILE…`: one statement for all artifacts of a version.

use super::address::percent_encoded;
use super::authorities::read_chain;
use super::common::{
    PassphraseArgs, PolicyArgs, bytes_bar, hash_file, load_policy, log_url, named, time,
    write_atomic,
};
use super::complete::Standing;
use super::say::{Desk, LogArgs};
use super::sign::{send, write_prepared};
use super::signing::{KEY, KeyParser, borrowed, open_all};
use super::verify::parse_bundle;
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::guard::{Allowed, decide, look, parse_allowed};
use crate::oidc::certify;
use crate::policy::Policy;
use clap::Args;
use keys::KeySource;
use ledger::envelope::Envelope;
use ledger::statement::{GuardException, Subject, release_payload_with};
use ledger::{Hash, hex32, names};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Arguments of `publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The artifacts of this version
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The project, as the policy names it
    #[arg(long)]
    project: String,
    /// The version; a version is released once, for ever
    #[arg(long)]
    version: String,
    /// The release key; may be given several times
    #[arg(long, value_name = KEY, value_parser = KeyParser, required_unless_present_any = ["prepare", "oidc"])]
    key: Vec<KeySource>,
    /// Sign with a key that lives for this command only, certified by the log's issuer for whomever
    /// the platform's OIDC token is of: nothing is kept in the pipeline that could be stolen
    #[arg(long, conflicts_with_all = ["key", "prepare"])]
    oidc: bool,
    /// The chain of the key's certificate, PEM, as `countersign ca issue` writes it
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "oidc")]
    certificate: Option<PathBuf>,
    /// Read the OIDC token from FILE [default: $COUNTERSIGN_ID_TOKEN, else GitHub Actions is asked]
    #[arg(long, value_name = "FILE", requires = "oidc")]
    token_file: Option<PathBuf>,
    /// Whom a token is asked for [default: the log's origin]
    #[arg(long, value_name = "AUDIENCE", requires = "oidc")]
    audience: Option<String>,
    /// The release's purl, without version [default: the policy's, else pkg:generic/ and the project's name]
    #[arg(long)]
    purl: Option<String>,
    /// Publish a finding of the guard all the same: ID=REASON, which stands in the statement for
    /// everybody to read; may be given several times
    #[arg(long, value_name = "ID=REASON", value_parser = parse_allowed)]
    allow_finding: Vec<Allowed>,
    /// State again what a compromise made void: the same files under the same version
    #[arg(long)]
    restate: bool,
    /// Where the artifacts will be downloaded from; the file name is added
    #[arg(long, value_name = "URL")]
    download_base: Option<String>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// The log's URL [default: the policy's]
    #[arg(long, value_name = "URL")]
    log: Option<String>,
    /// Only write the statement to FILE, to be signed and submitted later
    #[arg(long, value_name = "FILE")]
    prepare: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

struct Hashed {
    path: PathBuf,
    subject: Subject,
}

/// Runs `publish`.
///
/// # Errors
/// Exit codes 1 to 3; a bundle is written only after it verified against the policy.
pub fn run(args: &PublishArgs) -> Result<(), Fail> {
    let policy = load_policy(&args.policy)?;
    let project = named(&policy, &args.project)?;
    if args.version.is_empty() || args.version.chars().any(char::is_control) {
        return Err(Fail::usage(
            "bad-version",
            format!("{:?} is not a version", args.version),
        )
        .hint("a version is released once, for ever: choose one that people can read"));
    }
    let hashed = hash_all(args)?;
    let subjects: Vec<Subject> = hashed.iter().map(|h| h.subject.clone()).collect();
    let base = args
        .purl
        .clone()
        .or_else(|| project.purl.clone())
        .unwrap_or_else(|| format!("pkg:generic/{}", project.name));
    // As a purl has it.
    let purl = format!("{base}@{}", percent_encoded(&args.version, ":"));
    let restates = match args.restate {
        true => Some(voided(args, &policy, &project.name, &purl)?),
        false => None,
    };
    let exceptions = guard(args, &hashed)?;
    let restates = restates.as_ref();
    let payload = release_payload_with(&project.id, &purl, &subjects, restates, &exceptions)
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let by_certificate = args.oidc || args.certificate.is_some();
    if by_certificate && policy.witnesses.quorum_none() {
        return Err(Fail::usage(
            "no-witnesses",
            "the policy wants no witnesses, and without them nobody accepts a release by certificate: only they say when it was public",
        )
        .hint("see `countersign trust check`; or publish with a release key"));
    }
    let (log, fetcher) = (
        log_url(args.log.as_deref(), Some(&policy)),
        Fetcher::new(args.ca_file.as_deref())?,
    );
    let envelope = if args.oidc {
        certified(args, &policy, &fetcher, payload)?
    } else {
        signed(args, payload)?
    };
    if let Some(path) = &args.prepare {
        write_prepared(path, &envelope)?;
        eprintln!(
            "prepared {}; add signatures with `countersign sign`, then `countersign submit`",
            path.display()
        );
        return Ok(());
    }
    let log = log?;
    let answer = send(&fetcher, &log, &envelope)?;
    let bytes = answer.ok_or_else(|| {
        Fail::unchecked(
            "pending",
            "the log has not taken this in yet; publish again later",
        )
    })?;
    let bundle = parse_bundle(&bytes)?;
    let mut desk = Desk::at(log, policy.clone(), &args.policy, fetcher)?;
    desk.released(project, &subjects, Some(&args.version), &bundle)?;
    write_sums(&hashed)?;
    for h in &hashed {
        let mut path = h.path.clone().into_os_string();
        path.push(".bundle");
        write_atomic(Path::new(&path), &bytes)?;
        if args.json {
            sayln!(
                "{}",
                json!({ "published": h.subject.name, "purl": purl, "sha256": hex32(&h.subject.sha256), "bundle": Path::new(&path).display().to_string() })
            );
        } else {
            sayln!(
                "published: {} {}\n  sha256 {}\n  bundle {}",
                h.subject.name,
                args.version,
                hex32(&h.subject.sha256),
                Path::new(&path).display()
            );
        }
    }
    Ok(())
}

/// Signed with the keys that are named.
fn signed(args: &PublishArgs, payload: Vec<u8>) -> Result<Envelope, Fail> {
    let signers = open_all(&args.key, &args.passphrase)?;
    let envelope = Envelope::sign(payload, &borrowed(&signers))
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let Some(path) = &args.certificate else {
        return Ok(envelope);
    };
    let chain = read_chain(path)?;
    let with = envelope.with_chain(chain);
    with.map_err(|e| {
        Fail::usage(e.kind(), e.to_string()).detail("certificate", path.display().to_string())
    })
}

/// Signed with a key that is certified for this, and gone when this returns.
fn certified(
    args: &PublishArgs,
    policy: &Policy,
    fetcher: &Fetcher,
    payload: Vec<u8>,
) -> Result<Envelope, Fail> {
    let log = log_url(args.log.as_deref(), Some(policy))?;
    let audience = args.audience.as_deref().unwrap_or(&policy.log.origin);
    let certified = certify(fetcher, &log, (args.token_file.as_deref(), audience))?;
    let end = certified.chain.end();
    eprintln!(
        "certified: {} until {}, logged as entry {}",
        visible(&end.san),
        time(end.not_after),
        certified.index
    );
    let envelope = Envelope::sign(payload, &[&certified.key]);
    let envelope = envelope.and_then(|e| e.with_chain(certified.chain));
    envelope.map_err(|e| Fail::usage(e.kind(), e.to_string()))
}

/// Looks through what is to be published for what must not be; what stands all the same.
fn guard(args: &PublishArgs, hashed: &[Hashed]) -> Result<Vec<GuardException>, Fail> {
    let total = hashed.iter().filter_map(|h| h.subject.size).sum();
    let bar = bytes_bar("looking through", total);
    let mut findings = Vec::new();
    for h in hashed {
        let told = |n| bar.inc(n);
        findings.extend(look(&h.path, &h.subject.name, &h.subject.sha256, &told)?);
    }
    bar.finish_and_clear();
    decide(&findings, &args.allow_finding)
}

/// The last release of the purl, which must be void; what it consisted of the log compares.
fn voided(args: &PublishArgs, policy: &Policy, project: &str, purl: &str) -> Result<Hash, Fail> {
    let log = LogArgs {
        policy: args.policy.clone(),
        log: args.log.clone().or_else(|| policy.log.url.clone()),
        ca_file: args.ca_file.clone(),
    };
    let mut desk = Desk::open(&log)?;
    let project = desk.project(project)?;
    let releases = desk.complete(&project)?.releases(&project.id);
    match releases.iter().rev().find(|r| r.purl == purl) {
        Some(r) if matches!(r.standing, Standing::Void(_)) => Ok(r.statement),
        Some(_) => Err(Fail::usage("not-void", format!("{purl} is not void"))
            .hint("only what a compromise window made void is stated again")),
        None => Err(
            Fail::usage("unknown-release", format!("{purl} was never released"))
                .hint("publish it without --restate"),
        ),
    }
}

fn hash_all(args: &PublishArgs) -> Result<Vec<Hashed>, Fail> {
    let total = args
        .files
        .iter()
        .filter_map(|f| std::fs::metadata(f).ok())
        .map(|m| m.len())
        .sum();
    let bar = bytes_bar("hashing", total);
    let mut seen = BTreeSet::new();
    let mut hashed = Vec::new();
    for path in &args.files {
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default()
            .to_owned();
        names::check_artifact_name(&name)
            .map_err(|e| Fail::usage("bad-artifact-name", e.to_string()))?;
        if !seen.insert(name.clone()) {
            return Err(Fail::usage(
                "repeated-artifact",
                format!("two of the files are named {name:?}"),
            ));
        }
        let (sha256, size) = hash_file(path, |n| bar.inc(n))?;
        let download_location = args
            .download_base
            .as_ref()
            .map(|b| format!("{}/{name}", b.trim_end_matches('/')));
        let subject = Subject {
            name,
            sha256,
            size: Some(size),
            digests: BTreeMap::new(),
            download_location,
        };
        hashed.push(Hashed {
            path: path.clone(),
            subject,
        });
    }
    bar.finish_and_clear();
    // The same files in another order are the same release.
    hashed.sort_by(|a, b| a.subject.name.cmp(&b.subject.name));
    Ok(hashed)
}

/// `SHA256SUMS` beside the artifacts, in the form that `sha256sum -c` reads: one in each
/// directory that has artifacts of this release.
fn write_sums(hashed: &[Hashed]) -> Result<(), Fail> {
    let mut by_directory: BTreeMap<PathBuf, String> = BTreeMap::new();
    for h in hashed {
        let directory = h.path.parent().unwrap_or(Path::new("")).to_owned();
        let line = format!("{}  {}\n", hex32(&h.subject.sha256), h.subject.name);
        by_directory.entry(directory).or_default().push_str(&line);
    }
    by_directory.into_iter().try_for_each(|(directory, text)| {
        write_atomic(&directory.join("SHA256SUMS"), text.as_bytes())
    })
}
