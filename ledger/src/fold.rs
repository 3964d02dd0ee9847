//! The fold of leaves into "who may publish, what stands" (docs/formats.md, "The fold").
//!
//! Pure, incremental, deterministic; one fold serves the server's admission, clients and
//! auditors. A leaf is accepted or ignored by the state just before it, finally, and counts
//! as a leaf either way. [`Fold::check`] is the whole question with the signatures'
//! arithmetic, [`Fold::recheck`] the same question without it (for a sequencer that asks
//! again after other leaves came in between), and [`Fold::apply`] moves on by one leaf.
//!
//! In this version nothing can be revoked or withdrawn, so the second pass of the
//! specification has nothing to void.

use crate::envelope::Envelope;
use crate::json::JsonError;
use crate::leaf::{Action, HeadLeaf, Leaf, OperationLeaf};
use crate::names;
use crate::released::{Purls, Released};
use crate::state::{Current, Leaves, StateDocument};
use crate::statement::{Body, Project, Release, Statement};
use crate::{Hash, hex32, sha256};
use keys::{KeyId, PublicKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tlog::prefix::{MapProof, PrefixTree};
use tlog::tree::Compact;

mod saved;

pub use saved::{SavedError, SavedProject, Standing};

/// Why a statement may not be said now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The statement counts in another log only.
    #[error("the project statement is for log {got:?}, this log is {want:?}")]
    OtherOrigin {
        /// This log's origin.
        want: String,
        /// The origin that the statement names.
        got: String,
    },
    /// The project stands already.
    #[error("project {0} stands already")]
    ProjectStands(String),
    /// The label belongs to another project.
    #[error("the name {name:?} belongs to project {holder}")]
    NameTaken {
        /// The label.
        name: String,
        /// The project that holds it.
        holder: String,
    },
    /// A purl prefix covers, or is covered by, another project's.
    #[error("purl prefix {prefix:?} overlaps {other:?} of project {holder}")]
    PrefixOverlap {
        /// The prefix asked for.
        prefix: String,
        /// The prefix that stands.
        other: String,
        /// The project that holds it.
        holder: String,
    },
    /// No project of this id is in the log.
    #[error("no project {0} is in this log")]
    UnknownProject(String),
    /// The operator has stopped admitting this project's statements.
    #[error("project {0} is frozen by the log's operator")]
    Frozen(String),
    /// A signature by a key that has no say in this.
    #[error("key {key} may not sign this: {want}")]
    UnauthorisedKey {
        /// The key that signed.
        key: String,
        /// Whose signature is wanted.
        want: String,
    },
    /// A key that must sign did not.
    #[error("key {0} is listed, and must sign the project's first statement")]
    MissingSignature(String),
    /// Too few distinct keys signed.
    #[error("{got} valid signatures, want {want}")]
    Threshold {
        /// The threshold in force.
        want: u64,
        /// How many distinct keys signed.
        got: u64,
    },
    /// A signature does not verify, or is not strict DER with s ≤ n/2.
    #[error("the signature by key {key} is refused: {why}")]
    BadSignature {
        /// The key.
        key: String,
        /// The reason.
        why: String,
    },
    /// The purl lies under none of the project's prefixes.
    #[error("purl {purl:?} is under none of the project's prefixes ({prefixes})")]
    PurlOutside {
        /// The purl.
        purl: String,
        /// The project's prefixes.
        prefixes: String,
    },
    /// The purl was released before.
    #[error(
        "purl {purl:?} was released before, as log index {index}; a purl is released once, for ever"
    )]
    PurlReleased {
        /// The purl.
        purl: String,
        /// Where it stands.
        index: u64,
    },
    /// The key is older than the project allows.
    #[error("key {key} was first listed {age} s before, the project allows {max} s: rotate it")]
    KeyTooOld {
        /// The key.
        key: String,
        /// Its age in seconds.
        age: u64,
        /// The project's `maxKeyAge`.
        max: u64,
    },
    /// A ledger head that is not the one that follows from the leaves before it.
    #[error("ledger head: {what} is {got}, want {want}")]
    WrongHead {
        /// Which field.
        what: &'static str,
        /// What follows from the leaves.
        want: String,
        /// What the leaf says.
        got: String,
    },
    /// A leaf of a kind that this version does not know.
    #[error("leaf of unknown kind {0:?}")]
    UnknownKind(String),
    /// Where the purls of earlier releases are kept cannot be read: nothing is decided.
    #[error("whether purl {purl:?} was released before cannot be looked up: {why}")]
    LookUp {
        /// The purl.
        purl: String,
        /// What the look-up said.
        why: String,
    },
    /// The state could not be encoded.
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl Refusal {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OtherOrigin { .. } => "other-origin",
            Self::ProjectStands(_) => "project-stands",
            Self::NameTaken { .. } => "name-taken",
            Self::PrefixOverlap { .. } => "prefix-overlap",
            Self::UnknownProject(_) => "unknown-project",
            Self::Frozen(_) => "project-frozen",
            Self::UnauthorisedKey { .. } => "unauthorised-key",
            Self::MissingSignature(_) => "missing-signature",
            Self::Threshold { .. } => "threshold-not-met",
            Self::BadSignature { .. } => "bad-signature",
            Self::PurlOutside { .. } => "purl-outside-prefixes",
            Self::PurlReleased { .. } => "purl-released-before",
            Self::KeyTooOld { .. } => "key-too-old",
            Self::WrongHead { .. } => "wrong-head",
            Self::UnknownKind(_) => "unknown-leaf-kind",
            Self::LookUp { .. } => "look-up-failed",
            Self::Json(_) => "internal-encoding",
        }
    }
}

