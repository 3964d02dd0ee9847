//! `keys audit`: what an owner would be asked about, as findings.

use super::authorities;
use super::inventory::{KeyRow, Purpose};
use super::show::{Opened, ProjectArgs};
use crate::cmd::common::now;
use crate::cmd::complete::{Release, Standing};
use crate::fail::{Fail, visible};
use crate::standing::ended;
use clap::Args;
use ledger::state::withdrawn_release_key;
use ledger::statement::Target;
use serde_json::{Value, json};

/// Arguments of `keys audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// A release key in force that signed nothing for so many days counts as unused
    #[arg(long, default_value_t = 180, value_name = "DAYS")]
    unused_days: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Something that wants an answer.
pub(super) struct Finding {
    pub(super) kind: &'static str,
    pub(super) key: String,
    pub(super) what: String,
}

/// What is to be found, `unused_days` being how long a release key may sign nothing.
pub(super) fn findings(opened: &Opened, unused_days: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    let current = opened.complete.fold.project(&opened.project.id);
    let current = current.map(|p| &p.current().project);
    for row in &opened.inventory.keys {
        let mut add = |kind, what: String| {
            let key = row.id().to_string();
            found.push(Finding { kind, key, what });
        };
        if row.overdue() {
            let (age, max) = (row.age / 86_400, row.max_age.unwrap_or_default() / 86_400);
            add(
                "overdue",
                format!("{age} days old, {max} allowed: the log refuses its releases"),
            );
        }
        if row.in_force() && row.purpose == Purpose::Release && idle(row, unused_days) {
            add(
                "unused",
                format!(
                    "listed for {} days, and signed no release in {unused_days}",
                    row.age / 86_400
                ),
            );
        }
        if row.in_force() && row.note.at.is_none() {
            add(
                "unknown-origin",
                "no key-note says who made it, and where it is kept".to_owned(),
            );
        }
        if row.revoked.is_some() && row.dropped.is_none() {
            add(
                "revoked-and-listed",
                "it is revoked, and the newest version still lists it".to_owned(),
            );
        }
        let void = void_uses(opened, row);
        if void > 0 {
            add(
                "used-while-compromised",
                format!(
                    "{void} releases of it are void, and neither stated again nor withdrawn: state the genuine ones again, and withdraw the rest"
                ),
            );
        }
    }
    for row in &opened.vouchers {
        authorities::findings(row, now(), |kind, what| {
            let key = row.target.to_string();
            found.push(Finding { kind, key, what });
        });
    }
    if let Some(project) = current {
        let unrevoked = |row: &&KeyRow| row.purpose == Purpose::Root && row.in_force();
        let roots = opened.inventory.keys.iter().filter(unrevoked).count() as u64;
        if roots == project.root_threshold {
            found.push(Finding {
                kind: "no-spare-root",
                key: String::new(),
                what: format!(
                    "{roots} root keys, and the threshold is {}: losing one ends the project",
                    project.root_threshold
                ),
            });
        }
    }
    found
}

/// Whether a release key signed no release for so long, whatever else it signed.
fn idle(row: &KeyRow, days: u64) -> bool {
    let now = row.listed.time.saturating_add(row.age);
    let since = row.last_release.unwrap_or(row.listed).time;
    now.saturating_sub(since) > days.saturating_mul(86_400)
}

/// Whether the project took a release back, which of a void one its standing does not tell. That
/// it shares an artifact with one that was taken back is nobody's decision about it.
fn withdrawn(opened: &Opened, release: &Release) -> bool {
    let (fold, id) = (&opened.complete.fold, &opened.project.id);
    let Some(state) = fold.state(id) else {
        return false;
    };
    let key = withdrawn_release_key(&release.statement);
    let proof = fold.prove_withdrawn(id, &key);
    let found = proof.and_then(|p| tlog::prefix::verify(&state.withdrawn, &key, &p).ok()?);
    found.is_some() || ended(&release.purl, &state).is_some()
}

/// Its releases that are void and not dealt with: neither has a later release of the purl taken
/// their place, nor are they withdrawn.
fn void_uses(opened: &Opened, row: &KeyRow) -> usize {
    let releases = opened.complete.releases(&opened.project.id);
    let last = |purl: &str| {
        releases
            .iter()
            .rev()
            .find(|r| r.purl == purl)
            .map(|r| r.index)
    };
    let void = releases.iter().filter(|r| {
        r.standing == Standing::Void(Target::key(&row.id()))
            && last(&r.purl) == Some(r.index)
            && !withdrawn(opened, r)
    });
    void.count()
}

pub(super) fn run(args: &AuditArgs) -> Result<(), Fail> {
    let opened = Opened::new(&args.project)?;
    let found = findings(&opened, args.unused_days);
    let keys = opened.inventory.keys.len();
    if args.json {
        let list: Vec<Value> = found
            .iter()
            .map(|f| json!({ "kind": f.kind, "key": f.key, "what": f.what }))
            .collect();
        sayln!(
            "{}",
            json!({ "project": opened.project.name, "asOf": opened.as_of(), "keys": keys, "findings": list })
        );
    } else {
        for f in &found {
            sayln!("{}: {:.16} {}", f.kind, f.key, visible(&f.what));
        }
        sayln!(
            "{} findings in {keys} keys of {}, complete as of tree size {}",
            found.len(),
            opened.project.name,
            opened.complete.checkpoint.size
        );
    }
    if found.is_empty() {
        return Ok(());
    }
    let fail = Fail::untrusted("audit-findings", format!("{} findings", found.len()));
    Err(fail
        .hint("`countersign keys show ID` has the commands that rotate and revoke a key")
        .shown_if(args.json))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::inventory::{At, KeyRow, Noted, Purpose};
    use super::idle;
    use ::keys::Signer as _;
    use std::collections::BTreeMap;

    const DAY: u64 = 86_400;

    fn row(last_use: Option<u64>, last_release: Option<u64>) -> KeyRow {
        let at = |day| At {
            index: day,
            time: day * DAY,
        };
        KeyRow {
            key: ::keys::SecretKey::generate().unwrap().public_key().clone(),
            purpose: Purpose::Release,
            listed: at(10),
            dropped: None,
            successor: None,
            revoked: None,
            uses: BTreeMap::new(),
            last_use: last_use.map(at),
            last_release: last_release.map(at),
            note: Noted::default(),
            age: 90 * DAY,
            max_age: None,
        }
    }

    #[test]
    fn only_releases_are_the_use_of_a_release_key() {
        // It is day 100.
        assert!(idle(&row(None, None), 89));
        assert!(!idle(&row(None, None), 90));
        assert!(idle(&row(Some(20), Some(20)), 79));
        assert!(!idle(&row(Some(20), Some(20)), 80));
        // A note of yesterday is no release.
        assert!(idle(&row(Some(99), Some(20)), 79));
        assert!(idle(&row(Some(99), None), 89));
    }
}
