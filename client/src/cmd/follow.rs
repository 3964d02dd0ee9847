//! `countersign trust update POLICY`: the log keys and witnesses that the project's newest proven
//! statement recommends, under the project's own roots.

use super::common::{ask, load_memory, load_policy, now, state_path, write_atomic};
use super::complete::complete;
use crate::cmd::common::PolicyArgs;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::policy::compare::{difference, weaker};
use crate::policy::{Policy, ProjectPolicy};
use crate::signed::Signed;
use clap::Args;
use ledger::trust::{MAX_TRUST_BYTES, TrustDocument};
use ledger::{Hash, hex32, sha256};
use serde_json::json;
use std::path::PathBuf;
use tlog::note::Note;

/// Arguments of `trust update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The policy file
    #[arg(value_name = "POLICY")]
    file: PathBuf,
    /// What is remembered between runs [default: the platform's state directory]
    #[arg(long, env = "COUNTERSIGN_STATE", value_name = "FILE")]
    state: Option<PathBuf>,
    /// Do not ask before the policy is changed
    #[arg(long)]
    yes: bool,
    /// Follow although it asks for less than the policy does now
    #[arg(long)]
    allow_weaker: bool,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl UpdateArgs {
    /// Says that the policy is as it was, and why.
    fn unchanged(&self, reason: &str, why: &str) {
        if self.json {
            let file = self.file.display().to_string();
            sayln!(
                "{}",
                json!({ "updated": false, "policy": file, "reason": reason, "logKeysAdded": [], "logKeysRemoved": [],
                    "witnesses": null })
            );
        } else {
            sayln!("unchanged: {why}");
        }
    }

    /// Says that it was changed from `old` to `new`, and how.
    fn updated(&self, old: &Policy, new: &Policy) {
        let file = self.file.display().to_string();
        if !self.json {
            sayln!("updated: {file}");
            return;
        }
        let lacks = |one: &Policy, other: &Policy| -> Vec<String> {
            let keys = one.log.vkeys.iter();
            let gone = keys.filter(|key| !other.log.vkeys.contains(key));
            gone.map(ToString::to_string).collect()
        };
        let witnesses = (old.witnesses != new.witnesses).then_some(new.witnesses_text.as_str());
        sayln!(
            "{}",
            json!({ "updated": true, "policy": file, "logKeysAdded": lacks(new, old), "logKeysRemoved": lacks(old, new),
                "witnesses": witnesses })
        );
    }
}

