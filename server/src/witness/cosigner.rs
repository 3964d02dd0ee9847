//! The one thread that cosigns. It takes what is waiting, compares each checkpoint with what
//! stands, signs those that pass, makes all of it durable at once, and only then answers: group
//! commit without a timer, since the next batch is whatever came meanwhile.

use super::check::{Admitted, Refusal, extends};
use super::config::Clock;
use super::metrics::Metrics;
use super::state::{Commit, Latest, Standing, Step};
use crate::clock::{ClockError, Course, JUMP, not_behind};
use crate::store::StoreError;
use keys::Ed25519Secret;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{PoisonError, RwLock};
use std::time::Instant;
use tlog::Hash;
use tlog::cosignature::{MAX_TIMESTAMP, encode, message};
use tlog::note::{Note, NoteSignature};
use tlog::vkey::VerifierKey;
use tokio::sync::oneshot;

/// Checkpoints in a batch at most.
const MOST: usize = 1024;

/// The answer: the cosignature's line.
pub type Answer = Result<String, Refusal>;

/// A checkpoint that waits.
pub struct Job {
    /// Its signatures are verified.
    pub request: Admitted,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// Where checkpoints wait.
pub struct Queue(RwLock<Option<SyncSender<Job>>>);

impl Queue {
    /// A queue of `capacity`.
    #[must_use]
    pub fn new(capacity: usize) -> (Self, Receiver<Job>) {
        let (sender, receiver) = sync_channel(capacity);
        (Self(RwLock::new(Some(sender))), receiver)
    }

    /// Adds a checkpoint, or says at once that there is no room.
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::Stopping`].
    pub fn push(&self, job: Job) -> Result<(), Refusal> {
        let sender = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.as_ref().ok_or(Refusal::Stopping)?;
        sender.try_send(job).map_err(|e| match e {
            TrySendError::Full(_) => Refusal::Busy,
            TrySendError::Disconnected(_) => Refusal::Stopping,
        })
    }

    /// Takes no more; what waits is still answered.
    pub fn close(&self) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

/// What cosigns.
pub struct Cosigner<C: Commit> {
    /// The witness's key.
    pub key: Ed25519Secret,
    /// Its public half.
    pub vkey: VerifierKey,
    /// What makes it durable.
    pub state: C,
    /// What was cosigned last, for everybody to read.
    pub standing: Arc<Standing>,
    /// What time it is.
    pub clock: Clock,
    /// The machine's own count of time.
    pub uptime: Clock,
    /// How the two ran so far.
    pub course: Course,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl<C: Commit> Cosigner<C> {
    /// Cosigns until the queue is closed.
    ///
    /// # Errors
    /// [`StoreError`]: it is then unknown what is on disk, and nobody of that batch was
    /// answered. The process must end.
    pub fn run(self, jobs: &Receiver<Job>) -> Result<(), StoreError> {
        while let Ok(first) = jobs.recv() {
            let mut batch = vec![first];
            batch.extend(jobs.try_iter().take(MOST - 1));
            self.batch(batch)?;
        }
        Ok(())
    }

    fn batch(&self, batch: Vec<Job>) -> Result<(), StoreError> {
        let began = Instant::now();
        let mut steps: HashMap<Hash, Step> = HashMap::new();
        let mut answers = Vec::with_capacity(batch.len());
        for Job { request, reply } in batch {
            let log = request.log.hash;
            let (from, last) = match steps.get(&log) {
                Some(step) => (step.from.clone(), Some(Arc::clone(&step.to))),
                None => {
                    let standing = self.standing.latest(&log);
                    (standing.clone(), standing)
                }
            };
            let answer = extends(last.as_ref(), &request).and_then(|()| {
                let time = self.time(last.as_deref());
                self.say(time.as_ref().err());
                let time = time.map_err(Refusal::Clock)?;
                let (to, line) = self.cosign(time, request);
                let to = Arc::new(to);
                steps.insert(log, Step { log, from, to });
                Ok(line)
            });
            answers.push((reply, answer));
        }
        if !steps.is_empty() {
            let steps: Vec<Step> = steps.into_values().collect();
            self.state.commit(&steps)?;
            let newest = steps.iter().map(|s| s.to.time).max().unwrap_or_default();
            self.standing.follow(steps);
            let cosigned = answers.iter().filter(|(_, a)| a.is_ok()).count();
            self.metrics.committed(cosigned, newest, began.elapsed());
        }
        for (reply, answer) in answers {
            // Who has gone away asks again, and finds what stands.
            let _ = reply.send(answer);
        }
        Ok(())
    }

    /// The time of a cosignature: never 0 and never before that of the log's last one, which it
    /// would be where the clock went back by little.
    fn time(&self, last: Option<&Latest>) -> Result<u64, ClockError> {
        let last = last.map_or(0, |l| l.time);
        let (now, uptime) = ((self.clock)(), (self.uptime)());
        not_behind(now, last, JUMP)?;
        self.course.follow(now, uptime)?;
        Ok(now.clamp(last.max(1), MAX_TIMESTAMP.max(last)))
    }

    /// Says on standard error, and at `/healthz`, where the clock is not believed any more, and where
    /// it is again: who asks is only told to come again.
    fn say(&self, wrong: Option<&ClockError>) {
        let was = self
            .metrics
            .clock_wrong
            .swap(wrong.is_some(), Ordering::Relaxed);
        match wrong {
            Some(e) if !was => eprintln!(
                "countersign-witness: NOTHING IS COSIGNED: the clock {e}; set it, or, if it is right now, start this program again"
            ),
            None if was => eprintln!("countersign-witness: the clock is right, it cosigns again"),
            _ => {}
        }
    }

    /// Signs a checkpoint that passed.
    fn cosign(&self, time: u64, request: Admitted) -> (Latest, String) {
        let Admitted {
            checkpoint, note, ..
        } = request;
        let signature = self.key.sign(&message(time, &note.text));
        let line = NoteSignature::by(&self.vkey, encode(time, &signature));
        let text = line.to_line();
        let Note {
            text: body,
            mut signatures,
        } = note;
        signatures.push(line);
        let note = Note {
            text: body,
            signatures,
        };
        // A note is UTF-8: it was read as such, and so is what was added.
        let note = String::from_utf8_lossy(&note.to_bytes()).into_owned();
        let latest = Latest {
            origin: checkpoint.origin,
            size: checkpoint.size,
            root: checkpoint.root,
            time,
            note,
        };
        (latest, text)
    }
}
