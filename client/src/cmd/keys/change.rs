//! `keys rotate` and `keys revoke`: both show first what they change.

use super::inventory::{Inventory, KeyRow, Purpose};
use super::show::Opened;
use crate::cmd::common::{parse_time, time};
use crate::cmd::complete::{Release, Standing};
use crate::cmd::say::{Said, SayArgs, confirm, key, keys, said_line, say};
use crate::fail::{Fail, visible};
use ::keys::Signer as _;
use clap::Args;
use ledger::statement::{Body, Project, Revocation, Target, Withdrawal, Withdrawn};
use ledger::{KeyId, hex32};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Arguments of `keys rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The project, as the policy names it
    #[arg(long, value_name = "NAME")]
    project: String,
    /// The key that goes: its id, or its first 8 digits
    #[arg(long, value_name = "ID")]
    old: String,
    /// The key that comes in its place
    #[arg(long, value_name = "KEY")]
    new: PathBuf,
    #[command(flatten)]
    say: SayArgs,
}

/// Arguments of `keys revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The key: its id, or its first 8 digits
    id: String,
    /// The project, as the policy names it
    #[arg(long, value_name = "NAME")]
    project: String,
    /// Why; it is public
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Nothing that the key signed counts from here on: a log index, or a time such as 2026-01-31T08:30:00Z
    #[arg(long, value_name = "INDEX|TIME")]
    compromised_since: Option<String>,
    #[command(flatten)]
    say: SayArgs,
}

/// The project's newest version, with what comes after it set.
pub(crate) fn next_version(opened: &Opened) -> Result<Project, Fail> {
    let known = opened.complete.fold.project(&opened.project.id);
    let newest = known
        .map(|p| p.current().clone())
        .ok_or_else(|| Fail::unchecked("unknown-project", "the log does not have this project"))?;
    let mut next = newest.project;
    (next.version, next.previous) = (next.version + 1, Some(newest.statement));
    // What was recommended stays recommended; version 1 recommends nothing.
    Ok(next)
}

pub(super) fn rotate(args: &RotateArgs) -> Result<(), Fail> {
    let mut opened = Opened::open(&args.project, &args.say.log, None)?;
    let row = opened.key(&args.old)?.clone();
    let new = key(&args.say, &args.new)?;
    let mut next = next_version(&opened)?;
    let list = match row.purpose {
        Purpose::Root => &mut next.roots,
        Purpose::Release => &mut next.release_keys,
    };
    let place = list.iter_mut().find(|k| k.id() == row.id());
    let place = place.ok_or_else(|| {
        Fail::usage(
            "key-not-listed",
            format!("key {} is not listed any more", row.id()),
        )
        .hint("see `countersign keys list`")
    })?;
    *place = new.public_key().clone();
    let payload = next
        .to_payload()
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let mut impact = format!(
        "project {} version {}: {} key {} goes, {} comes in its place\n",
        next.name,
        next.version,
        row.purpose.word(),
        row.id(),
        new.public_key().id()
    );
    let releases = opened.complete.releases(&opened.project.id);
    let of = releases
        .iter()
        .filter(|r| r.keys.contains(&row.id()))
        .count();
    let _ = writeln!(
        impact,
        "its {of} releases stay as they are, and so do their bundles; it signs nothing new. If it may have been stolen, revoke it afterwards too"
    );
    confirm(&args.say, &impact, "log this version?")?;
    let mut signers = keys(&args.say)?;
    signers.push(new);
    let project = opened.project.clone();
    let said = say(&args.say, &mut opened.desk, &project, payload, &signers)?;
    said_line(
        &args.say,
        &said,
        &format!("rotated: {} {}", next.name, row.id()),
    );
    Ok(())
}

