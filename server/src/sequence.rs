//! The one writer. It takes what is waiting, asks the ledger once more for each in order,
//! gives times and indexes, ends the batch with a ledger head, makes it durable, shows the
//! checkpoint, and answers. Group commit without a timer: the next batch is whatever
//! arrived while the last one was being made durable.

use crate::error::Error;
use crate::limits::Place;
use crate::log::{Log, index_rows, read_leaf, save_state, unix_now};
use crate::logkeys::LogKeys;
use crate::publish::Staged;
use crate::reject::Rejection;
use crate::store::{Head, Hot, HotBatch, IndexBatch, Mark};
use crate::view::{Entry, View};
use keys::certificate::CertificateChain;
use ledger::envelope::Envelope;
use ledger::fold::{Fold, Refusal};
use ledger::leaf::{Action, CertificateLeaf, Leaf, OperationLeaf, StatementLeaf};
use ledger::released::Earlier;
use ledger::statement::{Body, Statement};
use ledger::{Hash, MAX_LEAF_BYTES};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;
use tlog::hash::leaf_hash;
use tlog::prover::Prover;
use tlog::tile::{EntryTile, TILE_WIDTH, encode_bundle};
use tlog::tree::Edge;
use tokio::sync::oneshot;

/// Jobs in one batch at most, so that no answer waits for a very long one.
const MAX_BATCH: usize = 1024;
/// How often others on the core are let through while a batch fills, at most.
const YIELDS: usize = 64;
/// How often in a row that may bring nothing: the scheduler may come back to us at once.
const IN_VAIN: usize = 4;
/// Leaves of a fill in one batch.
const FILL_BATCH: usize = 4096;
/// Who operations are by.
const OPERATOR: &str = "operator";

/// Where what was asked for stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its index; of a fill, the size reached.
    pub index: u64,
    /// The entry, if it was logged just now.
    pub entry: Option<Entry>,
}

impl From<u64> for Logged {
    fn from(index: u64) -> Self {
        Self { index, entry: None }
    }
}

/// An answer.
pub type Answer = Result<Logged, Rejection>;

