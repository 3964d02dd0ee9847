#![allow(clippy::unwrap_used)]
use super::*;
use crate::monitor::alert::Finding;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A task that finds what it is told to, and keeps what it did.
struct Scripted {
    polls: Vec<Poll>,
    committed: Arc<AtomicU64>,
    may_commit: bool,
    state: PathBuf,
}

impl Task for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }
    fn every(&self) -> u64 {
        3600
    }
    fn poll(&mut self, _: u64) -> Poll {
        self.polls.pop().unwrap_or_default()
    }
    fn commit(&mut self) -> Result<(), Fail> {
        // What was found is on disk by now.
        let book = Book::open(&self.state)?;
        assert!(book.alerts().any(|(_, a)| a.task == "scripted"));
        if !self.may_commit {
            return Err(Fail::usage("full", "the disk is full"));
        }
        self.committed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn service(dir: &Path) -> Service {
    let text = "api-version = \"countersign/v1\"\nstate = \"s\"\nmetrics-file = \"m.prom\"\n[[log]]\npolicy = \"p\"\n\
        [[sink]]\nname = \"f\"\nfile = \"out\"\n";
    Service::open(Config::parse(text, dir).unwrap()).unwrap()
}

fn poll(class: Class, again: bool) -> Poll {
    Poll {
        findings: vec![Finding::new(class, "k", "s", "m")],
        again,
        ..Poll::default()
    }
}

fn scripted(dir: &Path, polls: Vec<Poll>) -> (Box<dyn Task>, Arc<AtomicU64>) {
    let committed = Arc::new(AtomicU64::new(0));
    let task = Scripted {
        polls,
        committed: Arc::clone(&committed),
        may_commit: true,
        state: dir.join("s"),
    };
    (Box::new(task), committed)
}

#[test]
fn a_run_tells_keeps_and_has_the_class_s_exit_code_until_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (task, committed) = scripted(
        dir.path(),
        vec![poll(Class::Unexpected, false), poll(Class::Degraded, true)],
    );
    assert_eq!(
        service(dir.path()).once(vec![task]).unwrap(),
        Some(Class::Unexpected)
    );
    // A backlog is worked off in one run.
    assert_eq!(committed.load(Ordering::SeqCst), 2);
    let lines = std::fs::read_to_string(dir.path().join("out")).unwrap();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let metrics = std::fs::read_to_string(dir.path().join("m.prom")).unwrap();
    assert!(metrics.contains("alerts_open{class=\"unexpected\"} 1"));
    // Nobody has acknowledged it: the next run has the same code.
    let (task, _) = scripted(dir.path(), Vec::new());
    assert_eq!(
        service(dir.path()).once(vec![task]).unwrap(),
        Some(Class::Unexpected)
    );
    let id = Finding::new(Class::Unexpected, "k", "s", "m").id();
    let (full, open) =
        acknowledge(&dir.path().join("s"), id.get(..8).unwrap(), "me", "ok").unwrap();
    assert_eq!((full, open), (id, true));
    let (task, _) = scripted(dir.path(), Vec::new());
    let left = service(dir.path()).once(vec![task]).unwrap();
    assert_eq!(left, Some(Class::Degraded));
    assert!(acknowledge(&dir.path().join("s"), "ffffffff", "me", "").is_err());
}

#[test]
fn progress_that_cannot_be_kept_is_told_and_loses_no_finding() {
    let dir = tempfile::tempdir().unwrap();
    let committed = Arc::new(AtomicU64::new(0));
    let task = Scripted {
        polls: vec![poll(Class::Tampering, false)],
        committed: Arc::clone(&committed),
        may_commit: false,
        state: dir.path().join("s"),
    };
    assert_eq!(
        service(dir.path()).once(vec![Box::new(task)]).unwrap(),
        Some(Class::Tampering)
    );
    let lines = std::fs::read_to_string(dir.path().join("out")).unwrap();
    assert!(lines.contains("progress-not-kept"), "{lines}");
    let (task, _) = scripted(dir.path(), vec![poll(Class::Tampering, false)]);
    service(dir.path()).once(vec![task]).unwrap();
    let lines = std::fs::read_to_string(dir.path().join("out")).unwrap();
    assert!(lines.contains("\"why\":\"over\""), "{lines}");
}

#[test]
fn what_could_not_be_saved_is_saved_before_any_later_progress() {
    let dir = tempfile::tempdir().unwrap();
    let service = service(dir.path());
    // Nothing can be renamed over a directory that is not empty.
    let book = dir.path().join("s/alerts.json");
    std::fs::create_dir_all(book.join("in the way")).unwrap();
    let twice = vec![poll(Class::Tampering, false), poll(Class::Tampering, false)];
    let (mut task, committed) = scripted(dir.path(), twice);
    service.turn(&mut *task);
    assert_eq!(committed.load(Ordering::SeqCst), 0);
    // It is found again, and is nothing new: its task may go on only once it is on disk.
    std::fs::remove_dir_all(&book).unwrap();
    service.turn(&mut *task);
    assert_eq!(committed.load(Ordering::SeqCst), 1);
}

#[test]
fn two_monitors_do_not_share_a_state_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _one = service(dir.path());
    let text = "api-version = \"countersign/v1\"\nstate = \"s\"\n[[log]]\npolicy = \"p\"\n";
    let two = Service::open(Config::parse(text, dir.path()).unwrap());
    assert_eq!(two.err().unwrap().kind, "already-running");
}

#[test]
fn acknowledgements_that_are_none_are_put_away() {
    let dir = tempfile::tempdir().unwrap();
    let service = service(dir.path());
    let ready = dir.path().join("s/acknowledged");
    std::fs::write(ready.join("x.json"), "{").unwrap();
    std::fs::write(ready.join("y.tmp"), "left alone").unwrap();
    service.acknowledged();
    let left: Vec<_> = std::fs::read_dir(ready)
        .unwrap()
        .map(|i| i.unwrap().file_name())
        .collect();
    assert_eq!(left, ["y.tmp"]);
}
