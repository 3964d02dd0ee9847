//! `countersign ca show`: what certificates say.

use super::{ISSUER, ROOT, bad, read};
use crate::cmd::common::now;
use crate::fail::{Fail, visible};
use crate::when::{parse_time, time};
use clap::Args;
use keys::certificate::{Anchor, CertificateChain};
use ledger::hex32;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Arguments of `ca show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A certificate or a chain (PEM or DER), or an authority's directory
    #[arg(value_name = "FILE|DIR")]
    what: PathBuf,
    /// The authority that a chain must lead to: its root's certificate; exit code 1 if it does not
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// The time at which the path must hold [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn moment(text: &str) -> Result<u64, String> {
    parse_time(text).ok_or_else(|| "want a time such as 2026-11-27T10:00:00Z".to_owned())
}

pub(super) fn run(args: &ShowArgs) -> Result<(), Fail> {
    let mut shown = Vec::new();
    if args.what.is_dir() {
        for name in [ROOT, ISSUER] {
            let path = args.what.join(name);
            let anchor = crate::cmd::authorities::read_anchor(&path)?;
            shown.push(authority(&anchor, &path));
        }
    } else {
        let ders = read(&args.what)?;
        match CertificateChain::parse(&ders) {
            Ok(chain) => {
                shown.push(end(&chain));
                for der in chain.ders().skip(1) {
                    let anchor = Anchor::parse(der).map_err(|e| bad(&e))?;
                    shown.push(authority(&anchor, &args.what));
                }
                if let Some(path) = &args.authority {
                    let root = crate::cmd::authorities::read_anchor(path)?;
                    let at = args.at.unwrap_or_else(now);
                    chain.verify(&root, at).map_err(|e| {
                        Fail::untrusted(e.kind(), e.to_string())
                            .detail("at", time(at))
                            .detail("authority", hex32(&root.key_hash()))
                    })?;
                    shown.push(json!({ "what": "path", "authority": hex32(&root.key_hash()), "validAt": at }));
                }
            }
            // Not a chain: authorities' certificates, each by itself.
            Err(_) if args.authority.is_none() => {
                for der in &ders {
                    let anchor = Anchor::parse(der).map_err(|e| bad(&e))?;
                    shown.push(authority(&anchor, &args.what));
                }
            }
            Err(e) => return Err(bad(&e)),
        }
    }
    if args.json {
        sayln!("{}", json!({ "certificates": shown }));
        return Ok(());
    }
    for one in &shown {
        say(one);
    }
    Ok(())
}

fn authority(anchor: &Anchor, path: &Path) -> Value {
    let (from, until) = anchor.validity();
    json!({ "what": "authority", "file": path.display().to_string(), "subject": anchor.subject(), "id": hex32(&anchor.key_hash()),
        "notBefore": from, "notAfter": until, "authoritiesBelow": anchor.path_length() })
}

fn end(chain: &CertificateChain) -> Value {
    let end = chain.end();
    json!({ "what": "certificate", "san": end.san, "issuer": end.issuer(), "claims": end.claims, "key": end.key.id().to_string(),
        "serial": hex::encode(&end.serial), "notBefore": end.not_before, "notAfter": end.not_after })
}

/// A certificate as lines: its names in the order of the fields.
fn say(one: &Value) {
    let word = one.get("what").and_then(Value::as_str).unwrap_or_default();
    sayln!("{word}");
    for (name, value) in one.as_object().into_iter().flatten() {
        let text = match (name.as_str(), value) {
            ("what", _) | (_, Value::Null) => continue,
            ("notBefore" | "notAfter" | "validAt", Value::Number(n)) => {
                time(n.as_u64().unwrap_or_default())
            }
            (_, Value::String(text)) => text.clone(),
            ("claims", Value::Object(claims)) => {
                for (oid, text) in claims {
                    let text = text.as_str().unwrap_or_default();
                    sayln!("  {}: {}", visible(oid), visible(text));
                }
                continue;
            }
            (_, other) => other.to_string(),
        };
        sayln!("  {name}: {}", visible(&text));
    }
}
