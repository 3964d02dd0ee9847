//! `countersign releases NAME`: a project's releases, a list that is proven complete.

use super::common::time;
use super::complete::{Complete, Release, Standing};
use super::say::{Desk, LogArgs};
use crate::fail::{Fail, visible};
use crate::policy::ProjectPolicy;
use crate::standing::{revoked_id, revoked_words};
use clap::Args;
use ledger::hex32;
use serde_json::{Value, json};

/// Arguments of `releases`.
#[derive(Debug, Args)]
pub struct ReleasesArgs {
    /// The project, as the policy names it
    name: String,
    #[command(flatten)]
    log: LogArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `releases`.
///
/// # Errors
/// Exit code 1 where the log contradicts itself, 3 where it cannot be asked, 2 for wrong usage.
pub fn run(args: &ReleasesArgs) -> Result<(), Fail> {
    let mut desk = Desk::open(&args.log)?;
    let project = desk.project(&args.name)?;
    let complete = desk.complete(&project)?;
    let releases = complete.releases(&project.id);
    if args.json {
        sayln!("{}", shown(&complete, &project, &releases));
        return Ok(());
    }
    for r in &releases {
        let standing = match &r.standing {
            Standing::Stands => "stands".to_owned(),
            Standing::Void(target) => format!("VOID: signed by revoked {}", revoked_words(target)),
            Standing::Withdrawn(by) => format!("WITHDRAWN by statement {:.16}", hex32(by)),
        };
        sayln!(
            "{:>8}  {}  {}  {standing}",
            r.index,
            time(r.time),
            visible(&r.purl)
        );
        for s in &r.artifacts {
            sayln!("          {}  {}", hex32(&s.sha256), visible(&s.name));
        }
    }
    sayln!(
        "{} releases of {}: complete as of tree size {} of {}{}",
        releases.len(),
        project.name,
        complete.checkpoint.size,
        desk.policy.log.origin,
        match complete.view_time() {
            Some(seen) => format!(", as its witnesses saw it at {}", time(seen)),
            None => String::new(),
        }
    );
    Ok(())
}

fn shown(complete: &Complete, project: &ProjectPolicy, releases: &[Release]) -> Value {
    let list: Vec<Value> = releases
        .iter()
        .map(|r| {
            let (standing, by) = match &r.standing {
                Standing::Stands => ("stands", None),
                Standing::Void(target) => ("void", Some(revoked_id(target))),
                Standing::Withdrawn(by) => ("withdrawn", Some(hex32(by))),
            };
            let artifacts: Vec<Value> = r
                .artifacts
                .iter()
                .map(|s| json!({ "name": s.name, "sha256": hex32(&s.sha256), "size": s.size }))
                .collect();
            let keys: Vec<String> = r.keys.iter().map(ToString::to_string).collect();
            json!({ "index": r.index, "time": r.time, "purl": r.purl, "statement": hex32(&r.statement),
                "artifacts": artifacts, "keys": keys, "standing": standing, "by": by })
        })
        .collect();
    json!({ "project": project.name, "projectId": hex32(&project.id), "treeSize": complete.checkpoint.size,
        "viewTime": complete.view_time(), "checkpoint": complete.checkpoint.checkpoint, "releases": list })
}
