//! What a state document says against a release (docs/formats.md, "Verification", step 7).

use ledger::envelope::Envelope;
use ledger::state::StateDocument;
use ledger::{Hash, KeyId, names};

/// A signature counts where it was made before the first revocation of its key and before any
/// compromise window. The first key whose signature does not, where those that do miss the
/// threshold.
pub(crate) fn not_counting(
    envelope: &Envelope,
    index: u64,
    state: &StateDocument,
    threshold: u64,
) -> Option<KeyId> {
    let counts = |key: &KeyId| {
        let target = format!("key:{key}");
        let mut of_key = state.revoked.iter().filter(|r| r.target == target);
        of_key.all(|r| index < r.index && r.since.is_none_or(|s| index < s))
    };
    let keys = envelope.signatures.iter().map(|s| s.keyid);
    let (good, bad): (Vec<_>, Vec<_>) = keys.partition(counts);
    bad.first()
        .filter(|_| (good.len() as u64) < threshold)
        .copied()
}

/// The end of life that covers a purl.
pub(crate) fn ended(purl: &str, state: &StateDocument) -> Option<Hash> {
    let covers = |prefix: &str| names::prefix_covers(prefix, purl);
    let found = state.end_of_life.iter().find(|e| covers(&e.prefix));
    found.map(|e| e.statement)
}

/// Whether the key was revoked already when what stands at `index` was said. A compromise window
/// that was given later is another question: project statements are never void.
pub(crate) fn revoked_before(state: &StateDocument, key: &KeyId, index: u64) -> bool {
    let target = format!("key:{key}");
    let mut of_key = state.revoked.iter().filter(|r| r.target == target);
    of_key.any(|r| r.index < index)
}
