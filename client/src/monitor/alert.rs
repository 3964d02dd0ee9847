//! What is found, and how grave it is (docs/monitoring.md, "Alerts").

use ledger::{hex32, sha256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The four classes, from the least to the gravest. They are never mixed up: an outage is no
/// compromise, and a compromise is no outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The monitor itself, or something of its owner's, does not work: a sink, a configured
    /// command, its disk. It says nothing about log or storage.
    Operational,
    /// Something watched cannot be checked as it should be: unreachable, stale, too few
    /// witnesses. It says nothing about whether it is sound.
    Degraded,
    /// Something valid was said under the project's name or keys, and nobody announced it.
    Unexpected,
    /// Something is not what was signed: bytes, a tree, a head.
    Tampering,
}

impl Class {
    /// All of them, from the least to the gravest.
    pub const ALL: [Self; 4] = [
        Self::Operational,
        Self::Degraded,
        Self::Unexpected,
        Self::Tampering,
    ];

    /// The exit code of a run whose gravest alert is of this class.
    #[must_use]
    pub fn exit(self) -> u8 {
        match self {
            Self::Operational | Self::Degraded => 4,
            Self::Unexpected => 5,
            Self::Tampering => 6,
        }
    }

    /// Whether it is over once a check no longer finds it. Graver classes stay until somebody
    /// acknowledges them: an attacker comes and goes.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Operational | Self::Degraded)
    }

    /// The severity, in the words of syslog (RFC 5424, section 6.2.1).
    #[must_use]
    pub fn severity(self) -> &'static str {
        match self {
            Self::Operational => "warning",
            Self::Degraded => "error",
            Self::Unexpected => "critical",
            Self::Tampering => "alert",
        }
    }

    /// The name as it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Degraded => "degraded",
            Self::Unexpected => "unexpected",
            Self::Tampering => "tampering",
        }
    }

    /// What it means, for somebody who is woken by it.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Operational => {
                "OPERATIONAL: the monitor does not work as configured; this says nothing about log or storage"
            }
            Self::Degraded => {
                "DEGRADED: something cannot be checked at present; this does not say that it is bad"
            }
            Self::Unexpected => {
                "UNEXPECTED IDENTITY: something was said under this project's name or keys that nobody announced"
            }
            Self::Tampering => "TAMPERING: something is not what was signed",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that a task found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Finding {
    /// How grave.
    pub class: Class,
    /// A stable word for the sort of thing, `bytes-not-logged`.
    pub kind: String,
    /// What it is about: an address, `PROJECT in ORIGIN`, a sink's name.
    pub subject: String,
    /// What tells it from others of its kind about the same subject: a digest, a PAE hash; empty
    /// where there is only one.
    pub key: String,
    /// What happened, in one sentence.
    pub message: String,
    /// Named values: expected, got, file, contact, ….
    pub details: Vec<(String, String)>,
    /// What to do.
    pub hint: String,
}

impl Finding {
    /// A finding; see the fields.
    pub fn new(
        class: Class,
        kind: &str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            class,
            kind: kind.to_owned(),
            subject: subject.into(),
            key: String::new(),
            message: message.into(),
            details: Vec::new(),
            hint: String::new(),
        }
    }

    /// With what tells it from others of its kind about the same subject.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// With a named value.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.push((name.into(), value.into()));
        self
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The alert's id: 16 hexadecimal digits that are the same each time that it is found.
    #[must_use]
    pub fn id(&self) -> String {
        let parts = [self.class.name(), &self.kind, &self.subject, &self.key];
        // No part holds a line break as it is shown, but outside text may: lengths tell apart.
        let text: String = parts.iter().map(|p| format!("{}:{p}\n", p.len())).collect();
        hex32(&sha256(text.as_bytes())).chars().take(16).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_own_words_and_the_contract_s_exit_code() {
        let exits: Vec<u8> = Class::ALL.iter().map(|c| c.exit()).collect();
        assert_eq!(exits, [4, 4, 5, 6]);
        let mut words: Vec<&str> = Class::ALL.iter().map(|c| c.severity()).collect();
        words.extend(Class::ALL.iter().map(|c| c.meaning()));
        words.extend(Class::ALL.iter().map(|c| c.name()));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 12);
        // Who is woken by an outage must not read of an attack.
        for class in [Class::Operational, Class::Degraded] {
            let said = class.meaning().to_lowercase();
            assert!(
                !said.contains("tamper") && !said.contains("compromise"),
                "{said}"
            );
        }
    }

    #[test]
    fn an_id_tells_findings_apart_and_stays_the_same() {
        let one = Finding::new(Class::Tampering, "k", "ab", "said").key("c");
        assert_eq!(one.id(), one.clone().detail("more", "x").hint("do").id());
        assert_ne!(
            one.id(),
            Finding::new(Class::Tampering, "k", "a", "said")
                .key("bc")
                .id()
        );
        assert_ne!(
            one.id(),
            Finding::new(Class::Degraded, "k", "ab", "said")
                .key("c")
                .id()
        );
        assert_eq!(one.id().len(), 16);
    }
}
