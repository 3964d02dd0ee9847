//! Random histories: acts that are turned into leaves by what stands, so that much of what they
//! say is accepted, and much of it is nearly right.

use keys::{KeyId, PublicKey, SecretKey, Signer as _};
use ledger::envelope::{Envelope, PAYLOAD_TYPE, Sig};
use ledger::fold::{Fold, ProjectState, Role};
use ledger::leaf::{Action, HeadLeaf, Leaf, OperationLeaf, StatementLeaf};
use ledger::statement::{
    Body, Generated, KeyNote, Project, Revocation, Statement, Subject, Target, Withdrawal,
    Withdrawn, release_payload,
};
use ledger::{Hash, sha256};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;

pub const ORIGIN: &str = "log.example";
pub const SLOTS: usize = 3;

/// All keys that anybody has. Projects draw from the same ones.
pub static KEYS: LazyLock<Vec<SecretKey>> =
    LazyLock::new(|| (0..16).map(|_| SecretKey::generate().unwrap()).collect());

pub fn public(n: usize) -> PublicKey {
    KEYS[n % KEYS.len()].public_key().clone()
}

/// One act of a history.
#[derive(Debug, Clone)]
pub struct Act {
    pub kind: u8,
    pub slot: usize,
    pub x: u16,
    pub y: u16,
    pub sign: u8,
    pub step: u8,
}

pub fn act() -> impl Strategy<Value = Act> {
    let parts = (
        0u8..28,
        prop_oneof![2 => Just(0), 1 => 0..SLOTS],
        any::<u16>(),
        any::<u16>(),
        0u8..20,
        0u8..40,
    );
    parts.prop_map(|(kind, slot, x, y, sign, step)| Act {
        kind,
        slot,
        x,
        y,
        sign,
        step,
    })
}

pub fn acts(length: usize) -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(act(), 1..length)
}

/// An accepted release.
#[derive(Clone)]
struct Accepted {
    index: u64,
    project: Hash,
    threshold: u64,
    signers: Vec<KeyId>,
    pae: Hash,
    purl: String,
    artifacts: Vec<Subject>,
}

/// A history as it grows.
pub struct Story {
    pub fold: Fold,
    pub leaves: Vec<Leaf>,
    /// The first accepted statement of each slot.
    pub ids: [Option<Hash>; SLOTS],
    releases: Vec<Accepted>,
    time: u64,
    /// Whether names and prefixes of slots may meet.
    pub strangers: bool,
}

pub fn artifact(n: u16) -> Subject {
    Subject {
        name: format!("tool{}", n % 2),
        sha256: sha256(&[(n % 3) as u8]),
        size: Some(u64::from(n % 3)),
        digests: Default::default(),
        download_location: None,
    }
}

/// An envelope whose signatures nobody verified.
pub fn unsigned(payload: Vec<u8>, by: &BTreeSet<KeyId>) -> Envelope {
    let one = |keyid: &KeyId| Sig {
        keyid: *keyid,
        sig: vec![1],
    };
    Envelope {
        payload,
        payload_type: PAYLOAD_TYPE.into(),
        signatures: by.iter().map(one).collect(),
        chain: None,
    }
}

pub fn leaf(envelope: Envelope, time: u64) -> Leaf {
    let statement = Statement::parse(&envelope.payload).unwrap();
    Leaf::Statement(Box::new(StatementLeaf {
        envelope,
        statement,
        time,
    }))
}

fn ids<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> BTreeSet<KeyId> {
    keys.into_iter().map(PublicKey::id).collect()
}

fn pick<T>(list: &[T], n: u16) -> Option<&T> {
    list.get(usize::from(n) % list.len().max(1))
}

impl Story {
    pub fn new() -> Self {
        Self {
            fold: Fold::new(ORIGIN),
            leaves: Vec::new(),
            ids: [None; SLOTS],
            releases: Vec::new(),
            time: 1000,
            strangers: true,
        }
    }

    pub fn tell(acts: &[Act], strangers: bool) -> Self {
        let mut story = Self {
            strangers,
            ..Self::new()
        };
        for act in acts {
            story.act(act);
        }
        story
    }

