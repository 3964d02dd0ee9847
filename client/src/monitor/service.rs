//! Runs tasks on a few threads, writes the book, and lets the sinks deliver.

use super::alert::Class;
use super::book::{Ack, Book};
use super::config::Config;
use super::metrics::Metrics;
use super::sinks::{Ready, held, saved};
use super::task::{Poll, Record, Task};
use crate::cmd::common::now;
use crate::fail::{Fail, visible};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often sinks look whether something is due, and acknowledgements are read.
const TICK: Duration = Duration::from_millis(500);
/// How often the metrics file is written.
const METRICS: Duration = Duration::from_secs(15);
/// Larger than any acknowledgement, in bytes.
const MAX_ACK: u64 = 64 * 1024;

/// An acknowledgement on its way to a running monitor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    id: String,
    ack: Ack,
}

/// What one run has.
pub struct Service {
    state: PathBuf,
    config: Config,
    book: Mutex<Book>,
    metrics: Mutex<Metrics>,
    sinks: Vec<Ready>,
    /// What a task could not make durable is no reason to stop the others.
    records: Mutex<()>,
    _lock: std::fs::File,
}

/// Tasks by when they are due.
struct Queue {
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Those that are with a thread have their place empty.
    tasks: Vec<Option<Box<dyn Task>>>,
    running: usize,
}

/// Whether a task comes again after its turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turns {
    /// Each once; a backlog is worked off.
    Once,
    /// For ever.
    ForEver,
}

impl Service {
    /// Takes the state directory, which no other monitor may have, and reads the book.
    ///
    /// # Errors
    /// Exit code 2.
    pub fn open(config: Config) -> Result<Self, Fail> {
        let state = config.state.clone();
        let bad = |e: std::io::Error| {
            Fail::usage("state-unwritable", format!("{}: {e}", state.display()))
                .hint("give the monitor a directory of its own that it can write")
        };
        for directory in [state.clone(), state.join("acknowledged")] {
            std::fs::create_dir_all(directory).map_err(bad)?;
        }
        let lock = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(state.join("lock"))
            .map_err(bad)?;
        // A program that the last one was just starting may hold it for a moment.
        let mut tries = 0..40;
        while lock.try_lock().is_err() {
            if tries.next().is_some() {
                std::thread::sleep(Duration::from_millis(25));
                continue;
            }
            return Err(Fail::usage(
                "already-running",
                format!("{}: another monitor has it", state.display()),
            )
            .hint("stop it first, or give this one a state directory of its own"));
        }
        Ok(Self {
            book: Mutex::new(Book::open(&state)?),
            metrics: Mutex::new(Metrics::new(now())),
            sinks: Ready::all(&config)?,
            records: Mutex::new(()),
            state,
            config,
            _lock: lock,
        })
    }

    /// Runs each task once, tells who is to be told, and says how grave the gravest open alert is.
    ///
    /// # Errors
    /// Exit code 2 where the book cannot be written.
    pub fn once(&self, tasks: Vec<Box<dyn Task>>) -> Result<Option<Class>, Fail> {
        self.acknowledged();
        self.poll(tasks, Turns::Once);
        // A sink that fails is to be told at the others: hence twice.
        for hurry in [true, false] {
            for sink in &self.sinks {
                // Nobody tries again after this run, so a sink that failed before is tried now.
                sink.deliver(&self.book, &self.config.alerts, &now, hurry);
            }
        }
        self.write_metrics();
        let mut book = held(&self.book);
        book.forget(now());
        let gravest = book.gravest();
        match (book.save(), gravest) {
            // What was found is graver than a full disk, which is said too.
            (Err(fail), Some(class)) => {
                eprint!("{}", fail.human());
                Ok(Some(class))
            }
            (saved, gravest) => saved.map(|()| gravest),
        }
    }

