//! The book of alerts: what was found, since when, who was told, and what somebody acknowledged
//! (docs/monitoring.md, "Alerts"). One file, written whole and durably at every change, so that
//! a monitor that is killed at any moment forgets nothing that it has found.
//!
//! An alert ends in one of two ways. What passes ([`Class::passes`]) is over once a whole poll of
//! its task no longer finds it. Graver classes stay open until somebody acknowledges them, found
//! again or not; what returns after it was acknowledged and gone is told anew.

mod due;

pub use due::{Due, Why, pause};

use super::alert::{Class, Finding};
use super::task::Poll;
use crate::cmd::common::write_private;
use crate::fail::Fail;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Open alerts of one kind about one subject at most: an address that serves other bytes each
/// time shall not fill the disk. Those beyond are counted in one alert of their own.
const MOST_OF_A_KIND: usize = 50;
/// The key of that one.
const MORE: &str = "and more";
/// Seconds that an alert which has ended is kept.
const KEPT: u64 = 90 * 24 * 3600;

/// Who acknowledged an alert, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// Unix seconds.
    pub time: u64,
    /// Who, as they said.
    pub by: String,
    /// What they said.
    pub note: String,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Alert {
    /// What was found last.
    pub finding: Finding,
    /// The task that found it.
    pub task: String,
    /// When it was found first, Unix seconds.
    pub first: u64,
    /// When it was found last.
    pub last: u64,
    /// Polls that found it.
    pub times: u64,
    /// When a poll first no longer found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<u64>,
    /// Whether somebody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Ack>,
    /// What each sink was told.
    pub told: BTreeMap<String, Told>,
}

/// What a sink was told of an alert.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Messages that arrived.
    pub count: u64,
    /// When the last one did, Unix seconds.
    pub last: u64,
    /// Whether it was told that this is over.
    pub over: bool,
    /// Attempts in a row that failed.
    pub tries: u32,
    /// Not tried again before this: one message that is refused must not hold up the others.
    pub retry: u64,
}

impl Alert {
    /// Whether it wants somebody's attention.
    #[must_use]
    pub fn open(&self) -> bool {
        self.acknowledged.is_none() && !self.over()
    }

    /// Whether it has passed by itself.
    #[must_use]
    pub fn over(&self) -> bool {
        self.finding.class.passes() && self.gone.is_some()
    }

    /// Whether nothing more will come of it: acknowledged or over, and no longer found.
    fn ended(&self) -> bool {
        !self.open() && self.gone.is_some()
    }
}

/// How a sink does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SinkState {
    /// When something last arrived, Unix seconds; 0 for never.
    pub arrived: u64,
    /// When a canary last arrived.
    pub canary: u64,
    /// When a canary was last sent, whether or not it arrived.
    pub canary_sent: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Not tried again before this.
    pub retry: u64,
    /// Why it failed last.
    pub why: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kept {
    api_version: String,
    alerts: BTreeMap<String, Alert>,
    sinks: BTreeMap<String, SinkState>,
}

/// The book.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    kept: Kept,
    /// Whether something was found that is not durable yet.
    unsaved: bool,
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Fail {
    Fail::usage("alerts-unreadable", format!("{}: {why}", path.display())).hint(
        "it is never taken for an empty one: restore it, or move it away, and all that stands is told anew",
    )
}

