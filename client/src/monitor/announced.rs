//! What the owner's own pipeline announced, and so is only recorded (docs/monitoring.md,
//! "Expected and unexpected"): a directory of bundles, signed tags of a local clone, a program
//! that is asked. None of them is a source on the storage that is watched: whoever holds that
//! would announce what they put there.

mod directory;
mod tags;

use super::alert::{Class, Finding};
use super::config;
use super::run::{Ended, Output, run};
use crate::fail::Fail;
use directory::Directory;
use ledger::leaf::StatementLeaf;
use ledger::names::purl_version;
use ledger::statement::Body;
use ledger::{API_VERSION, Hash, hex32};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tags::Tags;

/// A command that has not ended by then has not answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// Programs are asked for so long in one poll; the rest waits for the next.
const IN_ALL: Duration = Duration::from_secs(60);

/// A statement that the log shows.
pub struct Said<'a> {
    /// The log's origin.
    pub origin: &'a str,
    /// The name of the project that it is about, as far as it is known.
    pub project: &'a str,
    /// That project's id.
    pub id: &'a Hash,
    /// Where it stands.
    pub index: u64,
    /// What was said.
    pub leaf: &'a StatementLeaf,
}

/// Whether a statement was announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// By the source of this name.
    Expected(&'static str),
    /// By none; and what a source said about it beside no.
    Unexpected(Option<String>),
    /// A source did not answer, and no other knows it.
    Unclear(Box<Finding>),
}

/// The sources of one log.
#[derive(Debug)]
pub struct Announced {
    /// Read once for all the log's tasks.
    directory: Option<Arc<Mutex<Directory>>>,
    tags: Option<Tags>,
    command: Option<Vec<String>>,
    /// Seconds that an announcement may come after the statement.
    pub grace: u64,
    /// Why the command, or the tags, are not asked again before the next poll: nobody waits for a
    /// whole history, thirty seconds each.
    failed: Option<Box<Finding>>,
    tags_failed: Option<Box<Finding>>,
    /// For how long programs were asked in this poll.
    asked: Duration,
}

impl Announced {
    /// The sources that a configuration names.
    #[must_use]
    pub fn new(config: &config::Announced) -> Self {
        let directory = config.bundles.as_ref();
        Self {
            directory: directory.map(|path| Arc::new(Mutex::new(Directory::new(path)))),
            tags: config.tags.as_ref().map(Tags::new),
            command: config.command.clone(),
            grace: config.grace,
            failed: None,
            tags_failed: None,
            asked: Duration::ZERO,
        }
    }

