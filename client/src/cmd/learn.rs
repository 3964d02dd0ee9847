//! What a bundle proves of its project's head is remembered, whatever becomes of its release.

use super::common::{learn_head, now, refused_to_fail, warn_once};
use super::history;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::{Memory, SeenCheckpoint};
use crate::policy::{Policy, ProjectPolicy};
use crate::refused::Refused;
use crate::verify::verify_head;
use ledger::bundle::Bundle;
use std::path::Path;

/// Takes up the head that a bundle proves, whatever becomes of its release: what was seen once of
/// revocations and withdrawals binds older bundles too. A place that cannot be written is said,
/// and so is a fork, which is kept, where the bundle was refused for another reason, `why`.
pub(crate) fn learn_refused(
    path: &Path,
    memory: &mut Memory,
    policy: &Policy,
    project: &ProjectPolicy,
    bundle: &Bundle,
    why: &Refused,
) {
    let shown = verify_head(&project.id, bundle.into(), policy, memory, now());
    let (checkpoint, head) = match shown {
        Ok(proven) => proven,
        Err(fork @ Refused::Fork { .. }) if why.kind() != fork.kind() => {
            let state = path;
            let ours = history::Against { policy, state };
            let fail = refused_to_fail(&fork, ours, project, bundle);
            eprint!("warning: besides what is refused: {}", fail.human());
            return;
        }
        Err(_) => return,
    };
    let state = path;
    let ours = history::Against { policy, state };
    // Offline nothing connects two sizes.
    let connects = |seen: &SeenCheckpoint| history::one_tree(ours, seen, &checkpoint);
    let proven = (&checkpoint, &head);
    if let Err(e) = learn_head(path, memory, policy, &project.id, proven, connects) {
        warn_once("not remembered", &e);
    }
}

/// The same for whoever is online: first the log must still show the history that is remembered.
///
/// # Errors
/// As [`history::check`]; exit code 1 for a fork, whatever else is wrong with the bundle.
pub(crate) fn learn_shown(
    fetcher: &Fetcher,
    policy: &Policy,
    project: &ProjectPolicy,
    (path, memory): (&Path, &mut Memory),
    bundle: &Bundle,
) -> Result<(), Fail> {
    let shown = verify_head(&project.id, bundle.into(), policy, memory, now());
    let ours = history::Against {
        policy,
        state: path,
    };
    let (checkpoint, head) = match shown {
        Ok(proven) => proven,
        Err(fork @ Refused::Fork { .. }) => {
            return Err(refused_to_fail(&fork, ours, project, bundle));
        }
        Err(_) => return Ok(()),
    };
    let seen = memory.logs.get(&policy.log.origin);
    history::check(fetcher, ours, seen, &bundle.first, &checkpoint)?;
    let connects = |seen: &SeenCheckpoint| {
        history::check(fetcher, ours, Some(seen), &bundle.first, &checkpoint)
    };
    let proven = (&checkpoint, &head);
    match learn_head(path, memory, policy, &project.id, proven, connects) {
        Err(e) if e.code == crate::fail::USAGE => {
            warn_once("not remembered", &e);
            Ok(())
        }
        learnt => learnt,
    }
}