/// One version of a project, and where it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Log index.
    pub index: u64,
    /// PAE hash of the statement.
    pub statement: Hash,
    /// What it says.
    pub project: Project,
}

/// What the log says of a project.
#[derive(Debug, Clone)]
pub struct ProjectState {
    /// PAE hash of the first statement.
    pub id: Hash,
    /// Version 1 in force; later versions follow it.
    pub first: Version,
    /// Versions 2… (none in this version of countersign).
    pub later: Vec<Version>,
    /// Whether the operator froze it.
    pub frozen: bool,
    /// The tree over the indexes of what was accepted for it.
    leaves: Compact,
    /// When each key was first listed, by the leaf's time.
    first_listed: BTreeMap<KeyId, u64>,
}

impl ProjectState {
    /// The version in force.
    #[must_use]
    pub fn current(&self) -> &Version {
        self.later.last().unwrap_or(&self.first)
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.first).chain(&self.later)
    }

    fn document(&self) -> StateDocument {
        let current = self.current();
        StateDocument {
            end_of_life: Vec::new(),
            frozen: self.frozen,
            leaves: Leaves {
                root: self.leaves.root(),
                size: self.leaves.size(),
            },
            project: Current {
                statement: current.statement,
                version: current.project.version,
            },
            revoked: Vec::new(),
            withdrawn: [0; 32],
        }
    }
}

/// The keys that may sign a statement, and how many of them it takes.
struct Speakers<'a> {
    keys: Vec<&'a PublicKey>,
    threshold: u64,
    all: bool,
    want: &'static str,
}

