//! The checkpoints of a bundle, and the project's head that they prove (docs/formats.md,
//! "Verification", steps 2 to 4). Pure, as the verifier is.

use crate::memory::{Memory, SeenCheckpoint, SeenHead};
use crate::policy::Policy;
use crate::refused::{Refused, same};
use crate::signed::Signed;
use ledger::bundle::{Bundle, Head, Included, Latest};
use ledger::leaf::{HeadLeaf, Leaf};
use ledger::state::StateDocument;
use ledger::{Hash, hex32};

/// What shows a project's head: a bundle, or the log's answer about the head alone.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The checkpoint, a signed note as text.
    pub first: &'a str,
    /// A later one; then the head is at that.
    pub latest: Option<&'a Latest>,
    /// The head.
    pub head: &'a Head,
}

impl<'a> From<&'a Bundle> for Shown<'a> {
    fn from(bundle: &'a Bundle) -> Self {
        Self {
            first: &bundle.first,
            latest: bundle.latest.as_ref(),
            head: &bundle.head,
        }
    }
}

/// Proves the head of `project` that is shown, whatever a bundle says of its release: the
/// checkpoints, their consistency, the head leaf, the map, and that no remembered checkpoint
/// contradicts them. It is `now` in Unix seconds.
///
/// # Errors
/// The first reason in the specification's order.
pub fn verify_head(
    project: &Hash,
    shown: Shown<'_>,
    policy: &Policy,
    memory: &Memory,
    now: u64,
) -> Result<(SeenCheckpoint, SeenHead), Refused> {
    let seen = memory.logs.get(&policy.log.origin);
    let now = now.max(seen.map_or(0, |s| s.view_time));
    let views = Views::prove(shown, project, policy, now)?;
    views.not_forked(seen, policy)?;
    Ok(views.seen(&shown.head.state, policy))
}

/// Proves that `bundle` shows the statement of PAE hash `statement` in the log, whatever kind it
/// is, and the project's head after it: what a log must answer to whoever submitted it.
///
/// # Errors
/// The first reason in the specification's order.
pub fn verify_logged(
    project: &Hash,
    statement: &Hash,
    bundle: &Bundle,
    policy: &Policy,
    memory: &Memory,
    now: u64,
) -> Result<(SeenCheckpoint, SeenHead), Refused> {
    let seen = memory.logs.get(&policy.log.origin);
    let now = now.max(seen.map_or(0, |s| s.view_time));
    let views = Views::prove(bundle.into(), project, policy, now)?;
    views.not_forked(seen, policy)?;
    views.view().includes(&bundle.entry)?;
    match Leaf::parse(&bundle.entry.leaf) {
        Ok(Leaf::Statement(leaf)) => {
            same(&hex32(statement), &hex32(&leaf.envelope.pae_hash()))
                .map_err(Refused::Statement)?;
        }
        Ok(_) => return Err(Refused::Inclusion("the entry is not a statement".into())),
        Err(e) => return Err(Refused::Inclusion(e.to_string())),
    }
    Ok(views.seen(&bundle.head.state, policy))
}

/// The checkpoints of a bundle, verified, the later one an extension of the first.
pub(crate) struct Views {
    pub(crate) first: Signed,
    latest: Option<Signed>,
}

impl Views {
    /// The checkpoint that all inclusion proofs are to.
    pub(crate) fn view(&self) -> &Signed {
        self.latest.as_ref().unwrap_or(&self.first)
    }

