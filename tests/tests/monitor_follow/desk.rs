//! A monitor's tasks over a bench, without the service around them.

use countersign::monitor::alert::{Class, Finding};
use countersign::monitor::config::Config;
use countersign::monitor::follow::tasks;
use countersign::monitor::task::{Poll, Task};
use countersign_tests::bench::Bench;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// Writes the bench's policy under another name, with `url` as the log's.
pub fn policy(bench: &Bench, name: &str, url: &str) {
    let text = std::fs::read_to_string(bench.path("policy.toml")).unwrap();
    std::fs::write(bench.path(name), text.replace(&bench.url, url)).unwrap();
}

/// The tasks of a configuration with one `[[log]]` by `policy`; `more` is added to it.
pub fn watch(bench: &Bench, policy: &str, more: &str) -> Vec<Box<dyn Task>> {
    tasks(&config(bench, policy, more)).unwrap()
}

pub fn config(bench: &Bench, policy: &str, more: &str) -> Config {
    let text = format!(
        "api-version = \"countersign/v1\"\nstate = \"monitor\"\n[[log]]\npolicy = \"{policy}\"\n{more}"
    );
    Config::parse(&text, bench.dir.path()).unwrap()
}

/// Polls and commits, as the service does.
pub fn poll(task: &mut Box<dyn Task>) -> Poll {
    poll_at(task, now())
}

pub fn poll_at(task: &mut Box<dyn Task>, now: u64) -> Poll {
    let poll = task.poll(now);
    task.commit().unwrap();
    for finding in &poll.findings {
        calm(finding);
    }
    poll
}

/// An outage is never said to be anything worse.
fn calm(finding: &Finding) {
    if matches!(finding.class, Class::Degraded | Class::Operational) {
        let said = format!("{finding:?}").to_lowercase();
        for word in ["compromis", "tamper", "attack", "lied"] {
            assert!(!said.contains(word), "{said}");
        }
    }
}

/// Class and kind of each finding.
pub fn found(poll: &Poll) -> Vec<(Class, &str)> {
    let of = |f: &'_ Finding| f.class;
    let findings = poll.findings.iter();
    findings.map(|f| (of(f), f.kind.as_str())).collect()
}

/// The kinds of what was recorded.
pub fn recorded(poll: &Poll) -> Vec<&str> {
    poll.records.iter().map(|r| r.kind.as_str()).collect()
}

pub fn gauge(poll: &Poll, name: &str) -> f64 {
    let gauge = poll.gauges.iter().find(|g| g.name == name);
    gauge.unwrap_or_else(|| panic!("{name}: {poll:?}")).value
}
