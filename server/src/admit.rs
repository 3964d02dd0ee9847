//! Admission: everything about a submission that can be known before it has an index, on
//! all cores at once. What it refuses never reaches the log. Its verdict is provisional:
//! the sequencer asks again, in order, without the signatures.

use crate::bundles::Said;
use crate::error::Error;
use crate::guard::Cause;
use crate::limits::{Full, Limits, Place};
use crate::log::{Log, Metrics};
use crate::oidc::Oidc;
use crate::pending::Pending;
use crate::reject::Rejection;
use crate::sequence::{Answer, Job, Queue};
use crate::trust::TrustDocuments;
use ledger::envelope::Envelope;
use ledger::fold::{ProjectState, Refusal};
use ledger::leaf::{Leaf, StatementLeaf, may_have_chain};
use ledger::statement::{Body, Statement};
use ledger::{Hash, hex32};
use std::sync::Arc;
use std::sync::{PoisonError, RwLock};
use tokio::sync::oneshot;

/// All projects that are not in the log have one share of the queue.
const NEW: Hash = [0; 32];

/// Signatures, of some 60 µs each, of a submission that is soon done with.
const LIGHT_SIGNATURES: usize = 2;

pub(crate) fn full(why: Full) -> Rejection {
    match why {
        Full::All => Rejection::Busy,
        Full::Share => Rejection::ProjectBusy,
    }
}

/// What the HTTP routes and the operator's socket work with.
pub struct App {
    /// The log.
    pub log: Arc<Log>,
    /// Projects that await the operator.
    pub pending: Pending,
    /// Trust documents.
    pub trust: TrustDocuments,
    /// Whether projects are admitted without the operator.
    pub open: bool,
    /// Who may send how much.
    pub limits: Limits,
    /// Who issues certificates, where anybody does.
    pub oidc: Option<Arc<Oidc>>,
    queue: RwLock<Option<Queue>>,
}

/// A submission that was read.
pub struct Submission {
    envelope: Envelope,
    statement: Statement,
    pae: Hash,
}

impl Submission {
    /// What its bundle will prove something about.
    #[must_use]
    pub fn said(&self) -> Said {
        Said::new(self.pae, &self.statement)
    }

    /// Whether it is soon done with: a release, so that nothing of it is kept for the operator,
    /// with few signatures to check; a certificate's path has two or three more.
    #[must_use]
    pub fn is_light(&self) -> bool {
        let few = self.envelope.signatures.len() <= LIGHT_SIGNATURES;
        let few = few && self.envelope.chain.is_none();
        few && matches!(self.statement.body, Body::Release(_))
    }
}

