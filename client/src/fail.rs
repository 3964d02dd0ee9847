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

/// `text` with what would steer a terminal, or turn the direction of writing, replaced.
#[must_use]
pub fn visible(text: &str) -> String {
    text.replace(
        |c: char| {
            c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        },
        "\u{fffd}",
    )
}

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

    /// Puts this in the place of `worst` where it is graver: not to be trusted, before wrong
    /// usage, before not checked.
    pub(crate) fn keep_graver(self, worst: &mut Option<Self>) {
        let rank = |code: u8| [0, 3, 1, 2].get(usize::from(code)).copied().unwrap_or(3);
        if worst
            .as_ref()
            .is_none_or(|w| rank(self.code) > rank(w.code))
        {
            *worst = Some(self);
        }
    }

    /// The same, of which everything was shown already where `shown`.
    pub(crate) fn shown_if(self, shown: bool) -> Self {
        if shown { self.shown() } else { self }
    }

    /// The same, of which everything was shown already: only its exit code is left.
    pub(crate) fn shown(self) -> Self {
        let message = String::new();
        Self { message, ..self }
    }

    /// For a person, a line a fact. What came from outside can neither steer the terminal nor
    /// pass for a line of ours: further lines are set in.
    #[must_use]
    pub fn human(&self) -> String {
        let clean = |s: &str| s.lines().map(visible).collect::<Vec<_>>().join("\n    ");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_cannot_pass_for_a_line_of_ours() {
        let fail = Fail::unchecked("x", "bad\nverified: all is well")
            .detail("server", "a\u{1b}[2Jb\rverified\nhint: run it \u{202e}")
            .hint("one line");
        let said = fail.human();
        let own =
            |l: &str| l.starts_with("error: ") || l.starts_with("  ") || l == "hint: one line";
        assert!(said.lines().all(own), "{said}");
        assert!(!said.contains(['\u{1b}', '\r', '\u{202e}']), "{said:?}");
    }
}
