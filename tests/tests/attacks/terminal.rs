//! Text of others on a person's terminal.

use crate::Script;
use crate::storage::outcome;
use countersign_tests::attacks::Outcome;
use countersign_tests::bench::bench;
use countersign_tests::hostile::Hostile;

/// The scripts here.
pub const SCRIPTS: &[(&str, Script)] = &[
    ("escapes-for-the-terminal", escapes),
    ("text-that-turns-around", turned),
];

/// A log that answers a publisher with this text, of which `part` must not reach the terminal.
fn answered(detail: &str, part: char) -> Outcome {
    let bench = bench();
    let problem = serde_json::json!({ "type": "urn:countersign:problem:busy", "title": "busy",
        "status": 400, "detail": detail });
    let body = problem.to_string();
    let log = Hostile::new(move |_, out| {
        let length = body.len();
        write!(
            out,
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    });
    let said = bench.publish("1.0", "release1", &format!("--log {}", log.url));
    let shown = said.err.contains(part);
    outcome(
        &said,
        shown.then(|| format!("the terminal was sent {part:?}")),
    )
}

fn escapes() -> Outcome {
    // Up a line, erase it, and say something else there.
    answered("\u{1b}[1A\u{1b}[2Kverified acme/tool 1.0", '\u{1b}')
}

fn turned() -> Outcome {
    answered("release \u{202e}0.1", '\u{202e}')
}
