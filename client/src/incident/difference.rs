//! What a report says otherwise than its proofs: a fact, or only how it is worded.

use serde_json::Value;
use std::collections::BTreeSet;

/// Texts that another form of report may word otherwise.
const WORDS: [&str; 2] = ["says", "steps"];

/// Fields that are not always there. In a form of report that is not known there may be others; but
/// these, where the proofs give none, say something that is not so.
const SOMETIMES: [&str; 18] = [
    "against",
    "because",
    "compromisedSince",
    "file",
    "key",
    "leftOut",
    "prefix",
    "reason",
    "release",
    "restated",
    "restates",
    "revoked",
    "since",
    "size",
    "successor",
    "time",
    "version",
    "viewTime",
];

/// The first thing that differs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The field.
    pub(super) field: String,
    pub(super) want: String,
    pub(super) got: String,
    /// Whether it is nothing but words, or something that is not known.
    pub(super) words: bool,
}

impl Difference {
    fn of(field: &str, want: Option<&Value>, got: Option<&Value>, words: bool) -> Self {
        let shown = |value: Option<&Value>| match value {
            None => "nothing".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => {
                let text = value.to_string();
                match text.char_indices().nth(200) {
                    Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
                    None => text,
                }
            }
        };
        Self {
            field: field.to_owned(),
            want: shown(want),
            got: shown(got),
            words,
        }
    }
}

/// What `got` says otherwise than `want`, the proofs: a fact before anything else.
pub(super) fn difference(field: &str, want: &Value, got: &Value) -> Option<Difference> {
    if WORDS.contains(&field) {
        return (want != got).then(|| Difference::of(field, Some(want), Some(got), true));
    }
    let (mut first, mut worded) = (None, None);
    let mut note = |found: Option<Difference>| match found {
        Some(d) if d.words => drop(worded.get_or_insert(d)),
        Some(d) => drop(first.get_or_insert(d)),
        None => {}
    };
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            let names: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
            for name in names {
                note(match (want.get(name), got.get(name)) {
                    (Some(want), Some(got)) => difference(name, want, got),
                    (want, got) => {
                        let more = want.is_none() && !SOMETIMES.contains(&name.as_str());
                        let words = more || WORDS.contains(&name.as_str());
                        Some(Difference::of(name, want, got, words))
                    }
                });
            }
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            for (want, got) in want.iter().zip(got) {
                note(difference(field, want, got));
            }
        }
        (want, got) if want == got => {}
        (want, got) => note(Some(Difference::of(field, Some(want), Some(got), false))),
    }
    first.or(worded)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fact_is_told_from_words() {
        let want = json!({ "time": 1, "says": "it", "steps": ["a"], "list": [{ "index": 1 }, { "index": 2 }] });
        let of = |change: &dyn Fn(&mut Value)| {
            let mut got = want.clone();
            change(&mut got);
            difference("row", &want, &got).map(|d| (d.field, d.words))
        };
        let fact = |name: &str| Some((name.to_owned(), false));
        let word = |name: &str| Some((name.to_owned(), true));
        assert_eq!(of(&|_| ()), None);
        assert_eq!(of(&|v| v["time"] = json!("1")), fact("time"));
        assert_eq!(of(&|v| v["says"] = json!("else")), word("says"));
        assert_eq!(of(&|v| v["steps"] = json!([])), word("steps"));
        assert_eq!(of(&|v| v["more"] = json!([])), word("more"));
        assert_eq!(of(&|v| v["list"] = json!([])), fact("list"));
        assert_eq!(of(&|v| v["list"][1]["index"] = json!(3)), fact("index"));
        assert_eq!(of(&|v| v["list"][1]["index"] = Value::Null), fact("index"));
        // What the proofs do not say is no more word than what they do.
        assert_eq!(of(&|v| v["against"] = json!({})), fact("against"));
        // A fact is told before a word.
        let both = of(&|v| {
            v["a"] = json!(1);
            v["says"] = json!("else");
            v["time"] = json!(2);
        });
        assert_eq!(both, fact("time"));
        let without = difference("row", &want, &json!({ "says": "it" })).unwrap();
        assert!(!without.words);
    }
}
