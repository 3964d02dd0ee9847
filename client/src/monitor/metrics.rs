//! What Prometheus is told: a text that a server hands out, or a file of a node exporter
//! (docs/monitoring.md, "Metrics"). Text exposition format 0.0.4.

use super::alert::Class;
use super::book::Book;
use super::task::{Gauge, Poll};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How a task does.
#[derive(Debug, Clone, Default)]
struct Of {
    every: u64,
    polls: u64,
    polled: u64,
    whole: u64,
    took: f64,
    gauges: Vec<Gauge>,
}

/// The numbers of a running monitor.
#[derive(Debug, Default)]
pub struct Metrics {
    tasks: BTreeMap<String, Of>,
    started: u64,
}

/// One metric: its sort, what it measures, and its values by labels.
struct Family {
    sort: &'static str,
    help: &'static str,
    values: Vec<(String, f64)>,
}

impl Metrics {
    /// Of a monitor that started at `now`.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            tasks: BTreeMap::new(),
            started: now,
        }
    }

    /// A task that will be polled every so many seconds.
    pub fn expect(&mut self, task: &str, every: u64) {
        self.tasks.entry(task.to_owned()).or_default().every = every;
    }

    /// A poll ended at `now`, after `took` seconds.
    pub fn polled(&mut self, task: &str, poll: &Poll, now: u64, took: f64) {
        let of = self.tasks.entry(task.to_owned()).or_default();
        of.polls += 1;
        of.polled = now;
        of.took = took;
        if poll.whole {
            of.whole = now;
        }
        of.gauges.clone_from(&poll.gauges);
    }

    /// When a poll of each task last ended; the oldest of them is the monitor's own staleness.
    fn oldest(&self) -> u64 {
        let polled = self.tasks.values().map(|of| of.polled.max(self.started));
        polled.min().unwrap_or(self.started)
    }

    /// The tasks whose last poll is older than three of their intervals, a minute at least.
    #[must_use]
    pub fn late(&self, now: u64) -> Vec<String> {
        let late = |of: &Of| {
            let allowed = of.every.saturating_mul(3).max(60);
            now > of.polled.max(self.started).saturating_add(allowed)
        };
        let tasks = self.tasks.iter().filter(|(_, of)| late(of));
        tasks.map(|(task, _)| crate::fail::visible(task)).collect()
    }

    /// The text.
    #[must_use]
    pub fn text(&self, book: &Book, sinks: &[String], now: u64) -> String {
        let mut all: BTreeMap<String, Family> = BTreeMap::new();
        let mut add = |name: &str, sort, help, labels: &[(&str, &str)], value: f64| {
            let family = all.entry(format!("countersign_monitor_{name}"));
            let family = family.or_insert_with(|| Family {
                sort,
                help,
                values: Vec::new(),
            });
            family.values.push((written(labels), value));
        };
        let seconds = |time: u64| f64::from(u32::try_from(time).unwrap_or(u32::MAX));
        let none: &[(&str, &str)] = &[];
        add(
            "start_timestamp_seconds",
            "gauge",
            "When the monitor started.",
            none,
            seconds(self.started),
        );
        let stale = now.saturating_sub(self.oldest());
        add(
            "staleness_seconds",
            "gauge",
            "Age of the oldest last poll of any task.",
            none,
            seconds(stale),
        );
        for (task, of) in &self.tasks {
            let l: &[(&str, &str)] = &[("task", task)];
            add(
                "task_polls_total",
                "counter",
                "Polls since the start.",
                l,
                of.polls as f64,
            );
            add(
                "task_interval_seconds",
                "gauge",
                "Seconds from one poll to the next.",
                l,
                seconds(of.every),
            );
            add(
                "task_poll_timestamp_seconds",
                "gauge",
                "When the last poll ended; 0 for never.",
                l,
                seconds(of.polled),
            );
            add(
                "task_whole_timestamp_seconds",
                "gauge",
                "When a poll last could look at everything; 0 for never.",
                l,
                seconds(of.whole),
            );
            add(
                "task_poll_duration_seconds",
                "gauge",
                "How long the last poll took.",
                l,
                of.took,
            );
            for gauge in &of.gauges {
                let mut labels: Vec<(&str, &str)> = vec![("task", task)];
                labels.extend(gauge.labels.iter().map(|(n, v)| (*n, v.as_str())));
                add(gauge.name, "gauge", gauge.help, &labels, gauge.value);
            }
        }
        for class in Class::ALL {
            let open = book
                .alerts()
                .filter(|(_, a)| a.open() && a.finding.class == class);
            let l: &[(&str, &str)] = &[("class", class.name())];
            add(
                "alerts_open",
                "gauge",
                "Alerts that nobody acknowledged and that have not passed.",
                l,
                open.count() as f64,
            );
        }
        for sink in sinks {
            let state = book.sink(sink);
            let l: &[(&str, &str)] = &[("sink", sink)];
            add(
                "sink_failures",
                "gauge",
                "Failures in a row of a sink.",
                l,
                f64::from(state.failures),
            );
            add(
                "sink_arrived_timestamp_seconds",
                "gauge",
                "When something last arrived at a sink; 0 for never.",
                l,
                seconds(state.arrived),
            );
            add(
                "sink_canary_timestamp_seconds",
                "gauge",
                "When a canary last arrived at a sink; 0 for never.",
                l,
                seconds(state.canary),
            );
        }
        let mut text = String::new();
        for (name, family) in &all {
            let _ = writeln!(text, "# HELP {name} {}", family.help);
            let _ = writeln!(text, "# TYPE {name} {}", family.sort);
            for (labels, value) in &family.values {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        }
        text
    }
}