    /// Does what the act says, if that can be said, and says whether it was accepted.
    pub fn act(&mut self, act: &Act) -> Option<bool> {
        self.time += u64::from(act.step);
        let leaf = self.leaf(act)?;
        let accepted = self.fold.apply(&leaf).is_ok();
        if let (true, Leaf::Statement(s)) = (accepted, &leaf) {
            let pae = s.envelope.pae_hash();
            match &s.statement.body {
                Body::Project(p) if p.version == 1 => self.ids[act.slot] = Some(pae),
                Body::Release(r) => {
                    let project = self.fold.project(&r.package_id)?;
                    self.releases.push(Accepted {
                        index: self.fold.size() - 1,
                        project: r.package_id,
                        threshold: project.current().project.release_threshold,
                        signers: s.envelope.signatures.iter().map(|s| s.keyid).collect(),
                        pae,
                        purl: r.purl.clone(),
                        artifacts: s.statement.subject.clone(),
                    });
                }
                _ => {}
            }
        }
        self.leaves.push(leaf);
        Some(accepted)
    }

    fn leaf(&self, act: &Act) -> Option<Leaf> {
        let id = self.ids[act.slot];
        match act.kind {
            27 => return self.again(act),
            26 => {
                let Leaf::Head(mut head) = self.fold.next_head(self.time) else {
                    return None;
                };
                if act.x % 8 == 0 {
                    head = HeadLeaf {
                        map: [1; 32],
                        ..head
                    };
                }
                return Some(Leaf::Head(head));
            }
            25 => {
                let actions = [
                    Action::Frozen,
                    Action::Thawed,
                    Action::Admitted,
                    Action::Refused,
                ];
                return Some(Leaf::Operation(OperationLeaf {
                    action: actions[usize::from(act.x) % 4],
                    by: "operator".into(),
                    project: id.unwrap_or([7; 32]),
                    reason: None,
                    time: self.time,
                }));
            }
            _ => {}
        }
        let Some(id) = id else {
            let p = self.first(act);
            let all = ids(p.roots.iter().chain(&p.release_keys));
            return self.signed(act, p.to_payload().ok()?, all, None);
        };
        let project = self.fold.project(&id)?;
        let now = &project.current().project;
        let (roots, releases) = (ids(&now.roots), ids(&now.release_keys));
        match act.kind {
            0..=3 => {
                let next = self.next(act, project);
                let before = ids(now.roots.iter().chain(&now.release_keys));
                let all = ids(next.roots.iter().chain(&next.release_keys));
                let mut right: BTreeSet<KeyId> = all.difference(&before).copied().collect();
                right.extend(roots.iter().chain(&ids(&next.roots)));
                self.signed(act, next.to_payload().ok()?, right, Some(project))
            }
            4..=13 => {
                let prefix = pick(&now.purl_prefixes, act.y)?.trim_end_matches('/');
                let mut purl = format!("{prefix}/x@{}", act.x % 5);
                let mut artifacts = vec![artifact(act.y)];
                if act.y % 4 == 0 {
                    artifacts.push(artifact(act.y + 1));
                }
                let mut restates = None;
                // A re-statement: of the last release of its purl, mostly, and mostly the same.
                if act.kind > 5
                    && let Some(before) = self.restatable(act, &id)
                {
                    let last = self.releases.iter().rfind(|r| r.purl == before.purl)?;
                    let named = if act.x % 8 == 0 { before } else { last };
                    (purl, restates) = (last.purl.clone(), Some(named.pae));
                    if act.x % 7 != 0 {
                        artifacts.clone_from(&last.artifacts);
                    }
                    if act.x % 5 == 0 {
                        artifacts.reverse();
                    }
                }
                let payload = release_payload(&id, &purl, &artifacts, restates.as_ref());
                self.signed(act, payload.ok()?, releases, Some(project))
            }
            14..=18 => {
                let known: Vec<KeyId> = project
                    .versions()
                    .flat_map(|v| ids(v.project.roots.iter().chain(&v.project.release_keys)))
                    .collect();
                // Often of a key that released something, from before it did.
                let own = self.releases.iter().filter(|r| r.project == id);
                let own: Vec<&Accepted> = own.collect();
                let hit = pick(&own, act.y).filter(|_| act.x % 16 > 7);
                let target = match act.x % 16 {
                    0 => Target::Authority([1; 32]),
                    1 => Target::key(&public(usize::from(act.y)).id()),
                    _ => match hit.and_then(|r| r.signers.first()) {
                        Some(signer) => Target::key(signer),
                        None => Target::key(pick(&known, act.y)?),
                    },
                };
                let size = self.fold.size();
                let revocation = Revocation {
                    project: id,
                    target,
                    reason: format!("reason {}", act.x % 3),
                    compromised_since: match act.x % 5 {
                        0 => None,
                        1 => Some(size + u64::from(act.y % 2)),
                        _ => Some(u64::from(act.y) % hit.map_or(size, |r| r.index + 1)),
                    },
                };
                self.signed(act, revocation.to_payload().ok()?, roots, Some(project))
            }
            19..=22 => {
                let (what, artifacts) = match pick(&self.releases, act.y) {
                    Some(release) if act.x % 4 != 0 => {
                        let mut some = release.artifacts.clone();
                        if act.x % 3 == 0 {
                            some.truncate(1);
                        }
                        if act.x % 7 == 0 {
                            some.push(Subject {
                                name: "other".into(),
                                ..artifact(act.y)
                            });
                        }
                        (Withdrawn::Release(release.pae), some)
                    }
                    _ => {
                        let more = ["", "/x", "/x@1", "x"][usize::from(act.x / 8) % 4];
                        let prefix = pick(&now.purl_prefixes, act.y)?;
                        (Withdrawn::Prefix(format!("{prefix}{more}")), vec![])
                    }
                };
                let by_release = matches!(what, Withdrawn::Release(_)) && act.x % 2 == 0;
                let withdrawal = Withdrawal {
                    project: id,
                    what,
                    reason: format!("reason {}", act.y % 3),
                    successor: (act.x % 9 == 0).then(|| "2.0".into()),
                };
                let right = if by_release { releases } else { roots };
                self.signed(
                    act,
                    withdrawal.to_payload(&artifacts).ok()?,
                    right,
                    Some(project),
                )
            }
            _ => {
                let note = KeyNote {
                    project: id,
                    key: public(usize::from(act.y)).id().0,
                    custody: None,
                    generated: Some(Generated {
                        by: None,
                        time: Some(self.time),
                        place: None,
                    }),
                    owner: None,
                    uses: vec![],
                };
                let all = roots.union(&releases).copied().collect();
                self.signed(act, note.to_payload().ok()?, all, Some(project))
            }
        }
    }

