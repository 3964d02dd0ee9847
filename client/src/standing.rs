//! What a state document says against a release (docs/formats.md, "Verification", step 7).

use ledger::fold::Targets;
use ledger::state::StateDocument;
use ledger::statement::Target;
use ledger::{Hash, hex32, names};

/// A signature counts where it was made before the first revocation, and before any compromise
/// window, of each of its targets: its key; or, of a certificate, the identities that it is for
/// and the authorities on its path. The first for whose sake one does not, where those that do
/// miss the threshold.
pub(crate) fn not_counting(
    signatures: &[Targets],
    index: u64,
    state: &StateDocument,
    threshold: u64,
) -> Option<Target> {
    let undone = |target: &&Target| {
        let target = target.to_string();
        let mut of_it = state.revoked.iter().filter(|r| r.target == target);
        of_it.any(|r| index >= r.index || r.since.is_some_and(|s| index >= s))
    };
    let by: Vec<Option<&Target>> = signatures.iter().map(|t| t.iter().find(undone)).collect();
    let good = by.iter().filter(|by| by.is_none()).count() as u64;
    let first = by.into_iter().flatten().next();
    first.filter(|_| good < threshold).copied()
}

/// What was revoked, in a field for a script: a key by its id, the rest as `identity:` or
/// `authority:` and a hash.
pub(crate) fn revoked_id(target: &Target) -> String {
    match target {
        Target::Key(id) => hex32(id),
        other => other.to_string(),
    }
}

/// The same in a sentence.
pub(crate) fn revoked_words(target: &Target) -> String {
    let (kind, hash) = target.parts();
    format!("{kind} {}", hex32(hash))
}

/// The end of life that covers a purl.
pub(crate) fn ended(purl: &str, state: &StateDocument) -> Option<Hash> {
    let covers = |prefix: &str| names::prefix_covers(prefix, purl);
    let found = state.end_of_life.iter().find(|e| covers(&e.prefix));
    found.map(|e| e.statement)
}

/// Whether it was revoked already when what stands at `index` was said. A compromise window
/// that was given later is another question: project statements are never void.
pub(crate) fn revoked_before(state: &StateDocument, target: &Target, index: u64) -> bool {
    let target = target.to_string();
    let mut of_it = state.revoked.iter().filter(|r| r.target == target);
    of_it.any(|r| r.index < index)
}

#[cfg(test)]
mod tests;
