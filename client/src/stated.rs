//! Any statement of a project in a bundle, of whatever kind: that it is in the log, that those
//! said it who could, and whether it still counts. Pure, as the verifier is; whether an artifact
//! may be used is [`crate::verify::verify`]'s to say.

use crate::memory::{Memory, SeenCheckpoint, SeenHead, not_stale};
use crate::policy::Policy;
use crate::refused::{Refused, same};
use crate::signed::{certificate_time, leaf_time};
use crate::standing::{ended, not_counting, revoked_before, revoked_words};
use crate::verify::{chain, not_withdrawn, statement};
use crate::view::Views;
use ledger::bundle::Bundle;
use ledger::fold::{Chain, Refusal, Role, Version, verify_signatures};
use ledger::leaf::StatementLeaf;
use ledger::state::{StateDocument, withdrawn_digest_key};
use ledger::statement::{Body, Revocation, Target, Withdrawal, Withdrawn};
use ledger::{Hash, KeyId, hex32};

/// How a statement stands, as far as its bundle and the memory tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// It counts.
    Yes,
    /// It does not: this key was compromised when it signed.
    Void(String),
    /// The release is taken back, by the statement of this hash.
    Withdrawn(String),
    /// It is a version of the project, and this one is in force now.
    Replaced(u64),
}

impl Stands {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Yes => "stands",
            Self::Void(_) => "void",
            Self::Withdrawn(_) => "withdrawn",
            Self::Replaced(_) => "replaced",
        }
    }
}

/// A statement of the project that is proven to be in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// What was said, by whom and when.
    pub leaf: StatementLeaf,
    /// Whether it counts.
    pub stands: Stands,
    /// The version of the project that authorised it, and where that stands.
    pub authorised_by: (u64, u64),
    /// The view in which it is proven.
    pub checkpoint: SeenCheckpoint,
    /// The project's head there.
    pub head: SeenHead,
}

/// Proves that `bundle` shows a statement of the project `pin`, made by keys that could make it
/// at its index; all but an artifact's own checks, the verifier's way. It is `now` in Unix seconds.
///
/// # Errors
/// The first reason why it proves nothing. That a statement is void or withdrawn is none: it is
/// in the log, and said so.
pub fn verify_statement(
    pin: &Hash,
    bundle: &Bundle,
    policy: &Policy,
    memory: &Memory,
    now: u64,
) -> Result<Stated, Refused> {
    let seen = memory.logs.get(&policy.log.origin);
    let now = now.max(seen.map_or(0, |s| s.view_time));
    let views = Views::prove(bundle.into(), pin, policy, now)?;
    views.not_forked(seen, policy)?;
    let view = views.view();
    let chain = chain(bundle, view, pin)?;
    view.includes(&bundle.entry)?;
    let leaf = statement(&bundle.entry.leaf).map_err(Refused::Inclusion)?;
    let first_public = [&views.first, view].into_iter().find(|v| v.quorum(policy));
    leaf_time(leaf.time, first_public.and_then(|v| v.first_time(policy)))?;

    let said = Said {
        leaf: &leaf,
        index: bundle.entry.index,
        pae: leaf.envelope.pae_hash(),
        chain: &chain,
        pin,
    };
    let authority = said.authorised(&bundle.head.state)?;
    let until = chain.certified_until(said.index, &leaf.envelope, leaf.time)?;
    if let Some(until) = until {
        let public = first_public.and_then(|v| v.first_time(policy));
        certificate_time(until, public)?;
    }
    let size = view.checkpoint.size;
    let remembered = memory.projects.get(&hex32(pin));
    let states =
        std::iter::once((size, &bundle.head.state)).chain(remembered.map(|r| (r.size, &r.state)));
    said.accepted(bundle)?;
    let mut stands = match said.leaf.statement.body {
        Body::Project(_) if chain.current().statement != said.pae => {
            Stands::Replaced(chain.current().project.version)
        }
        _ => Stands::Yes,
    };
    if let Body::Release(r) = &leaf.statement.body {
        for (at, state) in states.clone().filter(|(at, _)| *at >= size) {
            if let Some(by) = ended(&r.purl, state) {
                stands = Stands::Withdrawn(hex32(&by));
            } else if at > size {
                remembered.map_or(Ok(()), |r| not_stale(r, size, &bundle.head.state))?;
            }
        }
        match not_withdrawn(bundle, &said.pae, &leaf.statement.subject) {
            Err(Refused::Withdrawn(by)) => stands = Stands::Withdrawn(by),
            other => other?,
        }
    }
    for (_, state) in states {
        if let Some(target) = said.void(state, authority)? {
            stands = Stands::Void(revoked_words(&target));
        }
    }
    let authorised_by = (authority.project.version, authority.index);
    let (checkpoint, head) = views.seen(&bundle.head.state, policy);
    Ok(Stated {
        stands,
        authorised_by,
        checkpoint,
        head,
        leaf,
    })
}

struct Said<'a> {
    leaf: &'a StatementLeaf,
    index: u64,
    pae: Hash,
    chain: &'a Chain,
    pin: &'a Hash,
}