/// What admission found.
pub enum Admitted {
    /// The same envelope stands at this index.
    Stands(u64),
    /// The project awaits the operator.
    Pending(Hash),
    /// On its way; the answer comes when it is durable and in a signed checkpoint.
    Queued(oneshot::Receiver<Answer>, Arc<Place>),
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        log: Arc<Log>,
        pending: Pending,
        trust: TrustDocuments,
        open: bool,
        limits: Limits,
        queue: Queue,
    ) -> Self {
        Self {
            log,
            pending,
            trust,
            open,
            limits,
            oidc: None,
            queue: RwLock::new(Some(queue)),
        }
    }

    /// The same, issuing certificates.
    #[must_use]
    pub fn issuing(self, oidc: Option<Arc<Oidc>>) -> Self {
        Self { oidc, ..self }
    }

    /// Takes no more jobs; the sequencer ends once it has logged what waits.
    pub fn close(&self) {
        self.queue
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Hands a job to the sequencer.
    ///
    /// # Errors
    /// [`Rejection::CannotSign`], [`Rejection::Busy`], [`Rejection::Stopping`].
    pub fn push(&self, job: Job) -> Result<(), Rejection> {
        if let Some(why) = self.log.read_only() {
            return Err(Cause::ReadOnly(why.to_owned()).into());
        }
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().ok_or(Rejection::Stopping)?.push(job)
    }

    /// Reads a submission.
    ///
    /// # Errors
    /// [`Rejection`], for what is wrong with it whatever the log says.
    pub fn read(&self, body: &[u8]) -> Result<Submission, Rejection> {
        Metrics::count(&self.log.metrics.submitted);
        let envelope = Envelope::parse_submission(body)?;
        let statement = Statement::parse(&envelope.payload)?;
        may_have_chain(&envelope, &statement)?;
        let pae = envelope.pae_hash();
        Ok(Submission {
            envelope,
            statement,
            pae,
        })
    }

    /// Takes a submission as far as it goes without the sequencer. Where `exempt`, no
    /// project's quota holds.
    ///
    /// # Errors
    /// [`Rejection`].
    pub fn admit(&self, submission: Submission, exempt: bool) -> Result<Admitted, Rejection> {
        let metrics = &self.log.metrics;
        self.admit_uncounted(submission, exempt)
            .inspect_err(|e| match e {
                Rejection::Busy | Rejection::ProjectBusy => Metrics::count(&metrics.turned_away),
                Rejection::ProjectRate(_) => Metrics::count(&metrics.project_limited),
                _ => {}
            })
    }

    /// What stands already is answered with where it stands. A release that stands the rules
    /// refuse, whatever else refuses it, so of a release that is looked up only then: for each
    /// that is new it would cost a search of the whole index.
    fn admit_uncounted(&self, submission: Submission, exempt: bool) -> Result<Admitted, Rejection> {
        let pae = submission.pae;
        let release = matches!(submission.statement.body, Body::Release(_));
        if !release && let Some(index) = self.standing(&pae)? {
            return Ok(Admitted::Stands(index));
        }
        match self.admit_new(submission, exempt) {
            Err(refusal) if release => match self.standing(&pae)? {
                Some(index) => Ok(Admitted::Stands(index)),
                None => Err(refusal),
            },
            outcome => outcome,
        }
    }

    fn admit_new(&self, submission: Submission, exempt: bool) -> Result<Admitted, Rejection> {
        let Submission {
            envelope,
            statement,
            pae,
        } = submission;
        let now = self.log.now();
        // Of the last leaf, as the sequencer asks: the clock itself is what is judged.
        let last = self.log.published().fold.last_time();
        self.log.guard().may_sign_soon(last)?;
        match &statement.body {
            // A later version is of a project that the log knows.
            Body::Project(p) if p.version > 1 => {}
            Body::Project(_) => match self.pending.get(&pae) {
                Some(w) if w.refused => return Err(Rejection::ProjectRefused(hex32(&pae))),
                Some(_) if !self.open => return Ok(Admitted::Pending(pae)),
                _ => {}
            },
            // The log decides where it knows the project.
            _ => {
                if let Some(id) = statement.project_id().filter(|id| !self.stands(id)) {
                    match self.pending.get(&id) {
                        Some(w) if w.refused => {
                            return Err(Rejection::ProjectRefused(hex32(&w.id)));
                        }
                        Some(w) => return Err(Rejection::ProjectPending(hex32(&w.id))),
                        None => {}
                    }
                }
            }
        }
        let project = self.share(&envelope, &statement);
        let quota = (!exempt && project != NEW).then_some(project);
        // Looked at before the signatures are checked, spent after.
        self.limits.places.look(&project).map_err(full)?;
        if let Some(project) = quota {
            let look = self.limits.projects.look(project);
            look.map_err(Rejection::ProjectRate)?;
        }
        let needs = self.log.published().fold.needs(&statement)?;
        let earlier = needs.map(|index| self.log.earlier(index)).transpose()?;
        let earlier = earlier.flatten();
        let checked = self
            .log
            .published()
            .fold
            .check(&envelope, &statement, now, earlier.as_ref());
        if let Err(refusal) = checked {
            // Its twin may have been published since we looked.
            return match self.twin(&pae, &refusal)? {
                Some(index) => Ok(Admitted::Stands(index)),
                None => Err(refusal.into()),
            };
        }
        let first = matches!(&statement.body, Body::Project(p) if p.version == 1);
        if first && !self.open {
            return self.wait_for_operator(envelope, statement, now);
        }
        let place = self.limits.places.take(project).map_err(full)?;
        if let Some(project) = quota {
            let spent = self.limits.projects.spend(project);
            spent.map_err(Rejection::ProjectRate)?;
        }
        let copy = Some(Arc::clone(&place));
        let answer = self.queue_statement(pae, envelope, statement, copy)?;
        Ok(Admitted::Queued(answer, place))
    }

    /// Whose share of the queue a statement takes: its project's, if the log knows it.
    fn share(&self, envelope: &Envelope, statement: &Statement) -> Hash {
        let published = self.log.published();
        let known = published.fold.project_of(envelope, statement);
        known
            .filter(|id| published.fold.project(id).is_some())
            .unwrap_or(NEW)
    }

    fn wait_for_operator(
        &self,
        envelope: Envelope,
        statement: Statement,
        time: u64,
    ) -> Result<Admitted, Rejection> {
        let leaf = Leaf::Statement(Box::new(StatementLeaf {
            envelope: envelope.clone(),
            statement,
            time,
        }));
        // What fits in no leaf is not for the operator to find out.
        leaf.to_bytes()?;
        let id = self.pending.add(envelope, time)?;
        // Its twin may have been admitted since we looked; then nothing waits.
        if self.stands(&id) {
            self.pending.remove(&id)?;
            if let Some(index) = self.standing(&id)? {
                return Ok(Admitted::Stands(index));
            }
        }
        Ok(Admitted::Pending(id))
    }

    fn stands(&self, project: &Hash) -> bool {
        self.log.published().fold.project(project).is_some()
    }

    /// Hands a checked statement, with its PAE hash, to the sequencer, with its place if it
    /// needs one.
    ///
    /// # Errors
    /// As [`App::push`].
    pub fn queue_statement(
        &self,
        pae: Hash,
        envelope: Envelope,
        statement: Statement,
        place: Option<Arc<Place>>,
    ) -> Result<oneshot::Receiver<Answer>, Rejection> {
        let (reply, answer) = oneshot::channel();
        self.push(Job::Statement {
            pae,
            envelope,
            statement: Box::new(statement),
            place,
            reply,
        })?;
        Ok(answer)
    }

    /// Tidies up after admissions: what waited and is in the log now waits no more, and its
    /// trust documents are public.
    ///
    /// # Errors
    /// [`Error`]; done again at the next start.
    pub fn settle(&self) -> Result<(), Error> {
        for waiting in self.pending.all() {
            if self.stands(&waiting.id) {
                self.trust.publish(&waiting.id)?;
                self.pending.remove(&waiting.id)?;
            }
        }
        Ok(())
    }

    /// Where the same envelope stands that this refusal is about, if it is about that. What is
    /// published enters the index a moment later, so the log itself is asked.
    fn twin(&self, pae: &Hash, refusal: &Refusal) -> Result<Option<u64>, Rejection> {
        let index = {
            let published = self.log.published();
            match refusal {
                Refusal::PurlReleased { index, .. } | Refusal::StatementStands { index } => *index,
                Refusal::ProjectStands(_) => match published.fold.project(pae) {
                    Some(project) => project.first().index,
                    None => return Ok(None),
                },
                Refusal::OtherPrevious { .. } | Refusal::OtherVersion { .. } => {
                    let mut versions = published.fold.projects().flat_map(ProjectState::versions);
                    match versions.find(|v| v.statement == *pae) {
                        Some(version) => version.index,
                        None => return Ok(None),
                    }
                }
                _ => return Ok(None),
            }
        };
        let entry = self.log.published_entry(index)?;
        let same =
            matches!(Leaf::parse(&entry), Ok(Leaf::Statement(s)) if s.envelope.pae_hash() == *pae);
        Ok(same.then_some(index))
    }

    /// Where this envelope stands. What the index knows is public already.
    fn standing(&self, pae: &Hash) -> Result<Option<u64>, Rejection> {
        Ok(self.log.index.by_pae(pae)?)
    }
}
