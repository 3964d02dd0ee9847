//! `keys show --proofs`: the bundles of what says something about a key, to be filed.

use super::show::Opened;
use crate::cmd::common::{refused_to_fail, write_atomic};
use crate::cmd::complete::Complete;
use crate::cmd::verify::parse_bundle;
use crate::fail::{Fail, UNCHECKED};
use crate::refused::Refused;
use ledger::bundle::Bundle;
use ledger::leaf::Leaf;
use ledger::statement::{Body, Target};
use ledger::{Hash, KeyId};
use std::collections::BTreeSet;
use std::path::Path;

/// The entries that say something about a key: those that first list it and leave it out, notes,
/// revocations, and its last use.
pub(super) fn evidence(complete: &Complete, hash: &Hash) -> BTreeSet<u64> {
    let id = KeyId(*hash);
    let (mut found, mut last, mut listed) = (BTreeSet::new(), None, false);
    for (index, leaf) in complete.statements() {
        let about = match &leaf.statement.body {
            Body::Project(p) => {
                let lists = p.roots.iter().chain(&p.release_keys).any(|k| k.id() == id);
                let changed = lists != listed;
                listed = lists;
                changed
            }
            Body::Revocation(r) => r.target == Target::key(&id),
            Body::KeyNote(n) => n.key == *hash,
            Body::Release(_) | Body::Withdrawal(_) => false,
        };
        if about {
            found.insert(index);
        }
        if leaf.envelope.signatures.iter().any(|s| s.keyid == id) {
            last = Some(index);
        }
    }
    found.extend(last);
    found
}

/// Fetches the bundles of these entries into a directory, each as `<index>.bundle`. What is filed
/// is what was proven complete, and verifies by itself.
pub(super) fn save(opened: &Opened, indexes: &BTreeSet<u64>, dir: &Path) -> Result<(), Fail> {
    std::fs::create_dir_all(dir)
        .map_err(|e| Fail::usage("unwritable", format!("{}: {e}", dir.display())))?;
    let project = &opened.project;
    for index in indexes {
        let bytes = opened.desk.bundle(*index)?;
        let bundle = parse_bundle(&bytes)?;
        if !is_of(&bundle, *index, &opened.complete.leaves) {
            return Err(Fail::unchecked(
                "bad-answer",
                format!("the log's answer about entry {index} is of another statement"),
            )
            .hint("try again later; something else may be served there"));
        }
        if let Err(why) = opened.desk.stated(project, &bundle) {
            let mut fail = refused_to_fail(&why, opened.desk.ours(), project, &bundle);
            // But for two signed trees this is an answer that anybody can make, and no evidence.
            if !matches!(why, Refused::Fork { .. }) {
                fail.code = UNCHECKED;
            }
            return Err(fail);
        }
        write_atomic(&dir.join(format!("{index}.bundle")), &bytes)?;
    }
    Ok(())
}

/// Whether a bundle is of the entry at `index`, as the history has it.
fn is_of(bundle: &Bundle, index: u64, leaves: &[(u64, Leaf)]) -> bool {
    let known = leaves.iter().find(|(at, _)| *at == index);
    let leaf = Leaf::parse(&bundle.entry.leaf);
    bundle.entry.index == index && known.is_some_and(|(_, known)| leaf.as_ref() == Ok(known))
}
