//! `countersign sign` and `submit`: the second and third step of a statement that several
//! people sign on several machines.

use super::common::{PassphraseArgs, PolicyArgs, load_policy, log_url, read_key, write_atomic};
use crate::fail::Fail;
use crate::fetch::Fetcher;
use clap::Args;
use ledger::envelope::Envelope;
use ledger::statement::{Body, Statement};
use std::path::PathBuf;

/// Arguments of `sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// A statement that `--prepare` wrote
    file: PathBuf,
    /// The key to sign with; may be given several times
    #[arg(long, required = true, value_name = "KEY")]
    key: Vec<PathBuf>,
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
    match &statement.body {
        Body::Project(p) => eprintln!(
            "signing project {} version {} for log {}",
            p.name, p.version, p.log
        ),
        Body::Release(r) => eprintln!(
            "signing release {} ({} artifacts)",
            r.purl,
            statement.subject.len()
        ),
    }
    for path in &args.key {
        let key = read_key(path, &args.passphrase)?;
        envelope
            .add_signature(&key)
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

/// Sends an envelope to a log. 200 gives the bundle's bytes, 202 (a project that waits for the
/// operator) none.
///
/// # Errors
/// The log's reason as exit code 1 for a refusal, 3 where it could not be asked.
pub fn send(fetcher: &Fetcher, log: &str, envelope: &Envelope) -> Result<Option<Vec<u8>>, Fail> {
    let body = ledger::json::to_canonical(&envelope.to_json())
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

/// Runs `submit`.
///
/// # Errors
/// As [`send`].
pub fn submit(args: &SubmitArgs) -> Result<(), Fail> {
    let envelope = read_prepared(&args.file)?;
    let log = match &args.log {
        Some(url) => log_url(Some(url), None)?,
        None => log_url(None, Some(&load_policy(&args.policy)?))?,
    };
    let fetcher = Fetcher::new(args.ca_file.as_deref())?;
    match send(&fetcher, &log, &envelope)? {
        None => eprintln!("received; it waits for the log operator's decision"),
        Some(bundle) => match &args.out {
            Some(path) => write_atomic(path, &bundle)?,
            None => println!("{}", String::from_utf8_lossy(&bundle)),
        },
    }
    Ok(())
}