/// What the sequencer is asked to log.
pub enum Job {
    /// A statement that admission passed; a project's first one is admitted with it.
    Statement {
        /// The envelope's PAE hash.
        pae: Hash,
        /// The envelope.
        envelope: Envelope,
        /// What it says.
        statement: Box<Statement>,
        /// Its place in the queue, given back when the batch is made.
        place: Option<Arc<Place>>,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
    /// An act of the operator.
    Operation {
        /// What was done.
        action: Action,
        /// To which project.
        project: Hash,
        /// Why.
        reason: Option<String>,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
    /// A certificate that is about to be handed out.
    Certificate {
        /// End certificate first, anchor omitted.
        chain: Box<CertificateChain>,
        /// Its place in the queue, given back when the batch is made.
        place: Option<Arc<Place>>,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
    /// Leaves as they stand, in order, with no head after them: for tools that build test
    /// logs. Answers with the size reached.
    Fill {
        /// The leaves' bytes.
        leaves: Vec<Vec<u8>>,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
}

fn chain_bytes(chain: &CertificateChain) -> usize {
    chain.ders().map(<[u8]>::len).sum()
}

impl Job {
    /// About how many bytes it makes the log longer by.
    fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Statement { envelope, .. } => {
                let chain = envelope.chain.as_ref().map_or(0, chain_bytes);
                envelope
                    .payload
                    .len()
                    .saturating_add(chain)
                    .saturating_mul(2)
            }
            Self::Operation { .. } => 1024,
            Self::Certificate { chain, .. } => chain_bytes(chain).saturating_mul(2),
            Self::Fill { leaves, .. } => leaves.iter().map(Vec::len).sum(),
        };
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn reply(self) -> oneshot::Sender<Answer> {
        match self {
            Self::Statement { reply, .. }
            | Self::Operation { reply, .. }
            | Self::Certificate { reply, .. }
            | Self::Fill { reply, .. } => reply,
        }
    }
}

/// The bounded queue before the sequencer.
#[derive(Clone)]
pub struct Queue {
    sender: SyncSender<Job>,
}

impl Queue {
    /// A queue of `capacity` jobs.
    #[must_use]
    pub fn new(capacity: usize) -> (Self, Receiver<Job>) {
        let (sender, receiver) = sync_channel(capacity);
        (Self { sender }, receiver)
    }

    /// Adds a job, or says at once that there is no room.
    ///
    /// # Errors
    /// [`Rejection::Busy`], [`Rejection::Stopping`].
    pub fn push(&self, job: Job) -> Result<(), Rejection> {
        self.sender.try_send(job).map_err(|e| match e {
            TrySendError::Full(_) => Rejection::Busy,
            TrySendError::Disconnected(_) => Rejection::Stopping,
        })
    }
}

/// What is waiting, and what comes in while others on this core are let through. A batch costs
/// the same signatures and flushes whether it holds one job or hundreds, so on a busy core those
/// who check submissions go first; on an idle one nobody is waited for.
fn gather(first: Job, jobs: &Receiver<Job>) -> Vec<Job> {
    let (mut waiting, mut before, mut in_vain) = (vec![first], 0, 0);
    for _ in 0..YIELDS {
        let room = MAX_BATCH.saturating_sub(waiting.len());
        waiting.extend(jobs.try_iter().take(room));
        in_vain = if waiting.len() > before {
            0
        } else {
            in_vain + 1
        };
        if in_vain == IN_VAIN {
            break;
        }
        before = waiting.len();
        std::thread::yield_now();
    }
    waiting
}

/// The writer's own state, ahead of what is public by the batch in hand.
pub struct Sequencer {
    /// What is shared.
    pub log: Arc<Log>,
    /// The hot state.
    pub hot: Box<dyn Hot>,
    /// The newest signed checkpoint, kept elsewhere.
    pub mark: Option<Box<dyn Mark>>,
    /// The log's keys.
    pub keys: LogKeys,
    /// The ledger's state.
    pub fold: Fold,
    /// The tree's right edge.
    pub edge: Edge,
    /// Entries of the partial bundle.
    pub tail: Vec<Entry>,
    /// The head that stands.
    pub head: Head,
    /// Entries below this lie in durable blobs.
    pub durable: u64,
    /// The log at the head that stands; what is shown may be behind it.
    pub view: Arc<View>,
}

struct Batch {
    /// Each was accepted.
    leaves: Vec<(Leaf, Entry)>,
    /// The projects that each is about.
    about: Vec<Vec<Hash>>,
    standing: HashMap<Hash, u64>,
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
}

impl Sequencer {
    /// Works until every [`Queue`] is gone and what they held is logged.
    ///
    /// # Errors
    /// The first failure of the store: it is then unknown what is on disk, so the caller
    /// must end the process and nothing is retried in memory.
    pub fn run(mut self, jobs: &Receiver<Job>) -> Result<(), Error> {
        while let Ok(first) = jobs.recv() {
            let waiting = gather(first, jobs);
            self.batch(waiting)?;
        }
        Ok(())
    }

    fn batch(&mut self, jobs: Vec<Job>) -> Result<(), Error> {
        let jobs = self.allowed(jobs);
        let time = unix_now().max(self.fold.last_time());
        let mut batch = Batch {
            leaves: Vec::new(),
            about: Vec::new(),
            standing: HashMap::new(),
            answers: Vec::new(),
        };
        let mut fills = Vec::new();
        for job in jobs {
            match job {
                Job::Statement {
                    pae,
                    envelope,
                    statement,
                    reply,
                    ..
                } => {
                    let answer = self.statement(&mut batch, pae, envelope, *statement, time);
                    batch.answers.push((reply, answer));
                }
                Job::Operation {
                    action,
                    project,
                    reason,
                    reply,
                } => {
                    let operation = OperationLeaf {
                        action,
                        by: OPERATOR.to_owned(),
                        project,
                        reason,
                        time,
                    };
                    let answer = self.add(&mut batch, Leaf::Operation(operation));
                    batch.answers.push((reply, answer));
                }
                Job::Certificate { chain, reply, .. } => {
                    let certificate = CertificateLeaf {
                        chain: *chain,
                        time,
                    };
                    let leaf = Leaf::Certificate(Box::new(certificate));
                    let answer = self.add(&mut batch, leaf);
                    batch.answers.push((reply, answer));
                }
                Job::Fill { leaves, reply } => fills.push((leaves, reply)),
            }
        }
        // A batch of a head alone does not exist.
        if !batch.leaves.is_empty() {
            self.fold.settle();
            let head = self.fold.next_head(time);
            self.add(&mut batch, head)
                .map_err(|e| Error::Fill(format!("ledger head: {e}")))?;
            let accepted = vec![true; batch.leaves.len()];
            self.commit(batch.leaves, accepted, &batch.about)?;
        }
        for (reply, answer) in batch.answers {
            // Whoever asked may have gone; the entry stands all the same.
            let _ = reply.send(answer);
        }
        for (leaves, reply) in fills {
            let answer = self.fill(leaves)?;
            let _ = reply.send(answer);
        }
        Ok(())
    }

    /// What the guard lets through; the rest is answered why not. Nothing has happened yet.
    fn allowed(&self, jobs: Vec<Job>) -> Vec<Job> {
        let (guard, bytes) = (self.log.guard(), jobs.iter().map(Job::bytes).sum());
        // Leaves of a fill have times of their own.
        let verdict = if jobs.iter().all(|job| matches!(job, Job::Fill { .. })) {
            guard.may_write(bytes)
        } else {
            guard.may_sign(self.fold.last_time(), bytes)
        };
        let Err(cause) = verdict else { return jobs };
        for job in jobs {
            let _ = job.reply().send(Err(cause.clone().into()));
        }
        Vec::new()
    }

    fn statement(
        &mut self,
        batch: &mut Batch,
        pae: Hash,
        envelope: Envelope,
        statement: Statement,
        time: u64,
    ) -> Answer {
        // What stands already the rules refuse, whatever else they refuse: only then is it looked
        // up whether the same PAE stands, before or in this batch. Its entry is the answer.
        let earlier = self.earlier(&statement)?;
        let verdict = self
            .fold
            .recheck(&envelope, &statement, time, earlier.as_ref());
        if let Err(refusal) = verdict {
            let before = self.standing(batch, &pae)?;
            return before.map(Logged::from).ok_or_else(|| refusal.into());
        }
        let is_project = matches!(&statement.body, Body::Project(p) if p.version == 1);
        let leaf = Leaf::Statement(Box::new(StatementLeaf {
            envelope,
            statement,
            time,
        }));
        let logged = self.add_passed(batch, leaf)?;
        batch.standing.insert(pae, logged.index);
        if is_project {
            let (action, by) = (Action::Admitted, OPERATOR.to_owned());
            let admitted = OperationLeaf {
                action,
                by,
                project: pae,
                reason: None,
                time,
            };
            self.add(batch, Leaf::Operation(admitted))?;
        }
        Ok(logged)
    }

    /// Where the same PAE stands, before or in this batch.
    fn standing(&self, batch: &Batch, pae: &Hash) -> Result<Option<u64>, Rejection> {
        match batch.standing.get(pae) {
            Some(index) => Ok(Some(*index)),
            None => Ok(self.log.index.by_pae(pae)?),
        }
    }

    /// The release that a re-statement or a withdrawal is about, where the fold has it no more:
    /// it is published, then.
    fn earlier(&self, statement: &Statement) -> Result<Option<Earlier>, Rejection> {
        match self.fold.needs(statement)? {
            Some(index) => self.log.earlier_in(&self.view, index),
            None => Ok(None),
        }
    }

    /// Adds a leaf that the ledger accepts. One that it refuses is not counted.
    fn add(&mut self, batch: &mut Batch, leaf: Leaf) -> Answer {
        self.fold.decide(&leaf, None)?;
        self.add_passed(batch, leaf)
    }

    /// The same for a leaf that was asked about just now: encodes it, applies it, and gives it
    /// its index.
    fn add_passed(&mut self, batch: &mut Batch, leaf: Leaf) -> Answer {
        let (entry, index) = (Entry::from(leaf.to_bytes()?), self.fold.size());
        self.fold.follow(&leaf, true);
        // Asked at once: whom a certificate is about, the next leaf may change.
        batch.about.push(self.fold.about(&leaf));
        batch.leaves.push((leaf, Arc::clone(&entry)));
        let entry = Some(entry);
        Ok(Logged { index, entry })
    }

    fn fill(&mut self, leaves: Vec<Vec<u8>>) -> Result<Answer, Error> {
        if let Some(long) = leaves.iter().find(|l| l.len() > MAX_LEAF_BYTES) {
            return Ok(Err(ledger::leaf::LeafError::TooLarge(long.len()).into()));
        }
        let mut leaves = leaves.into_iter();
        loop {
            let part: Vec<_> = leaves
                .by_ref()
                .take(FILL_BATCH)
                .map(|bytes| (read_leaf(&bytes), Entry::from(bytes)))
                .collect();
            if part.is_empty() {
                return Ok(Ok(self.head.size.into()));
            }
            let mut about = Vec::with_capacity(part.len());
            let accepted: Vec<bool> = part
                .iter()
                .map(|(leaf, _)| {
                    let earlier = match leaf {
                        Leaf::Statement(s) => self.earlier(&s.statement),
                        _ => Ok(None),
                    };
                    let earlier = earlier.map_err(|e| Error::Fill(e.to_string()))?;
                    let outcome = self.fold.apply_with(leaf, earlier.as_ref());
                    about.push(self.fold.about(leaf));
                    match outcome {
                        Err(failed @ Refusal::LookUp { .. }) => {
                            Err(Error::Fill(failed.to_string()))
                        }
                        outcome => Ok(outcome.is_ok()),
                    }
                })
                .collect::<Result<_, _>>()?;
            self.commit(part, accepted, &about)?;
        }
    }

    /// Makes leaves that the fold has taken durable, then public, then findable.
    fn commit(
        &mut self,
        leaves: Vec<(Leaf, Entry)>,
        accepted: Vec<bool>,
        about: &[Vec<Hash>],
    ) -> Result<(), Error> {
        let (first, began) = (self.head.size, Instant::now());
        let leaves = Arc::new(leaves);
        let hashes: Vec<Hash> = leaves.iter().map(|(_, bytes)| leaf_hash(bytes)).collect();
        let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
        for full in self.edge.append(&hashes) {
            blobs.push((full.tile().path(), full.bytes));
        }
        let mut entries = Vec::with_capacity(leaves.len());
        for (index, (_, bytes)) in (first..).zip(leaves.iter()) {
            entries.push((index, bytes.to_vec()));
            self.tail.push(Arc::clone(bytes));
            if self.tail.len() == usize::from(TILE_WIDTH) {
                let bundle = encode_bundle(&self.tail).map_err(|e| Error::Fill(e.to_string()))?;
                let tile = EntryTile {
                    index: index / u64::from(TILE_WIDTH),
                    width: TILE_WIDTH,
                };
                blobs.push((tile.path(), bundle));
                self.tail.clear();
            }
        }
        let prover = Prover::new(&self.edge);
        let (size, root) = (prover.size(), prover.root());
        let checkpoint = self.keys.sign(size, root)?;
        let fold = self.fold.digest();
        let head = Head {
            epoch: self.head.epoch,
            size,
            root,
            fold,
            checkpoint: checkpoint.clone(),
        };
        // This decides what happened. Before it nothing is written, after it nothing is undone.
        let step = HotBatch {
            head,
            entries,
            drop_below: self.durable,
        };
        self.hot.commit(Some(&self.head), &step)?;
        self.head = step.head;
        self.log.blobs.put(&blobs)?;
        if let Some(mark) = &self.mark {
            mark.raise(&checkpoint)?;
        }
        self.durable = size - size % u64::from(TILE_WIDTH);
        let last = leaves.last().map(|(_, bytes)| Arc::clone(bytes));
        self.view = Arc::new(View {
            size,
            root,
            note: checkpoint,
            edge: self.edge.clone(),
            prover,
            tail: self.tail.clone(),
            last,
            stamp: 0,
            witnessed: None,
        });
        self.log.stage(Staged {
            view: Arc::clone(&self.view),
            first,
            leaves: Arc::clone(&leaves),
            accepted: accepted.clone(),
        });
        let mut rows = IndexBatch::default();
        let each = leaves.iter().zip(about).zip(accepted);
        for (index, (((leaf, bytes), projects), accepted)) in (first..).zip(each) {
            if accepted {
                index_rows(&mut rows, index, leaf, projects, bytes);
            }
        }
        save_state(&mut rows, &self.fold);
        self.log.index.apply(&rows)?;
        self.fold.forget_released(size);
        self.log.metrics.committed(leaves.len(), began.elapsed());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