    /// A release to state again: one that is void, mostly.
    fn restatable(&self, act: &Act, id: &Hash) -> Option<&Accepted> {
        if act.x % 6 == 0 {
            return pick(&self.releases, act.y);
        }
        let void = |r: &&Accepted| {
            let project = self.fold.project(id);
            let good = |k: &&KeyId| project.is_some_and(|p| p.counts(k, r.index));
            r.project == *id && (r.signers.iter().filter(good).count() as u64) < r.threshold
        };
        let void: Vec<&Accepted> = self.releases.iter().filter(void).collect();
        pick(&void, act.y).copied()
    }

    /// Signs by those who may, or nearly.
    fn signed(
        &self,
        act: &Act,
        payload: Vec<u8>,
        right: BTreeSet<KeyId>,
        project: Option<&ProjectState>,
    ) -> Option<Leaf> {
        let mut by: BTreeSet<KeyId> = right
            .iter()
            .filter(|k| act.sign == 0 || project.is_none_or(|p| !p.is_revoked(k)))
            .copied()
            .collect();
        let stranger = public(usize::from(act.y)).id();
        match act.sign {
            1 => {
                by.pop_first();
            }
            2 => {
                by.pop_last();
            }
            3 => {
                by.insert(stranger);
            }
            4 => by = BTreeSet::from([stranger]),
            5 | 6 => by = by.into_iter().take(1).collect(),
            _ => {}
        }
        if by.is_empty() {
            by.insert(stranger);
        }
        Some(leaf(unsigned(payload, &by), self.time))
    }

    /// What was said before, once more: as it was, with fewer signatures, with others, or in other
    /// bytes that say the same.
    fn again(&self, act: &Act) -> Option<Leaf> {
        let Leaf::Statement(s) = pick(&self.leaves, act.y)? else {
            return None;
        };
        let mut envelope = s.envelope.clone();
        match act.x % 5 {
            0 => {
                envelope.signatures.remove(0);
            }
            1 => {
                envelope.signatures.pop();
            }
            2 => envelope.signatures.iter_mut().for_each(|s| s.sig = vec![2]),
            3 => envelope.payload.push(b'\n'),
            _ => {}
        }
        if envelope.signatures.is_empty() {
            return None;
        }
        Some(leaf(envelope, self.time))
    }
}

/// Whether a key has this role in a version of a project.
pub fn has_role(p: &Project, key: &KeyId, role: Role) -> bool {
    let keys = match role {
        Role::Root => &p.roots,
        Role::Release => &p.release_keys,
    };
    keys.iter().any(|k| k.id() == *key)
}
