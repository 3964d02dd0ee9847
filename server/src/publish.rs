//! Asks the witnesses for cosignatures before a checkpoint is shown (c2sp.org/tlog-witness).
//!
//! What the sequencer has made durable is *staged*. The newest staged checkpoint is the *target*:
//! all witnesses are asked about it at once, each by a thread of its own. Once their
//! cosignatures meet the quorum, everything up to the target is shown under it, and what was
//! staged meanwhile is the next target. Where the quorum is not met in time, the checkpoint is
//! shown with what there is: whether that suffices is for each client's policy to say. Late
//! cosignatures of what is shown are added to it, and an idle log asks again on a schedule, so
//! that everybody can see that it has not been frozen.
//!
//! Before the first signature after a start the witnesses are asked about the last one. A witness
//! that has seen a larger tree, or another one, proves that this log is not what was signed
//! before: it then signs nothing until somebody has looked.

mod ask;
mod standing;
mod worker;

pub use standing::{Outcome, Standing};

use crate::agent::agent;
use crate::error::Error;
use crate::log::Log;
use crate::view::{Entry, View};
use ledger::leaf::Leaf;
use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tlog::note::NoteSignature;
use tlog::policy::{MAX_POLICY_BYTES, Policy};

/// How the log is witnessed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The witnesses, with URLs, and the quorum.
    pub policy: Policy,
    /// Certificate authorities for the witnesses' URLs in place of the platform's, PEM.
    pub ca_file: Option<PathBuf>,
    /// How long a checkpoint waits for its quorum at most.
    pub wait: Duration,
    /// After how long the checkpoint of an idle log is cosigned again.
    pub again: Duration,
}

