//! Who is to be told what, and when.

use super::{Alert, Book};
use crate::monitor::config::{Alerts, Sink};

/// Seconds between two attempts at most.
const LONGEST: u64 = 300;

/// Why a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// For the first time.
    Raised,
    /// Nobody acknowledged it.
    Repeated,
    /// Nobody acknowledged it, and this is a second recipient.
    Escalated,
    /// It has passed.
    Over,
}

impl Why {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Repeated => "repeated",
            Self::Escalated => "escalated",
            Self::Over => "over",
        }
    }
}

/// A message that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The alert.
    pub id: String,
    /// Its message's number at this sink, from 1: with the id it names the message, however
    /// often it has to be sent until it arrives.
    pub number: u64,
    /// Why.
    pub why: Why,
    /// The alert as it is.
    pub alert: Alert,
}

impl Book {
    /// What `sink` is to be told at `now`: what it refused comes last, else the gravest first.
    #[must_use]
    pub fn due(&self, sink: &Sink, rules: &Alerts, now: u64) -> Vec<Due> {
        let mut due: Vec<Due> = self
            .kept
            .alerts
            .iter()
            .filter(|(_, alert)| alert.finding.class >= sink.from)
            .filter_map(|(id, alert)| {
                let why = why(alert, sink, rules, now)?;
                let number = alert.told.get(&sink.name).map_or(0, |t| t.count) + 1;
                let (id, alert) = (id.clone(), alert.clone());
                Some(Due {
                    id,
                    number,
                    why,
                    alert,
                })
            })
            .collect();
        let tries = |d: &Due| d.alert.told.get(&sink.name).map_or(0, |t| t.tries);
        due.sort_by_key(|d| {
            let class = std::cmp::Reverse(d.alert.finding.class);
            (tries(d), class, d.alert.first)
        });
        due
    }

    /// Notes that a message has arrived.
    pub fn arrived(&mut self, sink: &str, due: &Due, now: u64) {
        // It may have been forgotten meanwhile.
        if let Some(alert) = self.kept.alerts.get_mut(&due.id) {
            let told = alert.told.entry(sink.to_owned()).or_default();
            told.count = due.number;
            told.last = now;
            told.over = due.why == Why::Over;
            (told.tries, told.retry) = (0, 0);
        }
    }

    /// Notes that a message did not arrive, and when it is tried again.
    pub fn refused(&mut self, sink: &str, due: &Due, now: u64) {
        if let Some(alert) = self.kept.alerts.get_mut(&due.id) {
            let told = alert.told.entry(sink.to_owned()).or_default();
            told.tries = told.tries.saturating_add(1);
            told.retry = now.saturating_add(pause(told.tries));
        }
    }
}

/// Seconds before a next attempt, after so many that failed.
#[must_use]
pub fn pause(failures: u32) -> u64 {
    1u64.checked_shl(failures).unwrap_or(LONGEST).min(LONGEST)
}

fn why(alert: &Alert, sink: &Sink, rules: &Alerts, now: u64) -> Option<Why> {
    let told = alert.told.get(&sink.name);
    if told.is_some_and(|t| now < t.retry) {
        return None;
    }
    let told = told.filter(|t| t.count > 0);
    if alert.over() {
        // Only who was told of it is told that it is over.
        return told.filter(|t| !t.over).map(|_| Why::Over);
    }
    if alert.acknowledged.is_some() {
        return None;
    }
    match told {
        Some(told) => {
            (now >= told.last.saturating_add(rules.repeat_after)).then_some(Why::Repeated)
        }
        None if sink.level == 1 => Some(Why::Raised),
        None => {
            let late = now >= alert.first.saturating_add(rules.escalate_after);
            late.then_some(Why::Escalated)
        }
    }
}