/// A point in the past as a log index: of a time the first of the project's entries from then on,
/// since no other matters.
fn since(opened: &Opened, text: &str) -> Result<u64, Fail> {
    let size = opened.complete.checkpoint.size;
    if let Ok(index) = text.parse::<u64>() {
        if index < size {
            return Ok(index);
        }
        return Err(Fail::usage(
            "window-beyond-tree",
            format!("the log has {size} entries, {index} is none of them"),
        )
        .hint("give the index of an entry, or a time"));
    }
    let bad = || {
        Fail::usage(
            "bad-time",
            format!("{text:?} is neither a log index nor a time"),
        )
        .hint("a time is written 2026-01-31T08:30:00Z, in UTC")
    };
    let when = parse_time(text).ok_or_else(bad)?;
    let first = opened.complete.statements().find(|(_, s)| s.time >= when);
    // Nothing of the project stands there: the window begins at the end of the log.
    Ok(first.map_or_else(|| size.saturating_sub(1), |(index, _)| index))
}

/// What a window from `since` on would make void of what `key` signed.
struct Voided {
    releases: Vec<Release>,
    /// Withdrawals of releases, with what they say.
    withdrawals: Vec<(u64, Withdrawal, Vec<ledger::statement::Subject>)>,
}

fn voided(opened: &Opened, key: &KeyId, since: u64) -> Voided {
    let counts = |signers: &[KeyId], index: u64, threshold: u64| {
        let Some(project) = opened.complete.fold.project(&opened.project.id) else {
            return false;
        };
        let good = signers
            .iter()
            .filter(|k| project.counts(k, index) && !(**k == *key && index >= since));
        good.count() as u64 >= threshold
    };
    let project = opened.complete.fold.project(&opened.project.id);
    let version = |index: u64| project.and_then(|p| p.chain.at(index)).map(|v| &v.project);
    let releases = opened.complete.releases(&opened.project.id);
    let releases = releases.into_iter().filter(|r| {
        let threshold = version(r.index).map_or(1, |p| p.release_threshold);
        !matches!(r.standing, Standing::Void(_)) && !counts(&r.keys, r.index, threshold)
    });
    let mut withdrawals = Vec::new();
    for (index, leaf) in opened.complete.statements() {
        let Body::Withdrawal(w) = &leaf.statement.body else {
            continue;
        };
        let signers: Vec<KeyId> = leaf.envelope.signatures.iter().map(|s| s.keyid).collect();
        let threshold = version(index).map_or(1, |p| {
            let root = p.roots.iter().any(|k| signers.contains(&k.id()));
            if root {
                p.root_threshold
            } else {
                p.release_threshold
            }
        });
        if signers.contains(key) && !counts(&signers, index, threshold) {
            withdrawals.push((index, w.clone(), leaf.statement.subject.clone()));
        }
    }
    Voided {
        releases: releases.collect(),
        withdrawals,
    }
}

fn impact(opened: &Opened, row: &KeyRow, since: Option<u64>, voided: &Voided) -> String {
    let mut out = format!(
        "revoking {} key {} of {}\n",
        row.purpose.word(),
        row.id(),
        opened.project.name
    );
    let Some(since) = since else {
        let _ = writeln!(
            out,
            "what it signed until now counts on; nothing that it signs from now on does"
        );
        return out;
    };
    let _ = writeln!(
        out,
        "nothing that it signed from entry {since} on counts any more"
    );
    let _ = writeln!(
        out,
        "{} releases become void, and every bundle of them is refused once it is refreshed:",
        voided.releases.len()
    );
    for r in &voided.releases {
        let _ = writeln!(
            out,
            "  entry {}  {}  {}",
            r.index,
            time(r.time),
            visible(&r.purl)
        );
    }
    if !voided.releases.is_empty() {
        let _ = writeln!(
            out,
            "state those that are genuine again, with a key that is not revoked, once you have compared their files:\n  countersign publish FILE… --project {} --version VERSION --restate --key NEWKEY --policy POLICY",
            opened.project.name
        );
    }
    for (index, w, _) in &voided.withdrawals {
        let _ = writeln!(
            out,
            "the withdrawal at entry {index} would become void: it is stated again by the root keys first ({})",
            visible(&w.reason)
        );
    }
    out
}

