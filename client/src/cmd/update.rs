//! `countersign project update`: a new version of who may speak for the project.

use super::authorities::{listed, read_authorities};
use super::common::load_policy;
use super::keys::{Opened, next_version};
use super::say::{SayArgs, confirm, key, keys, said_line, say};
use super::sign::upload_trust;
use super::signing::{KEY, KeyParser};
use crate::cmd::common::PolicyArgs;
use crate::fail::Fail;
use crate::fail::visible;
use ::keys::{KeySource, PublicKey, Signer};
use clap::Args;
use ledger::sha256;
use ledger::statement::Project;
use ledger::trust::{TrustDocument, TrustString};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Arguments of `project update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The project, as the policy names it
    name: String,
    /// A root key that comes; may be given several times
    #[arg(long, value_name = KEY, value_parser = KeyParser)]
    add_root: Vec<KeySource>,
    /// A root key that goes: its id or its first 8 digits; may be given several times
    #[arg(long, value_name = "ID")]
    drop_root: Vec<String>,
    /// How many root keys it takes to change the project
    #[arg(long, value_name = "N")]
    root_threshold: Option<u64>,
    /// A release key that comes; may be given several times
    #[arg(long, value_name = KEY, value_parser = KeyParser)]
    add_release_key: Vec<KeySource>,
    /// A release key that goes; may be given several times
    #[arg(long, value_name = "ID")]
    drop_release_key: Vec<String>,
    /// How many release keys it takes to publish
    #[arg(long, value_name = "N")]
    release_threshold: Option<u64>,
    /// The authorities whose certificates may publish from now on, and for whom, in the place of
    /// those that are listed and of release keys: a file as docs/certificates.md shows it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["add_release_key", "drop_release_key", "release_threshold"])]
    authorities: Option<PathBuf>,
    /// A purl prefix that comes; may be given several times
    #[arg(long, value_name = "PREFIX")]
    add_purl_prefix: Vec<String>,
    /// A purl prefix that goes; nobody else ever gets it. May be given several times
    #[arg(long, value_name = "PREFIX")]
    drop_purl_prefix: Vec<String>,
    /// Where a stranger reports a mismatch: a URL or mailto:
    #[arg(long)]
    contact: Option<String>,
    /// Seconds for which a release key may be used after it was first listed, or `none`
    #[arg(long, value_name = "SECONDS")]
    max_key_age: Option<String>,
    /// Recommend this policy's log keys and witnesses to everybody from now on
    #[arg(long, value_name = "POLICY")]
    recommend: Option<PathBuf>,
    #[command(flatten)]
    say: SayArgs,
}

/// Runs `project update`.
///
/// # Errors
/// Exit codes 1 to 3.
pub fn run(args: &UpdateArgs) -> Result<(), Fail> {
    let mut opened = Opened::open(&args.name, &args.say.log, None)?;
    let project = opened.project.clone();
    let mut next = next_version(&opened)?;
    let before = next.clone();
    let mut fresh = changed_keys(args, &opened, &mut next)?;
    changed_rest(args, &mut next)?;
    let document = match &args.recommend {
        Some(path) => Some(recommended(path, &opened)?),
        None => None,
    };
    if let Some(document) = &document {
        let canonical = document.to_canonical();
        let canonical = canonical.map_err(|e| Fail::usage("encoding", e.to_string()))?;
        next.policy = Some(sha256(&canonical));
    }
    let encode = |p: &Project| {
        let payload = p.to_payload();
        payload.map_err(|e| Fail::usage(e.kind(), e.to_string()))
    };
    let payload = encode(&next)?;
    // As it is written: to list a key twice says no more than to list it once.
    if payload == encode(&before)? {
        return Err(Fail::usage(
            "nothing-changes",
            "the new version would say what the newest says",
        )
        .hint("say what is to change; `countersign project update --help` lists it"));
    }
    confirm(&args.say, &difference(&before, &next), "log this version?")?;
    let mut signers = keys(&args.say)?;
    signers.append(&mut fresh);
    if let (Some(document), None) = (&document, &args.say.prepare) {
        // First, so that nobody is pointed at a document that is not there.
        let url = super::common::log_url(None, Some(&opened.desk.policy))?;
        upload_trust(&opened.desk.fetcher, &url, document)?;
    }
    let said = say(&args.say, &mut opened.desk, &project, payload, &signers)?;
    if let (Some(path), Some(_)) = (&args.recommend, &args.say.prepare) {
        eprintln!(
            "what it recommends is uploaded by `countersign submit --policy {}`",
            path.display()
        );
    }
    let what = format!("updated: {} is at version {}", next.name, next.version);
    said_line(&args.say, &said, &what);
    if let Some(document) = &document {
        let string = TrustString::of(document);
        let string = string.map_err(|e| Fail::usage("encoding", e.to_string()))?;
        eprintln!(
            "once the log has it, publish this trust string outside the log and its storage, in the place of the one before:\n{string}"
        );
    }
    Ok(())
}

/// Sets the keys of the next version; gives those that come, since each signs for itself.
fn changed_keys(
    args: &UpdateArgs,
    opened: &Opened,
    next: &mut Project,
) -> Result<Vec<Box<dyn Signer>>, Fail> {
    let mut fresh = Vec::new();
    let lists = [
        (&mut next.roots, &args.drop_root, &args.add_root),
        (
            &mut next.release_keys,
            &args.drop_release_key,
            &args.add_release_key,
        ),
    ];
    for (list, drop, add) in lists {
        for text in drop {
            let id = opened.key(text)?.id();
            let before = list.len();
            list.retain(|k| k.id() != id);
            if list.len() == before {
                return Err(
                    Fail::usage("key-not-listed", format!("key {id} is not listed there"))
                        .hint("see `countersign keys list`"),
                );
            }
        }
        for source in add {
            let signer = key(&args.say, source)?;
            list.push(signer.public_key().clone());
            fresh.push(signer);
        }
    }
    if let Some(path) = &args.authorities {
        next.authorities = read_authorities(path)?;
        (next.release_keys, next.release_threshold) = (Vec::new(), 1);
    } else if !args.add_release_key.is_empty() {
        next.authorities.clear();
    }
    next.root_threshold = args.root_threshold.unwrap_or(next.root_threshold);
    next.release_threshold = args.release_threshold.unwrap_or(next.release_threshold);
    Ok(fresh)
}

fn changed_rest(args: &UpdateArgs, next: &mut Project) -> Result<(), Fail> {
    for prefix in &args.drop_purl_prefix {
        let before = next.purl_prefixes.len();
        next.purl_prefixes.retain(|p| p != prefix);
        if next.purl_prefixes.len() == before {
            return Err(Fail::usage(
                "unknown-prefix",
                format!("{prefix:?} is none of the project's prefixes"),
            )
            .detail("prefixes", next.purl_prefixes.join(", "))
            .hint("give a prefix as the project has it"));
        }
    }
    next.purl_prefixes
        .extend(args.add_purl_prefix.iter().cloned());
    if let Some(contact) = &args.contact {
        next.contact.clone_from(contact);
    }
    next.max_key_age = match args.max_key_age.as_deref() {
        None => next.max_key_age,
        Some("none") => None,
        Some(text) => Some(text.parse().map_err(|_| {
            Fail::usage(
                "bad-max-key-age",
                format!("{text:?} is no number of seconds"),
            )
            .hint("give seconds, or `none`")
        })?),
    };
    Ok(())
}

/// The trust document of the policy that is recommended.
fn recommended(path: &Path, opened: &Opened) -> Result<TrustDocument, Fail> {
    let args = PolicyArgs {
        policy: Some(path.to_path_buf()),
        state: None,
    };
    let policy = load_policy(&args)?;
    let own = &opened.desk.policy.log.origin;
    if policy.log.origin != *own {
        return Err(
            Fail::usage("other-log", format!("{} is of another log", path.display()))
                .detail("expected", own.as_str())
                .detail("got", policy.log.origin.as_str()),
        );
    }
    let vkeys = policy.log.vkeys.iter().map(ToString::to_string).collect();
    let project = &opened.project;
    Ok(TrustDocument::new(
        own,
        vkeys,
        project.id,
        &project.name,
        &policy.witnesses_text,
    ))
}

/// What changes, a line each.
fn difference(before: &Project, next: &Project) -> String {
    let mut out = format!(
        "project {} version {}:\n",
        visible(&next.name),
        next.version
    );
    let ids = |keys: &[PublicKey]| -> BTreeSet<String> {
        keys.iter().map(|k| k.id().to_string()).collect()
    };
    let prefixes = |p: &Project| p.purl_prefixes.iter().cloned().collect();
    let authorities = |p: &Project| listed(p).into_iter().collect::<BTreeSet<String>>();
    let sets: [(&str, BTreeSet<String>, BTreeSet<String>); 4] = [
        ("root key", ids(&before.roots), ids(&next.roots)),
        (
            "release key",
            ids(&before.release_keys),
            ids(&next.release_keys),
        ),
        ("authority", authorities(before), authorities(next)),
        ("purl prefix", prefixes(before), prefixes(next)),
    ];
    for (what, old, new) in &sets {
        for gone in old.difference(new) {
            let _ = writeln!(out, "  - {what} {}", visible(gone));
        }
        for come in new.difference(old) {
            let _ = writeln!(out, "  + {what} {}", visible(come));
        }
    }
    let age = |p: &Project| {
        p.max_key_age
            .map_or_else(|| "none".to_owned(), |a| a.to_string())
    };
    let policy = |p: &Project| {
        p.policy
            .map_or_else(|| "none".to_owned(), |h| ledger::hex32(&h))
    };
    let values = [
        (
            "root threshold",
            before.root_threshold.to_string(),
            next.root_threshold.to_string(),
        ),
        (
            "release threshold",
            before.release_threshold.to_string(),
            next.release_threshold.to_string(),
        ),
        ("contact", before.contact.clone(), next.contact.clone()),
        ("max key age", age(before), age(next)),
        ("recommended policy", policy(before), policy(next)),
    ];
    for (what, old, new) in &values {
        if old != new {
            let _ = writeln!(out, "  {what}: {} -> {}", visible(old), visible(new));
        }
    }
    out
}