impl<'a> Said<'a> {
    /// It is the project's, and the keys that signed could say such a thing at its index. The
    /// version that let them.
    fn authorised(&self, state: &StateDocument) -> Result<&'a Version, Refused> {
        let (envelope, index) = (&self.leaf.envelope, self.index);
        if let Body::Project(_) = self.leaf.statement.body {
            // The chain is verified; what is not of it is of another project.
            let own = |v: &&Version| v.statement == self.pae && v.index == index;
            let found = self.chain.versions().find(own);
            return found.ok_or_else(|| match same(&hex32(self.pin), &hex32(&self.pae)) {
                Err(differ) => Refused::Project(differ),
                Ok(()) => Refused::Inclusion(format!("entry {index} states the project again")),
            });
        }
        let own = self.leaf.statement.project_id().unwrap_or_default();
        same(&hex32(self.pin), &hex32(&own)).map_err(Refused::Project)?;
        let version = self.chain.at(index).ok_or_else(|| {
            Refused::Chain(format!("none is logged before the entry at index {index}"))
        })?;
        let revoked = |target: &Target| revoked_before(state, target, index);
        let project = &version.project;
        if let Body::Release(r) = &self.leaf.statement.body {
            let at = (index, self.leaf.time);
            self.chain.check_release(envelope, r, at, &revoked)?;
            return Ok(version);
        }
        match self.role() {
            Some(role) => {
                let said = (envelope, self.leaf.time);
                self.chain.may_say(version, said, role, &revoked)?;
            }
            None => {
                let mut signatures = envelope.signatures.iter();
                if let Some(s) = signatures.find(|s| revoked(&Target::key(&s.keyid))) {
                    return Err(Refusal::RevokedKey(s.keyid.to_string()).into());
                }
            }
        }
        let keys: Vec<_> = project.roots.iter().chain(&project.release_keys).collect();
        verify_signatures(envelope, &keys)?;
        Ok(version)
    }

    /// Whose threshold it must meet; none in particular of a note.
    fn role(&self) -> Option<Role> {
        let root = |key: &KeyId| {
            let listed = self.chain.listed(key);
            listed.is_some_and(|l| l.role == Role::Root)
        };
        match &self.leaf.statement.body {
            Body::KeyNote(_) => None,
            Body::Release(_) => Some(Role::Release),
            Body::Project(_) | Body::Revocation(_) => Some(Role::Root),
            Body::Withdrawal(w) => match w.what {
                Withdrawn::Prefix(_) => Some(Role::Root),
                Withdrawn::Release(_) => {
                    let mut signers = self.leaf.envelope.signatures.iter();
                    let roots = signers.any(|s| root(&s.keyid));
                    Some(if roots { Role::Root } else { Role::Release })
                }
            },
        }
    }

    /// For whose sake it does not count any more.
    fn void(&self, state: &StateDocument, authority: &Version) -> Result<Option<Target>, Refused> {
        let threshold = match (&self.leaf.statement.body, self.role()) {
            // Never void.
            (Body::Project(_) | Body::Revocation(_), _) => return Ok(None),
            (_, None) => 1,
            (_, Some(Role::Root)) => authority.project.root_threshold,
            (_, Some(Role::Release)) => authority.project.release_threshold,
        };
        let (envelope, time) = (&self.leaf.envelope, self.leaf.time);
        let signatures = self.chain.targets(self.index, envelope, time)?;
        Ok(not_counting(&signatures, self.index, state, threshold))
    }

    /// The head has taken it in, where a head shows that: a log may hold what it ignored.
    fn accepted(&self, bundle: &Bundle) -> Result<(), Refused> {
        let state = &bundle.head.state;
        match &self.leaf.statement.body {
            Body::Revocation(r) => self.revokes(r, state),
            Body::Withdrawal(w) => self.withdraws(w, bundle),
            Body::Project(_) | Body::Release(_) | Body::KeyNote(_) => Ok(()),
        }
    }

    fn revokes(&self, r: &Revocation, state: &StateDocument) -> Result<(), Refused> {
        let target = r.target.to_string();
        let mut of_target = state.revoked.iter().filter(|s| s.target == target);
        let since = |has: Option<u64>| match (r.compromised_since, has) {
            (None, _) => true,
            (Some(asked), Some(has)) => has <= asked,
            (Some(_), None) => false,
        };
        if of_target.any(|s| s.index <= self.index && since(s.since)) {
            return Ok(());
        }
        Err(Refused::Head(format!(
            "it does not have the revocation at entry {}",
            self.index
        )))
    }

    fn withdraws(&self, w: &Withdrawal, bundle: &Bundle) -> Result<(), Refused> {
        let state = &bundle.head.state;
        // One that is void withdraws nothing.
        if let Some(v) = self.chain.at(self.index)
            && self.void(state, v)?.is_some()
        {
            return Ok(());
        }
        let missing = || {
            Refused::WithdrawnProof(format!(
                "the head does not have the withdrawal at entry {}",
                self.index
            ))
        };
        if let Withdrawn::Prefix(prefix) = &w.what {
            let ended = state.end_of_life.iter().any(|e| e.prefix == *prefix);
            return if ended { Ok(()) } else { Err(missing()) };
        }
        for subject in &self.leaf.statement.subject {
            let key = withdrawn_digest_key(&subject.sha256);
            let proof = bundle.head.withdrawn.get(&key).ok_or_else(missing)?;
            let found = tlog::prefix::verify(&state.withdrawn, &key, proof)
                .map_err(|e| Refused::WithdrawnProof(e.to_string()))?;
            found.ok_or_else(missing)?;
        }
        Ok(())
    }
}