pub(super) fn revoke(args: &RevokeArgs) -> Result<(), Fail> {
    let mut opened = Opened::open(&args.project, &args.say.log, None)?;
    let row = opened.key(&args.id)?.clone();
    let window = args.compromised_since.as_deref();
    let window = window.map(|text| since(&opened, text)).transpose()?;
    enough_roots(&opened.inventory, &row, &opened)?;
    let voided = match window {
        Some(since) => voided(&opened, &row.id(), since),
        None => Voided {
            releases: Vec::new(),
            withdrawals: Vec::new(),
        },
    };
    let revocation = Revocation {
        project: opened.project.id,
        target: Target::key(&row.id()),
        reason: args.reason.clone(),
        compromised_since: window,
    };
    let payload = revocation
        .to_payload()
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let impact = impact(&opened, &row, window, &voided);
    confirm(&args.say, &impact, "revoke it?")?;
    if args.say.prepare.is_some() && !voided.withdrawals.is_empty() {
        return Err(Fail::usage(
            "withdrawals-first",
            "withdrawals that this would make void must be stated again by the root keys first",
        )
        .hint("state each again with `countersign withdraw … --prepare`, submit them, then prepare this revocation"));
    }
    let signers = keys(&args.say)?;
    let project = opened.project.clone();
    for (index, withdrawal, subjects) in &voided.withdrawals {
        // Other words, since the same ones are the same statement.
        let what = match &withdrawal.what {
            Withdrawn::Release(pae) => hex32(pae),
            Withdrawn::Prefix(prefix) => prefix.clone(),
        };
        let again = Withdrawal {
            reason: again(&withdrawal.reason, *index),
            ..withdrawal.clone()
        };
        let payload = again
            .to_payload(subjects)
            .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
        let said = say(&args.say, &mut opened.desk, &project, payload, &signers)?;
        said_line(&args.say, &said, &format!("withdrawn again: {what}"));
    }
    let said = say(&args.say, &mut opened.desk, &project, payload, &signers)?;
    said_line(&args.say, &said, &format!("revoked: {}", row.id()));
    if let (Said::Logged { .. }, true) = (&said, row.dropped.is_none()) {
        eprintln!(
            "the newest version of {} still lists the key: replace it with `countersign keys rotate --project {} --old {} --new NEWKEY --key ROOTKEY…`",
            project.name,
            project.name,
            row.id()
        );
    }
    Ok(())
}

/// The reason of a withdrawal that is stated again, within what a reason may be long.
fn again(reason: &str, index: u64) -> String {
    let tail = format!(" (entry {index}, stated again)");
    let mut room = 512_usize.saturating_sub(tail.len()).min(reason.len());
    while !reason.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}{tail}", reason.get(..room).unwrap_or_default())
}

/// The log would refuse it; here it is said before anything is signed.
fn enough_roots(inventory: &Inventory, row: &KeyRow, opened: &Opened) -> Result<(), Fail> {
    let Some(project) = opened.complete.fold.project(&opened.project.id) else {
        return Ok(());
    };
    let want = project.current().project.root_threshold;
    let left = inventory
        .keys
        .iter()
        .filter(|r| r.purpose == Purpose::Root && r.in_force() && r.id() != row.id());
    let left = left.count() as u64;
    if left >= want {
        return Ok(());
    }
    Err(Fail::usage(
        "too-few-roots",
        format!("{left} root keys would be left, and the threshold is {want}"),
    )
    .hint("replace it first: `countersign keys rotate --old ID --new NEWKEY`, then revoke it"))
}

#[cfg(test)]
mod tests {
    use super::again;

    #[test]
    fn a_reason_stays_within_its_bounds() {
        assert_eq!(again("crashes", 7), "crashes (entry 7, stated again)");
        let long = again(&"ä".repeat(256), u64::MAX);
        assert!(long.len() <= 512 && long.ends_with("stated again)"));
    }
}
