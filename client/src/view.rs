//! The checkpoints of a bundle, and the project's head that they prove (docs/formats.md,
//! "Verification", steps 2 to 4). Pure, as the verifier is.

use crate::memory::{Memory, SeenCheckpoint, SeenHead};
use crate::policy::Policy;
use crate::refused::Refused;
use crate::signed::Signed;
use ledger::bundle::{Bundle, Included};
use ledger::leaf::{HeadLeaf, Leaf};
use ledger::{Hash, hex32};
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;

/// Proves the head of `project` that `bundle` carries, whatever it says of the release: its
/// checkpoints, their consistency, the head leaf, the map, and that no remembered checkpoint
/// contradicts them. It is `now` in Unix seconds.
///
/// # Errors
/// The first reason in the specification's order.
pub fn verify_head(
    project: &Hash,
    bundle: &Bundle,
    policy: &Policy,
    memory: &Memory,
    now: u64,
) -> Result<(SeenCheckpoint, SeenHead), Refused> {
    let seen = memory.logs.get(&policy.log.origin);
    let now = now.max(seen.map_or(0, |s| s.view_time));
    let views = Views::prove(bundle, project, policy, now)?;
    views.not_forked(seen, policy)?;
    Ok(views.seen(bundle, policy))
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
        bundle: &Bundle,
        project: &Hash,
        policy: &Policy,
        now: u64,
    ) -> Result<Self, Refused> {
        // The head's checkpoint: origin, every log key, quorum.
        // Where there is a later one, `first` needs no signature by a key of today's policy: the
        // log's keys may have changed since, and the consistency proof makes it part of the view.
        let first = Signed::read(&bundle.first, policy, now, bundle.latest.is_some())?;
        let latest = match &bundle.latest {
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
                Err(Refused::Quorum)
            }
        );

        // Consistency: the view extends the checkpoint of the publication.
        if let (Some(signed), Some(l)) = (&views.latest, &bundle.latest) {
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
        let head = head_leaf(bundle, view)?;
        step!("map", map_has(bundle, &head, project));
        Ok(views)
    }

    /// What a memory should take up.
    pub(crate) fn seen(&self, bundle: &Bundle, policy: &Policy) -> (SeenCheckpoint, SeenHead) {
        let view = self.view();
        let size = view.checkpoint.size;
        let checkpoint = SeenCheckpoint {
            checkpoint: view.text.clone(),
            size,
            root: hex32(&view.checkpoint.root),
            view_time: view.view_time(policy).unwrap_or(0),
        };
        let state = bundle.head.state.clone();
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

fn head_leaf(bundle: &Bundle, view: &Signed) -> Result<HeadLeaf, Refused> {
    let last = view.checkpoint.size.checked_sub(1);
    let index = last.ok_or_else(|| Refused::Head("a tree of size 0 verifies nothing".into()))?;
    let included = Included {
        index,
        leaf: bundle.head.leaf.clone(),
        proof: bundle.head.proof.clone(),
    };
    step!(
        "head-inclusion",
        view.includes(&included)
            .map_err(|e| Refused::Head(e.to_string()))
    );
    match Leaf::parse(&bundle.head.leaf) {
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

fn map_has(bundle: &Bundle, head: &HeadLeaf, project: &Hash) -> Result<(), Refused> {
    let bad = |e: String| Refused::Map(e);
    let want = bundle.head.state.hash().map_err(|e| bad(e.to_string()))?;
    match tlog::prefix::verify(&head.map, project, &bundle.head.map)
        .map_err(|e| bad(e.to_string()))?
    {
        Some(value) if value == want => Ok(()),
        Some(_) => Err(bad(
            "the state document is not the one that the map holds for this project".into(),
        )),
        None => Err(bad("the project is not in the log".into())),
    }
}

fn not_forked(
    signed: &Signed,
    seen: Option<&SeenCheckpoint>,
    policy: &Policy,
) -> Result<(), Refused> {
    let c = &signed.checkpoint;
    let fork = |size: u64, root: &str| size == c.size && root != hex32(&c.root);
    if seen.is_some_and(|s| fork(s.size, &s.root)) {
        return Err(Refused::Fork { size: c.size });
    }
    let floor = policy
        .log
        .checkpoint_floor
        .as_deref()
        .and_then(|t| Note::parse(t.as_bytes()).ok());
    match floor.and_then(|n| Checkpoint::parse(&n.text).ok()) {
        Some(f) if fork(f.size, &hex32(&f.root)) => Err(Refused::Fork { size: c.size }),
        _ => Ok(()),
    }
}
