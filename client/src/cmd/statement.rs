//! `countersign verify --statement`: what a bundle of a statement of any kind proves.

use super::common::{learn_head, now, refused_to_fail, time, warn_once};
use super::history::{Against, one_tree};
use super::sign::says;
use super::verify::read_bundle;
use crate::fail::Fail;
use crate::memory::{Memory, SeenCheckpoint};
use crate::stated::{Stands, verify_statement};
use ledger::hex32;
use serde_json::json;
use std::path::Path;

/// Verifies the statement in the bundle `file` of the project `named`, else of the policy's only
/// one, and says what it says and how it stands; one that is void is no less proven.
pub(super) fn said(
    file: &Path,
    named: Option<&str>,
    ours: Against<'_>,
    memory: &mut Memory,
    as_json: bool,
) -> Result<String, Fail> {
    let policy = ours.policy;
    let project = policy
        .select(named, "")
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let bundle = read_bundle(file)?;
    let stated = verify_statement(&project.id, &bundle, policy, memory, now())
        .map_err(|r| refused_to_fail(&r, ours, project, &bundle))?;
    let proven = (&stated.checkpoint, &stated.head);
    let connects = |seen: &SeenCheckpoint| one_tree(ours, seen, proven.0);
    if let Err(e) = learn_head(ours.state, memory, policy, &project.id, proven, connects) {
        warn_once("not remembered", &e);
    }
    let (leaf, seen) = (&stated.leaf, &stated.checkpoint);
    let keys = leaf.envelope.signatures.iter().map(|s| s.keyid.to_string());
    let keys: Vec<String> = keys.collect();
    let (what, index) = (says(&leaf.statement), bundle.entry.index);
    let (version, at) = stated.authorised_by;
    if as_json {
        return Ok(
            json!({ "stands": stated.stands == Stands::Yes, "standing": stated.stands.word(),
            "file": file.display().to_string(), "project": project.name,
            "kind": leaf.statement.body.kind(), "says": what, "index": index, "time": leaf.time,
            "statement": hex32(&leaf.envelope.pae_hash()), "keys": keys,
            "authorisedBy": { "version": version, "index": at },
            "treeSize": seen.size, "state": stated.head.state })
            .to_string(),
        );
    }
    let how = match &stated.stands {
        Stands::Yes => "stands".to_owned(),
        Stands::Void(key) => format!("void, since {key} was compromised"),
        Stands::Withdrawn(by) => format!("withdrawn, by statement {by:.16}"),
        Stands::Replaced(by) => format!("replaced, by version {by}"),
    };
    let keys: Vec<String> = keys.iter().map(|k| format!("{k:.16}")).collect();
    Ok(format!(
        "{how}: {what}\n  log {} entry {index}, {}, tree size {}; signed by {}, as version {version} of {} allows",
        policy.log.origin,
        time(leaf.time),
        seen.size,
        keys.join(", "),
        project.name
    ))
}
