//! `countersign sign` and `submit`: the second and third step of a statement that several
//! people sign on several machines.

use super::common::{PassphraseArgs, PolicyArgs, load_policy, log_url, write_atomic};
use super::say::Desk;
use super::signing::{KEY, KeyParser, open};
use super::verify::parse_bundle;
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::policy::{Policy, ProjectPolicy};
use clap::Args;
use keys::KeySource;
use ledger::envelope::Envelope;
use ledger::statement::{Body, Project, Statement, Withdrawn};
use ledger::trust::TrustDocument;
use ledger::{Hash, hex32};
use std::path::PathBuf;

/// Arguments of `sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// A statement that `--prepare` wrote
    file: PathBuf,
    /// The key to sign with; may be given several times
    #[arg(long, required = true, value_name = KEY, value_parser = KeyParser)]
    key: Vec<KeySource>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Arguments of `submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// A signed statement
    file: PathBuf,
    /// The log's URL [default: the policy's]
    #[arg(long, value_name = "URL")]
    log: Option<String>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Where to write the bundle [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Reads a prepared or signed statement from a file.
///
/// # Errors
/// Exit code 2.
pub fn read_prepared(path: &std::path::Path) -> Result<Envelope, Fail> {
    let bytes = std::fs::read(path)
        .map_err(|e| Fail::usage("unreadable", format!("{}: {e}", path.display())))?;
    Envelope::parse_prepared(&bytes)
        .map_err(|e| Fail::usage(e.kind(), format!("{}: {e}", path.display())))
}

/// Writes an envelope for `sign` and `submit`.
///
/// # Errors
/// Exit code 2.
pub fn write_prepared(path: &std::path::Path, envelope: &Envelope) -> Result<(), Fail> {
    let bytes = ledger::json::to_canonical(&envelope.to_json())
        .map_err(|e| Fail::usage("encoding", e.to_string()))?;
    write_atomic(path, &bytes)
}

/// Runs `sign`: shows what is signed, then adds the signatures to the file.
///
/// # Errors
/// Exit code 2.
pub fn sign(args: &SignArgs) -> Result<(), Fail> {
    let mut envelope = read_prepared(&args.file)?;
    let statement =
        Statement::parse(&envelope.payload).map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    eprintln!("signing {}", says(&statement));
    for source in &args.key {
        let key = open(source, &args.passphrase)?;
        envelope
            .add_signature(key.as_ref())
            .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    }
    write_prepared(&args.file, &envelope)?;
    eprintln!(
        "{} signatures in {}",
        envelope.signatures.len(),
        args.file.display()
    );
    Ok(())
}

/// What a statement says, in a line for whoever is asked to sign it.
#[must_use]
pub fn says(statement: &Statement) -> String {
    let project = |id: &Hash| format!("project {:.16}", hex32(id));
    let artifacts = || {
        let subjects = statement.subject.iter();
        let names = subjects.map(|s| format!("{} {:.16}", s.name, hex32(&s.sha256)));
        names.collect::<Vec<_>>().join(", ")
    };
    let text = match &statement.body {
        Body::Project(p) if !p.authorities.is_empty() => format!(
            "project {} version {} for log {}: {} root keys (threshold {}), releases with certificates of {} authorities: {}",
            p.name,
            p.version,
            p.log,
            p.roots.len(),
            p.root_threshold,
            p.authorities.len(),
            super::authorities::listed(p).join("; ")
        ),
        Body::Project(p) => format!(
            "project {} version {} for log {}: {} root keys (threshold {}), {} release keys (threshold {})",
            p.name,
            p.version,
            p.log,
            p.roots.len(),
            p.root_threshold,
            p.release_keys.len(),
            p.release_threshold
        ),
        Body::Release(r) => format!(
            "{}release {} ({} artifacts)",
            if r.restates.is_some() { "again " } else { "" },
            r.purl,
            statement.subject.len()
        ),
        Body::Revocation(r) => format!(
            "revocation of {} in {}{}: {}",
            r.target,
            project(&r.project),
            match r.compromised_since {
                Some(since) => format!(", compromised since log index {since}"),
                None => String::new(),
            },
            r.reason
        ),
        Body::Withdrawal(w) => format!(
            "withdrawal of {} in {}: {}{}",
            match &w.what {
                Withdrawn::Release(pae) => format!("release {} ({})", hex32(pae), artifacts()),
                Withdrawn::Prefix(prefix) => format!("everything under {prefix}"),
            },
            project(&w.project),
            w.reason,
            match &w.successor {
                Some(successor) => format!("; successor: {successor}"),
                None => String::new(),
            }
        ),
        Body::KeyNote(n) => format!(
            "note about key {} in {}",
            hex32(&n.key),
            project(&n.project)
        ),
    };
    visible(&text)
}

/// Sends an envelope to a log. 200 gives the bundle's bytes, 202 (a project that waits for the
/// operator) none.
///
/// # Errors
/// The log's reason as exit code 1 for a refusal, 3 where it could not be asked.
pub fn send(fetcher: &Fetcher, log: &str, envelope: &Envelope) -> Result<Option<Vec<u8>>, Fail> {
    let body = ledger::json::to_canonical(&envelope.to_submission())
        .map_err(|e| Fail::usage("encoding", e.to_string()))?;
    let url = format!("{log}/api/v1/entries");
    let (status, answer) = fetcher.post(
        &url,
        "application/json",
        &body,
        ledger::bundle::MAX_BUNDLE_BYTES,
    )?;
    match status {
        200 => Ok(Some(answer)),
        202 => Ok(None),
        _ => Err(problem(status, &answer, &url)),
    }
}

/// A problem+json answer as a failure.
#[must_use]
pub fn problem(status: u16, body: &[u8], url: &str) -> Fail {
    let value = ledger::json::parse(body).unwrap_or_default();
    let text = |name: &str| {
        value
            .get(name)
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
    };
    let kind = text("type")
        .and_then(|t| t.rsplit(':').next().map(str::to_owned))
        .unwrap_or_else(|| format!("http-{status}"));
    let message = text("detail")
        .or_else(|| text("title"))
        .unwrap_or_else(|| "no reason given".into());
    // A 4xx is the log's final answer to this statement; the rest may pass.
    let make = if (400..500).contains(&status) && status != 429 {
        Fail::untrusted
    } else {
        Fail::unchecked
    };
    let fail = make(kind, format!("the log refused: {message}"))
        .detail("status", status.to_string())
        .detail("url", url.to_owned());
    match text("hint") {
        Some(hint) => fail.hint(hint),
        None => fail,
    }
}

/// Leaves a trust document with the log, for `trust init` of those who hold its string.
///
/// # Errors
/// As [`send`].
pub fn upload_trust(fetcher: &Fetcher, log: &str, document: &TrustDocument) -> Result<(), Fail> {
    let canonical = document
        .to_canonical()
        .map_err(|e| Fail::usage("encoding", e.to_string()))?;
    let hash = ledger::hex32(&ledger::sha256(&canonical));
    let url = format!("{log}/api/v1/trust/{hash}");
    let (status, answer) = fetcher.put(&url, "application/json", &canonical, 64 * 1024)?;
    if (200..300).contains(&status) {
        Ok(())
    } else {
        Err(problem(status, &answer, &url))
    }
}

/// Runs `submit`.
///
/// # Errors
/// As [`send`]; exit code 1 where the policy refuses the bundle that the log answered.
pub fn submit(args: &SubmitArgs) -> Result<(), Fail> {
    let envelope = read_prepared(&args.file)?;
    let statement =
        Statement::parse(&envelope.payload).map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    // The log's address is enough to submit; with a policy, the answer is checked too.
    let policy = if args.log.is_none() || args.policy.policy.is_some() {
        Some(load_policy(&args.policy)?)
    } else {
        None
    };
    let log = log_url(args.log.as_deref(), policy.as_ref())?;
    let fetcher = Fetcher::new(args.ca_file.as_deref())?;
    let pinned = policy.as_ref().and_then(|policy| {
        let id = statement.project_id();
        let mut projects = policy.projects.iter();
        let found = match (&statement.body, id) {
            // Which project a later version is of says its name, and the log's proof.
            (Body::Project(p), _) if p.version > 1 => projects.find(|own| own.name == p.name),
            (_, id) => {
                let id = id.unwrap_or_else(|| envelope.pae_hash());
                projects.find(|own| own.id == id)
            }
        };
        Some((policy, found?))
    });
    if let Body::Project(Project {
        policy: Some(hash), ..
    }) = &statement.body
    {
        upload_recommended(&fetcher, &log, hash, pinned)?;
    }
    let answer = send(&fetcher, &log, &envelope)?;
    match (&statement.body, pinned) {
        (Body::Project(p), Some((policy, project))) if p.version == 1 => {
            let document = trust(policy, envelope.pae_hash(), &project.name);
            upload_trust(&fetcher, &log, &document)?;
        }
        (Body::Project(p), None) if p.version == 1 => eprintln!(
            "warning: the trust document is not uploaded, so `trust init` cannot find it: submit again with the --policy that `project init` wrote"
        ),
        (body, Some((policy, project))) => {
            if let Some(bytes) = &answer {
                let bundle = parse_bundle(bytes)?;
                let mut desk = Desk::at(log, policy.clone(), &args.policy, fetcher)?;
                if matches!(body, Body::Release(_)) {
                    desk.released(project, &statement.subject, None, &bundle)?;
                } else {
                    desk.taken(project, (&envelope, &statement), &bundle)?;
                }
            }
        }
        (_, None) => eprintln!(
            "warning: the log's answer is not checked: give the --policy that trusts this project"
        ),
    }
    match answer {
        None => eprintln!("received; it waits for the log operator's decision"),
        Some(bundle) => match &args.out {
            Some(path) => write_atomic(path, &bundle)?,
            None => sayln!("{}", String::from_utf8_lossy(&bundle)),
        },
    }
    Ok(())
}

/// What a policy says of the log, as a trust document of a project.
fn trust(policy: &Policy, id: Hash, name: &str) -> TrustDocument {
    let vkeys = policy.log.vkeys.iter().map(ToString::to_string).collect();
    TrustDocument::new(&policy.log.origin, vkeys, id, name, &policy.witnesses_text)
}

/// Uploads what a version recommends, before it is logged, so that nobody is pointed at a document
/// that is not there: it is the policy's, or one that the log has.
fn upload_recommended(
    fetcher: &Fetcher,
    log: &str,
    hash: &Hash,
    pinned: Option<(&Policy, &ProjectPolicy)>,
) -> Result<(), Fail> {
    if let Some((policy, project)) = pinned {
        let document = trust(policy, project.id, &project.name);
        let canonical = document.to_canonical();
        let canonical = canonical.map_err(|e| Fail::usage("encoding", e.to_string()))?;
        if ledger::sha256(&canonical) == *hash {
            return upload_trust(fetcher, log, &document);
        }
    }
    let url = format!("{log}/api/v1/trust/{}", hex32(hash));
    if let Err(fail) = fetcher.get_bytes(&url, 64 * 1024) {
        // A version may be urgent for another reason than what it goes on recommending.
        eprintln!(
            "warning: what this version recommends is not to be had from the log ({}): submit it again with the --policy that is recommended",
            visible(&fail.message)
        );
    }
    Ok(())
}