/// The state of all projects after the first `size` leaves.
#[derive(Debug, Clone)]
pub struct Fold {
    origin: String,
    size: u64,
    last_time: u64,
    projects: BTreeMap<Hash, ProjectState>,
    names: BTreeMap<String, Hash>,
    prefixes: BTreeMap<String, Hash>,
    purls: Purls,
    map: PrefixTree,
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
            names: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            purls: Purls::default(),
            map: PrefixTree::new(),
        }
    }

    /// The same, with the purls that this fold was told to forget looked up in `earlier`.
    #[must_use]
    pub fn looking_up(mut self, earlier: Arc<dyn Released>) -> Self {
        self.purls.earlier = Some(earlier);
        self
    }

    /// Forgets the purls of releases before `index`: [`Fold::looking_up`]'s holds them. So a
    /// log's server needs memory for its projects, not for its releases.
    pub fn forget_released(&mut self, index: u64) {
        self.purls.forget(index);
    }

    /// How many leaves were applied: the index of the next.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Goes on at log index `index`, for whoever holds the leaves of one project only, proven
    /// complete by its head: what lies between is of others, and changes nothing of this one.
    pub fn skip_to(&mut self, index: u64) {
        self.size = self.size.max(index);
    }

    /// The largest leaf time so far, in Unix seconds.
    #[must_use]
    pub fn last_time(&self) -> u64 {
        self.last_time
    }

    /// The root of the ledger map.
    #[must_use]
    pub fn map_root(&self) -> Hash {
        self.map.root()
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
        self.projects.get(id)
    }

    /// A project's id by name.
    #[must_use]
    pub fn project_by_name(&self, name: &str) -> Option<Hash> {
        self.names.get(name).copied()
    }

    /// All projects, by id.
    pub fn projects(&self) -> impl Iterator<Item = &ProjectState> {
        self.projects.values()
    }

    /// A project's state document.
    #[must_use]
    pub fn state(&self, id: &Hash) -> Option<StateDocument> {
        self.projects.get(id).map(ProjectState::document)
    }

    /// A project's proof, present or absent, in the ledger map.
    #[must_use]
    pub fn prove(&self, id: &Hash) -> MapProof {
        self.map.prove(id)
    }

    /// A proof in a project's tree of withdrawals.
    #[must_use]
    pub fn prove_withdrawn(&self, project: &Hash, _key: &Hash) -> Option<MapProof> {
        self.projects.get(project).map(|_| MapProof::default())
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
    /// cores can ask at once.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn check(
        &self,
        envelope: &Envelope,
        statement: &Statement,
        time: u64,
    ) -> Result<(), Refusal> {
        self.recheck(envelope, statement, time)?;
        let speakers = self.speakers(statement)?;
        verify_signatures(envelope, &speakers.keys)
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
    ) -> Result<(), Refusal> {
        if let Body::Release(r) = &statement.body
            && self.projects.get(&r.package_id).is_some_and(|p| p.frozen)
        {
            return Err(Refusal::Frozen(hex32(&r.package_id)));
        }
        self.rules(envelope, statement, time)
    }

    /// The rules that decide acceptance. `frozen` is not among them: it binds admission,
    /// never a verdict.
    fn rules(&self, envelope: &Envelope, statement: &Statement, time: u64) -> Result<(), Refusal> {
        match &statement.body {
            Body::Project(p) => self.project_rules(&envelope.pae_hash(), p)?,
            Body::Release(r) => self.release_rules(envelope, r, time)?,
        }
        authorised(envelope, &self.speakers(statement)?)
    }

    fn project_rules(&self, id: &Hash, p: &Project) -> Result<(), Refusal> {
        if p.log != self.origin {
            return Err(Refusal::OtherOrigin {
                want: self.origin.clone(),
                got: p.log.clone(),
            });
        }
        if self.projects.contains_key(id) {
            return Err(Refusal::ProjectStands(hex32(id)));
        }
        if let Some(holder) = self.names.get(&p.name) {
            return Err(Refusal::NameTaken {
                name: p.name.clone(),
                holder: hex32(holder),
            });
        }
        for prefix in &p.purl_prefixes {
            if let Some((other, holder)) = self.overlapping(prefix) {
                return Err(Refusal::PrefixOverlap {
                    prefix: prefix.clone(),
                    other: other.clone(),
                    holder: hex32(holder),
                });
            }
        }
        Ok(())
    }

    /// A standing prefix that overlaps `prefix`: a shorter one that covers it, found by
    /// looking up each of its own beginnings, or a longer one, found right after it in order.
    fn overlapping(&self, prefix: &str) -> Option<(&String, &Hash)> {
        let shorter = prefix
            .char_indices()
            .map(|(i, c)| i + c.len_utf8())
            .filter_map(|end| {
                let beginning = prefix.get(..end)?;
                self.prefixes
                    .get_key_value(beginning)
                    .filter(|(q, _)| names::prefixes_overlap(q, prefix))
            });
        let longer = self
            .prefixes
            .range(prefix.to_owned()..)
            .take_while(|(q, _)| q.starts_with(prefix))
            .filter(|(q, _)| names::prefixes_overlap(q, prefix));
        shorter.chain(longer).next()
    }

    fn release_rules(&self, envelope: &Envelope, r: &Release, time: u64) -> Result<(), Refusal> {
        let project = self
            .projects
            .get(&r.package_id)
            .ok_or_else(|| Refusal::UnknownProject(hex32(&r.package_id)))?;
        let current = &project.current().project;
        if !current
            .purl_prefixes
            .iter()
            .any(|p| names::prefix_covers(p, &r.purl))
        {
            return Err(Refusal::PurlOutside {
                purl: r.purl.clone(),
                prefixes: current.purl_prefixes.join(", "),
            });
        }
        let before = self.purls.get(&r.purl, self.size);
        if let Some(index) = before.map_err(|why| Refusal::LookUp {
            purl: r.purl.clone(),
            why,
        })? {
            return Err(Refusal::PurlReleased {
                purl: r.purl.clone(),
                index,
            });
        }
        key_ages(envelope, current.max_key_age, &project.first_listed, time)
    }

    fn speakers<'a>(&'a self, statement: &'a Statement) -> Result<Speakers<'a>, Refusal> {
        match &statement.body {
            Body::Project(p) => Ok(first_speakers(p)),
            Body::Release(r) => {
                let project = self.projects.get(&r.package_id);
                let project =
                    project.ok_or_else(|| Refusal::UnknownProject(hex32(&r.package_id)))?;
                Ok(release_speakers(&project.current().project))
            }
        }
    }

    /// Moves on by one leaf, at index [`Fold::size`]. The signatures are the caller's to
    /// have verified (see [`Fold::check`]).
    ///
    /// # Errors
    /// A [`Refusal`] where the leaf is ignored; it counts as a leaf all the same. But after
    /// [`Refusal::LookUp`] nothing was decided and nothing has moved.
    pub fn apply(&mut self, leaf: &Leaf) -> Result<(), Refusal> {
        let decided = self.decide(leaf);
        if let Err(failed @ Refusal::LookUp { .. }) = decided {
            return Err(failed);
        }
        let outcome = decided.and_then(|()| self.take(leaf));
        self.count(leaf);
        outcome
    }

    /// Moves on by one leaf of which [`Fold::apply`] of another fold, in the same state, has
    /// said whether it is `accepted`: the same step without asking the rules again.
    pub fn follow(&mut self, leaf: &Leaf, accepted: bool) {
        if accepted {
            // What can fail here failed in the fold that was asked.
            let _ = self.take(leaf);
        }
        self.count(leaf);
    }

    fn count(&mut self, leaf: &Leaf) {
        self.last_time = self.last_time.max(leaf.time().unwrap_or(0));
        self.size += 1;
    }

    /// What an accepted leaf changes.
    fn take(&mut self, leaf: &Leaf) -> Result<(), Refusal> {
        let index = self.size;
        match leaf {
            Leaf::Statement(s) => match &s.statement.body {
                Body::Project(p) => self.add_project(s.envelope.pae_hash(), index, p, s.time),
                Body::Release(r) => {
                    self.purls.insert(&r.purl, index);
                    self.touch(&r.package_id, index, |_| {})
                }
            },
            Leaf::Operation(o) => self.operation(index, o),
            Leaf::Head(_) | Leaf::Unknown { .. } => Ok(()),
        }
    }

    /// Whether a leaf would be accepted now, by all that [`Fold::apply`] asks.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn decide(&self, leaf: &Leaf) -> Result<(), Refusal> {
        let index = self.size;
        match leaf {
            Leaf::Statement(s) => self.rules(&s.envelope, &s.statement, s.time),
            Leaf::Operation(o) => {
                // `refused` is about a project that never came in; it enters no map.
                if o.action == Action::Refused || self.projects.contains_key(&o.project) {
                    Ok(())
                } else {
                    Err(Refusal::UnknownProject(hex32(&o.project)))
                }
            }
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

    fn add_project(&mut self, id: Hash, index: u64, p: &Project, time: u64) -> Result<(), Refusal> {
        self.list_project(id, index, p, time);
        self.touch(&id, index, |_| {})
    }

    /// Takes a project in, without its place in the map.
    fn list_project(&mut self, id: Hash, index: u64, p: &Project, time: u64) {
        self.names.insert(p.name.clone(), id);
        for prefix in &p.purl_prefixes {
            self.prefixes.insert(prefix.clone(), id);
        }
        let first_listed = p
            .roots
            .iter()
            .chain(&p.release_keys)
            .map(|k| (k.id(), time))
            .collect();
        let first = Version {
            index,
            statement: id,
            project: p.clone(),
        };
        self.projects.insert(
            id,
            ProjectState {
                id,
                first,
                later: Vec::new(),
                frozen: false,
                leaves: Compact::new(),
                first_listed,
            },
        );
    }

    fn operation(&mut self, index: u64, o: &OperationLeaf) -> Result<(), Refusal> {
        if !self.projects.contains_key(&o.project) {
            return Ok(());
        }
        self.touch(&o.project, index, |p| match o.action {
            Action::Frozen => p.frozen = true,
            Action::Thawed => p.frozen = false,
            Action::Admitted | Action::Refused => {}
        })
    }

    /// Notes that `index` was accepted for a project, and brings its place in the map up
    /// to date.
    fn touch(
        &mut self,
        id: &Hash,
        index: u64,
        change: impl FnOnce(&mut ProjectState),
    ) -> Result<(), Refusal> {
        self.change(id, |project| {
            change(project);
            let leaf = tlog::hash::leaf_hash(&index.to_be_bytes());
            project.leaves.push(leaf);
        })
    }

    /// Changes a project, and brings its place in the map up to date.
    fn change(&mut self, id: &Hash, change: impl FnOnce(&mut ProjectState)) -> Result<(), Refusal> {
        let Some(project) = self.projects.get_mut(id) else {
            return Err(Refusal::UnknownProject(hex32(id)));
        };
        change(project);
        let value = project.document().hash()?;
        self.map.insert(*id, value);
        Ok(())
    }
}

