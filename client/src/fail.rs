//! How a command fails: what happened, expected and got, and one hint; and its exit code
//! (docs/formats.md, "Exit codes").

use serde_json::{Value, json};
use std::fmt::Write as _;

/// Exit code: do not trust it.
pub const UNTRUSTED: u8 = 1;
/// Exit code: wrong usage, configuration or policy.
pub const USAGE: u8 = 2;
/// Exit code: could not be checked, so not trusted either.
pub const UNCHECKED: u8 = 3;

/// A failure as a person and a script see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fail {
    /// The exit code: 1, 2 or 3.
    pub code: u8,
    /// A stable word for the reason.
    pub kind: String,
    /// What happened.
    pub message: String,
    /// Named values: expected, got, key, log, ….
    pub details: Vec<(String, String)>,
    /// What to do.
    pub hint: Option<String>,
}

impl Fail {
    fn new(code: u8, kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            kind: kind.into(),
            message: message.into(),
            details: Vec::new(),
            hint: None,
        }
    }

    /// Do not trust it.
    pub fn untrusted(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(UNTRUSTED, kind, message)
    }

    /// Wrong usage, configuration or policy.
    pub fn usage(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(USAGE, kind, message)
    }

    /// Could not be checked.
    pub fn unchecked(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(UNCHECKED, kind, message)
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a named value.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.push((name.into(), value.into()));
        self
    }

    /// For a person, a line a fact. Control characters that came from outside are replaced.
    #[must_use]
    pub fn human(&self) -> String {
        let clean = |s: &str| s.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}");
        let mut out = format!("error: {} [{}]\n", clean(&self.message), self.kind);
        for (name, value) in &self.details {
            let _ = writeln!(out, "  {name}: {}", clean(value));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "hint: {}", clean(hint));
        }
        out
    }

    /// For a script.
    #[must_use]
    pub fn json(&self) -> Value {
        let details: serde_json::Map<String, Value> = self
            .details
            .iter()
            .map(|(k, v)| (k.clone(), v.clone().into()))
            .collect();
        json!({ "verdict": if self.code == UNTRUSTED { "refused" } else { "error" }, "kind": self.kind,
            "message": self.message, "details": details, "hint": self.hint, "exit": self.code })
    }
}
