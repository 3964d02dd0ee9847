//! How people are told: a file of JSON lines, a signed webhook, a program (docs/monitoring.md,
//! "Sinks"). A message that does not arrive is sent again, under the same id, until it does.

mod command;
mod webhook;

pub use webhook::Secret;

use super::alert::{Class, Finding};
use super::book::{Book, Due, SinkState, pause};
use super::config::{Alerts, Config, Sink};
use super::task::Poll;
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Seconds before a sink at which nothing arrived is tried again, at most. Each message waits by
/// itself, longer and longer.
const LONGEST_RETRY: u64 = 30;
/// Messages of one round that may fail.
const MOST_REFUSED: u32 = 3;
/// Characters of one text of a message at most.
const MOST_TEXT: usize = 2000;
/// Named values of a message at most.
const MOST_DETAILS: usize = 40;

/// Where a sink's messages go.
enum Way {
    Lines(std::path::PathBuf),
    Webhook(Box<webhook::Webhook>),
    Command(Vec<String>),
}

/// A sink that can be used.
pub struct Ready {
    sink: Sink,
    way: Way,
}

/// A message, as every sink gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The same for each attempt to deliver this message, and for no other.
    pub id: String,
    /// One JSON object.
    pub body: Value,
}

fn clean(text: &str) -> String {
    visible(&text.chars().take(MOST_TEXT).collect::<String>())
}

impl Message {
    /// The message that tells of an alert.
    #[must_use]
    pub fn alert(due: &Due, now: u64) -> Self {
        let (alert, finding) = (&due.alert, &due.alert.finding);
        // An alert that came back counts its messages anew, so its beginning is part of the id.
        let id = format!("{}-{}-{}", due.id, alert.first, due.number);
        let details: Vec<Value> = finding
            .details
            .iter()
            .take(MOST_DETAILS)
            .map(|(name, value)| json!({ "name": clean(name), "value": clean(value) }))
            .collect();
        let class = finding.class;
        let body = json!({
            "apiVersion": ledger::API_VERSION, "type": "alert", "why": due.why.name(), "message": id, "time": now,
            "alert": due.id, "class": class.name(), "severity": class.severity(), "meaning": class.meaning(),
            "kind": finding.kind, "subject": clean(&finding.subject), "what": clean(&finding.message),
            "details": details, "hint": clean(&finding.hint), "task": clean(&alert.task),
            "first": alert.first, "last": alert.last, "times": alert.times,
        });
        Self { id, body }
    }

    /// A test alert, which proves that the way to `sink` is open.
    #[must_use]
    pub fn canary(sink: &str, now: u64) -> Self {
        let id = format!("canary-{now}");
        let body = json!({
            "apiVersion": ledger::API_VERSION, "type": "canary", "message": id, "time": now, "sink": clean(sink),
            "what": "a test: alerts reach this place; nothing is wrong, and nothing is to be done",
        });
        Self { id, body }
    }
}

impl Ready {
    /// Makes `sink` ready: its secret is read.
    ///
    /// # Errors
    /// Exit code 2.
    pub fn new(sink: &Sink, ca_file: Option<&Path>) -> Result<Self, Fail> {
        let way = match (&sink.file, &sink.webhook, &sink.command) {
            (Some(file), _, _) => Way::Lines(file.clone()),
            (_, Some(url), _) => {
                let path = sink.secret_file.as_deref().unwrap_or(Path::new(""));
                let secret = Secret::read(path)?;
                let fetcher = Fetcher::new(ca_file)?;
                Way::Webhook(Box::new(webhook::Webhook::new(fetcher, url, secret)))
            }
            (_, _, Some(command)) => Way::Command(command.clone()),
            // The configuration was checked.
            _ => return Err(Fail::usage("bad-sink", "a sink goes nowhere")),
        };
        let sink = sink.clone();
        Ok(Self { sink, way })
    }

    /// All sinks of a configuration.
    ///
    /// # Errors
    /// Exit code 2.
    pub fn all(config: &Config) -> Result<Vec<Self>, Fail> {
        let ca_file = config.ca_file.as_deref();
        let one = |sink| Self::new(sink, ca_file);
        config.sinks.iter().map(one).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.sink.name
    }

    /// Delivers a message.
    ///
    /// # Errors
    /// Why it did not arrive.
    pub fn send(&self, message: &Message, now: u64) -> Result<(), String> {
        match &self.way {
            Way::Lines(path) => line(path, &message.body),
            Way::Webhook(hook) => hook.send(message, now),
            Way::Command(command) => command::run(command, message),
        }
    }

    /// The task whose findings are about this sink.
    fn task(&self) -> String {
        format!("sink {}", self.sink.name)
    }