fn first_speakers(p: &Project) -> Speakers<'_> {
    let keys: Vec<&PublicKey> = p.roots.iter().chain(&p.release_keys).collect();
    Speakers {
        threshold: keys.len() as u64,
        keys,
        all: true,
        want: "a project's first statement is signed by the keys that it lists, and no others",
    }
}

fn release_speakers(p: &Project) -> Speakers<'_> {
    Speakers {
        keys: p.release_keys.iter().collect(),
        threshold: p.release_threshold,
        all: false,
        want: "a release is signed by release keys of its project",
    }
}

/// Every signature is by a key that may say this, and enough distinct keys signed.
fn authorised(envelope: &Envelope, speakers: &Speakers<'_>) -> Result<(), Refusal> {
    let may: BTreeSet<KeyId> = speakers.keys.iter().map(|k| k.id()).collect();
    let signed: BTreeSet<KeyId> = envelope.signatures.iter().map(|s| s.keyid).collect();
    if let Some(key) = signed.difference(&may).next() {
        return Err(Refusal::UnauthorisedKey {
            key: key.to_string(),
            want: speakers.want.to_owned(),
        });
    }
    if speakers.all
        && let Some(key) = may.difference(&signed).next()
    {
        return Err(Refusal::MissingSignature(key.to_string()));
    }
    let got = signed.len() as u64;
    if got < speakers.threshold {
        return Err(Refusal::Threshold {
            want: speakers.threshold,
            got,
        });
    }
    Ok(())
}

