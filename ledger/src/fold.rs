//! The fold of leaves into "who may publish, what stands" (docs/formats.md, "Fold").
//!
//! Pure, incremental, deterministic; one fold serves the server's admission, clients and
//! auditors. A leaf is accepted or ignored by the state just before it, finally, and counts
//! as a leaf either way. [`Fold::check`] is the whole question with the signatures'
//! arithmetic, [`Fold::recheck`] the same question without it (for a sequencer that asks
//! again after other leaves came in between), and [`Fold::apply`] moves on by one leaf.
//!
//! The second pass of the specification, which voids what a compromise window covers, is done
//! where a window is set: [`ProjectState`] then takes its withdrawals again. Of releases nothing
//! is kept that it would change; whether one is void follows from the state document.

use crate::envelope::Envelope;
use crate::leaf::{Action, CertificateLeaf, HeadLeaf, Leaf, OperationLeaf, StatementLeaf};
use crate::released::{Earlier, Released, Releases};
use crate::state::StateDocument;
use crate::statement::{Body, Project, Statement, Withdrawn};
use crate::{Hash, hex32, sha256};
use keys::PublicKey;
use keys::certificate::Anchor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tlog::prefix::{MapProof, PrefixTree};

mod chain;
mod project;
mod refusal;
mod rules;
mod saved;
mod vouched;
mod withdrawals;

pub use chain::{
    Chain, IsRevoked, Listed, Role, Version, check_first_statement, verify_signatures,
};
pub use project::ProjectState;
pub use refusal::Refusal;
pub use saved::{SavedError, SavedProject, Standing};
pub use vouched::{Targets, Vouched, vouched};

/// The state of all projects after the first `size` leaves.
#[derive(Debug, Clone)]
pub struct Fold {
    origin: String,
    size: u64,
    last_time: u64,
    projects: BTreeMap<Hash, Box<ProjectState>>,
    /// PAE hash of each version above 1 → project: that of version 1 is the project's id.
    statements: BTreeMap<Hash, Hash>,
    names: BTreeMap<String, Hash>,
    /// Prefixes that a project has, or has had: nobody else ever gets them.
    prefixes: BTreeMap<String, Hash>,
    /// Anchors by the hash of their certificate, and the projects that list each, or have listed it:
    /// a certificate is judged once for each anchor, however many projects there are.
    certified: BTreeMap<Hash, (Anchor, BTreeSet<Hash>)>,
    releases: Releases,
    map: PrefixTree,
    /// Projects whose place in `map` is not up to date.
    touched: BTreeSet<Hash>,
}

