//! `countersign ca issue`: a certificate by hand.

use super::{BEFORE, ISSUER, bad, pem, read};
use crate::cmd::common::{PassphraseArgs, now, write_atomic};
use crate::cmd::signing::{KEY, KeyParser, open};
use crate::fail::{Fail, visible};
use crate::when::time;
use clap::Args;
use keys::certificate::{Authority, Identity, Life, request_key};
use keys::{KeySource, PublicKey};
use ledger::from_b64;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest that a certificate may be valid.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Arguments of `ca issue`.
#[derive(Debug, Args)]
pub struct IssueArgs {
    /// Whom it is for: a URI or an e-mail address
    #[arg(long, value_name = "URI")]
    san: String,
    /// Who attests that, as projects list it: a URL
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// A further claim under 1.3.6.1.4.1.57264.1; may be given several times
    #[arg(long, value_name = "OID=TEXT", value_parser = claim)]
    claim: Vec<(String, String)>,
    /// The issuer's key
    #[arg(long, value_name = KEY, value_parser = KeyParser)]
    key: KeySource,
    /// The authority's directory [default: that of the key file]
    #[arg(long, value_name = "DIR")]
    ca: Option<PathBuf>,
    /// The key to certify: a PKCS#10 request (DER or PEM), which proves that its sender has the key
    #[arg(long, value_name = "FILE", required_unless_present = "public_key")]
    request: Option<PathBuf>,
    /// The key to certify: base64 of its SubjectPublicKeyInfo as `keys generate` prints it, or a file of it
    #[arg(long, value_name = "SPKI", conflicts_with = "request")]
    public_key: Option<String>,
    /// How long it is valid, such as 10m or 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    valid: Duration,
    /// Where the chain is written, PEM, the certificate first
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn claim(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').ok_or("want OID=TEXT")?;
    Ok((parts.0.to_owned(), parts.1.to_owned()))
}

pub(super) fn run(args: &IssueArgs) -> Result<(), Fail> {
    if args.valid > LONGEST || args.valid.is_zero() {
        return Err(Fail::usage(
            "bad-validity",
            "want more than nothing and at most 24 hours",
        )
        .hint("a certificate lives for minutes; what lives for years is a release key"));
    }
    let public = key(args)?;
    let beside = || args.key.file()?.parent().map(Path::to_path_buf);
    let dir = args.ca.clone().or_else(beside).ok_or_else(|| {
        Fail::usage("no-authority", "the key is in no directory of an authority")
            .hint("give --ca DIR")
    })?;
    let signer = open(&args.key, &args.passphrase)?;
    let authority = Authority::new(signer, read(&dir.join(ISSUER))?);
    let authority = authority.map_err(|e| bad(&e))?;
    let identity = Identity {
        san: args.san.clone(),
        issuer: args.issuer.clone(),
        claims: args.claim.iter().cloned().collect::<BTreeMap<_, _>>(),
    };
    let life = Life {
        from: now().saturating_sub(BEFORE),
        until: now().saturating_add(args.valid.as_secs()),
    };
    let chain = authority
        .issue(&public, &identity, life)
        .map_err(|e| bad(&e))?;
    let text: String = chain.ders().map(pem).collect::<Result<_, _>>()?;
    write_atomic(&args.out, text.as_bytes())?;
    let id = public.id().to_string();
    if args.json {
        sayln!(
            "{}",
            json!({ "said": "issued", "san": args.san, "issuer": args.issuer, "key": id, "notAfter": life.until,
                "serial": hex::encode(&chain.end().serial), "file": args.out.display().to_string() })
        );
    } else {
        sayln!(
            "issued: {} for key {id}\n  until {}, in {}",
            visible(&args.san),
            time(life.until),
            args.out.display()
        );
    }
    Ok(())
}

fn key(args: &IssueArgs) -> Result<PublicKey, Fail> {
    if let Some(path) = &args.request {
        let bytes = std::fs::read(path)
            .map_err(|e| Fail::usage("unreadable", format!("{}: {e}", path.display())))?;
        let der = keys::certificate::read_request(&bytes).map_err(|e| bad(&e))?;
        return request_key(&der).map_err(|e| bad(&e));
    }
    let given = args.public_key.clone().unwrap_or_default();
    let text = match std::fs::read_to_string(&given) {
        Ok(text) => text,
        Err(_) => given,
    };
    let der = from_b64(text.trim()).ok_or_else(|| {
        Fail::usage(
            "bad-public-key",
            "--public-key is neither base64 nor a file of it",
        )
        .hint("`countersign keys show KEY` prints it as `spki`")
    })?;
    PublicKey::from_spki_der(&der).map_err(|e| Fail::usage(e.kind(), e.to_string()))
}
