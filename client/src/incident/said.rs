//! `report.json` as it is given: of the form that is known, or of another, of which what is known is
//! read.

use super::document::{Asked, Document, FORMAT};
use super::folder::Files;
use super::verify::{DOCUMENT, MAX_FILE};
use crate::fail::Fail;
use serde_json::Value;

/// What [`Asked`] has.
const ASKED: [&str; 6] = [
    "compromisedSince",
    "logUrl",
    "made",
    "madeBy",
    "question",
    "reason",
];

/// What a report says.
pub(super) struct Said {
    pub(super) asked: Asked,
    /// All of it.
    pub(super) value: Value,
    /// The form that it is of, where that is another.
    pub(super) other: Option<String>,
}

pub(super) fn malformed(why: &str) -> Fail {
    Fail::untrusted("report-malformed", format!("{DOCUMENT}: {why}"))
        .hint("give the directory that `countersign incident report --out` wrote, unchanged")
}

/// Of another form than what is known: what differs may be nothing but that.
pub(super) fn other_version(form: &str, why: &str) -> Fail {
    Fail::unchecked(
        "other-version",
        format!("the report is of a form that is not known: {why}"),
    )
    .detail("expected", format!("reportFormat {FORMAT}"))
    .detail("got", format!("reportFormat {form}"))
    .hint("verify it with the program that made it, or a newer one")
}

/// Where a log is asked, as a report may say it: records that are published refer to it.
fn is_address(url: &str) -> bool {
    let plain = url
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\"'<>\\`@".contains(&b));
    plain && (url.starts_with("https://") || url.starts_with("http://"))
}

/// The report, as it says itself.
///
/// # Errors
/// Exit code 1 where it is none; 3 where it is of a version of which not even the question is known.
pub(super) fn read(files: &Files) -> Result<Said, Fail> {
    let bytes = files.read(DOCUMENT, MAX_FILE)?;
    let bad = |why: String| malformed(&why);
    let value = ledger::json::parse(&bytes).map_err(|e| bad(e.to_string()))?;
    let (api, kind) = Document::api();
    let field = |name: &str| value.get(name).and_then(Value::as_str);
    if field("kind") != Some(&kind) {
        return Err(bad(format!("it is no {kind}")));
    }
    if field("apiVersion") != Some(&api) {
        return Err(Fail::unchecked(
            "report-version",
            "the report is of a version that is not known",
        )
        .detail("expected", api)
        .detail("got", field("apiVersion").unwrap_or("none"))
        .hint("use the program that made it, or a newer one"));
    }
    let form = value.get("reportFormat");
    let other = match form {
        Some(form) if form.as_u64() == Some(FORMAT) => None,
        Some(form) => Some(form.to_string()),
        None => Some("none".to_owned()),
    };
    let canonical = ledger::json::to_canonical(&value).map_err(|e| bad(e.to_string()))?;
    if canonical != bytes {
        return Err(bad("it is not in its canonical form".into()));
    }
    let asked = match &other {
        None => {
            let typed = ledger::json::typed::<Document>(value.clone());
            typed.map_err(|e| bad(e.to_string()))?.asked
        }
        Some(form) => {
            let mut asked = value.get("asked").cloned().unwrap_or_default();
            if let Some(map) = asked.as_object_mut() {
                map.retain(|name, _| ASKED.contains(&name.as_str()));
            }
            ledger::json::typed(asked)
                .map_err(|e| other_version(form, &format!("what it was asked: {e}")))?
        }
    };
    if !is_address(&asked.log_url) {
        return Err(bad("logUrl is no address of a log".into()));
    }
    Ok(Said {
        asked,
        value,
        other,
    })
}