    /// Runs until the process is ended.
    pub fn for_ever(&self, tasks: Vec<Box<dyn Task>>) {
        std::thread::scope(|scope| {
            for sink in &self.sinks {
                scope.spawn(move || {
                    loop {
                        sink.deliver(&self.book, &self.config.alerts, &now, false);
                        std::thread::sleep(TICK);
                    }
                });
            }
            scope.spawn(|| {
                let mut written: Option<Instant> = None;
                loop {
                    self.acknowledged();
                    if written.is_none_or(|at| at.elapsed() >= METRICS) {
                        held(&self.book).forget(now());
                        self.write_metrics();
                        written = Some(Instant::now());
                    }
                    std::thread::sleep(TICK);
                }
            });
            self.poll(tasks, Turns::ForEver);
        });
    }

    /// The metrics, as text.
    #[must_use]
    pub fn metrics(&self) -> String {
        let names: Vec<String> = self.sinks.iter().map(|s| s.name().to_owned()).collect();
        let book = held(&self.book);
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.text(&book, &names, now())
    }

    /// The book, as it stands.
    pub fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        held(&self.book)
    }

    /// Tasks whose last poll is older than three of their intervals.
    #[must_use]
    pub fn late(&self) -> Vec<String> {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.late(now())
    }

    fn write_metrics(&self) {
        let Some(path) = &self.config.metrics_file else {
            return;
        };
        if let Err(fail) = crate::cmd::common::write_atomic(path, self.metrics().as_bytes()) {
            eprint!("{}", fail.human());
        }
    }

    fn poll(&self, tasks: Vec<Box<dyn Task>>, turns: Turns) {
        let began = Instant::now();
        {
            let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
            for task in &tasks {
                metrics.expect(task.name(), task.every());
            }
        }
        let waiting = (0..tasks.len()).map(|i| Reverse((began, i))).collect();
        let threads = self.config.workers.min(tasks.len().max(1));
        let queue = Mutex::new(Queue {
            waiting,
            tasks: tasks.into_iter().map(Some).collect(),
            running: 0,
        });
        let changed = Condvar::new();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.work(&queue, &changed, turns));
            }
        });
    }

    fn work(&self, queue: &Mutex<Queue>, changed: &Condvar, turns: Turns) {
        let mut locked = queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Instant::now();
            let next = locked.waiting.peek().map(|Reverse((at, _))| *at);
            match next {
                Some(at) if at <= now => {}
                // Whoever runs one may put it back.
                None if locked.running == 0 && turns == Turns::Once => {
                    changed.notify_all();
                    return;
                }
                next => {
                    let until = next.map_or(Duration::from_secs(3600), |at| at - now);
                    let woken = changed.wait_timeout(locked, until);
                    locked = woken.unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            }
            let Some(Reverse((_, index))) = locked.waiting.pop() else {
                continue;
            };
            let Some(mut task) = locked.tasks.get_mut(index).and_then(Option::take) else {
                continue;
            };
            locked.running += 1;
            drop(locked);
            let again = self.turn(&mut *task);
            locked = queue.lock().unwrap_or_else(PoisonError::into_inner);
            locked.running -= 1;
            let every = Duration::from_secs(task.every().max(1));
            if again {
                locked.waiting.push(Reverse((Instant::now(), index)));
            } else if turns == Turns::ForEver {
                locked
                    .waiting
                    .push(Reverse((Instant::now() + every, index)));
            }
            if let Some(place) = locked.tasks.get_mut(index) {
                *place = Some(task);
            }
            changed.notify_all();
        }
    }

    /// One poll: what it found is durable before its progress is. Whether there is more at once.
    fn turn(&self, task: &mut dyn Task) -> bool {
        let began = Instant::now();
        let poll = task.poll(now());
        let at = now();
        {
            let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
            metrics.polled(task.name(), &poll, at, began.elapsed().as_secs_f64());
        }
        let kept = {
            let mut book = held(&self.book);
            book.report(task.name(), &poll, at);
            match book.unsaved() {
                true => book.save(),
                false => Ok(()),
            }
        };
        let kept = kept
            .and_then(|()| self.record(task.name(), &poll.records, at))
            .and_then(|()| task.commit());
        match kept {
            Ok(()) => {
                self.mend(task.name(), at);
                poll.again
            }
            Err(fail) => {
                self.not_kept(task.name(), &fail, at);
                false
            }
        }
    }

    /// That progress could not be kept is told as long as the disk lets it be.
    fn not_kept(&self, task: &str, fail: &Fail, at: u64) {
        eprint!("{}", fail.human());
        let finding = super::alert::Finding::new(
            Class::Operational,
            "progress-not-kept",
            task,
            format!(
                "what was found, or how far this has come, cannot be kept: {}",
                fail.message
            ),
        )
        .hint("mend the state directory; nothing is lost, and what was found comes again");
        let poll = Poll {
            findings: vec![finding],
            ..Poll::default()
        };
        let mut book = held(&self.book);
        book.report(&format!("progress of {task}"), &poll, at);
        saved(&mut book);
    }

    fn mend(&self, task: &str, at: u64) {
        let whole = Poll {
            whole: true,
            ..Poll::default()
        };
        let mut book = held(&self.book);
        if book.report(&format!("progress of {task}"), &whole, at) {
            saved(&mut book);
        }
    }

    /// Adds what was expected to the record, a line each.
    fn record(&self, task: &str, records: &[Record], at: u64) -> Result<(), Fail> {
        if records.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for record in records {
            let details: Vec<_> = record
                .details
                .iter()
                .map(|(n, v)| json!({ "name": visible(n), "value": visible(v) }))
                .collect();
            let line = json!({
                "apiVersion": ledger::API_VERSION, "type": "record", "time": at, "task": visible(task),
                "kind": record.kind, "subject": visible(&record.subject), "what": visible(&record.message),
                "details": details,
            });
            text.push_str(&format!("{line}\n"));
        }
        let path = self.state.join("records.jsonl");
        let _one = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::File::options()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .map_err(|e| Fail::usage("unwritable", format!("{}: {e}", path.display())))
    }

    /// Takes up the acknowledgements that lie ready.
    fn acknowledged(&self) {
        let Ok(items) = std::fs::read_dir(self.state.join("acknowledged")) else {
            return;
        };
        for path in items.filter_map(|item| Some(item.ok()?.path())) {
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let sent = read_ack(&path);
            let mut book = held(&self.book);
            let done = match sent {
                Some(Sent { id, ack }) => book.acknowledge(&id, ack).and_then(|()| book.save()),
                None => Err(Fail::usage(
                    "bad-acknowledgement",
                    path.display().to_string(),
                )),
            };
            if let Err(fail) = done {
                eprint!("{}", fail.human());
                // One that could not be saved is tried again.
                if fail.kind == "unwritable" {
                    continue;
                }
            }
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn read_ack(path: &Path) -> Option<Sent> {
    if std::fs::metadata(path).ok()?.len() > MAX_ACK {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Lays an acknowledgement ready in the directory `state`, for the monitor that runs or the one
/// that runs next. Whether the alert was open.
///
/// # Errors
/// Exit code 2 where there is no such alert, or it cannot be written.
pub fn acknowledge(state: &Path, id: &str, by: &str, note: &str) -> Result<(String, bool), Fail> {
    let book = Book::open(state)?;
    let id = book.id_of(id)?;
    let open = book
        .alerts()
        .any(|(other, alert)| other == id && alert.open());
    let ack = Ack {
        time: now(),
        by: visible(by),
        note: visible(note),
    };
    let directory = state.join("acknowledged");
    let sent = Sent {
        id: id.clone(),
        ack,
    };
    let bytes = serde_json::to_vec(&sent).map_err(|e| Fail::usage("encoding", e.to_string()))?;
    crate::cmd::common::write_private(&directory.join(format!("{id}.json")), &bytes)?;
    Ok((id, open))
}

#[cfg(test)]
mod tests;