    /// Sends all that is due, and a canary where one is; what becomes of it stands in the book.
    /// The book is not held while something is on its way. `hurry`: also what waits for a retry.
    pub fn deliver(&self, book: &Mutex<Book>, rules: &Alerts, now: &dyn Fn() -> u64, hurry: bool) {
        let name = self.name();
        let state = held(book).sink(name);
        if !hurry && now() < state.retry {
            return;
        }
        let dues = held(book).due(&self.sink, rules, now());
        let (mut refused, mut arrived, mut why) = (0, false, String::new());
        for due in &dues {
            let at = now();
            match self.send(&Message::alert(due, at), at) {
                Ok(()) => {
                    let mut book = held(book);
                    book.arrived(name, due, at);
                    let state = book.sink(name);
                    book.set_sink(
                        name,
                        SinkState {
                            arrived: at,
                            ..state
                        },
                    );
                    saved(&mut book);
                    arrived = true;
                }
                Err(e) => {
                    held(book).refused(name, due, at);
                    (refused, why) = (refused + 1, e);
                    // One that is refused, by what is said in it, holds up no other; a way that
                    // is closed is not tried with all of them.
                    if refused == MOST_REFUSED {
                        break;
                    }
                }
            }
        }
        if refused > 0 {
            // A few that are refused say nothing about the way: a canary will.
            let open = arrived || refused < MOST_REFUSED;
            return self.failed(book, &why, now(), open);
        }
        if arrived {
            let mut book = held(book);
            let state = book.sink(name);
            self.worked(&mut book, state);
        }
        let state = held(book).sink(name);
        let at = now();
        let again = state.failures > 0 && dues.is_empty();
        if again || at >= state.canary_sent.saturating_add(rules.canary_every) {
            self.canary(book, at);
        }
    }

    /// Sends a canary; whether it arrived stands in the book, and why not.
    pub fn canary(&self, book: &Mutex<Book>, at: u64) {
        let sent = self.send(&Message::canary(self.name(), at), at);
        let mut locked = held(book);
        let mut state = locked.sink(self.name());
        state.canary_sent = at;
        match sent {
            Ok(()) => {
                (state.canary, state.arrived) = (at, at);
                self.worked(&mut locked, state);
            }
            Err(why) => {
                locked.set_sink(self.name(), state);
                drop(locked);
                self.failed(book, &why, at, false);
            }
        }
    }

    fn worked(&self, book: &mut Book, state: SinkState) {
        let at = state.arrived;
        let well = SinkState {
            failures: 0,
            retry: 0,
            why: String::new(),
            ..state
        };
        book.set_sink(self.name(), well);
        let poll = Poll {
            whole: true,
            ..Poll::default()
        };
        book.report(&self.task(), &poll, at);
        saved(book);
    }

    fn failed(&self, book: &Mutex<Book>, why: &str, at: u64, open: bool) {
        let mut book = held(book);
        let mut state = book.sink(self.name());
        state.failures = state.failures.saturating_add(1);
        let wait = if open { 0 } else { pause(state.failures) };
        state.retry = at.saturating_add(wait.min(LONGEST_RETRY));
        clean(why).clone_into(&mut state.why);
        let arrived = match state.arrived {
            0 => "never".to_owned(),
            time => crate::when::time(time),
        };
        let finding = Finding::new(
            Class::Operational,
            "sink-failing",
            self.name(),
            format!(
                "alerts do not reach the sink {:?}: {}",
                self.name(),
                state.why
            ),
        )
        .detail("failures in a row", state.failures.to_string())
        .detail("something last arrived", arrived)
        .hint("mend the way; alerts wait, and are sent when it works again");
        book.set_sink(self.name(), state);
        let poll = Poll {
            findings: vec![finding],
            whole: true,
            ..Poll::default()
        };
        book.report(&self.task(), &poll, at);
        saved(&mut book);
    }
}

/// The book, whoever held it before.
pub(super) fn held(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Saves the book; where it cannot be, standard error hears of it, and the next change tries again.
pub(super) fn saved(book: &mut Book) {
    if let Err(fail) = book.save() {
        eprint!("{}", fail.human());
    }
}

/// Adds a line to a file, durably.
fn line(path: &Path, body: &Value) -> Result<(), String> {
    let text = format!("{body}\n");
    if path == Path::new("-") {
        let mut out = std::io::stdout().lock();
        return out
            .write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|e| format!("standard output: {e}"));
    }
    let options = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path);
    options
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            // A pipe or a terminal cannot be synced, and needs not to be.
            match file.metadata()?.is_file() {
                true => file.sync_all(),
                false => Ok(()),
            }
        })
        .map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests;