impl Book {
    /// Opens the book in the directory `state`; a new one where there is none.
    ///
    /// # Errors
    /// Exit code 2 where it cannot be read, or is damaged.
    pub fn open(state: &Path) -> Result<Self, Fail> {
        let path = state.join("alerts.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::of(path, Kept::default()));
            }
            Err(e) => return Err(unreadable(&path, e)),
        };
        let value = ledger::json::parse_own(&bytes).map_err(|e| unreadable(&path, e))?;
        let kept: Kept = ledger::json::typed(value).map_err(|e| unreadable(&path, e))?;
        if kept.api_version != ledger::API_VERSION {
            return Err(unreadable(&path, "it is of another version"));
        }
        Ok(Self::of(path, kept))
    }

    fn of(path: PathBuf, kept: Kept) -> Self {
        let unsaved = false;
        Self {
            path,
            kept,
            unsaved,
        }
    }

    /// Whether something was found that is not durable yet: also where an earlier attempt to
    /// save it failed.
    #[must_use]
    pub fn unsaved(&self) -> bool {
        self.unsaved
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// Exit code 2; the file is as it was.
    pub fn save(&mut self) -> Result<(), Fail> {
        ledger::API_VERSION.clone_into(&mut self.kept.api_version);
        let bytes = ledger::json::canonical_of(&self.kept)
            .map_err(|e| Fail::usage("encoding", e.to_string()))?;
        write_private(&self.path, &bytes)?;
        self.unsaved = false;
        Ok(())
    }

    /// All alerts by id.
    pub fn alerts(&self) -> impl Iterator<Item = (&str, &Alert)> {
        self.kept.alerts.iter().map(|(id, a)| (id.as_str(), a))
    }

    /// The gravest class of those that are open.
    #[must_use]
    pub fn gravest(&self) -> Option<Class> {
        let open = self.kept.alerts.values().filter(|a| a.open());
        open.map(|a| a.finding.class).max()
    }

    /// How a sink does.
    #[must_use]
    pub fn sink(&self, name: &str) -> SinkState {
        self.kept.sinks.get(name).cloned().unwrap_or_default()
    }

    /// Notes how a sink does.
    pub fn set_sink(&mut self, name: &str, state: SinkState) {
        self.kept.sinks.insert(name.to_owned(), state);
    }

    /// Takes up what a poll of `task` found at `now`. Whether anything changed that must be
    /// durable before the task's progress is.
    pub fn report(&mut self, task: &str, poll: &Poll, now: u64) -> bool {
        let mut found = BTreeSet::new();
        let mut changed = false;
        for finding in &poll.findings {
            let (id, finding) = self.placed(finding, task);
            changed |= self.found(&id, task, finding, now);
            found.insert(id);
        }
        if poll.whole {
            for (id, alert) in &mut self.kept.alerts {
                if alert.task == task && alert.gone.is_none() && !found.contains(id) {
                    alert.gone = Some(now);
                    changed = true;
                }
            }
        }
        self.unsaved |= changed;
        changed
    }

    /// The id under which a finding stands: its own, or that of the rest where there are many.
    fn placed(&self, finding: &Finding, task: &str) -> (String, Finding) {
        let id = finding.id();
        if self.kept.alerts.contains_key(&id) {
            return (id, finding.clone());
        }
        let like = |a: &&Alert| {
            let f = &a.finding;
            a.task == task
                && a.open()
                && (f.class, &f.kind, &f.subject)
                    == (finding.class, &finding.kind, &finding.subject)
        };
        if self.kept.alerts.values().filter(like).count() < MOST_OF_A_KIND {
            return (id, finding.clone());
        }
        let mut rest = finding.clone().key(MORE);
        rest.message = format!(
            "more than {MOST_OF_A_KIND} of this kind are open; the last one: {}",
            finding.message
        );
        (rest.id(), rest)
    }

    fn found(&mut self, id: &str, task: &str, finding: Finding, now: u64) -> bool {
        let Some(alert) = self.kept.alerts.get_mut(id) else {
            let alert = Alert {
                finding,
                task: task.to_owned(),
                first: now,
                last: now,
                times: 1,
                gone: None,
                acknowledged: None,
                told: BTreeMap::new(),
            };
            self.kept.alerts.insert(id.to_owned(), alert);
            return true;
        };
        // What was over, or gone after somebody had seen to it, has come back.
        let back = alert.gone.take().is_some();
        if back && (alert.acknowledged.is_some() || finding.class.passes()) {
            alert.acknowledged = None;
            alert.first = now;
            alert.told.clear();
        }
        alert.finding = finding;
        alert.last = now;
        alert.times = alert.times.saturating_add(1);
        // Of one that stands as it stood only times change: that may wait for the next change.
        back
    }

    /// Acknowledges the alert of this id.
    ///
    /// # Errors
    /// Exit code 2 where there is none.
    pub fn acknowledge(&mut self, id: &str, ack: Ack) -> Result<(), Fail> {
        let alert = self.kept.alerts.get_mut(id).ok_or_else(|| no_alert(id))?;
        alert.acknowledged = Some(ack);
        Ok(())
    }

    /// The one id that begins with `prefix`.
    ///
    /// # Errors
    /// Exit code 2 where there is none, or several.
    pub fn id_of(&self, prefix: &str) -> Result<String, Fail> {
        let mut like = self.kept.alerts.keys().filter(|id| id.starts_with(prefix));
        match (like.next(), like.next()) {
            (Some(id), None) if prefix.len() >= 4 => Ok(id.clone()),
            (Some(_), Some(_)) => Err(Fail::usage(
                "ambiguous-alert",
                format!("several alerts begin with {prefix:?}"),
            )
            .hint("give more of the id")),
            _ => Err(no_alert(prefix)),
        }
    }

    /// Forgets what ended long ago.
    pub fn forget(&mut self, now: u64) {
        let old = |at: Option<u64>| at.is_some_and(|at| at.saturating_add(KEPT) < now);
        self.kept.alerts.retain(|_, a| !(a.ended() && old(a.gone)));
    }
}

fn no_alert(id: &str) -> Fail {
    Fail::usage("no-such-alert", format!("there is no alert {id:?}"))
        .hint("`countersign monitor alerts --config FILE` lists them; four digits of an id will do")
}

#[cfg(test)]
mod tests;