/// Reads the policy that names the witnesses.
///
/// # Errors
/// [`Error::Witnesses`] where it cannot be read, is no policy, or the witnesses that have a URL
/// cannot meet its quorum.
pub fn read_policy(path: &Path) -> Result<Policy, Error> {
    let bad = |why: String| Error::Witnesses(format!("{}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| bad(e.to_string()))?;
    let mut text = String::new();
    let read = file.take(MAX_POLICY_BYTES as u64 + 1);
    std::io::BufReader::new(read)
        .read_to_string(&mut text)
        .map_err(|e| bad(e.to_string()))?;
    let policy = Policy::parse(&text).map_err(|e| bad(e.to_string()))?;
    let with_url = |name: &str| {
        let mut witnesses = policy.witnesses().iter();
        witnesses.any(|w| w.name == name && w.url.is_some())
    };
    if !policy.met(&with_url) {
        let why = "the witnesses with a URL cannot meet the quorum: none could ever be reached";
        return Err(bad(why.into()));
    }
    if !policy.witnesses().iter().any(|w| w.url.is_some()) {
        return Err(bad(
            "names no witness with a URL, so nobody would be asked".into()
        ));
    }
    for url in policy.witnesses().iter().filter_map(|w| w.url.as_ref()) {
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(bad(format!("{url:?} is no http or https URL")));
        }
    }
    Ok(policy)
}

/// A batch that is durable, and not shown yet.
pub(crate) struct Staged {
    /// The log after it, under a checkpoint that only the log has signed.
    pub view: Arc<View>,
    /// Index of its first leaf.
    pub first: u64,
    /// Its leaves, and whether the ledger accepted each.
    pub leaves: Arc<Vec<(Leaf, Entry)>>,
    /// See there.
    pub accepted: Vec<bool>,
}

/// What a witness is asked to cosign.
pub(crate) struct Task {
    id: u64,
    /// The log at that checkpoint.
    pub view: Arc<View>,
    /// The checkpoint, with the log's signatures only.
    pub signed: Arc<str>,
}

struct State {
    staged: VecDeque<Staged>,
    /// The checkpoint that is being cosigned, with the log's signatures only; counts up.
    target: (u64, Arc<View>, Arc<str>),
    since: Instant,
    /// Size of the newest checkpoint, shown or not.
    newest: u64,
    shown: u64,
    /// Cosignatures of the target, by witness.
    lines: BTreeMap<usize, NoteSignature>,
    /// Whether there are new ones since the target was shown.
    dirty: bool,
    each: Vec<Standing>,
    /// The last target that each witness was asked about to the end.
    done: Vec<u64>,
    /// Whether the question after the start is answered.
    open: bool,
    stop: bool,
}

/// What the sequencer, the witnesses' threads and the publishing thread share.
pub struct Publisher {
    policy: Policy,
    /// Whether a witness has a URL, and is asked.
    asked: Vec<bool>,
    wait: Duration,
    again: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

impl Publisher {
    /// For a log that stands at `view`.
    pub(crate) fn new(settings: &Settings, view: &Arc<View>) -> Self {
        let witnesses = settings.policy.witnesses();
        let signed: Arc<str> = view.note.as_str().into();
        Self {
            policy: settings.policy.clone(),
            asked: witnesses.iter().map(|w| w.url.is_some()).collect(),
            wait: settings.wait,
            again: settings.again,
            state: Mutex::new(State {
                staged: VecDeque::new(),
                target: (1, Arc::clone(view), signed),
                since: Instant::now(),
                newest: view.size,
                shown: view.size,
                lines: BTreeMap::new(),
                dirty: false,
                each: vec![Standing::default(); witnesses.len()],
                done: vec![0; witnesses.len()],
                open: false,
                stop: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The witnesses' names in the policy, and how each does.
    #[must_use]
    pub fn standings(&self) -> Vec<(String, Standing)> {
        let each = self.state().each.clone();
        let names = self.policy.witnesses().iter().map(|w| w.name.clone());
        names.zip(each).collect()
    }

    /// Checkpoints that wait for cosignatures.
    #[must_use]
    pub fn staged(&self) -> usize {
        self.state().staged.len()
    }

    /// Takes a durable batch, to be shown once it is cosigned.
    pub(crate) fn stage(&self, batch: Staged) {
        let mut state = self.state();
        state.newest = batch.view.size;
        state.staged.push_back(batch);
        self.changed.notify_all();
    }

    /// The size of the newest checkpoint that the log has signed.
    fn newest(&self) -> u64 {
        self.state().newest
    }

    /// The newest checkpoint, signed by the log only, shown or not.
    #[must_use]
    pub fn signed(&self) -> String {
        let state = self.state();
        let newest = state.staged.back();
        newest.map_or_else(|| state.target.2.to_string(), |b| b.view.note.clone())
    }

    /// The next thing to ask the witness at `place`; `None` once the log stops.
    fn next(&self, place: usize) -> Option<Task> {
        let mut state = self.state();
        loop {
            if state.stop {
                return None;
            }
            let (now, id) = (Instant::now(), state.target.0);
            let standing = state.each.get(place)?;
            let fresh = state.done.get(place).is_none_or(|done| *done != id);
            let again = standing.at.map(|at| at + self.again);
            let due = match (fresh, standing.not_before) {
                (true, not_before) => not_before,
                (false, not_before) => again.max(not_before),
            };
            match due {
                Some(due) if due > now => {
                    let waited = self.changed.wait_timeout(state, due - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                _ => {
                    let (id, view, signed) = &state.target;
                    return Some(Task {
                        id: *id,
                        view: Arc::clone(view),
                        signed: Arc::clone(signed),
                    });
                }
            }
        }
    }

    fn cosigned(&self, place: usize, task: &Task, line: NoteSignature, time: u64) {
        let mut state = self.state();
        let current = state.target.0 == task.id;
        if let Some(standing) = state.each.get_mut(place) {
            standing.outcome = Outcome::Cosigned;
            standing.size = standing.size.max(Some(task.view.size));
            standing.time = time;
            standing.counts.0 += 1;
            (standing.not_before, standing.at) = (None, Some(Instant::now()));
        }
        if let Some(done) = state.done.get_mut(place) {
            *done = task.id;
        }
        if current {
            state.lines.insert(place, line);
            state.dirty = true;
        }
        self.changed.notify_all();
    }

    fn failed(&self, place: usize, outcome: Outcome, again: Instant) {
        let mut state = self.state();
        let name = self.policy.witnesses().get(place).map(|w| w.name.as_str());
        if let Some(standing) = state.each.get_mut(place) {
            if standing.outcome.word() != outcome.word()
                && let Outcome::Failed(kind, why) = &outcome
            {
                let name = name.unwrap_or_default();
                eprintln!("countersign-server: witness {name} does not cosign ({kind}): {why}");
            }
            standing.outcome = outcome;
            standing.counts.1 += 1;
            standing.not_before = Some(again);
        }
        self.changed.notify_all();
    }

    /// What a witness says contradicts this log. After a start that ends all signing, however late
    /// its answer comes; once it has cosigned, only a larger tree does, which somebody must have
    /// signed with this log's keys.
    fn contradicted(&self, place: usize, log: &Log, kind: &str, why: String) {
        let state = self.state();
        let cosigned = state.each.get(place).is_some_and(|s| s.size.is_some());
        let asked = !state.open || !cosigned;
        drop(state);
        if kind == "larger-size" || asked {
            log.guard().latch(why);
        }
    }

    fn met(&self, state: &State) -> bool {
        let witnesses = self.policy.witnesses();
        let cosigned = |name: &str| {
            let place = witnesses.iter().position(|w| w.name == name);
            place.is_some_and(|place| state.lines.contains_key(&place))
        };
        self.policy.met(&cosigned)
    }

    /// Whether the question after the start is answered: by a quorum, and where there is none, by
    /// every witness, as far as it answers at all.
    fn answered(&self, state: &State) -> bool {
        let all = || {
            let each = self.asked.iter().zip(&state.each);
            each.filter(|(asked, _)| **asked)
                .all(|(_, standing)| standing.outcome != Outcome::Unasked)
        };
        self.met(state) && (!self.policy.quorum_none() || all())
    }

    /// Why the log does not sign yet.
    fn asking(&self, state: &State) -> String {
        let names = self.policy.witnesses().iter().map(|w| w.name.as_str());
        let each = names.zip(&state.each);
        let each: Vec<String> = each
            .map(|(name, standing)| match &standing.outcome {
                Outcome::Failed(_, why) => format!("{name}: {why}"),
                other => format!("{name}: {}", other.word()),
            })
            .collect();
        each.join("; ")
    }

    /// The target's checkpoint with the cosignatures that there are.
    fn note(state: &State) -> String {
        let lines: String = state.lines.values().map(NoteSignature::to_line).collect();
        format!("{}{lines}", state.target.2)
    }

    /// Shows what is cosigned, until the log stops.
    fn run(&self, log: &Log) {
        let mut state = self.state();
        while !state.stop {
            if !state.open {
                state.open = self.answered(&state);
                let why = (!state.open).then(|| self.asking(&state));
                log.guard().ask(why);
            }
            state = match self.step(log, state) {
                (state, None) => state,
                (state, Some(until)) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Does what can be done now; and until when there is nothing more, unless something changes.
    fn step<'a>(
        &'a self,
        log: &Log,
        mut state: MutexGuard<'a, State>,
    ) -> (MutexGuard<'a, State>, Option<Instant>) {
        let now = Instant::now();
        let is_staged = state.target.1.size > state.shown;
        if !is_staged && let Some(newest) = state.staged.back() {
            let view = Arc::clone(&newest.view);
            let signed: Arc<str> = view.note.as_str().into();
            state.target = (state.target.0 + 1, view, signed);
            (state.since, state.dirty) = (now, false);
            state.lines.clear();
            self.changed.notify_all();
            return (state, None);
        }
        if is_staged {
            let due = state.since + self.wait;
            if !self.met(&state) && now < due {
                return (state, Some(due));
            }
        } else if !state.dirty {
            return (state, Some(now + self.again));
        }
        let view = View {
            note: Self::note(&state),
            witnessed: Some(self.met(&state)),
            ..View::clone(&state.target.1)
        };
        let size = view.size;
        let mut batches = Vec::new();
        while state.staged.front().is_some_and(|b| b.view.size <= size) {
            batches.extend(state.staged.pop_front());
        }
        state.dirty = false;
        drop(state);
        // Only this thread shows anything.
        log.show(&batches, view);
        let mut state = self.state();
        state.shown = size;
        (state, None)
    }
}

/// The threads of a witnessed log. Dropping it ends them.
pub struct Publishing {
    publisher: Arc<Publisher>,
    threads: Vec<JoinHandle<()>>,
}

impl Publishing {
    /// Starts asking.
    ///
    /// # Errors
    /// [`Error::Witnesses`].
    pub(crate) fn start(settings: &Settings, log: &Arc<Log>) -> Result<Option<Self>, Error> {
        let Some(publisher) = log.publisher().cloned() else {
            return Ok(None);
        };
        let agent = agent(settings.ca_file.as_deref()).map_err(Error::Witnesses)?;
        let mut publishing = Self {
            publisher: Arc::clone(&publisher),
            threads: Vec::new(),
        };
        for (place, witness) in settings.policy.witnesses().iter().enumerate() {
            let Some(url) = &witness.url else { continue };
            let worker = worker::Worker::new(
                (place, witness.clone(), url),
                agent.clone(),
                Arc::clone(log),
                Arc::clone(&publisher),
            );
            publishing.spawn("witness", move || worker.run())?;
        }
        let log = Arc::clone(log);
        publishing.spawn("publisher", move || publisher.run(&log))?;
        Ok(Some(publishing))
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = std::thread::Builder::new().name(name.into());
        let thread = thread.spawn(work).map_err(|e| Error::Io {
            path: "thread".into(),
            why: e.to_string(),
        })?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.publisher.state().stop = true;
        self.publisher.changed.notify_all();
        // A witness in the middle of an answer is not waited for: nothing depends on it.
        self.threads.clear();
    }
}
