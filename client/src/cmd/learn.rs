//! What a bundle proves of its project's head is remembered, whatever becomes of its release.

use super::common::{learn_head, now, warn_once};
use super::history;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::Memory;
use crate::policy::{Policy, ProjectPolicy};
use crate::verify::verify_head;
use ledger::bundle::Bundle;
use std::path::Path;

/// Takes up the head that a bundle proves, whatever becomes of its release: what was seen once of
/// revocations and withdrawals binds older bundles too. A place that cannot be written is said.
pub(crate) fn learn_refused(
    path: &Path,
    memory: &mut Memory,
    policy: &Policy,
    project: &ProjectPolicy,
    bundle: &Bundle,
) {
    let Ok((checkpoint, head)) = verify_head(&project.id, bundle.into(), policy, memory, now())
    else {
        return;
    };
    if let Err(e) = learn_head(path, memory, policy, &project.id, &checkpoint, &head) {
        warn_once("not remembered", &e);
    }
}

/// The same for whoever is online: first the log must still show the history that is remembered.
///
/// # Errors
/// As [`history::check`].
pub(crate) fn learn_shown(
    fetcher: &Fetcher,
    policy: &Policy,
    project: &ProjectPolicy,
    (path, memory): (&Path, &mut Memory),
    bundle: &Bundle,
) -> Result<(), Fail> {
    let shown = verify_head(&project.id, bundle.into(), policy, memory, now());
    let Ok((checkpoint, _)) = shown else {
        return Ok(());
    };
    let seen = memory.logs.get(&policy.log.origin);
    let ours = history::Against {
        policy,
        state: path,
    };
    history::check(fetcher, ours, seen, &bundle.first, &checkpoint)?;
    learn_refused(path, memory, policy, project, bundle);
    Ok(())
}