    pub(crate) fn prove(
        shown: Shown<'_>,
        project: &Hash,
        policy: &Policy,
        now: u64,
    ) -> Result<Self, Refused> {
        // The head's checkpoint: origin, every log key, quorum.
        // Where there is a later one, `first` needs no signature by a key of today's policy: the
        // log's keys may have changed since, and the consistency proof makes it part of the view.
        let first = Signed::read(shown.first, policy, now, shown.latest.is_some())?;
        let latest = match shown.latest {
            Some(l) => Some(Signed::read(&l.checkpoint, policy, now, false)?),
            None => None,
        };
        let views = Self { first, latest };
        let view = views.view();
        step!("log-keys", view.log_keys(policy));
        step!(
            "quorum",
            if view.quorum(policy) {
                Ok(())
            } else {
                Err(view.lacks_quorum(policy))
            }
        );

        // Consistency: the view extends the checkpoint of the publication.
        if let (Some(signed), Some(l)) = (&views.latest, shown.latest) {
            let (old, new) = (&views.first.checkpoint, &signed.checkpoint);
            step!(
                "consistency",
                tlog::proof::verify_consistency(
                    old.size,
                    &old.root,
                    new.size,
                    &new.root,
                    &l.consistency
                )
                .map_err(|e| Refused::Consistency(e.to_string()))
            );
        }

        // The head leaf is the checkpoint's last, and its map has the project's state.
        let head = head_leaf(shown.head, view)?;
        step!("map", map_has(shown.head, &head, project));
        Ok(views)
    }

    /// What a memory should take up.
    pub(crate) fn seen(
        &self,
        state: &StateDocument,
        policy: &Policy,
    ) -> (SeenCheckpoint, SeenHead) {
        let view = self.view();
        let size = view.checkpoint.size;
        let checkpoint = SeenCheckpoint {
            checkpoint: view.text.clone(),
            size,
            root: hex32(&view.checkpoint.root),
            view_time: view.view_time(policy).unwrap_or(0),
        };
        let state = state.clone();
        (checkpoint, SeenHead { size, state })
    }

    /// Neither checkpoint has another root than the remembered one, or the policy's floor, has
    /// at its size.
    pub(crate) fn not_forked(
        &self,
        seen: Option<&SeenCheckpoint>,
        policy: &Policy,
    ) -> Result<(), Refused> {
        std::iter::once(&self.first)
            .chain(&self.latest)
            .try_for_each(|signed| not_forked(signed, seen, policy))
    }
}

fn head_leaf(head: &Head, view: &Signed) -> Result<HeadLeaf, Refused> {
    let last = view.checkpoint.size.checked_sub(1);
    let index = last.ok_or_else(|| Refused::Head("a tree of size 0 verifies nothing".into()))?;
    let included = Included {
        index,
        leaf: head.leaf.clone(),
        proof: head.proof.clone(),
    };
    step!(
        "head-inclusion",
        view.includes(&included)
            .map_err(|e| Refused::Head(e.to_string()))
    );
    match Leaf::parse(&head.leaf) {
        Ok(Leaf::Head(h)) if h.entries == index || cfg!(without = "head-entries") => Ok(h),
        Ok(Leaf::Head(h)) => Err(Refused::Head(format!(
            "it covers {} entries, want {index}",
            h.entries
        ))),
        Ok(_) => Err(Refused::Head(
            "the checkpoint's last leaf is not a ledger head".into(),
        )),
        Err(e) => Err(Refused::Head(e.to_string())),
    }
}

fn map_has(shown: &Head, head: &HeadLeaf, project: &Hash) -> Result<(), Refused> {
    let bad = |e: String| Refused::Map(e);
    let want = shown.state.hash().map_err(|e| bad(e.to_string()))?;
    match tlog::prefix::verify(&head.map, project, &shown.map).map_err(|e| bad(e.to_string()))? {
        Some(value) if value == want => Ok(()),
        Some(_) => Err(bad(
            "the state document is not the one that the map holds for this project".into(),
        )),
        None => Err(bad("the project is not in the log".into())),
    }
}

/// It has no other root than the remembered one, or the policy's floor, has at its size.
pub(crate) fn not_forked(
    signed: &Signed,
    seen: Option<&SeenCheckpoint>,
    policy: &Policy,
) -> Result<(), Refused> {
    let c = &signed.checkpoint;
    let fork = |s: &SeenCheckpoint| match s.size == c.size && s.root != hex32(&c.root) {
        true => Err(Refused::Fork {
            size: s.size,
            notes: Box::new((s.checkpoint.clone(), signed.text.clone())),
        }),
        false => Ok(()),
    };
    seen.into_iter()
        .chain(&policy.log.floor())
        .try_for_each(fork)
}