/// Runs `trust update`.
///
/// # Errors
/// Exit codes 1 to 3; the policy file is then as it was.
pub fn run(args: &UpdateArgs) -> Result<(), Fail> {
    let places = PolicyArgs {
        policy: Some(args.file.clone()),
        state: args.state.clone(),
    };
    let policy = load_policy(&places)?;
    let state = state_path(&places)?;
    let mut memory = load_memory(&state)?;
    // An old answer is signed by all of today's keys as well: it would lead back to what was replaced.
    let dated = |p: &ProjectPolicy| policy.max_age_of(p).is_some();
    if !memory.logs.contains_key(&policy.log.origin) && !policy.projects.iter().all(dated) {
        return Err(Fail::usage("no-memory-or-max-age", "nothing of the log is remembered, and the policy has no max-age")
            .hint("verify a release first, or see `countersign releases` and remember that, or set max-age in the policy: else an old recommendation could be served to you unseen"));
    }
    let fetcher = Fetcher::new(args.ca_file.as_deref())?;
    let (mut found, mut views, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for project in &policy.projects {
        let all = complete(&fetcher, &policy, project, (&state, &mut memory))?;
        let newest = all.fold.project(&project.id).map(|p| p.chain.current());
        match newest.and_then(|v| v.project.policy) {
            Some(hash) => found.push((project, recommended(&fetcher, &policy, project, &hash)?)),
            None => silent.push(project.name.as_str()),
        }
        views.push(all.checkpoint.checkpoint);
    }
    let Some((_, document)) = found.first() else {
        args.unchanged("nothing-recommended", "nothing is recommended");
        return Ok(());
    };
    let new = followed(&policy, document)?;
    for (project, other) in &found {
        if !difference(&new, &followed(&policy, other)?).is_empty() {
            silent.push(project.name.as_str());
        }
    }
    let changes = difference(&policy, &new);
    if !silent.is_empty() && (found.len() > 1 || !changes.is_empty()) {
        return Err(Fail::usage(
            "projects-disagree",
            "the projects of this policy do not recommend the same",
        )
        .detail("otherwise or not at all", silent.join(", "))
        .hint("give each project a policy of its own: `countersign trust init STRING`"));
    }
    if changes.is_empty() {
        args.unchanged("as-recommended", "the policy is as it is recommended");
        return Ok(());
    }
    let weak = weaker(&policy, &new);
    if !weak.is_empty() && !args.allow_weaker {
        return Err(Fail::untrusted(
            "weaker-policy",
            "what is recommended asks for less than the policy does",
        )
        .detail("weaker", weak.join("; "))
        .detail("changes", changes)
        .hint("ask the project why; if you want it, --allow-weaker follows it all the same"));
    }
    // Whoever follows must still be able to verify: the log signs with old and new keys meanwhile.
    for view in &views {
        let signed = Signed::read(view, &new, now(), false);
        if !signed.is_ok_and(|s| s.log_keys(&new).is_ok() && s.quorum(&new)) {
            return Err(Fail::unchecked(
                "not-in-force",
                "the log's newest checkpoint is not signed as the recommended policy wants it",
            )
            .detail("changes", changes)
            .hint("try again later; the policy stays as it is"));
        }
    }
    let text = new
        .to_toml()
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let shown = match weak.is_empty() {
        true => changes,
        false => format!("{changes}weaker: {}\n", weak.join("; ")),
    };
    ask(args.yes, &shown, "change the policy so?")?;
    let now = load_policy(&places)?.to_toml();
    if !matches!((now, policy.to_toml()), (Ok(now), Ok(before)) if now == before) {
        return Err(Fail::usage(
            "policy-changed",
            "the policy was changed meanwhile; nothing was written",
        )
        .hint("run it again"));
    }
    // Where the policy is a link, what it leads to is changed.
    let file = args
        .file
        .canonicalize()
        .unwrap_or_else(|_| args.file.clone());
    write_atomic(&file, text.as_bytes())?;
    args.updated(&policy, &new);
    Ok(())
}

/// The document of this hash, from the log or else a mirror: about this log and this project.
fn recommended(
    fetcher: &Fetcher,
    policy: &Policy,
    project: &ProjectPolicy,
    hash: &Hash,
) -> Result<TrustDocument, Fail> {
    let mut first: Option<Fail> = None;
    for url in policy.log.url.iter().chain(&policy.log.mirrors) {
        let address = format!("{}/api/v1/trust/{}", url.trim_end_matches('/'), hex32(hash));
        let fail = match fetcher.get_bytes(&address, MAX_TRUST_BYTES) {
            Ok(bytes) if sha256(&bytes) == *hash => return about(&bytes, policy, project),
            Ok(bytes) => Fail::unchecked(
                "other-document",
                "the log served another trust document than the recommended one",
            )
            .detail("url", address)
            .detail("expected", hex32(hash))
            .detail("got", hex32(&sha256(&bytes)))
            .hint("try again later; something else may be served there"),
            Err(fail) => fail,
        };
        first.get_or_insert(fail);
    }
    Err(first.unwrap_or_else(super::history::no_url))
}

/// Pins never change: another log or project is another trust string.
fn about(bytes: &[u8], policy: &Policy, project: &ProjectPolicy) -> Result<TrustDocument, Fail> {
    let document = TrustDocument::parse(bytes).map_err(|e| {
        Fail::untrusted(e.kind(), e.to_string())
            .hint("tell the project that what it recommends cannot be read")
    })?;
    let (origin, id) = (&document.log.origin, &document.project.id);
    let wrong = match (*origin == policy.log.origin, *id == project.id) {
        (true, true) => return Ok(document),
        (false, _) => ("other-log", policy.log.origin.clone(), origin.clone()),
        (_, false) => ("other-project", hex32(&project.id), hex32(id)),
    };
    Err(Fail::untrusted(
        wrong.0,
        "what is recommended is about another log or project",
    )
    .detail("expected", wrong.1)
    .detail("got", wrong.2)
    .detail("project", project.name.as_str())
    .hint("it is not followed; ask the project, and make a new policy from its trust string"))
}

/// The policy with the document's log keys and witnesses; all else is the client's own.
fn followed(policy: &Policy, document: &TrustDocument) -> Result<Policy, Fail> {
    let bad = |e: crate::policy::PolicyError| {
        Fail::usage(e.kind(), e.to_string())
            .hint("the policy's own settings do not go with what is recommended: change them first")
    };
    let theirs = Policy::from_trust(document, None).map_err(bad)?;
    let mut new = policy.clone();
    new.log.vkeys = theirs.log.vkeys;
    new.witnesses_text = theirs.witnesses_text;
    // A floor is signed by a key of the log; none of those that stay may have been there yet.
    let signed = |floor: &str| {
        let note = Note::parse(floor.as_bytes());
        note.is_ok_and(|n| n.verify(&new.log.vkeys).is_ok())
    };
    if !new.log.checkpoint_floor.as_deref().is_none_or(signed) {
        new.log.checkpoint_floor = None;
    }
    Policy::parse_toml(&new.to_toml().map_err(bad)?).map_err(bad)
}
