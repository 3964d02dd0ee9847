//! Whether a statement that the log shows changes anything. That it is in the log is not enough:
//! the log may not count it, and the same words again are the same entry, whatever has become of
//! it since.

use super::Complete;
use crate::fail::Fail;
use crate::standing::ended;
use ledger::envelope::Envelope;
use ledger::statement::{Body, Statement, Withdrawn};
use ledger::{Hash, state::withdrawn_keys};

impl Complete {
    /// Requires that the statement at `index` counts and shows in the project's state. Before it
    /// was sent the log had `before` entries, as far as that is known.
    ///
    /// # Errors
    /// Exit code 1 where the log does not count what it shows; 2 where it counts, and changes
    /// nothing, so that it must be said in other words.
    pub(crate) fn takes_effect(
        &self,
        project: &Hash,
        (envelope, statement): (&Envelope, &Statement),
        index: u64,
        before: Option<u64>,
    ) -> Result<(), Fail> {
        let pae = envelope.pae_hash();
        let counted = |(i, s): (u64, &ledger::leaf::StatementLeaf)| {
            i == index && s.envelope.pae_hash() == pae
        };
        if !self.statements().any(counted) {
            return Err(Fail::untrusted(
                "not-counted",
                format!("the log has the statement at entry {index}, but the state that it signed for the project does not count it"),
            )
            .hint("the log is not to be trusted: keep its checkpoint as evidence, and tell its operator and your users"));
        }
        let why = match &statement.body {
            // What is accepted of these is never undone.
            Body::Project(_) | Body::Revocation(_) => None,
            // The verifier decides about releases.
            Body::Release(_) => None,
            Body::Withdrawal(w) => self.undone(project, &w.what, statement),
            Body::KeyNote(note) => {
                let later = self.statements().any(|(i, s)| {
                    i > index && matches!(&s.statement.body, Body::KeyNote(n) if n.key == note.key)
                });
                let new = before.is_some_and(|size| index >= size);
                (later && !new).then_some("a later note about the same key stands")
            }
        };
        match why {
            None => Ok(()),
            Some(why) => Err(Fail::usage(
                "no-effect",
                format!("the statement stands at entry {index}, and changes nothing: {why}"),
            )
            .hint("the same words are the same statement: say it in other words, with keys that are in force")),
        }
    }

    /// Why a withdrawal withdraws nothing.
    fn undone(
        &self,
        project: &Hash,
        what: &Withdrawn,
        statement: &Statement,
    ) -> Option<&'static str> {
        let void = "the keys that signed it were compromised, so that it is void";
        let Some(state) = self.fold.state(project) else {
            return Some(void);
        };
        let stands = match what {
            Withdrawn::Prefix(prefix) => ended(prefix, &state).is_some(),
            Withdrawn::Release(pae) => {
                withdrawn_keys(pae, statement.subject.iter().map(|s| s.sha256))
                    .iter()
                    .all(|key| self.withdrawn_by(project, &state, key).is_some())
            }
        };
        (!stands).then_some(void)
    }
}
