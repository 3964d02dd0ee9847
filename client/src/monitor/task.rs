//! What the service runs: one thing that is looked at, again and again.

use super::alert::Finding;
use crate::fail::Fail;
use std::path::Path;

/// One thing that is watched. It keeps its progress below the directory that it was made with,
/// so that a restart goes on where it was.
pub trait Task: Send {
    /// Its name, the same in every run: `heads acme/tool in log.example`.
    fn name(&self) -> &str;

    /// Seconds from one poll to the next.
    fn every(&self) -> u64;

    /// Looks once. Never fails: what could not be done is a finding, too. What it learns is only
    /// kept for good by [`Task::commit`].
    fn poll(&mut self, now: u64) -> Poll;

    /// Makes the progress of the last poll durable. Called once its findings are.
    ///
    /// # Errors
    /// The progress stands as it was before: the same findings will come again.
    fn commit(&mut self) -> Result<(), Fail>;
}

/// What a poll came to.
#[derive(Debug, Default)]
pub struct Poll {
    /// What is wrong, or unexpected.
    pub findings: Vec<Finding>,
    /// What was seen and is as it was announced: recorded, and nobody is told.
    pub records: Vec<Record>,
    /// Numbers for the metrics.
    pub gauges: Vec<Gauge>,
    /// Whether everything that this poll was to look at was looked at. Where not, what was found
    /// before and passes is not over yet.
    pub whole: bool,
    /// Whether there is more to do at once: a backlog is taken in steps, each committed.
    pub again: bool,
}

/// Something expected, for the record file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// A stable word: `release`, `project`, `served`.
    pub kind: String,
    /// As of a [`Finding`].
    pub subject: String,
    /// As of a [`Finding`].
    pub message: String,
    /// As of a [`Finding`].
    pub details: Vec<(String, String)>,
}

/// A number for the metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// Without the prefix `countersign_monitor_`; units last: `log_size_leaves`.
    pub name: &'static str,
    /// What it measures, one sentence.
    pub help: &'static str,
    /// Labels beside `task`.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// Where a task of this name keeps its progress: a directory of its own below `state`.
#[must_use]
pub fn directory(state: &Path, name: &str) -> std::path::PathBuf {
    let hash = ledger::hex32(&ledger::sha256(name.as_bytes()));
    state
        .join("tasks")
        .join(hash.chars().take(32).collect::<String>())
}
