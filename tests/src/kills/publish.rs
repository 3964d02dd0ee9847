//! Those who publish while the server is killed, and what it told them.

use super::audit::Audit;
use super::seen::Seen;
use crate::load::stock::Publisher;
use crate::random::Random;
use crate::wire::{Connection, Place};
use countersign::memory::Memory;
use countersign::policy::{Policy, ProjectPolicy};
use countersign::verify::{Artifact, Wanted, verify};
use keys::SecretKey;
use ledger::bundle::Bundle;
use ledger::envelope::pae_hash;
use ledger::leaf::Leaf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tlog::Hash;
use tlog::hash::leaf_hash;
use tlog::proof::verify_inclusion;

/// Longest wait for an answer: a server that is alive and silent is a failure too.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer with a bundle.
#[derive(Debug)]
pub struct Ack {
    /// Which release.
    pub n: u64,
    /// Its index in the log.
    pub index: u64,
    /// The bundle.
    pub bundle: Vec<u8>,
}

/// What is common to all who publish.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The project.
    pub publisher: &'a Publisher,
    /// Its release key.
    pub key: &'a SecretKey,
    /// The next release that nobody has sent yet.
    pub next: &'a AtomicU64,
    /// One more than the largest index that was acknowledged.
    pub top: &'a AtomicU64,
}

/// One who publishes, and goes on after each kill.
#[derive(Debug)]
pub struct Author {
    random: Random,
    /// Sent, and the answer did not come.
    unanswered: Vec<u64>,
    /// Some that were answered.
    answered: Vec<(u64, u64)>,
}

/// Answered releases that an author keeps in mind to send again.
const KEPT: usize = 64;

impl Author {
    /// An author whose choices follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            unanswered: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// Publishes until the connection breaks: new releases, those without an answer again,
    /// and now and then one that was answered, which must get the same index.
    ///
    /// # Errors
    /// A sentence: an answer that no server may give.
    pub fn publish(&mut self, stage: &Stage<'_>, place: &Place) -> Result<Vec<Ack>, String> {
        let mut log = Connection::new(place, PATIENCE);
        let mut acks = Vec::new();
        loop {
            let (n, want) = self.choose(stage);
            match stage.submit(&mut log, n, want)? {
                Some(ack) => {
                    self.remember(n, ack.index);
                    acks.push(ack);
                }
                None => {
                    if want.is_none() {
                        self.unanswered.push(n);
                    }
                    return Ok(acks);
                }
            }
        }
    }

    /// Sends once more what never got an answer, to a server that stays alive.
    ///
    /// # Errors
    /// A sentence: an answer that no server may give, or none.
    pub fn settle(&mut self, stage: &Stage<'_>, log: &mut Connection) -> Result<Vec<Ack>, String> {
        let mut acks = Vec::new();
        for (n, want) in self
            .unanswered
            .drain(..)
            .map(|n| (n, None))
            .chain(self.answered.drain(..).map(|(n, index)| (n, Some(index))))
        {
            let ack = stage.submit(log, n, want)?;
            acks.push(ack.ok_or("no answer from a server that was not killed")?);
        }
        Ok(acks)
    }

    /// A release, and the index that it must get if that is known.
    fn choose(&mut self, stage: &Stage<'_>) -> (u64, Option<u64>) {
        let at = self.random.below(self.unanswered.len() as u64);
        if self.random.chance(0.7) && at < self.unanswered.len() as u64 {
            return (self.unanswered.swap_remove(at as usize), None);
        }
        let at = self.random.below(self.answered.len() as u64);
        if self.random.chance(0.1)
            && let Some(&(n, index)) = self.answered.get(at as usize)
        {
            return (n, Some(index));
        }
        (stage.next.fetch_add(1, Ordering::Relaxed), None)
    }

    fn remember(&mut self, n: u64, index: u64) {
        let at = self.random.below(KEPT as u64) as usize;
        match self.answered.get_mut(at) {
            Some(slot) => *slot = (n, index),
            None => self.answered.push((n, index)),
        }
    }
}

impl Stage<'_> {
    /// Sends one release; `None` where no whole answer came.
    fn submit(
        &self,
        log: &mut Connection,
        n: u64,
        want: Option<u64>,
    ) -> Result<Option<Ack>, String> {
        let envelope = self.publisher.release(n, self.key)?.to_json().to_string();
        let Ok(answer) = log.submit(&envelope) else {
            return Ok(None);
        };
        match (answer.status, answer.index) {
            (200, Some(index)) if want.is_none_or(|w| w == index) => {
                self.top.fetch_max(index + 1, Ordering::Relaxed);
                let bundle = answer.body;
                Ok(Some(Ack { n, index, bundle }))
            }
            (200, got) => Err(format!(
                "inconsistent: release {n} stood at {want:?} and is answered {got:?}"
            )),
            (status, _) => Err(format!("release {n}: {status} {}", answer.kind())),
        }
    }
}

/// What an acknowledgement promises of the log, in few bytes.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    index: u64,
    leaf: Hash,
    pae: Hash,
}

impl Promise {
    /// Checks a bundle as whoever gets it would, and takes in its checkpoint. `whole` asks for
    /// the client's verifier too, with all signatures.
    ///
    /// # Errors
    /// A sentence.
    pub fn of(
        ack: &Ack,
        publisher: &Publisher,
        seen: &Seen,
        whole: Option<&Policy>,
    ) -> Result<Self, String> {
        let bad = |why: String| format!("bundle of release {}: {why}", ack.n);
        let bundle = Bundle::parse(&ack.bundle).map_err(|e| bad(e.to_string()))?;
        let (size, root) = seen.take(bundle.first.as_bytes())?;
        let entry = &bundle.entry;
        let leaf = leaf_hash(&entry.leaf);
        verify_inclusion(&leaf, entry.index, size, &entry.proof, &root)
            .map_err(|e| bad(e.to_string()))?;
        let pae = pae_hash(&publisher.payload(ack.n)?);
        let Ok(Leaf::Statement(statement)) = Leaf::parse(&entry.leaf) else {
            return Err(bad("its entry is no statement".into()));
        };
        if statement.envelope.pae_hash() != pae || entry.index != ack.index {
            return Err(bad("it is another release's".into()));
        }
        if let Some(policy) = whole {
            let subject = statement.statement.subject.first();
            let subject = subject.ok_or_else(|| bad("it has no artifact".into()))?;
            let artifact = Artifact {
                name: &subject.name,
                sha256: subject.sha256,
                size: subject.size.unwrap_or(0),
            };
            let project: &ProjectPolicy =
                policy.select(None, "").map_err(|e| bad(e.to_string()))?;
            let wanted = Wanted {
                project,
                version: None,
                no_rollback: false,
            };
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.map_or(0, |d| d.as_secs());
            verify(&artifact, &wanted, &bundle, policy, &Memory::default(), now)
                .map_err(|e| bad(e.to_string()))?;
        }
        Ok(Self {
            index: entry.index,
            leaf,
            pae,
        })
    }

    /// Whether the log keeps it.
    ///
    /// # Errors
    /// A sentence that begins with `lost`.
    pub fn kept(&self, audit: &Audit) -> Result<(), String> {
        audit.stands(self.index, &self.leaf, &self.pae)
    }
}