fn verify_signatures(envelope: &Envelope, may: &[&PublicKey]) -> Result<(), Refusal> {
    let message = envelope.pae();
    for s in &envelope.signatures {
        let bad = |why: String| Refusal::BadSignature {
            key: s.keyid.to_string(),
            why,
        };
        let key = may
            .iter()
            .find(|k| k.id() == s.keyid)
            .ok_or_else(|| bad("the key is not known".into()))?;
        key.verify(&message, &s.sig)
            .map_err(|e| bad(e.to_string()))?;
    }
    Ok(())
}

fn key_ages(
    envelope: &Envelope,
    max: Option<u64>,
    first_listed: &BTreeMap<KeyId, u64>,
    time: u64,
) -> Result<(), Refusal> {
    let Some(max) = max else { return Ok(()) };
    for s in &envelope.signatures {
        let age = time.saturating_sub(first_listed.get(&s.keyid).copied().unwrap_or(time));
        if age > max {
            return Err(Refusal::KeyTooOld {
                key: s.keyid.to_string(),
                age,
                max,
            });
        }
    }
    Ok(())
}

/// Checks a project's first statement by itself, as a client does from its pin: signed by
/// every key that it lists.
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn check_first_statement(envelope: &Envelope, project: &Project) -> Result<(), Refusal> {
    let speakers = first_speakers(project);
    authorised(envelope, &speakers)?;
    verify_signatures(envelope, &speakers.keys)
}

/// Checks that `envelope` is a release that `project`, the version in force at its index,
/// lets its keys say: threshold, signatures, prefixes, key age. `listed` is the leaf time of
/// that version, at which its keys were first listed.
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn check_release(
    envelope: &Envelope,
    r: &Release,
    project: &Project,
    listed: u64,
    time: u64,
) -> Result<(), Refusal> {
    if !project
        .purl_prefixes
        .iter()
        .any(|p| names::prefix_covers(p, &r.purl))
    {
        return Err(Refusal::PurlOutside {
            purl: r.purl.clone(),
            prefixes: project.purl_prefixes.join(", "),
        });
    }
    let first_listed = project
        .release_keys
        .iter()
        .map(|k| (k.id(), listed))
        .collect();
    key_ages(envelope, project.max_key_age, &first_listed, time)?;
    let speakers = release_speakers(project);
    authorised(envelope, &speakers)?;
    verify_signatures(envelope, &speakers.keys)
}