    /// The same sources for another task.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            directory: self.directory.clone(),
            tags: self.tags.clone(),
            command: self.command.clone(),
            grace: self.grace,
            failed: None,
            tags_failed: None,
            asked: Duration::ZERO,
        }
    }

    /// Begins a poll: what changed in the directory is read. Says what of it cannot be.
    pub fn begin(&mut self) -> Vec<Finding> {
        (self.failed, self.tags_failed, self.asked) = (None, None, Duration::ZERO);
        let Some(directory) = &self.directory else {
            return Vec::new();
        };
        let mut directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
        directory.refresh()
    }

    /// Asks the sources, the cheapest first.
    pub fn ask(&mut self, said: &Said<'_>) -> Answer {
        let pae = said.leaf.envelope.pae_hash();
        if let Some(directory) = &self.directory
            && let directory = directory.lock().unwrap_or_else(PoisonError::into_inner)
            && directory.knows(&pae)
        {
            return Answer::Expected("bundles");
        }
        let (mut unclear, mut note) = (None, None);
        match self.ask_tags(said) {
            Some(Answer::Expected(by)) => return Answer::Expected(by),
            Some(Answer::Unexpected(why)) => note = why,
            Some(Answer::Unclear(finding)) => unclear = Some(finding),
            None => {}
        }
        match self.ask_command(said, &pae) {
            Some(Answer::Expected(by)) => return Answer::Expected(by),
            Some(Answer::Unclear(finding)) => unclear = Some(finding),
            Some(Answer::Unexpected(_)) | None => {}
        }
        match unclear {
            Some(finding) => Answer::Unclear(finding),
            None => Answer::Unexpected(note),
        }
    }

    fn ask_tags(&mut self, said: &Said<'_>) -> Option<Answer> {
        let tags = self.tags.as_ref()?;
        let Body::Release(release) = &said.leaf.statement.body else {
            return None;
        };
        let version = purl_version(&release.purl)?;
        if let Some(failed) = &self.tags_failed {
            return Some(Answer::Unclear(failed.clone()));
        }
        if self.asked >= IN_ALL {
            return Some(Answer::Unclear(Box::new(too_many(
                "tags-unreadable",
                "git",
            ))));
        }
        let begun = Instant::now();
        let answer = tags.announces(&version);
        self.asked += begun.elapsed();
        if let Answer::Unclear(finding) = &answer {
            self.tags_failed = Some(finding.clone());
        }
        Some(answer)
    }

    fn ask_command(&mut self, said: &Said<'_>, pae: &Hash) -> Option<Answer> {
        let (program, arguments) = self.command.as_ref()?.split_first()?;
        if let Some(failed) = &self.failed {
            return Some(Answer::Unclear(failed.clone()));
        }
        if self.asked >= IN_ALL {
            return Some(Answer::Unclear(Box::new(too_many(
                "approval-command",
                program,
            ))));
        }
        let mut command = Command::new(program);
        command.args(arguments);
        let question = question(said, pae).to_string().into_bytes();
        let begun = Instant::now();
        let ended = run(command, question, Output::Ignored, PATIENCE);
        self.asked += begun.elapsed();
        let why = match ended {
            Ok(Ended::With(0, _)) => return Some(Answer::Expected("command")),
            Ok(Ended::With(1, _)) => return Some(Answer::Unexpected(None)),
            Ok(Ended::With(code, _)) => format!("it ended with exit code {code}"),
            Ok(Ended::Late) => format!("it did not end within {} s", PATIENCE.as_secs()),
            Err(e) => format!("it cannot be run: {e}"),
        };
        let message = format!("the approval command did not answer: {why}");
        let finding = Finding::new(Class::Operational, "approval-command", program, message)
            .hint("exit code 0 says expected, 1 not expected; what is not decided is asked again, and becomes an alert of its own after an hour");
        self.failed = Some(Box::new(finding.clone()));
        Some(Answer::Unclear(Box::new(finding)))
    }
}

/// More is new than a program can be asked about in one poll.
fn too_many(kind: &str, program: &str) -> Finding {
    let message = format!(
        "more statements are new than {program} answers about in {} s; the rest is asked about later",
        IN_ALL.as_secs()
    );
    Finding::new(Class::Operational, kind, program, message)
        .hint("announce a history by a directory of bundles, which costs no program a statement")
}

/// What the command reads on its standard input.
fn question(said: &Said<'_>, pae: &Hash) -> Value {
    let statement = &said.leaf.statement;
    let subjects = statement.subject.iter();
    let subjects: Vec<Value> = subjects
        .map(|s| json!({ "name": s.name, "sha256": hex32(&s.sha256), "size": s.size }))
        .collect();
    let signatures = said.leaf.envelope.signatures.iter();
    let keys: Vec<String> = signatures.map(|s| s.keyid.to_string()).collect();
    let purl = match &statement.body {
        Body::Release(r) => Some(r.purl.as_str()),
        _ => None,
    };
    json!({
        "apiVersion": API_VERSION, "envelope": said.leaf.envelope.to_json(), "index": said.index,
        "keys": keys, "kind": statement.body.kind(), "log": said.origin,
        "project": { "id": hex32(said.id), "name": said.project }, "purl": purl,
        "statement": hex32(pae), "subjects": subjects, "time": said.leaf.time,
        "version": purl.and_then(purl_version),
    })
}

/// Refuses sources that lie where watched files do: whoever may write there would announce.
///
/// # Errors
/// Exit code 2.
pub fn check_places(config: &config::Config) -> Result<(), Fail> {
    let real = |path: &std::path::Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let watched = config.watches.iter().filter_map(|w| w.directory.as_deref());
    let watched: Vec<_> = watched.map(real).collect();
    for log in &config.logs {
        let tags = log.expected.tags.as_ref().map(|t| &t.repository);
        for source in log.expected.bundles.iter().chain(tags) {
            let source = real(source);
            if let Some(inside) = watched.iter().find(|w| source.starts_with(w)) {
                return Err(Fail::usage(
                    "announced-where-watched",
                    format!("{} announces what is expected, and lies in a watched directory", source.display()),
                )
                .detail("watched", inside.display().to_string())
                .hint("whoever can change what is watched could announce it: keep announcements elsewhere"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
