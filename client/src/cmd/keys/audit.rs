//! `keys audit`: what an owner would be asked about, as findings.

use super::inventory::{KeyRow, Purpose};
use super::show::{Opened, ProjectArgs};
use crate::cmd::complete::Standing;
use crate::fail::{Fail, visible};
use clap::Args;
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
                format!("{void} releases of it are void, and nothing states them again"),
            );
        }
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

/// Whether a release key signed no release for so long.
fn idle(row: &KeyRow, days: u64) -> bool {
    let quiet = days.saturating_mul(86_400);
    let now = row.listed.time.saturating_add(row.age);
    match (row.uses.get("release"), row.last_use) {
        (Some(_), Some(last)) => now.saturating_sub(last.time) > quiet,
        _ => row.age > quiet,
    }
}

/// Its releases that are void, and that no later release of the purl has taken the place of.
fn void_uses(opened: &Opened, row: &KeyRow) -> usize {
    let releases = opened.complete.releases(&opened.project.id);
    let last = |purl: &str| {
        releases
            .iter()
            .rev()
            .find(|r| r.purl == purl)
            .map(|r| r.index)
    };
    let void = releases
        .iter()
        .filter(|r| r.standing == Standing::Void(row.id()) && last(&r.purl) == Some(r.index));
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