fn written(labels: &[(&str, &str)]) -> String {
    let one = |(name, value): &(&str, &str)| {
        let value = crate::fail::visible(value)
            .replace('\\', "\\\\")
            .replace('"', "\\\"");
        format!("{name}=\"{value}\"")
    };
    match labels {
        [] => String::new(),
        labels => format!(
            "{{{}}}",
            labels.iter().map(one).collect::<Vec<_>>().join(",")
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::monitor::alert::Finding;

    #[test]
    fn the_text_has_staleness_lag_and_open_alerts_and_no_label_breaks_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::open(dir.path()).unwrap();
        let poll = Poll {
            findings: vec![Finding::new(Class::Degraded, "k", "s", "m")],
            gauges: vec![Gauge {
                name: "log_lag_leaves",
                help: "Leaves not read yet.",
                labels: vec![("origin", "a\"\n} 1\n".into())],
                value: 7.0,
            }],
            whole: false,
            ..Poll::default()
        };
        book.report("t", &poll, 100);
        let mut metrics = Metrics::new(90);
        metrics.expect("t", 60);
        metrics.expect("u", 60);
        metrics.polled("t", &poll, 100, 0.5);
        let text = metrics.text(&book, &["ops".into()], 150);
        for line in [
            "countersign_monitor_staleness_seconds 60",
            "countersign_monitor_alerts_open{class=\"degraded\"} 1",
            "countersign_monitor_alerts_open{class=\"tampering\"} 0",
            "countersign_monitor_task_poll_timestamp_seconds{task=\"t\"} 100",
            "countersign_monitor_task_whole_timestamp_seconds{task=\"t\"} 0",
            "countersign_monitor_sink_failures{sink=\"ops\"} 0",
            "# TYPE countersign_monitor_log_lag_leaves gauge",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        let own = |l: &str| l.starts_with("# ") || l.starts_with("countersign_monitor_");
        assert!(text.lines().all(own), "{text}");
        assert_eq!(metrics.late(270), Vec::<String>::new());
        assert_eq!(metrics.late(271), ["u"]);
        assert!(
            text.contains("origin=\"a\\\"\u{fffd}} 1\u{fffd}\"} 7"),
            "{text}"
        );
    }
}
