//! That nothing which came from outside is more than text, in any form of a report and anywhere.
#![allow(clippy::unwrap_used)]

use super::document::{Document, FORMAT, MADE_BY};
use super::html::html;
use super::markdown;
use super::osv::records;
use serde_json::{Value, json};

/// A report in which every text that somebody else chose is `text`.
fn document(text: &str) -> Document {
    let hash = "ab".repeat(32);
    let at = json!({ "index": 7, "time": 1_800_000_000 });
    let against = json!({ "statement": hash, "by": at, "from": at, "key": hash, "reason": text, "successor": text });
    let release = json!({ "index": 3, "time": 1_800_000_000, "purl": text, "version": text, "statement": hash,
        "artifacts": [{ "name": text, "sha256": hash }], "keys": [hash], "standing": "void", "against": against });
    let account = json!({ "file": format!("samples/{hash}-1.json"), "sha256": hash, "subject": text, "why": text,
        "userAgent": text, "began": text, "ended": text, "whole": true });
    let value: Value = json!({
        "apiVersion": "countersign/v1", "kind": "incident-report", "reportFormat": FORMAT,
        "asked": { "question": { "version": text }, "made": 1_800_000_000, "madeBy": MADE_BY, "logUrl": "https://log.example", "reason": text },
        "project": { "name": text, "id": hash, "version": 1, "contact": text },
        "asOf": { "log": text, "size": 9, "root": hash }, "entries": 3,
        "releases": [release],
        "withdrawals": [{ "index": 5, "statement": hash, "prefix": text, "reason": text, "successor": text }],
        "revocations": [{ "index": 6, "statement": hash, "target": text, "reason": text, "compromisedSince": 3 }],
        "keys": [{ "id": hash, "purpose": text, "state": text, "listed": at, "statements": 2, "successor": text }],
        "timeline": [{ "index": 3, "time": 1, "kind": text, "says": text, "statement": hash, "keys": [text],
            "standing": text, "because": text, "proof": "proofs/3.bundle", "sha256": hash }],
        "samples": [{ "sha256": hash, "released": [], "accounts": [account] }],
        "next": [{ "file": "next/revoke.json", "says": text, "statement": hash }],
        "steps": [text], "good": [{ "index": 8, "purl": text }],
    });
    ledger::json::typed(value).unwrap()
}

/// All Markdown that is made of a report: what is published, and what the owner does.
fn markdown(document: &Document) -> String {
    markdown::markdown(document) + &markdown::readme(document).unwrap()
}

/// The same report with a text that nobody could mind: whatever of markup there is, is ours.
fn ours(form: impl Fn(&Document) -> String, what: &[&str]) -> Vec<usize> {
    let text = form(&document("harmless"));
    what.iter().map(|w| text.matches(w).count()).collect()
}

fn same_markup(form: fn(&Document) -> String, what: &[&str], hostile: &str) {
    let text = form(&document(hostile));
    let got: Vec<usize> = what.iter().map(|w| text.matches(w).count()).collect();
    assert_eq!(got, ours(form, what), "{what:?} of {hostile:?} in\n{text}");
}

#[test]
fn a_script_tag_is_text() {
    let hostile = "</td></code><script>alert(1)</script><img src=x onerror=alert(1)>";
    same_markup(html, &["<", ">", "\""], hostile);
    same_markup(markdown, &["<script", "<img", "</"], hostile);
    // In the details of a record, which are Markdown, is nothing from outside.
    for record in records(&document(hostile)).unwrap().into_values() {
        let record: Value = serde_json::from_slice(&record).unwrap();
        assert!(!record["details"].to_string().contains('<'), "{record}");
    }
}

#[test]
fn a_link_to_javascript_is_text() {
    let hostile =
        "x](javascript:alert(1)) [y](javascript:alert(2)) ![z](https://evil.example/i.png)";
    same_markup(markdown, &["](", "!["], hostile);
    same_markup(html, &["href=", "<a ", "src="], hostile);
    // Nor does an address become one by itself; in code it does not.
    let text = markdown(&document("https://evil.example www.evil.example"));
    let prose: String = text.split('`').step_by(2).collect();
    assert!(text.contains("evil.example") && prose.contains("evil.example"));
    assert!(
        !prose.contains("://evil") && !prose.contains("www.evil"),
        "{prose}"
    );
    same_markup(html, &["\"", "'"], "\" href='javascript:x' onload=\"x");
}

#[test]
fn control_characters_do_not_begin_a_line_or_steer_a_terminal() {
    let hostile = "a\u{1b}[2J\r\n# heading\n- item\n| cell |\n\n```\u{7}";
    same_markup(
        markdown,
        &["\n", "\u{1b}", "\r", "\u{7}", "\n#", "\n-", "```"],
        hostile,
    );
    same_markup(html, &["\n", "\u{1b}", "\r", "\u{7}"], hostile);
    // A cell more would move what stands in the others.
    let bars = |text: &str| text.replace("\\|", "").matches('|').count();
    let (own, other) = (document("harmless"), document("a|b`|`"));
    assert_eq!(bars(&markdown(&other)), bars(&markdown(&own)));
}

#[test]
fn what_turns_the_direction_of_writing_is_shown_as_such() {
    for hostile in [
        "\u{202e}gpj.exe",
        "\u{2066}x\u{2069}",
        "\u{200f}x",
        "\u{2028}x",
    ] {
        let c = hostile.chars().next().unwrap().to_string();
        same_markup(markdown, &[&c], hostile);
        same_markup(html, &[&c], hostile);
    }
    // Letters that are written from right to left turn nothing around them.
    let page = html(&document("\u{5d0}\u{5d1}"));
    assert!(page.contains("<bdi>\u{5d0}\u{5d1}</bdi>"), "{page}");
}

/// Whoever verifies takes a report of this form for changed where it is in other words: so others
/// are another form.
#[test]
fn the_words_of_a_form_are_its_own() {
    let d = document("harmless");
    let mut all = markdown(&d) + &html(&d);
    for (name, bytes) in records(&d).unwrap() {
        all += &format!("{name}\n{}\n", String::from_utf8(bytes).unwrap());
    }
    let all = all.replace(MADE_BY, "MADE BY");
    let digest = ledger::hex32(&ledger::sha256(all.as_bytes()));
    assert_eq!(
        (FORMAT, &digest[..16]),
        (1, "d3a2e88050bffe0d"),
        "a report in other words is of another form: raise FORMAT, unless none of this one was released\n{all}"
    );
}