impl Fold {
    /// The state before the first leaf of the log named `origin`.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            size: 0,
            last_time: 0,
            projects: BTreeMap::new(),
            statements: BTreeMap::new(),
            names: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            certified: BTreeMap::new(),
            releases: Releases::default(),
            map: PrefixTree::new(),
            touched: BTreeSet::new(),
        }
    }

    /// The same, with the releases that this fold was told to forget looked up in `earlier`.
    #[must_use]
    pub fn looking_up(mut self, earlier: Arc<dyn Released>) -> Self {
        self.releases.earlier = Some(earlier);
        self
    }

    /// The same, keeping of each release only where it stands: whoever folds asks
    /// [`Fold::needs`] before each statement, and hands in the leaf that it names.
    #[must_use]
    pub fn lean(mut self) -> Self {
        self.releases.lean();
        self
    }

    /// The index of an earlier leaf that is not at hand, and without which it cannot be decided
    /// whether `statement` is accepted.
    ///
    /// # Errors
    /// [`Refusal::LookUp`].
    pub fn needs(&self, statement: &Statement) -> Result<Option<u64>, Refusal> {
        let index = match &statement.body {
            Body::Release(r) if r.restates.is_some() => self.last_release(&r.purl)?,
            Body::Withdrawal(w) => match &w.what {
                Withdrawn::Release(pae) => self.stated(pae)?,
                Withdrawn::Prefix(_) => None,
            },
            _ => None,
        };
        Ok(index.filter(|index| !self.releases.has(*index)))
    }

    /// Forgets the releases before `index`: [`Fold::looking_up`]'s holds them. So a log's server
    /// needs memory for its projects, not for its releases.
    pub fn forget_released(&mut self, index: u64) {
        self.releases.forget(index);
    }

    /// Goes on at log index `index`, for whoever holds the leaves of one project only, proven
    /// complete by its head: what lies between is of others, and changes nothing of this one.
    pub fn skip_to(&mut self, index: u64) {
        self.size = self.size.max(index);
    }

    /// How many leaves were applied: the index of the next.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The largest leaf time so far, in Unix seconds.
    #[must_use]
    pub fn last_time(&self) -> u64 {
        self.last_time
    }

    /// Brings the map up to date with the leaves so far: costs one hash of a state document for
    /// each project that they touched. Whoever reads the map of a fold that others read too does
    /// this first; without it each reading does it for itself.
    pub fn settle(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        place(&self.projects, &mut self.map, &touched);
    }

    fn with_map<T>(&self, read: impl FnOnce(&PrefixTree) -> T) -> T {
        if self.touched.is_empty() {
            return read(&self.map);
        }
        let mut map = self.map.clone();
        place(&self.projects, &mut map, &self.touched);
        read(&map)
    }

    /// The root of the ledger map.
    #[must_use]
    pub fn map_root(&self) -> Hash {
        self.with_map(PrefixTree::root)
    }

    /// The ledger head that must follow now, at `time`.
    #[must_use]
    pub fn next_head(&self, time: u64) -> Leaf {
        Leaf::Head(HeadLeaf {
            entries: self.size,
            map: self.map_root(),
            time,
        })
    }

    /// A project by id.
    #[must_use]
    pub fn project(&self, id: &Hash) -> Option<&ProjectState> {
        self.projects.get(id).map(Box::as_ref)
    }

    /// A project's id by name.
    #[must_use]
    pub fn project_by_name(&self, name: &str) -> Option<Hash> {
        self.names.get(name).copied()
    }

    /// All projects, by id.
    pub fn projects(&self) -> impl Iterator<Item = &ProjectState> {
        self.projects.values().map(Box::as_ref)
    }

    /// The project that a statement in `envelope` is about: that of its first statement is its
    /// own PAE hash, a later project statement's is found by `previous`.
    #[must_use]
    pub fn project_of(&self, envelope: &Envelope, statement: &Statement) -> Option<Hash> {
        match &statement.body {
            Body::Project(p) => match &p.previous {
                None => Some(envelope.pae_hash()),
                Some(previous) => self.project_by_statement(previous),
            },
            _ => statement.project_id(),
        }
    }

    /// The projects that a leaf is about, by the state that it was decided in: one at most, but
    /// a certificate is about every project for which a release signed with it would count.
    #[must_use]
    pub fn about(&self, leaf: &Leaf) -> Vec<Hash> {
        match leaf {
            Leaf::Statement(s) => Vec::from_iter(self.project_of(&s.envelope, &s.statement)),
            Leaf::Operation(o) => vec![o.project],
            Leaf::Certificate(c) => self.certified_for(c),
            Leaf::Head(_) | Leaf::Unknown { .. } => Vec::new(),
        }
    }

    fn certified_for(&self, c: &CertificateLeaf) -> Vec<Hash> {
        let mut about = BTreeSet::new();
        for (hash, (anchor, projects)) in &self.certified {
            if c.chain.verify(anchor, c.time).is_err() {
                continue;
            }
            let counts = |id: &&Hash| {
                let current = self.projects.get(*id).map(|p| &p.current().project);
                let mut authorities = current.into_iter().flat_map(|p| &p.authorities);
                authorities.any(|a| {
                    let mut identities = a.identities.iter();
                    a.anchor.hash() == *hash && identities.any(|i| i.matches(c.chain.end()))
                })
            };
            about.extend(projects.iter().filter(counts).copied());
        }
        about.into_iter().collect()
    }

    /// The project of which the statement of this PAE hash is a version.
    #[must_use]
    pub fn project_by_statement(&self, statement: &Hash) -> Option<Hash> {
        if self.projects.contains_key(statement) {
            return Some(*statement);
        }
        self.statements.get(statement).copied()
    }

    /// A project's state document.
    #[must_use]
    pub fn state(&self, id: &Hash) -> Option<StateDocument> {
        self.projects.get(id).map(|p| p.document())
    }

    /// A project's proof, present or absent, in the ledger map.
    #[must_use]
    pub fn prove(&self, id: &Hash) -> MapProof {
        self.with_map(|map| map.prove(id))
    }

    /// The proof of `key`, present or absent, in a project's tree of withdrawals; `None` where
    /// there is no such project.
    #[must_use]
    pub fn prove_withdrawn(&self, project: &Hash, key: &Hash) -> Option<MapProof> {
        let project = self.projects.get(project)?;
        Some(project.prove_withdrawn(key))
    }

    /// A digest of the folded state: equal sizes and digests mean equal verdicts.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let mut bytes = b"countersign/fold/v1\n".to_vec();
        bytes.extend_from_slice(&self.size.to_be_bytes());
        bytes.extend_from_slice(&self.last_time.to_be_bytes());
        bytes.extend_from_slice(&self.map_root());
        sha256(&bytes)
    }

    /// Whether `envelope`, which says `statement`, may be logged now at `time`: every rule,
    /// and every signature. The slow part is the signatures; it takes `&self`, so that all
    /// cores can ask at once. `earlier` is the leaf that [`Fold::needs`] names.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn check(
        &self,
        envelope: &Envelope,
        statement: &Statement,
        time: u64,
        earlier: Option<&Earlier>,
    ) -> Result<(), Refusal> {
        self.recheck(envelope, statement, time, earlier)?;
        self.signed(envelope, statement)
    }

    /// Whether a leaf that a log shows is accepted here, by every rule and every signature: what
    /// whoever reads a history and trusts nobody for it asks, before [`Fold::follow`]. As of a
    /// leaf that stands, nothing is asked about a freeze.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn check_logged(&self, leaf: &Leaf, earlier: Option<&Earlier>) -> Result<(), Refusal> {
        self.decide(leaf, earlier)?;
        match leaf {
            Leaf::Statement(s) => self.signed(&s.envelope, &s.statement),
            _ => Ok(()),
        }
    }

    /// Every signature verifies, by the keys that may speak now.
    fn signed(&self, envelope: &Envelope, statement: &Statement) -> Result<(), Refusal> {
        match self.speakers(envelope, statement) {
            Some(keys) => verify_signatures(envelope, &keys),
            None => match &statement.body {
                Body::Project(p) => check_first_statement(envelope, p),
                other => Err(Refusal::UnknownProject(other.kind().to_owned())),
            },
        }
    }

    /// The keys of the project that may have signed this; `None` of a project's first statement.
    fn speakers<'a>(
        &'a self,
        envelope: &Envelope,
        statement: &'a Statement,
    ) -> Option<Vec<&'a PublicKey>> {
        let project = self.projects.get(&self.project_of(envelope, statement)?)?;
        let current = &project.current().project;
        Some(match &statement.body {
            Body::Project(p) => project.chain.speakers_of_next(p),
            // Which of them may, the rules have said.
            _ => current.roots.iter().chain(&current.release_keys).collect(),
        })
    }

    /// The same question without the signatures' arithmetic, for a sequencer that asks
    /// again about what [`Fold::check`] passed.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn recheck(
        &self,
        envelope: &Envelope,
        statement: &Statement,
        time: u64,
        earlier: Option<&Earlier>,
    ) -> Result<(), Refusal> {
        if let Some(id) = self.project_of(envelope, statement)
            && self.projects.get(&id).is_some_and(|p| p.frozen)
        {
            return Err(Refusal::Frozen(hex32(&id)));
        }
        self.rules(envelope, statement, time, earlier)
    }

    fn known(&self, id: &Hash) -> Result<&ProjectState, Refusal> {
        let unknown = || Refusal::UnknownProject(hex32(id));
        self.project(id).ok_or_else(unknown)
    }

    fn last_release(&self, purl: &str) -> Result<Option<u64>, Refusal> {
        let last = self.releases.last(purl, self.size);
        last.map_err(|why| Refusal::LookUp {
            about: purl.to_owned(),
            why,
        })
    }

    fn stated(&self, pae: &Hash) -> Result<Option<u64>, Refusal> {
        let stated = self.releases.stated(pae, self.size);
        stated.map_err(|why| Refusal::LookUp {
            about: hex32(pae),
            why,
        })
    }

    fn brief<'a>(&'a self, index: u64, given: Option<&'a Earlier>) -> Result<&'a Earlier, Refusal> {
        let brief = self.releases.brief(index, given);
        brief.map_err(|why| Refusal::LookUp {
            about: format!("entry {index}"),
            why,
        })
    }

    /// Moves on by one leaf, at index [`Fold::size`]. The signatures are the caller's to
    /// have verified (see [`Fold::check`]).
    ///
    /// # Errors
    /// A [`Refusal`] where the leaf is ignored; it counts as a leaf all the same. But after
    /// [`Refusal::LookUp`] nothing was decided and nothing has moved.
    pub fn apply(&mut self, leaf: &Leaf) -> Result<(), Refusal> {
        self.apply_with(leaf, None)
    }

    /// The same, with the leaf that [`Fold::needs`] names.
    ///
    /// # Errors
    /// As [`Fold::apply`].
    pub fn apply_with(&mut self, leaf: &Leaf, earlier: Option<&Earlier>) -> Result<(), Refusal> {
        if matches!(leaf, Leaf::Head(_)) {
            self.settle();
        }
        let decided = self.decide(leaf, earlier);
        if let Err(failed @ Refusal::LookUp { .. }) = decided {
            return Err(failed);
        }
        self.follow(leaf, decided.is_ok());
        decided
    }

    /// Moves on by one leaf of which [`Fold::apply`] of another fold, in the same state, has
    /// said whether it is `accepted`: the same step without asking the rules again.
    pub fn follow(&mut self, leaf: &Leaf, accepted: bool) {
        if accepted {
            self.take(leaf);
        }
        self.last_time = self.last_time.max(leaf.time().unwrap_or(0));
        self.size += 1;
    }

    /// What an accepted leaf changes.
    fn take(&mut self, leaf: &Leaf) {
        let index = self.size;
        match leaf {
            Leaf::Statement(s) => {
                if let Body::Release(r) = &s.statement.body {
                    self.releases.insert(index, s, r);
                }
                if let Some(id) = self.govern(index, s) {
                    self.touch(&id, index);
                }
            }
            Leaf::Operation(o) => self.operation(index, o),
            Leaf::Certificate(c) => {
                for id in self.certified_for(c) {
                    self.touch(&id, index);
                }
            }
            Leaf::Head(_) | Leaf::Unknown { .. } => {}
        }
    }

    /// What an accepted statement changes in its project, which it says; but not that it stands.
    fn govern(&mut self, index: u64, s: &StatementLeaf) -> Option<Hash> {
        let id = self.project_of(&s.envelope, &s.statement)?;
        match &s.statement.body {
            Body::Project(p) => self.list_project(id, index, s, p),
            Body::Release(_) => {}
            _ => self.projects.get_mut(&id)?.say(index, s),
        }
        Some(id)
    }

    /// Whether a leaf would be accepted now, by all that [`Fold::apply`] asks.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn decide(&self, leaf: &Leaf, earlier: Option<&Earlier>) -> Result<(), Refusal> {
        let index = self.size;
        match leaf {
            Leaf::Statement(s) => self.rules(&s.envelope, &s.statement, s.time, earlier),
            Leaf::Operation(o) => {
                // `refused` is about a project that never came in; it enters no map.
                if o.action == Action::Refused || self.projects.contains_key(&o.project) {
                    Ok(())
                } else {
                    Err(Refusal::UnknownProject(hex32(&o.project)))
                }
            }
            // It says what the log's issuer did, and gives nobody anything by itself.
            Leaf::Certificate(_) => Ok(()),
            Leaf::Head(h) => {
                if h.entries != index {
                    return Err(Refusal::WrongHead {
                        what: "entries",
                        want: index.to_string(),
                        got: h.entries.to_string(),
                    });
                }
                let want = self.map_root();
                if h.map != want {
                    return Err(Refusal::WrongHead {
                        what: "map",
                        want: hex32(&want),
                        got: hex32(&h.map),
                    });
                }
                Ok(())
            }
            Leaf::Unknown { kind } => Err(Refusal::UnknownKind(kind.chars().take(40).collect())),
        }
    }

    /// Takes a version of a project in.
    fn list_project(&mut self, id: Hash, index: u64, s: &StatementLeaf, p: &Project) {
        self.names.insert(p.name.clone(), id);
        for prefix in &p.purl_prefixes {
            self.prefixes.insert(prefix.clone(), id);
        }
        for authority in &p.authorities {
            let fresh = || (authority.anchor.clone(), BTreeSet::new());
            let place = self.certified.entry(authority.anchor.hash());
            place.or_insert_with(fresh).1.insert(id);
        }
        let statement = s.envelope.pae_hash();
        match self.projects.get_mut(&id) {
            Some(project) => {
                self.statements.insert(statement, id);
                project.chain.push(Version {
                    index,
                    time: s.time,
                    statement,
                    project: p.clone(),
                });
            }
            None => {
                let chain = Chain::begin(id, index, s.time, p.clone());
                let project = Box::new(ProjectState::new(id, chain));
                self.projects.insert(id, project);
            }
        }
    }

    fn operation(&mut self, index: u64, o: &OperationLeaf) {
        let Some(project) = self.projects.get_mut(&o.project) else {
            return;
        };
        match o.action {
            Action::Frozen => project.frozen = true,
            Action::Thawed => project.frozen = false,
            Action::Admitted | Action::Refused => {}
        }
        self.touch(&o.project, index);
    }

    /// Notes that `index` was accepted for a project.
    fn touch(&mut self, id: &Hash, index: u64) {
        if let Some(project) = self.projects.get_mut(id) {
            let leaf = tlog::hash::leaf_hash(&index.to_be_bytes());
            project.leaves.push(leaf);
            self.touched.insert(*id);
        }
    }
}

/// Puts the places of `touched` projects in the map up to date.
fn place(
    projects: &BTreeMap<Hash, Box<ProjectState>>,
    map: &mut PrefixTree,
    touched: &BTreeSet<Hash>,
) {
    map.extend(touched.iter().filter_map(|id| {
        // A document holds nothing that has no canonical form.
        Some((*id, projects.get(id)?.document().hash().ok()?))
    }));
}
